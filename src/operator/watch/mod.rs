//! Watches: what the operator knows of the cluster, and what a change of it sets going.

mod cache;
mod children;
mod optional;
mod react;
mod trim;

pub(super) use cache::{Cache, id};
pub(super) use optional::{OptionalKinds, ServerWatches};
pub(super) use react::{SERVICE_NAME, Triggers};

use super::metrics::Metrics;
use super::scope::{Scope, api};
use super::target::Kind;
use crate::api::{McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use cache::{Change, Filler};
use futures_util::StreamExt as _;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::DynamicObject;
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::task::JoinSet;

/// Selects what the operator made.
const OURS: &str = "app.kubernetes.io/managed-by=mcp-operator";

/// An object of ours, which may be malformed: that must not stop the watch.
pub(super) type Guarded<K> = Cache<DeserializeGuard<K>>;

/// Objects of which only the metadata is watched.
pub(super) type MetaCache<K> = Cache<PartialObjectMeta<K>>;

/// What is known of the cluster. Objects are trimmed to what is looked at; Secrets come without their values.
#[derive(Default)]
pub(super) struct Caches {
    pub(super) gateways: Arc<Guarded<McpGateway>>,
    pub(super) backends: Arc<Guarded<McpBackend>>,
    pub(super) routes: Arc<Guarded<McpRoute>>,
    pub(super) auth_policies: Arc<Guarded<McpAuthPolicy>>,
    pub(super) namespaces: Arc<MetaCache<Namespace>>,
    pub(super) secrets: Arc<MetaCache<Secret>>,
    pub(super) config_maps: Arc<MetaCache<ConfigMap>>,
    pub(super) services: Arc<Cache<Service>>,
    pub(super) endpoint_slices: Arc<Cache<EndpointSlice>>,
    pub(super) pods: Arc<Cache<Pod>>,
    pub(super) deployments: Arc<Cache<Deployment>>,
    pub(super) service_accounts: Arc<MetaCache<ServiceAccount>>,
    pub(super) disruption_budgets: Arc<MetaCache<PodDisruptionBudget>>,
    pub(super) autoscalers: Arc<MetaCache<HorizontalPodAutoscaler>>,
    pub(super) network_policies: Arc<MetaCache<NetworkPolicy>>,
    pub(super) ingresses: Arc<Cache<Ingress>>,
    pub(super) servers: ServerWatches,
    /// Gateway API routes of ours, where the cluster has Gateway API.
    pub(super) routes_of_gateway_api: Arc<Cache<DynamicObject>>,
    pub(super) has_gateway_api: AtomicBool,
}

impl Caches {
    /// Returns once everything there was has been listed.
    pub(super) async fn listed(&self) {
        // Destructured without `..`, so that no cache is looked at before it is filled.
        let Self {
            gateways,
            backends,
            routes,
            auth_policies,
            namespaces,
            secrets,
            config_maps,
            services,
            endpoint_slices,
            pods,
            deployments,
            service_accounts,
            disruption_budgets,
            autoscalers,
            network_policies,
            ingresses,
            // They may never be there.
            servers: _,
            routes_of_gateway_api: _,
            has_gateway_api: _,
        } = self;
        gateways.listed().await;
        backends.listed().await;
        routes.listed().await;
        auth_policies.listed().await;
        namespaces.listed().await;
        secrets.listed().await;
        config_maps.listed().await;
        services.listed().await;
        endpoint_slices.listed().await;
        pods.listed().await;
        deployments.listed().await;
        service_accounts.listed().await;
        disruption_budgets.listed().await;
        autoscalers.listed().await;
        network_policies.listed().await;
        ingresses.listed().await;
    }
}

/// Starts every watch. They end when the set is dropped.
pub(super) fn start(
    client: &Client,
    scope: &Scope,
    triggers: &Arc<Triggers>,
    metrics: &Arc<Metrics>,
) -> (Arc<Caches>, JoinSet<()>) {
    let caches = Arc::new(Caches::default());
    let mut tasks = JoinSet::new();
    let mut watches = Watches { client, scope, metrics, tasks: &mut tasks };
    let react = |triggers: &Arc<Triggers>| Arc::clone(triggers);

    let t = react(triggers);
    watches.namespaced(&caches.gateways, None, trim::managed_fields, move |c| t.of_ours(Kind::Gateway, &c));
    let t = react(triggers);
    watches.namespaced(&caches.backends, None, trim::managed_fields, move |c| t.of_ours(Kind::Backend, &c));
    let t = react(triggers);
    watches.namespaced(&caches.routes, None, trim::managed_fields, move |c| t.of_ours(Kind::Route, &c));
    let t = react(triggers);
    watches.namespaced(&caches.auth_policies, None, trim::managed_fields, move |c| t.of_ours(Kind::AuthPolicy, &c));

    // Whoever may see single namespaces only may not list them, and needs no labels: nothing crosses them.
    if *scope == Scope::Cluster {
        let t = react(triggers);
        watches.one(&caches.namespaces, None, Api::all(client.clone()), None, trim::managed_fields, move |c| {
            t.of_namespace(&c);
        });
    }
    let t = react(triggers);
    watches.namespaced(&caches.secrets, None, trim::foreign_managed_fields, move |c| t.of_data(&c));
    let t = react(triggers);
    watches.namespaced(&caches.config_maps, None, trim::foreign_managed_fields, move |c| t.of_data(&c));
    let t = react(triggers);
    watches.namespaced(&caches.services, None, trim::service, move |c| t.of_service(&c));
    let t = react(triggers);
    watches.namespaced(&caches.endpoint_slices, None, trim::managed_fields, move |c| t.of_endpoint_slice(&c));
    let t = react(triggers);
    watches.namespaced(&caches.pods, Some(OURS), trim::managed_fields, move |c| t.of_pod(&c));
    let t = react(triggers);
    watches.namespaced(&caches.deployments, Some(OURS), trim::foreign_managed_fields, move |c| t.of_deployment(&c));

    watches.child(&caches.service_accounts, triggers);
    watches.child(&caches.disruption_budgets, triggers);
    watches.child(&caches.autoscalers, triggers);
    watches.child(&caches.network_policies, triggers);
    let t = react(triggers);
    watches.namespaced(&caches.ingresses, Some(OURS), trim::foreign_managed_fields, move |c| t.of_ingress(&c));
    (caches, tasks)
}

/// What all watches are started with.
struct Watches<'a> {
    client: &'a Client,
    scope: &'a Scope,
    metrics: &'a Arc<Metrics>,
    tasks: &'a mut JoinSet<()>,
}

