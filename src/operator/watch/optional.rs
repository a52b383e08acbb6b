//! Kinds of others, which may not be there: servers of other operators for `serverRef`, and Gateway API's `HTTPRoute`. They are
//! watched once they exist.

use super::cache::{Cache, Change, Filler};
use super::react::Triggers;
use super::{Caches, OURS, follow, trim};
use crate::ir::ids::ObjectId;
use crate::operator::client::within;
use crate::operator::metrics::Metrics;
use crate::operator::scope::{Scope, dynamic_api};
use crate::translate::facts::{GroupKind, Server};
use kube::Client;
use kube::api::DynamicObject;
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::watcher;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often to look whether a kind has come: installing one is rare, and nobody waits for it in seconds.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The watched kinds of servers.
#[derive(Default)]
pub(in crate::operator) struct ServerWatches(RwLock<BTreeMap<GroupKind, Arc<Cache<DynamicObject>>>>);

impl ServerWatches {
    /// What is known of every server.
    pub(in crate::operator) fn facts(&self) -> BTreeMap<GroupKind, BTreeMap<ObjectId, Server>> {
        let server = |object: &DynamicObject| Server { url: address(&object.data) };
        let of_kind = |cache: &Cache<DynamicObject>| {
            cache.all().iter().map(|(id, object)| (id.clone(), server(object))).collect::<BTreeMap<_, _>>()
        };
        self.0.read().iter().map(|(kind, cache)| (kind.clone(), of_kind(cache))).collect()
    }
}

/// Where a server says that it is: `status.address.url`, or `status.url`.
fn address(object: &serde_json::Value) -> Option<String> {
    let status = object.get("status")?;
    let url = status.pointer("/address/url").or_else(|| status.get("url"))?;
    url.as_str().map(str::to_owned)
}

/// Gateway API's route, by which a gateway may be exposed.
pub(in crate::operator) fn http_route() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute"),
        "httproutes",
    )
}

/// What these watches are started with.
pub(in crate::operator) struct OptionalKinds {
    pub(in crate::operator) client: Client,
    pub(in crate::operator) scope: Scope,
    pub(in crate::operator) caches: Arc<Caches>,
    pub(in crate::operator) triggers: Arc<Triggers>,
    pub(in crate::operator) metrics: Arc<Metrics>,
}

impl OptionalKinds {
    /// Looks for the kinds now and then, and follows those that are there, for ever.
    pub(in crate::operator) async fn run(self, servers: BTreeSet<GroupKind>) {
        let route = http_route();
        let route = GroupKind { group: route.group, kind: route.kind };
        let mut tasks = JoinSet::new();
        let mut missing = servers;
        missing.insert(route.clone());
        loop {
            for kind in missing.clone() {
                let Some(resource) = find(&self.client, &kind).await else { continue };
                if kind == route {
                    self.watch_routes(&resource, &mut tasks).await;
                } else {
                    self.watch_servers(&kind, &resource, &mut tasks).await;
                }
                tracing::info!(%kind, "watching a kind of others");
                self.triggers.world.notify_one();
                missing.remove(&kind);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn watch_servers(&self, kind: &GroupKind, resource: &ApiResource, tasks: &mut JoinSet<()>) {
        let cache = Arc::new(Cache::default());
        let triggers = Arc::clone(&self.triggers);
        let changed = move |change: Change<'_, DynamicObject>| {
            if change.before.map(|object| address(&object.data)) != change.after.map(|object| address(&object.data)) {
                triggers.world.notify_one();
            }
        };
        self.watch(&cache, resource, None, trim::managed_fields, changed, tasks);
        cache.listed().await;
        self.caches.servers.0.write().insert(kind.clone(), cache);
    }

    async fn watch_routes(&self, resource: &ApiResource, tasks: &mut JoinSet<()>) {
        let triggers = Arc::clone(&self.triggers);
        let changed = move |change: Change<'_, DynamicObject>| triggers.of_child(&change);
        let cache = &self.caches.routes_of_gateway_api;
        self.watch(cache, resource, Some(OURS), trim::foreign_managed_fields, changed, tasks);
        cache.listed().await;
        self.caches.has_gateway_api.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    fn watch(
        &self,
        cache: &Arc<Cache<DynamicObject>>,
        resource: &ApiResource,
        labels: Option<&str>,
        trim: fn(&mut DynamicObject),
        changed: impl Fn(Change<'_, DynamicObject>) + Clone + Send + 'static,
        tasks: &mut JoinSet<()>,
    ) {
        for namespace in self.scope.namespaces() {
            let api = dynamic_api(&self.client, namespace.as_deref(), resource);
            cache.expect_listing();
            let filler = Filler::new(Arc::clone(cache), namespace, changed.clone());
            let config =
                labels.map_or_else(watcher::Config::default, |labels| watcher::Config::default().labels(labels));
            tasks.spawn(follow(api, config, filler, trim, Arc::clone(&self.metrics), resource.plural.clone()));
        }
    }
}

/// The resource of a kind, in the version that its group prefers; absent where there is none, or nobody says.
async fn find(client: &Client, kind: &GroupKind) -> Option<ApiResource> {
    let groups = within(client.list_api_groups()).await.ok()?;
    let group = groups.groups.into_iter().find(|group| group.name == kind.group)?;
    let preferred = group.preferred_version.or_else(|| group.versions.first().cloned())?;
    let resources = within(client.list_api_group_resources(&preferred.group_version)).await.ok()?;
    let is_it = |resource: &k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource| {
        resource.kind == kind.kind && !resource.name.contains('/')
    };
    let found = resources.resources.into_iter().find(is_it)?;
    let gvk = GroupVersionKind::gvk(&kind.group, &preferred.version, &kind.kind);
    Some(ApiResource::from_gvk_with_plural(&gvk, &found.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_is_found_in_either_form() {
        assert_eq!(address(&json!({"status": {"address": {"url": "http://a"}}})).as_deref(), Some("http://a"));
        assert_eq!(address(&json!({"status": {"url": "http://b"}})).as_deref(), Some("http://b"));
        assert_eq!(address(&json!({"status": {}})), None);
        assert_eq!(address(&json!({})), None);
    }
}
