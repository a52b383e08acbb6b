//! Tokens (client): each `stdio` backend has one, which gateways show to its pods. It is made once and kept in a Secret of its own;
//! the operator never changes it, and makes a new one only where there is none.

use super::FIELD_MANAGER;
use super::apply::{ApplyError, Problem};
use super::build;
use super::client::within;
use super::keys::{Material as _, NoMaterial, SystemMaterial};
use super::owner::is_controlled_by;
use crate::ir::ids::ObjectId;
use crate::translate::naming::backend_objects;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::PostParams;
use kube::{Api, Client};

/// Why a backend has no token.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    /// Its Secret could not be made, or is somebody else's.
    #[error(transparent)]
    Secret(#[from] ApplyError),
    /// Nothing secret can be made up.
    #[error(transparent)]
    Material(#[from] NoMaterial),
}

/// The Secret of a backend's token.
pub(super) fn secret_id(backend: &ObjectId) -> ObjectId {
    ObjectId::new(&backend.namespace, backend_objects(&backend.name))
}

/// Makes the Secret of a backend's token, or reads the one that is there by now.
pub(super) async fn ensure(client: &Client, backend: &ObjectId, owner: &OwnerReference) -> Result<Secret, TokenError> {
    let id = secret_id(backend);
    let failed = |error| ApplyError::from_api(error, "Secret", &id);
    let api: Api<Secret> = Api::namespaced(client.clone(), &id.namespace);
    let wanted = build::backend_token(backend, owner, &SystemMaterial.token()?);
    let create = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let secret = match within(api.create(&create, &wanted)).await {
        Ok(made) => {
            tracing::info!(%backend, secret = id.name, "made a token");
            made
        }
        Err(error) if error.is_already_there() => within(api.get(&id.name)).await.map_err(failed)?,
        Err(error) => return Err(failed(error).into()),
    };
    if is_controlled_by(&secret.metadata, &owner.uid) {
        Ok(secret)
    } else {
        Err(ApplyError::from(Problem::foreign("Secret", &id)).into())
    }
}
