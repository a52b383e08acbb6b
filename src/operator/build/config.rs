//! The two halves of a generation, as a pod mounts them; and the Secrets with what the operator made up.

use super::metadata::{Subject, pairs};
use crate::api::GENERATION_ANNOTATION;
use crate::ir::generation::{CREDENTIALS_FILE, SNAPSHOT_FILE};
use crate::ir::secrets::PrivateBytes;
use crate::translate::naming::{TOKEN_KEY, gateway_keys};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// What a gateway boots with.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The generation's hash.
    pub generation: String,
    /// The snapshot, compressed.
    pub snapshot: Vec<u8>,
    /// The credentials, encoded.
    pub credentials: PrivateBytes,
    /// More keys of the `ConfigMap`: files beside the snapshot.
    pub more_config: BTreeMap<String, Vec<u8>>,
    /// More keys of the Secret: files beside the credentials.
    pub more_secrets: BTreeMap<String, PrivateBytes>,
}

/// The `ConfigMap` with the snapshot.
pub(super) fn config_map(subject: &Subject<'_>, payload: &Payload) -> ConfigMap {
    let more = payload.more_config.iter().map(|(key, value)| (key.clone(), ByteString(value.clone())));
    let snapshot = (SNAPSHOT_FILE.to_owned(), ByteString(payload.snapshot.clone()));
    ConfigMap {
        metadata: of_generation(subject, payload),
        binary_data: Some(more.chain([snapshot]).collect()),
        ..ConfigMap::default()
    }
}

/// The Secret with the credentials.
pub(super) fn secret(subject: &Subject<'_>, payload: &Payload) -> Secret {
    let bytes = |value: &PrivateBytes| ByteString(value.expose().to_vec());
    let more = payload.more_secrets.iter().map(|(key, value)| (key.clone(), bytes(value)));
    let credentials = (CREDENTIALS_FILE.to_owned(), bytes(&payload.credentials));
    Secret {
        metadata: of_generation(subject, payload),
        type_: Some("Opaque".to_owned()),
        data: Some(more.chain([credentials]).collect()),
        ..Secret::default()
    }
}

/// The Secret with what the operator made up for a gateway. Pods do not have it: they get what they need with each generation.
pub(super) fn keys(subject: &Subject<'_>, data: BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: subject.metadata_as(gateway_keys(&subject.id.name)),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

/// The Secret with what the pods of a backend ask their callers for.
pub(super) fn token(subject: &Subject<'_>, token: &PrivateBytes) -> Secret {
    Secret {
        metadata: subject.metadata(),
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([(TOKEN_KEY.to_owned(), ByteString(token.expose().to_vec()))])),
        ..Secret::default()
    }
}

fn of_generation(subject: &Subject<'_>, payload: &Payload) -> ObjectMeta {
    ObjectMeta { annotations: Some(pairs([(GENERATION_ANNOTATION, &payload.generation)])), ..subject.metadata() }
}
