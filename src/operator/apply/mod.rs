//! Apply (client): what was built becomes so, by server-side apply, and nothing that is not ours is touched.

mod problem;
mod scale;

pub(super) use problem::{ApplyError, Problem};

use super::FIELD_MANAGER;
use super::client::within;
use super::metrics::Metrics;
use super::owner::is_controlled_by;
use super::watch::Caches;
use crate::ir::ids::ObjectId;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// An object to apply, of whatever kind.
#[derive(Clone, Debug)]
pub(super) struct Child {
    resource: ApiResource,
    id: ObjectId,
    object: DynamicObject,
}

impl Child {
    /// Takes a typed object. It has a name and a namespace: we built it.
    pub(super) fn of<K>(object: &K) -> Result<Self, ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    {
        let resource = ApiResource::erase::<K>(&());
        let malformed = |error| ApplyError::Malformed { kind: resource.kind.clone(), source: error };
        let mut value = serde_json::to_value(object).map_err(malformed)?;
        value["apiVersion"] = resource.api_version.clone().into();
        value["kind"] = resource.kind.clone().into();
        let object = serde_json::from_value(value).map_err(malformed)?;
        Ok(Self::dynamic(resource, object))
    }

    /// Takes an object of a kind that is known at run time only.
    pub(super) fn dynamic(resource: ApiResource, object: DynamicObject) -> Self {
        let id = ObjectId::new(object.namespace().unwrap_or_default(), object.name_any());
        Self { resource, id, object }
    }

    pub(super) fn is_deployment(&self) -> bool {
        self.resource.kind == "Deployment"
    }

    pub(super) fn key(&self) -> ChildKey {
        (self.resource.kind.clone(), self.id.clone())
    }

    fn api(&self, client: &Client) -> Api<DynamicObject> {
        Api::namespaced_with(client.clone(), &self.id.namespace, &self.resource)
    }
}

/// Kind and name.
pub(super) type ChildKey = (String, ObjectId);

/// The key of an object of a known kind.
pub(super) fn key_of<K: Resource<DynamicType = ()>>(id: ObjectId) -> ChildKey {
    (K::kind(&()).into_owned(), id)
}

/// Applies objects, and remembers what it wrote: what still stands is not written again.
pub(super) struct Applier {
    client: Client,
    caches: Arc<Caches>,
    metrics: Arc<Metrics>,
    /// By the uid of the owner.
    written: Mutex<HashMap<String, HashMap<ChildKey, Written>>>,
}

/// What was written last.
#[derive(Clone, PartialEq, Eq)]
struct Written {
    /// Hash of what was sent.
    sent: [u8; 32],
    /// What the API server made of our fields.
    stands: Option<Fingerprint>,
}

/// Tells whether the fields that we wrote are still ours and as we wrote them. It says nothing of the other fields, such as
/// the status, which change all the time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    uid: String,
    /// The fields that we own, and when we wrote them last.
    fields: Vec<(serde_json::Value, Option<k8s_openapi::jiff::Timestamp>)>,
}

/// The fingerprint of an object, by its metadata.
pub(super) fn fingerprint(meta: &ObjectMeta) -> Fingerprint {
    let ours = meta.managed_fields.iter().flatten().filter(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER) && entry.subresource.as_deref().unwrap_or_default().is_empty()
    });
    Fingerprint {
        uid: meta.uid.clone().unwrap_or_default(),
        fields: ours
            .map(|entry| {
                let fields = entry.fields_v1.as_ref().map(|fields| fields.0.clone()).unwrap_or_default();
                (fields, entry.time.as_ref().map(|time| time.0))
            })
            .collect(),
    }
}

impl Applier {
    pub(super) fn new(client: Client, caches: Arc<Caches>, metrics: Arc<Metrics>) -> Self {
        Self { client, caches, metrics, written: Mutex::default() }
    }

    /// Makes an object so, unless it is already, or is somebody else's. Forced: what others wrote into our fields is put right.
    pub(super) async fn apply(&self, owner: &str, child: &Child) -> Result<(), ApplyError> {
        let live = self.live(child).await?;
        if let Some(live) = &live
            && !is_controlled_by(live, owner)
        {
            return Err(Problem::foreign(&child.resource.kind, &child.id).into());
        }
        let sent = Sha256::digest(serde_json::to_vec(&child.object).unwrap_or_default()).into();
        let wanted = Written { sent, stands: live.as_ref().map(fingerprint) };
        let is_as_written = |written: &HashMap<ChildKey, Written>| written.get(&child.key()) == Some(&wanted);
        if live.is_some() && self.written.lock().get(owner).is_some_and(is_as_written) {
            return Ok(());
        }
        let applied = match (child.is_deployment(), live) {
            (true, live) => self.apply_deployment(child, live.as_ref()).await?,
            (false, live) => self.patch(child, live.as_ref()).await?,
        };
        let stands = Some(fingerprint(&applied.metadata));
        self.written.lock().entry(owner.to_owned()).or_default().insert(child.key(), Written { sent, stands });
        Ok(())
    }

    /// Sends an object. A new one is not forced, so that one that somebody else made in the meantime is not taken over; one
    /// that is there is sent with its uid, so that it is that one or none.
    async fn patch(&self, child: &Child, live: Option<&ObjectMeta>) -> Result<DynamicObject, ApplyError> {
        let mut object = child.object.clone();
        let mut params = PatchParams::apply(FIELD_MANAGER);
        if let Some(live) = live {
            object.metadata.uid.clone_from(&live.uid);
            params = params.force();
        }
        let patched = within(child.api(&self.client).patch(&child.id.name, &params, &Patch::Apply(&object))).await;
        self.metrics.applied(&child.resource.kind, patched.is_ok());
        patched.map_err(|error| ApplyError::from_api(error, &child.resource.kind, &child.id))
    }

    /// The metadata of the object as it is now. The caches hold only what is ours by its label, so that what is not there is
    /// asked for.
    async fn live(&self, child: &Child) -> Result<Option<ObjectMeta>, ApplyError> {
        if let Some(known) = self.caches.child(&child.resource.kind, &child.id) {
            return Ok(Some(known));
        }
        let found = within(child.api(&self.client).get_metadata_opt(&child.id.name)).await;
        let found = found.map_err(|error| ApplyError::from_api(error, &child.resource.kind, &child.id))?;
        Ok(found.map(|object| object.metadata))
    }

    /// Deletes what the owner has and does not want any more.
    pub(super) async fn prune(
        &self,
        namespace: &str,
        owner: &str,
        wanted: impl IntoIterator<Item = ChildKey>,
    ) -> Result<(), ApplyError> {
        let wanted: BTreeSet<ChildKey> = wanted.into_iter().collect();
        for (resource, meta) in self.caches.children(namespace, owner) {
            let id = ObjectId::new(namespace, meta.name.clone().unwrap_or_default());
            if wanted.contains(&(resource.kind.clone(), id.clone())) || meta.deletion_timestamp.is_some() {
                continue;
            }
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
            let only_this = Preconditions { uid: meta.uid.clone(), resource_version: None };
            let params = DeleteParams::background().preconditions(only_this);
            match within(api.delete(&id.name, &params)).await {
                Ok(_) => tracing::info!(kind = resource.kind, object = %id, "deleted what is not wanted any more"),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(ApplyError::from_api(error, &resource.kind, &id)),
            }
            if let Some(written) = self.written.lock().get_mut(owner) {
                written.remove(&(resource.kind, id));
            }
        }
        Ok(())
    }

    /// Forgets what was written for an owner that is gone.
    pub(super) fn forget(&self, owner: &str) {
        self.written.lock().remove(owner);
    }
}
