//! Session ids that say, to those who hold the key, what the session is.
//!
//! An id is encrypted and authenticated (XChaCha20-Poly1305), so any replica can tell a session of this gateway from a forged
//! one without asking anybody, and a client can read nothing out of it. It is bound to its route: at another route it is a
//! foreign id. What opens only proves that the gateway once gave it out; whether the session still lives is looked up.
//!
//! An id is base64url of `format, key id, nonce (24), ciphertext, tag (16)`.

use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::version::Version;
use crate::ir::secrets::PrivateBytes;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{Key, KeyInit as _, XChaCha20Poly1305, XNonce};
use sha2::{Digest as _, Sha256};
use std::fmt;

/// Ids beyond this length, in bytes, are not ours. Ours are half as long.
pub const MAX_ID: usize = 512;
/// The longest owner, in bytes: a pod's name (63) fits.
pub const MAX_OWNER: usize = 64;
/// The first byte of what is sealed; another layout gets another one.
const FORMAT: u8 = 1;
const NONCE: usize = 24;
const TAG: usize = 16;
/// Session, principal, capabilities, time, version.
const FIXED_CLAIMS: usize = 16 + 8 + 8 + 8 + 1;

/// What an id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The session's random name.
    pub session: [u8; 16],
    /// Who opened it, as a hash; 0 for anonymous.
    pub principal_hash: u64,
    /// What its client can do, as a hash.
    pub capabilities_hash: u64,
    /// The revision that was agreed on.
    pub version: Version,
    /// Which replica holds its state, and of which start of it.
    pub owner: Box<str>,
    /// When it was opened, in seconds since 1970.
    pub issued_at: u64,
}

/// Why an id does not open. The client is not told which: it learns only that there is no such session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not of the form of an id.
    #[error("not a session id")]
    Malformed,
    /// Of the form, and not given out by this gateway for this route under a key it still has.
    #[error("not a session id of this gateway and route")]
    NotAuthentic,
}

impl From<OpenError> for GatewayError {
    fn from(_: OpenError) -> Self {
        Self::new(Kind::SessionNotFound, "session not found: initialize again")
    }
}

/// Why no id can be given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system has no random numbers to give.
    #[error("no randomness available")]
    NoRandomness,
    /// The replica's name is too long: a bug of whoever chose it.
    #[error("the owner is longer than {MAX_OWNER} bytes")]
    OwnerTooLong,
}

impl From<SealError> for GatewayError {
    fn from(error: SealError) -> Self {
        Self::new(Kind::Internal, error.to_string())
    }
}

/// The keys are not usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is none.
    #[error("the keyring is empty")]
    Empty,
    /// A key has the wrong length.
    #[error("a key of the keyring has {0} bytes instead of 32")]
    WrongLength(usize),
}

/// The keys that seal and open ids: the first one seals, every one opens.
pub struct Keyring {
    keys: Vec<SealingKey>,
}

struct SealingKey {
    /// Derived from the key, so that it stays the same when the keyring changes around it.
    id: u8,
    cipher: XChaCha20Poly1305,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring of {}", self.keys.len())
    }
}

impl SealingKey {
    fn new(bytes: &[u8]) -> Result<Self, KeyringError> {
        let key = Key::try_from(bytes).map_err(|_| KeyringError::WrongLength(bytes.len()))?;
        let digest = Sha256::new().chain_update(b"mcp session key id").chain_update(bytes).finalize();
        Ok(Self { id: digest[0], cipher: XChaCha20Poly1305::new(&key) })
    }
}

impl Keyring {
    /// Takes the keys of a generation's credentials, newest first.
    pub fn new(keys: &[PrivateBytes]) -> Result<Self, KeyringError> {
        let keys: Vec<_> = keys.iter().map(|key| SealingKey::new(key.expose())).collect::<Result<_, _>>()?;
        if keys.is_empty() { Err(KeyringError::Empty) } else { Ok(Self { keys }) }
    }

