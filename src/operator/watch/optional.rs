//! Kinds of others, which may not be there: servers of other operators for `serverRef`, and Gateway API's `HTTPRoute`. They are
//! watched once they exist.

use super::cache::{Cache, Change, Filler};
use super::react::Triggers;
use super::{Caches, OURS, follow, trim};
use crate::ir::ids::ObjectId;
use crate::operator::build::http_route_resource;
use crate::operator::client::{ApiError, within};
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
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How often to look whether a kind has come: installing one is rare, and nobody waits for it in seconds.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How soon to look again when the API server does not say.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// For the first listing of a kind of others.
const LIST_WITHIN: Duration = Duration::from_secs(10);

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

/// What these watches are started with.
pub(in crate::operator) struct OptionalKinds {
    pub(in crate::operator) client: Client,
    pub(in crate::operator) scope: Scope,
    pub(in crate::operator) caches: Arc<Caches>,
    pub(in crate::operator) triggers: Arc<Triggers>,
    pub(in crate::operator) metrics: Arc<Metrics>,
}

impl OptionalKinds {
    /// Looks for the kinds now and then, and follows those that are there, for ever. Says so after the first look.
    pub(in crate::operator) async fn run(
        self,
        servers: BTreeSet<GroupKind>,
        gateway_api: bool,
        looked: oneshot::Sender<()>,
    ) {
        let mut looked = Some(looked);
        let route = http_route_resource();
        let route = GroupKind { group: route.group, kind: route.kind };
        let mut tasks = JoinSet::new();
        let mut missing = servers;
        if gateway_api {
            missing.insert(route.clone());
        }
        loop {
            let mut is_known = true;
            for kind in missing.clone() {
                let resource = match find(&self.client, &kind).await {
                    Ok(Some(resource)) => resource,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::warn!(%kind, %error, "the API server does not say whether it has this kind");
                        is_known = false;
                        continue;
                    }
                };
                if kind == route {
                    self.watch_routes(&resource, &mut tasks).await;
                } else {
                    self.watch_servers(&kind, &resource, &mut tasks).await;
                }
                tracing::info!(%kind, "watching a kind of others");
                self.triggers.world.notify_one();
                missing.remove(&kind);
            }
            if is_known && let Some(looked) = looked.take() {
                // Nobody waits for it any more: fine.
                let _ = looked.send(());
            }
            sleep(if is_known { LOOK_EVERY } else { LOOK_AGAIN }).await;
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
        listed(&cache, kind).await;
        self.caches.servers.0.write().insert(kind.clone(), cache);
    }

    async fn watch_routes(&self, resource: &ApiResource, tasks: &mut JoinSet<()>) {
        let triggers = Arc::clone(&self.triggers);
        let changed = move |change: Change<'_, DynamicObject>| triggers.of_child(&change);
        let cache = &self.caches.routes_of_gateway_api;
        self.watch(cache, resource, Some(OURS), trim::foreign_managed_fields, changed, tasks);
        let is_listed = listed(cache, &resource.kind).await;
        self.caches.has_gateway_api.store(is_listed, Ordering::Relaxed);
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

/// Waits for a first listing, but not for ever: the operator may not be allowed to list what somebody else has installed.
async fn listed(cache: &Cache<DynamicObject>, kind: &impl std::fmt::Display) -> bool {
    let is_listed = tokio::time::timeout(LIST_WITHIN, cache.listed()).await.is_ok();
    if !is_listed {
        tracing::warn!(%kind, "objects of this kind cannot be listed; is the operator allowed to?");
    }
    is_listed
}

/// The resource of a kind, in the version that its group prefers; absent where there is none.
async fn find(client: &Client, kind: &GroupKind) -> Result<Option<ApiResource>, ApiError> {
    let groups = within(client.list_api_groups()).await?;
    let Some(group) = groups.groups.into_iter().find(|group| group.name == kind.group) else { return Ok(None) };
    let Some(preferred) = group.preferred_version.or_else(|| group.versions.first().cloned()) else { return Ok(None) };
    let resources = within(client.list_api_group_resources(&preferred.group_version)).await?;
    let is_it = |resource: &k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource| {
        resource.kind == kind.kind && !resource.name.contains('/')
    };
    let found = resources.resources.into_iter().find(is_it);
    let gvk = GroupVersionKind::gvk(&kind.group, &preferred.version, &kind.kind);
    Ok(found.map(|found| ApiResource::from_gvk_with_plural(&gvk, &found.name)))
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
