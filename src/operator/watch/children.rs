//! What the operator made, of whatever kind, by its metadata.

use super::Caches;
use super::cache::Cache;
use crate::ir::ids::ObjectId;
use crate::operator::build::http_route_resource;
use crate::operator::owner::{is_controlled_by, owner};
use crate::operator::target::Target;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::ApiResource;
use kube::{Resource, ResourceExt};
use std::sync::Arc;

/// Looks at each kind of child: its resource and its cache.
macro_rules! each_kind {
    ($caches:ident, $look:ident) => {
        $look!(ConfigMap, $caches.config_maps);
        $look!(Secret, $caches.secrets);
        $look!(Service, $caches.services);
        $look!(ServiceAccount, $caches.service_accounts);
        $look!(Deployment, $caches.deployments);
        $look!(PodDisruptionBudget, $caches.disruption_budgets);
        $look!(HorizontalPodAutoscaler, $caches.autoscalers);
        $look!(NetworkPolicy, $caches.network_policies);
        $look!(Ingress, $caches.ingresses);
    };
}

impl Caches {
    /// The pods of a gateway or a backend.
    pub(in crate::operator) fn pods_of(&self, target: &Target) -> Vec<Arc<Pod>> {
        self.pods.in_namespace(&target.id.namespace, |pod| owner(pod.meta()).as_ref() == Some(target))
    }

    /// The metadata of one object, if it is known.
    pub(in crate::operator) fn child(&self, kind: &str, id: &ObjectId) -> Option<ObjectMeta> {
        macro_rules! find {
            ($kind:ty, $cache:expr) => {
                if kind == <$kind as Resource>::kind(&()) {
                    return $cache.get(id).map(|object| object.meta().clone());
                }
            };
        }
        each_kind!(self, find);
        self.routes_of_gateway_api.get(id).filter(|_| kind == "HTTPRoute").map(|object| object.metadata.clone())
    }

    /// Everything in a namespace that the object with this uid controls.
    pub(in crate::operator) fn children(&self, namespace: &str, owner: &str) -> Vec<(ApiResource, ObjectMeta)> {
        let mut found = Vec::new();
        macro_rules! collect {
            ($kind:ty, $cache:expr) => {
                let resource = ApiResource::erase::<$kind>(&());
                found.extend(owned(&$cache, namespace, owner).into_iter().map(|meta| (resource.clone(), meta)));
            };
        }
        each_kind!(self, collect);
        let resource = http_route_resource();
        let routes = owned(&self.routes_of_gateway_api, namespace, owner);
        found.extend(routes.into_iter().map(|meta| (resource.clone(), meta)));
        found
    }
}

fn owned<K: ResourceExt>(cache: &Cache<K>, namespace: &str, owner: &str) -> Vec<ObjectMeta> {
    let theirs = cache.in_namespace(namespace, |object| is_controlled_by(object.meta(), owner));
    theirs.iter().map(|object| object.meta().clone()).collect()
}