    /// One new key, for a gateway that nobody gave any.
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| SealError::NoRandomness)?;
        // 32 bytes are a key.
        let key = SealingKey::new(&bytes).map_err(|_| SealError::NoRandomness)?;
        Ok(Self { keys: vec![key] })
    }

    /// The id of a session of `route`.
    pub fn seal(&self, route: &str, claims: &Claims) -> Result<String, SealError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let plain = claims.encode()?;
        let key = &self.keys[0];
        let sealed = key
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: &plain, aad: &bound_to(key.id, route) })
            // Only messages of many gigabytes fail.
            .map_err(|_| SealError::OwnerTooLong)?;
        Ok(URL_SAFE_NO_PAD.encode([&[FORMAT, key.id][..], &nonce, &sealed].concat()))
    }

    /// What an id of `route` says.
    pub fn open(&self, route: &str, id: &str) -> Result<Claims, OpenError> {
        if id.len() > MAX_ID {
            return Err(OpenError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(id).map_err(|_| OpenError::Malformed)?;
        let (head, rest) = bytes.split_first_chunk::<2>().ok_or(OpenError::Malformed)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(OpenError::Malformed)?;
        let [format, key_id] = *head;
        if format != FORMAT || sealed.len() < TAG + FIXED_CLAIMS {
            return Err(OpenError::Malformed);
        }
        let nonce = XNonce::from(*nonce);
        let open =
            |key: &SealingKey| key.cipher.decrypt(&nonce, Payload { msg: sealed, aad: &bound_to(key_id, route) }).ok();
        let mut named = self.keys.iter().filter(|key| key.id == key_id).peekable();
        // An id under a key we do not have costs as much as a forged one.
        let plain = if named.peek().is_none() { open(&self.keys[0]) } else { named.find_map(open) };
        Claims::decode(&plain.ok_or(OpenError::NotAuthentic)?)
    }
}

/// What the seal covers beside the claims.
fn bound_to(key_id: u8, route: &str) -> Vec<u8> {
    [&[FORMAT, key_id][..], route.as_bytes()].concat()
}

impl Claims {
    fn encode(&self) -> Result<Vec<u8>, SealError> {
        if self.owner.len() > MAX_OWNER {
            return Err(SealError::OwnerTooLong);
        }
        let mut out = Vec::with_capacity(FIXED_CLAIMS + self.owner.len());
        out.extend(self.session);
        out.extend(self.principal_hash.to_be_bytes());
        out.extend(self.capabilities_hash.to_be_bytes());
        out.extend(self.issued_at.to_be_bytes());
        out.push(version_code(self.version));
        out.extend(self.owner.as_bytes());
        Ok(out)
    }

    // It was authentic: what does not decode was sealed by a newer gateway.
    fn decode(bytes: &[u8]) -> Result<Self, OpenError> {
        let (session, rest) = bytes.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (principal, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (capabilities, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (issued_at, rest) = rest.split_first_chunk().ok_or(OpenError::Malformed)?;
        let (code, owner) = rest.split_first().ok_or(OpenError::Malformed)?;
        let version = Version::ALL.into_iter().find(|version| version_code(*version) == *code);
        Ok(Self {
            session: *session,
            principal_hash: u64::from_be_bytes(*principal),
            capabilities_hash: u64::from_be_bytes(*capabilities),
            issued_at: u64::from_be_bytes(*issued_at),
            version: version.ok_or(OpenError::Malformed)?,
            owner: std::str::from_utf8(owner).map_err(|_| OpenError::Malformed)?.into(),
        })
    }
}

/// Part of the format: codes are never reused.
fn version_code(version: Version) -> u8 {
    match version {
        Version::V2024_11_05 => 1,
        Version::V2025_03_26 => 2,
        Version::V2025_06_18 => 3,
        Version::V2025_11_25 => 4,
        Version::V2026_07_28 => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(keys: &[u8]) -> Keyring {
        Keyring::new(&keys.iter().map(|key| PrivateBytes::new([*key; 32])).collect::<Vec<_>>()).unwrap()
    }

    fn claims() -> Claims {
        Claims {
            session: [7; 16],
            principal_hash: 1,
            capabilities_hash: u64::MAX,
            version: Version::V2025_06_18,
            owner: "gateway-0/abcd".into(),
            issued_at: 1_795_000_000,
        }
    }

    #[test]
    fn an_id_opens_under_any_key_of_the_ring_and_at_its_route_only() {
        let old = ring(&[1]).seal("ns/route", &claims()).unwrap();
        assert!(old.len() <= MAX_ID && old.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(ring(&[2, 1]).open("ns/route", &old), Ok(claims()));
        assert_eq!(ring(&[2]).open("ns/route", &old), Err(OpenError::NotAuthentic));
        assert_eq!(ring(&[1]).open("ns/other", &old), Err(OpenError::NotAuthentic));
        let new = ring(&[2, 1]).seal("ns/route", &claims()).unwrap();
        assert_eq!(ring(&[1]).open("ns/route", &new), Err(OpenError::NotAuthentic), "the first key seals");
    }

    #[test]
    fn two_ids_of_one_session_have_nothing_in_common() {
        let ring = ring(&[1]);
        let [a, b] = [(); 2].map(|()| URL_SAFE_NO_PAD.decode(ring.seal("r", &claims()).unwrap()).unwrap());
        assert_eq!(a[..2], b[..2]);
        assert_ne!(a[2..26], b[2..26]);
        assert_ne!(a[26..], b[26..]);
        assert!(!a.windows(5).any(|window| window == b"gatew"));
    }

    #[test]
    fn no_changed_byte_goes_unnoticed() {
        let ring = ring(&[1, 2, 3]);
        let bytes = URL_SAFE_NO_PAD.decode(ring.seal("r", &claims()).unwrap()).unwrap();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(ring.open("r", &URL_SAFE_NO_PAD.encode(&changed)).is_err(), "byte {at} bit {bit}");
            }
            assert!(ring.open("r", &URL_SAFE_NO_PAD.encode(&bytes[..at])).is_err());
        }
    }

    #[test]
    fn every_failure_looks_the_same_to_the_client() {
        let [a, b] = [OpenError::Malformed, OpenError::NotAuthentic].map(GatewayError::from);
        assert_eq!((a.kind, &a.message, a.http_status()), (b.kind, &b.message, 404));
        assert_eq!(ring(&[1]).open("r", &"A".repeat(MAX_ID + 1)), Err(OpenError::Malformed));
    }

    #[test]
    fn unusable_keys_and_owners_are_refused() {
        assert_eq!(Keyring::new(&[]).unwrap_err(), KeyringError::Empty);
        assert_eq!(Keyring::new(&[PrivateBytes::new([1; 16])]).unwrap_err(), KeyringError::WrongLength(16));
        let long = Claims { owner: "x".repeat(MAX_OWNER + 1).into(), ..claims() };
        assert_eq!(ring(&[1]).seal("r", &long), Err(SealError::OwnerTooLong));
        let printed = format!("{:?}", ring(&[42]));
        assert_eq!(printed, "Keyring of 1");
        let random = Keyring::random().unwrap();
        assert_eq!(random.open("r", &random.seal("r", &claims()).unwrap()), Ok(claims()));
    }

    proptest! {
        #[test]
        fn every_claim_survives(
            session: [u8; 16], principal_hash: u64, capabilities_hash: u64, issued_at: u64,
            version in prop::sample::select(&Version::ALL[..]), owner in "\\PC{0,16}", route in any::<String>(),
        ) {
            let claims = Claims { session, principal_hash, capabilities_hash, version, owner: owner.into(), issued_at };
            let id = ring(&[9]).seal(&route, &claims).unwrap();
            prop_assert!(id.len() <= MAX_ID);
            prop_assert_eq!(ring(&[9]).open(&route, &id), Ok(claims));
        }

        #[test]
        fn garbage_does_not_open(id in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(ring(&[1]).open("r", &id).is_err());
            prop_assert!(ring(&[1]).open("r", &URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }
    }
}