impl Watches<'_> {
    /// Watches what the operator made of a kind, by its metadata: nothing else of it is looked at.
    fn child<K>(&mut self, cache: &Arc<MetaCache<K>>, triggers: &Arc<Triggers>)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Send + Sync + 'static,
        PartialObjectMeta<K>: DeserializeOwned,
    {
        let triggers = Arc::clone(triggers);
        self.namespaced(cache, Some(OURS), trim::foreign_managed_fields, move |change| triggers.of_child(&change));
    }

    /// Watches a kind wherever the operator may.
    fn namespaced<K>(
        &mut self,
        cache: &Arc<Cache<K>>,
        labels: Option<&str>,
        trim: fn(&mut K),
        changed: impl Fn(Change<'_, K>) + Clone + Send + 'static,
    ) where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + Sync
            + 'static,
    {
        for namespace in self.scope.namespaces() {
            let api = api::<K>(self.client, namespace.as_deref());
            self.one(cache, namespace, api, labels, trim, changed.clone());
        }
    }

    fn one<K>(
        &mut self,
        cache: &Arc<Cache<K>>,
        namespace: Option<String>,
        api: Api<K>,
        labels: Option<&str>,
        trim: fn(&mut K),
        changed: impl Fn(Change<'_, K>) + Send + 'static,
    ) where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    {
        cache.expect_listing();
        let filler = Filler::new(Arc::clone(cache), namespace, changed);
        let config = labels.map_or_else(watcher::Config::default, |labels| watcher::Config::default().labels(labels));
        self.tasks.spawn(follow(api, config, filler, trim, Arc::clone(self.metrics), K::plural(&()).into_owned()));
    }
}

/// Follows one watch for ever; it starts again by itself, ever later while it fails.
async fn follow<K, F>(
    api: Api<K>,
    config: watcher::Config,
    mut filler: Filler<K, F>,
    trim: fn(&mut K),
    metrics: Arc<Metrics>,
    resource: String,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
    F: Fn(Change<'_, K>),
{
    let mut events = std::pin::pin!(watcher(api, config.any_semantic()).default_backoff().modify(trim));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => filler.take(event),
            Err(error) => {
                metrics.watch_failed(&resource);
                tracing::warn!(resource, %error, "a watch failed and starts again");
            }
        }
    }
}

/// Metadata of whatever kind.
pub(super) fn resource_version<K: ResourceExt>(object: &K) -> String {
    object.resource_version().unwrap_or_default()
}
