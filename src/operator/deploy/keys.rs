//! The Secret in which a gateway's keys are kept: read once, made once, and written only to take a step of a rotation.

use super::DeployError;
use crate::api::ROTATE_KEYS_ANNOTATION;
use crate::ir::ids::ObjectId;
use crate::operator::FIELD_MANAGER;
use crate::operator::apply::{ApplyError, Problem};
use crate::operator::build;
use crate::operator::client::{ApiError, within};
use crate::operator::context::Context;
use crate::operator::keys::{Keys, Situation, SystemMaterial};
use crate::operator::owner::is_controlled_by;
use crate::operator::push::ChannelClient;
use crate::operator::watch::resource_version;
use crate::translate::naming;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use std::sync::Arc;

/// Keys as they are in the cluster.
pub(super) struct Kept {
    /// The Secret's version.
    version: String,
    pub(super) keys: Keys,
    /// What speaks to pods that have these keys, or those before.
    pub(super) clients: Vec<Arc<ChannelClient>>,
}

impl Kept {
    fn new(version: String, keys: Keys) -> Result<Self, DeployError> {
        let clients =
            keys.channels().map(|channels| ChannelClient::new(channels).map(Arc::new)).collect::<Result<_, _>>()?;
        Ok(Self { version, keys, clients })
    }
}

/// The gateway whose keys are looked after.
pub(super) struct Keeper<'a> {
    pub(super) context: &'a Context,
    pub(super) gateway: &'a ObjectId,
    pub(super) owner: &'a OwnerReference,
    /// How long a session may be unused.
    pub(super) idle_timeout: SignedDuration,
    /// Every pod serves the generation with the keys as they are kept now.
    pub(super) all_pods_have_them: bool,
}

impl Keeper<'_> {
    /// The keys to use now. A step of a rotation is taken if one is due.
    pub(super) async fn keys(&self, kept: Option<Kept>) -> Result<Kept, DeployError> {
        let request = self.request();
        let situation = self.situation(request.as_deref());
        let Some(kept) = self.current(kept).await? else {
            let keys = Keys::generate(&SystemMaterial, &situation)?;
            let create = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            let made = within(self.api().create(&create, &self.secret(&keys, None))).await;
            return Kept::new(resource_version(&self.written(made)?), keys);
        };
        let Some(next) = kept.keys.step(&SystemMaterial, &situation)? else { return Ok(kept) };
        let secret = self.secret(&next, Some(kept.version));
        // With its version: of two that take a step at once, one succeeds.
        let step = PatchParams::apply(FIELD_MANAGER).force();
        let replaced = within(self.api().patch(&self.secret_id().name, &step, &Patch::Apply(&secret))).await;
        let version = resource_version(&self.written(replaced)?);
        tracing::info!(gateway = %self.gateway, "took a step in the rotation of keys");
        Kept::new(version, next)
    }

    /// When the keys have to be looked at again.
    pub(super) fn next_look(&self, keys: &Keys) -> std::time::Duration {
        let request = self.request();
        keys.next_look(&self.situation(request.as_deref())).unsigned_abs()
    }

    /// What is remembered, unless somebody wrote the Secret since.
    async fn current(&self, kept: Option<Kept>) -> Result<Option<Kept>, DeployError> {
        let id = self.secret_id();
        let seen = self.context.caches.secrets.get(&id).map(|secret| resource_version(&*secret));
        if let Some(kept) = kept
            && seen.as_ref() == Some(&kept.version)
        {
            return Ok(Some(kept));
        }
        let Some(secret) = within(self.api().get_opt(&id.name)).await.map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        if !is_controlled_by(&secret.metadata, &self.owner.uid) {
            return Err(ApplyError::from(Problem::foreign("Secret", &id)).into());
        }
        let version = resource_version(&secret);
        let keys = Keys::read(&secret.data.unwrap_or_default());
        let keys = keys.map_err(|source| DeployError::Keys { name: id.name, source })?;
        Kept::new(version, keys).map(Some)
    }

    /// The Secret as it should be kept.
    fn secret(&self, keys: &Keys, version: Option<String>) -> Secret {
        let mut secret = build::gateway_keys(self.gateway, self.owner, keys.data());
        secret.metadata.resource_version = version;
        secret
    }

    fn situation<'r>(&self, request: Option<&'r str>) -> Situation<'r> {
        Situation {
            now: Timestamp::now(),
            all_pods_have_them: self.all_pods_have_them,
            idle_timeout: self.idle_timeout,
            request,
        }
    }

    fn request(&self) -> Option<String> {
        let gateway = self.context.caches.gateways.get(self.gateway)?;
        gateway.annotations().get(ROTATE_KEYS_ANNOTATION).cloned()
    }

    /// The Secret in which the keys are kept.
    pub(super) fn secret_id(&self) -> ObjectId {
        ObjectId::new(&self.gateway.namespace, naming::gateway_keys(&self.gateway.name))
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.context.client.clone(), &self.gateway.namespace)
    }

    fn written(&self, done: Result<Secret, ApiError>) -> Result<Secret, DeployError> {
        done.map_err(|error| match error.status() {
            Some(status) if status.is_forbidden() => ApplyError::from_api(error, "Secret", &self.secret_id()).into(),
            _ => self.failed(error),
        })
    }

    fn failed(&self, source: ApiError) -> DeployError {
        DeployError::Secret { name: self.secret_id().name, source }
    }
}
