//! Gather (client): the world of translation, from what is watched, and the values of the Secrets that it names.

mod data;
mod endpoints;
mod names;

pub(super) use data::Data;

use super::scope::Scope;
use super::watch::{Caches, Guarded};
use crate::api::{McpBackend, McpBackendSpec};
use crate::ir::ids::ObjectId;
use crate::translate::facts::{Cluster, Facts, GroupKind, Mode};
use crate::translate::{Inputs, ready_endpoints};
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

/// Our own objects as they are known now.
pub(super) fn objects(caches: &Caches, scope: &Scope, server_kinds: &BTreeSet<GroupKind>) -> Inputs {
    let (auth_policies, unreadable_policies) = readable(&caches.auth_policies);
    let gateways = readable(&caches.gateways).0;
    let backends = readable(&caches.backends).0;
    let routes = readable(&caches.routes).0;
    Inputs {
        mode: Mode::Cluster(Cluster {
            namespaced: *scope != Scope::Cluster,
            server_kinds: server_kinds.clone(),
            gateway_api: caches.has_gateway_api.load(Ordering::Relaxed),
        }),
        facts: Facts::default(),
        gateways,
        backends,
        routes,
        auth_policies,
        unreadable_policies,
    }
}

/// What there is besides, as it is known now, but for what has to be read by name.
pub(super) fn facts(backends: &BTreeMap<ObjectId, McpBackend>, caches: &Caches) -> Facts {
    Facts {
        namespaces: namespaces(caches),
        secrets: BTreeMap::new(),
        tokens: BTreeSet::new(),
        config_maps: BTreeMap::new(),
        services: endpoints::services(backends, caches),
        pods: endpoints::of_pods(backends, caches),
        servers: caches.servers.facts(),
    }
}

/// How many ready addresses a backend has, where the operator knows them.
pub(super) fn endpoints(id: &ObjectId, spec: &McpBackendSpec, inputs: &Inputs) -> Option<u32> {
    let ready = ready_endpoints(id, spec, &inputs.facts)?;
    Some(u32::try_from(ready.len()).unwrap_or(u32::MAX))
}

/// What of others the world names.
pub(super) fn referenced(inputs: &Inputs) -> names::Referenced {
    names::referenced(inputs)
}

/// Objects that can be read, and why the others cannot. What is being deleted is still there until it is gone.
fn readable<K: Clone>(cache: &Guarded<K>) -> (BTreeMap<ObjectId, K>, BTreeMap<ObjectId, String>) {
    let (mut good, mut bad) = (BTreeMap::new(), BTreeMap::new());
    for (id, object) in cache.all() {
        match &object.0 {
            Ok(object) => {
                good.insert(id, object.clone());
            }
            Err(invalid) => {
                bad.insert(id, invalid.error.clone());
            }
        }
    }
    (good, bad)
}

fn namespaces(caches: &Caches) -> BTreeMap<String, BTreeMap<String, String>> {
    caches.namespaces.all().into_iter().map(|(id, namespace)| (id.name, namespace.labels().clone())).collect()
}
