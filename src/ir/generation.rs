//! A generation: a snapshot with its credentials, its hash, and its form on disk.
//!
//! In a pod the snapshot is a compressed key of a `ConfigMap` and the credentials a key of a `Secret`, each mounted as a
//! directory. Beside the credentials is a [`Stamp`].

use super::secrets::Credentials;
use super::snapshot::{OLDEST_SNAPSHOT_VERSION, SNAPSHOT_VERSION, Snapshot};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};

/// File (and `ConfigMap` key) of the snapshot: gzip over JSON.
pub const SNAPSHOT_FILE: &str = "snapshot.json.gz";

/// File (and `Secret` key) of the credentials: JSON, values in base64.
pub const CREDENTIALS_FILE: &str = "credentials.json";

/// File (and `Secret` key) of the [`Stamp`]: JSON.
pub const STAMP_FILE: &str = "stamp.json";

/// The largest compressed snapshot that is published, in bytes: a `ConfigMap` holds 1 MiB with all its metadata.
pub const MAX_SNAPSHOT_BYTES: usize = 900 * 1024;

/// The largest snapshot that is read after decompression, in bytes: a bound on what a corrupt file can cost.
const MAX_DECOMPRESSED_BYTES: u64 = 64 * 1024 * 1024;

/// What a gateway runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The routing, without secrets.
    pub snapshot: Snapshot,
    /// The secrets it names.
    pub credentials: Credentials,
}

/// A generation that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GenerationError {
    /// Not gzip, truncated, or too large when unpacked.
    #[error("the snapshot cannot be decompressed: {0}")]
    Compression(#[source] std::io::Error),
    /// Not the JSON of a snapshot.
    #[error("the snapshot is malformed: {0}")]
    Snapshot(#[source] serde_json::Error),
    /// Not the JSON of credentials. The cause is left out: it may quote the file.
    #[error("the credentials are malformed at line {line}, column {column}")]
    Credentials {
        /// Line of the mistake, from 1.
        line: usize,
        /// Column of the mistake, from 1.
        column: usize,
    },
    /// Not the JSON of a stamp.
    #[error("the stamp is malformed: {0}")]
    Stamp(#[source] serde_json::Error),
    /// Written by a build too new or too old.
    #[error("the snapshot has format {found}; this gateway reads {OLDEST_SNAPSHOT_VERSION} to {SNAPSHOT_VERSION}")]
    Version {
        /// The format found.
        found: u32,
    },
}

/// Says which snapshot the credentials beside it belong to, and how new the two are.
///
/// A pod sees changes of the `ConfigMap` and of the `Secret` one after the other, and both up to a minute after the same
/// generation was pushed to it. With the stamp it can tell a pair from two halves, and a late one from a new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    /// Grows with every generation of a gateway: milliseconds since the Unix epoch, or one more than that of the generation
    /// before, whichever is greater.
    pub revision: u64,
    /// SHA-256 of the compressed snapshot, in hexadecimal.
    pub snapshot: String,
}

impl Stamp {
    /// The stamp of the credentials that go with this compressed snapshot.
    pub fn new(revision: u64, snapshot: &[u8]) -> Self {
        Self { revision, snapshot: hexadecimal(&Sha256::digest(snapshot)) }
    }

    /// Whether this compressed snapshot is the one that is meant.
    pub fn is_of(&self, snapshot: &[u8]) -> bool {
        self.snapshot == hexadecimal(&Sha256::digest(snapshot))
    }

    /// Reads a stamp.
    pub fn decode(bytes: &[u8]) -> Result<Self, GenerationError> {
        serde_json::from_slice(bytes).map_err(GenerationError::Stamp)
    }

    /// Writes a stamp as it goes into a `Secret`.
    pub fn encode(&self) -> Result<Vec<u8>, GenerationError> {
        serde_json::to_vec(self).map_err(GenerationError::Stamp)
    }
}

impl Generation {
    /// Reads the two files of a generation.
    pub fn decode(snapshot: &[u8], credentials: &[u8]) -> Result<Self, GenerationError> {
        Ok(Self { snapshot: decode_snapshot(snapshot)?, credentials: decode_credentials(credentials)? })
    }

    /// Names the generation: 16 hexadecimal digits over the snapshot and, keyed by the keyring's newest key,
    /// the credentials, so that a rotated Secret is a new generation and the name tells nothing about it.
    pub fn hash(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(serde_json::to_vec(&self.snapshot).unwrap_or_default());
        let key = self.credentials.keyring.first().map_or(&[] as &[u8], |key| key.expose());
        let mut keyed = Sha256::new();
        keyed.update(key);
        keyed.update(serde_json::to_vec(&self.credentials).unwrap_or_default());
        // Hashed twice under the key, so that the inner state cannot be extended by who knows the snapshot.
        let mut outer = Sha256::new();
        outer.update(key);
        outer.update(keyed.finalize());
        hasher.update(outer.finalize());
        hexadecimal(&hasher.finalize()[..8])
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compresses a snapshot as it goes into a `ConfigMap`. The same snapshot always gives the same bytes.
pub fn encode_snapshot(snapshot: &Snapshot) -> Result<Vec<u8>, GenerationError> {
    let json = serde_json::to_vec(snapshot).map_err(GenerationError::Snapshot)?;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&json).map_err(GenerationError::Compression)?;
    encoder.finish().map_err(GenerationError::Compression)
}

/// Reads a compressed snapshot and checks its format's version before anything else of it.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, GenerationError> {
    let mut json = Vec::new();
    GzDecoder::new(bytes).take(MAX_DECOMPRESSED_BYTES).read_to_end(&mut json).map_err(GenerationError::Compression)?;
    let Versioned { version } = serde_json::from_slice(&json).map_err(GenerationError::Snapshot)?;
    if !(OLDEST_SNAPSHOT_VERSION..=SNAPSHOT_VERSION).contains(&version) {
        return Err(GenerationError::Version { found: version });
    }
    serde_json::from_slice(&json).map_err(GenerationError::Snapshot)
}

/// Writes credentials as they go into a `Secret`.
pub fn encode_credentials(credentials: &Credentials) -> Result<Vec<u8>, GenerationError> {
    serde_json::to_vec(credentials).map_err(|error| malformed_credentials(&error))
}

/// Reads credentials.
pub fn decode_credentials(bytes: &[u8]) -> Result<Credentials, GenerationError> {
    serde_json::from_slice(bytes).map_err(|error| malformed_credentials(&error))
}

fn malformed_credentials(error: &serde_json::Error) -> GenerationError {
    GenerationError::Credentials { line: error.line(), column: error.column() }
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}
