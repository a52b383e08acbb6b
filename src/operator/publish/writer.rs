//! Writing statuses: only what differs from what stands there, and never over a newer object of the same name.

use crate::ir::ids::ObjectId;
use crate::operator::FIELD_MANAGER;
use crate::operator::client::{ApiError, within};
use crate::operator::metrics::Metrics;
use crate::operator::target::{Kind, Target};
use kube::api::{Patch, PatchParams};
use kube::core::object::HasStatus;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

/// Writes statuses, and remembers those that the caches do not show yet.
pub(in crate::operator) struct Writer {
    client: Client,
    metrics: Arc<Metrics>,
    /// What was written last, with the version of the object that came of it.
    written: Mutex<HashMap<Target, Written>>,
}

#[derive(Clone)]
struct Written {
    resource_version: String,
    uid: String,
    status: Value,
}

impl Writer {
    pub(in crate::operator) fn new(client: Client, metrics: Arc<Metrics>) -> Self {
        Self { client, metrics, written: Mutex::default() }
    }

    /// The status as it stands: what was written last, until the cache has caught up with it.
    pub(in crate::operator) fn standing<K>(&self, kind: Kind, object: &K) -> K::Status
    where
        K: ResourceExt + HasStatus,
        K::Status: Clone + Default + DeserializeOwned,
    {
        let target = target(kind, object);
        let mut written = self.written.lock();
        if let Some(last) = written.get(&target) {
            if is_older(object, last)
                && let Ok(status) = serde_json::from_value(last.status.clone())
            {
                return status;
            }
            written.remove(&target);
        }
        object.status().cloned().unwrap_or_default()
    }

    /// What was written last for the object with this uid, if anything was.
    pub(in crate::operator) fn last<S: Default + DeserializeOwned>(&self, target: &Target, uid: &str) -> S {
        let written = self.written.lock();
        let last = written.get(target).filter(|last| last.uid == uid);
        last.and_then(|last| serde_json::from_value(last.status.clone()).ok()).unwrap_or_default()
    }

    /// Writes the status of the object with this uid. Whoever calls this has seen that it differs from the standing one.
    pub(in crate::operator) async fn write<K>(
        &self,
        target: &Target,
        uid: &str,
        status: &impl Serialize,
    ) -> Result<(), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let status = serde_json::to_value(status).unwrap_or_default();
        let patch = json!({
            "apiVersion": K::api_version(&()), "kind": K::kind(&()),
            // With its uid: of another object of this name nothing is known.
            "metadata": {"name": target.id.name, "namespace": target.id.namespace, "uid": uid},
            "status": status,
        });
        // An object that cannot be read as what it is has a status all the same.
        let api: Api<DeserializeGuard<K>> = Api::namespaced(self.client.clone(), &target.id.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let patched = within(api.patch_status(&target.id.name, &params, &Patch::Apply(&patch))).await;
        self.metrics.status_written(target.kind.as_str(), patched.is_ok());
        let resource_version = patched?.resource_version().unwrap_or_default();
        self.written.lock().insert(target.clone(), Written { resource_version, uid: uid.to_owned(), status });
        Ok(())
    }

    /// Forgets an object that is gone.
    pub(in crate::operator) fn forget(&self, target: &Target) {
        self.written.lock().remove(target);
    }
}

fn target<K: ResourceExt>(kind: Kind, object: &K) -> Target {
    Target::new(kind, ObjectId::new(object.namespace().unwrap_or_default(), object.name_any()))
}

/// Whether the object is of a version before what was written. Versions are numbers that grow
/// (they may be compared within one kind since Kubernetes 1.35, and always were numbers with etcd).
fn is_older<K: ResourceExt>(object: &K, written: &Written) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    object.uid().as_deref() == Some(&written.uid)
        && match (object.resource_version().as_deref().and_then(number), number(&written.resource_version)) {
            (Some(seen), Some(written)) => seen < written,
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::McpGateway;

    fn gateway(uid: &str, version: &str) -> McpGateway {
        serde_json::from_value(json!({
            "apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "MCPGateway",
            "metadata": {"name": "gw", "namespace": "team", "uid": uid, "resourceVersion": version},
            "spec": {"listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]},
        }))
        .unwrap()
    }

    #[test]
    fn only_an_older_version_of_the_same_object_is_behind_what_was_written() {
        let written = Written { resource_version: "100".into(), uid: "a".into(), status: Value::Null };
        assert!(is_older(&gateway("a", "99"), &written));
        assert!(!is_older(&gateway("a", "100"), &written));
        assert!(!is_older(&gateway("b", "99"), &written));
        assert!(!is_older(&gateway("a", "x"), &written));
    }
}
