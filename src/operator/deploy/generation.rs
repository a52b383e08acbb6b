//! The generation that a gateway's pods should serve, packed up for all the ways it takes to them.

use super::DeployError;
use crate::ir::channel;
use crate::ir::generation::{CREDENTIALS_FILE, Generation, STAMP_FILE, Stamp, encode_credentials, encode_snapshot};
use crate::ir::ids::ObjectId;
use crate::ir::secrets::{Credentials, PrivateBytes};
use crate::ir::snapshot::Snapshot;
use crate::operator::build::Payload;
use crate::operator::client::{ApiError, within};
use crate::operator::context::Context;
use crate::operator::owner::is_controlled_by;
use crate::translate::naming::gateway_objects;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest credentials that are deployed, in bytes: a Secret holds 1 MiB with all its metadata.
const MAX_CREDENTIALS_BYTES: usize = 900 * 1024;

/// A generation and what became of it.
pub(super) struct Made {
    generation: Generation,
    pub(super) hash: String,
    revision: u64,
    /// Compressed.
    snapshot: Vec<u8>,
    /// Encoded.
    credentials: PrivateBytes,
    pub(super) packed: Arc<channel::Generation>,
}

/// What was deployed before, by whichever operator: the stamp, and the credentials beside it.
pub(super) struct Deployed {
    stamp: Stamp,
    credentials: PrivateBytes,
}

impl Made {
    /// Whether this is what should be served.
    pub(super) fn is_of(&self, snapshot: &Snapshot, credentials: &Credentials) -> bool {
        self.generation.snapshot == *snapshot && self.generation.credentials == *credentials
    }

    /// Makes a generation. It keeps the revision that it is deployed with already, if it is.
    pub(super) fn new(generation: Generation, deployed: Option<&Deployed>) -> Result<Self, DeployError> {
        let snapshot = encode_snapshot(&generation.snapshot)?;
        let credentials = encode_credentials(&generation.credentials)?;
        if credentials.len() > MAX_CREDENTIALS_BYTES {
            return Err(DeployError::CredentialsTooLarge { bytes: credentials.len(), most: MAX_CREDENTIALS_BYTES });
        }
        let credentials = PrivateBytes::new(credentials);
        let revision = match deployed {
            Some(before) if before.stamp.is_of(&snapshot) && before.credentials == credentials => before.stamp.revision,
            Some(before) => next(before.stamp.revision),
            None => next(0),
        };
        let packed = Arc::new(channel::Generation::pack(&generation, revision)?);
        Ok(Self { hash: generation.hash(), generation, revision, snapshot, credentials, packed })
    }

    /// The same with a revision after this one, which pods have been given by another operator.
    pub(super) fn after(self, revision: u64) -> Result<Self, DeployError> {
        let revision = next(revision.max(self.revision));
        let packed = Arc::new(channel::Generation::pack(&self.generation, revision)?);
        Ok(Self { revision, packed, ..self })
    }

    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// What the next generation comes after.
    pub(super) fn deployed(&self) -> Deployed {
        Deployed { stamp: Stamp::new(self.revision, &self.snapshot), credentials: self.credentials.clone() }
    }

    /// As pods mount it.
    pub(super) fn payload(&self) -> Result<Payload, DeployError> {
        let stamp = Stamp::new(self.revision, &self.snapshot).encode()?;
        Ok(Payload {
            generation: self.hash.clone(),
            snapshot: self.snapshot.clone(),
            credentials: self.credentials.clone(),
            more_config: BTreeMap::new(),
            more_secrets: BTreeMap::from([(STAMP_FILE.to_owned(), PrivateBytes::new(stamp))]),
        })
    }
}

/// A revision after this one. It follows the clock, so that it grows even where nobody remembers the one before.
fn next(revision: u64) -> u64 {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    now.max(revision.saturating_add(1))
}

/// Reads what is deployed, if anything is, and is this gateway's.
pub(super) async fn deployed(
    context: &Context,
    gateway: &ObjectId,
    owner: &str,
) -> Result<Option<Deployed>, DeployError> {
    let name = gateway_objects(&gateway.name);
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &gateway.namespace);
    let failed = |source: ApiError| DeployError::Secret { name: name.clone(), source };
    let secret = within(api.get_opt(&name)).await.map_err(failed)?;
    let ours = secret.filter(|secret| is_controlled_by(&secret.metadata, owner));
    Ok(ours.and_then(|secret| {
        let mut data = secret.data?;
        let ByteString(stamp) = data.remove(STAMP_FILE)?;
        let ByteString(credentials) = data.remove(CREDENTIALS_FILE)?;
        // A stamp that somebody damaged is as good as none: the revision follows the clock.
        Some(Deployed { stamp: Stamp::decode(&stamp).ok()?, credentials: PrivateBytes::new(credentials) })
    }))
}
