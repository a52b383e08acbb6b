//! What a change of the cluster sets going: a new translation, the deployment of one object, or a look at one status.

use super::cache::Change;
use super::resource_version;
use crate::ir::ids::ObjectId;
use crate::operator::apply::fingerprint;
use crate::operator::owner::owner;
use crate::operator::queue::Queue;
use crate::operator::target::{Kind, Target};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::{Resource, ResourceExt};
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// The label that names the Service of an `EndpointSlice`.
pub(in crate::operator) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Where changes go. A change that nothing follows from goes nowhere.
#[derive(Default)]
pub(in crate::operator) struct Triggers {
    /// The world has to be translated again.
    pub(in crate::operator) world: Notify,
    /// What has been deployed for these has to be looked at.
    pub(in crate::operator) deploy: Arc<Queue<Target>>,
    /// The status of these has to be looked at.
    pub(in crate::operator) publish: Arc<Queue<Target>>,
    /// Secrets and `ConfigMap`s that our objects name.
    data: RwLock<BTreeSet<ObjectId>>,
    /// Services whose addresses matter.
    services: RwLock<BTreeSet<ObjectId>>,
}

impl Triggers {
    /// Says which Secrets and `ConfigMap`s, and which Services, matter from now on.
    pub(in crate::operator) fn refer_to(&self, data: BTreeSet<ObjectId>, services: BTreeSet<ObjectId>) {
        *self.data.write() = data;
        *self.services.write() = services;
    }

    /// One of our own objects. A status is no reason to translate again.
    pub(super) fn of_ours<K: ResourceExt>(&self, kind: Kind, change: &Change<'_, K>) {
        self.publish.add(Target::new(kind, change.id.clone()));
        if differ(change, |object| {
            let meta = object.meta();
            (meta.generation, meta.uid.clone(), meta.labels.clone(), meta.annotations.clone())
        }) {
            self.world.notify_one();
        }
        // Some are requests to the operator itself, of which translation knows nothing.
        if matches!(kind, Kind::Gateway | Kind::Backend) && differ(change, |object| object.meta().annotations.clone()) {
            self.deploy.add(Target::new(kind, change.id.clone()));
        }
    }

    pub(super) fn of_namespace<K: ResourceExt>(&self, change: &Change<'_, K>) {
        if differ(change, |namespace| namespace.labels().clone()) {
            self.world.notify_one();
        }
    }

    /// A Secret or a `ConfigMap`: ours, or one that ours name.
    pub(super) fn of_data<K: ResourceExt>(&self, change: &Change<'_, K>) {
        if self.data.read().contains(change.id) && differ(change, resource_version) {
            self.world.notify_one();
        }
        self.of_child(change);
    }

    pub(super) fn of_service(&self, change: &Change<'_, Service>) {
        if self.services.read().contains(change.id) && differ(change, |service| service.spec.clone()) {
            self.world.notify_one();
        }
        if differ(change, |service| service.status.clone())
            && let Some(owner) = owner_of(change)
        {
            self.publish.add(owner);
        }
        self.of_child(change);
    }

    pub(super) fn of_endpoint_slice(&self, change: &Change<'_, EndpointSlice>) {
        let is_of = |slice: &EndpointSlice| {
            let service = slice.labels().get(SERVICE_NAME)?;
            Some(ObjectId::new(&change.id.namespace, service))
        };
        let services = self.services.read();
        let matters =
            [change.before, change.after].into_iter().flatten().filter_map(is_of).any(|id| services.contains(&id));
        if matters && differ(change, |slice| (slice.endpoints.clone(), slice.ports.clone())) {
            self.world.notify_one();
        }
    }

    /// A pod of ours: where generations are pushed to, and what statuses tell of.
    pub(super) fn of_pod(&self, change: &Change<'_, Pod>) {
        if let Some(owner) = owner_of(change).filter(|_| differ(change, resource_version)) {
            self.deploy.add(owner.clone());
            self.publish.add(owner);
        }
    }

    pub(super) fn of_deployment(&self, change: &Change<'_, Deployment>) {
        self.of_child(change);
        if let Some(owner) = owner_of(change).filter(|_| differ(change, |deployment| deployment.status.clone())) {
            self.publish.add(owner);
        }
    }

    pub(super) fn of_ingress(&self, change: &Change<'_, Ingress>) {
        self.of_child(change);
        if let Some(owner) = owner_of(change).filter(|_| differ(change, |ingress| ingress.status.clone())) {
            self.publish.add(owner);
        }
    }

    /// An object that the operator made: whoever changed it, it is put right.
    pub(super) fn of_child<K: ResourceExt>(&self, change: &Change<'_, K>) {
        if let Some(owner) = owner_of(change).filter(|_| differ(change, |object| fingerprint(object.meta()))) {
            self.deploy.add(owner);
        }
    }
}

fn owner_of<K: Resource>(change: &Change<'_, K>) -> Option<Target> {
    owner(change.after.or(change.before)?.meta())
}

/// Whether what `part` says of the object is another thing now.
fn differ<K, T: PartialEq>(change: &Change<'_, K>, part: impl Fn(&K) -> T) -> bool {
    change.before.map(&part) != change.after.map(&part)
}
