//! Publish (client): what is composed of the plan and of what is seen becomes a status, and its turns become Events. Only news is written.

mod events;
mod seen;
mod writer;

use super::client::ApiError;
use super::context::Context;
use super::metrics::Metrics;
use super::observe::events::{self as turns, EventNote};
use super::observe::{Stamp, backend_status, gateway_status, is_news, policy_status, route_status};
use super::queue::{Done, SOON};
use super::target::{Kind, Target};
use super::watch::Guarded;
use events::Events;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use writer::Writer;

/// Writes statuses and Events.
pub(super) struct Publisher {
    writer: Writer,
    events: Events,
}

impl Publisher {
    pub(super) fn new(client: Client, identity: &str, metrics: Arc<Metrics>) -> Self {
        Self { writer: Writer::new(client.clone(), metrics), events: Events::new(client, identity) }
    }
}

/// Works on the status of one object.
pub(super) async fn work(context: Arc<Context>, target: Target) -> Done {
    let published = match target.kind {
        Kind::Gateway => gateway(&context, &target).await,
        Kind::Backend => backend(&context, &target).await,
        Kind::Route => route(&context, &target).await,
        Kind::AuthPolicy => policy(&context, &target).await,
    };
    context.metrics.worked("publish", if published.is_ok() { "ok" } else { "error" });
    match published {
        Ok(()) => Done::Settled,
        // It is gone, or another one of its name has come.
        Err(error) if error.is_not_found() => Done::Settled,
        Err(error) if error.is_busy() => Done::Again(SOON),
        Err(error) => {
            tracing::warn!(%target, %error, "the status could not be written; trying again");
            Done::Failed
        }
    }
}

async fn gateway(context: &Context, target: &Target) -> Result<(), ApiError> {
    let world = context.world();
    let (Some(plan), Some(standing)) = (world.plan.gateways.get(&target.id), context.deployments.standing(target))
    else {
        return context.skip(target, context.caches.gateways.get(&target.id).is_none());
    };
    let seen = context.see_gateway(target, standing);
    let compose = |before: &_, stamp: &Stamp| gateway_status(plan, &seen, before, stamp);
    context.publish(&context.caches.gateways, target, compose, turns::of_gateway).await
}

async fn backend(context: &Context, target: &Target) -> Result<(), ApiError> {
    let world = context.world();
    let (Some(plan), Some(standing)) = (world.plan.backends.get(&target.id), context.deployments.standing(target))
    else {
        return context.skip(target, context.caches.backends.get(&target.id).is_none());
    };
    let seen = context.see_backend(target, &world.inputs, standing);
    let gateways = context.see_gateways(&plan.gateways);
    let compose = |before: &_, stamp: &Stamp| backend_status(&target.id, plan, &seen, &gateways, before, stamp);
    context.publish(&context.caches.backends, target, compose, turns::of_backend).await
}

async fn route(context: &Context, target: &Target) -> Result<(), ApiError> {
    let world = context.world();
    let (Some(route), Some(plan)) = (world.inputs.routes.get(&target.id), world.plan.routes.get(&target.id)) else {
        return context.skip(target, context.caches.routes.get(&target.id).is_none());
    };
    let gateways = context.see_gateways(plan.parents.iter().map(|parent| &parent.gateway));
    let parents = &route.spec.parent_refs;
    let compose = |before: &_, stamp: &Stamp| route_status(&target.id, parents, &world.plan, &gateways, before, stamp);
    context.publish(&context.caches.routes, target, compose, turns::of_route).await
}

async fn policy(context: &Context, target: &Target) -> Result<(), ApiError> {
    let world = context.world();
    let Some(plan) = world.plan.auth_policies.get(&target.id) else {
        return context.skip(target, context.caches.auth_policies.get(&target.id).is_none());
    };
    let compose = |before: &_, stamp: &Stamp| policy_status(plan, before, stamp);
    context.publish(&context.caches.auth_policies, target, compose, turns::of_policy).await
}

impl Context {
    /// There is nothing to say of it yet, or not any more.
    #[expect(clippy::unnecessary_wraps, reason = "it stands where statuses are published")]
    fn skip(&self, target: &Target, is_gone: bool) -> Result<(), ApiError> {
        if is_gone {
            self.publisher.writer.forget(target);
        }
        Ok(())
    }

    /// Writes the status if it is news, and then tells of what turned.
    async fn publish<K>(
        &self,
        cache: &Guarded<K>,
        target: &Target,
        compose: impl FnOnce(&K::Status, &Stamp) -> K::Status,
        turned: fn(&K::Status, &K::Status) -> Vec<EventNote>,
    ) -> Result<(), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + HasStatus + Clone + DeserializeOwned + Debug,
        K::Status: Clone + Default + PartialEq + Serialize + DeserializeOwned,
    {
        let Some(object) = cache.get(&target.id) else { return self.skip(target, true) };
        // What cannot be read has no plan; its status stays what it was.
        let Ok(object) = &object.0 else { return Ok(()) };
        let writer = &self.publisher.writer;
        let before = writer.standing(target.kind, object);
        let stamp = Stamp::new(object.meta().generation, &Time(Timestamp::now()));
        let after = compose(&before, &stamp);
        if !is_news(&before, &after) {
            return Ok(());
        }
        writer.write(target.kind, object, &after).await?;
        for note in turned(&before, &after) {
            self.publisher.events.emit(target, &object.uid().unwrap_or_default(), note).await;
        }
        Ok(())
    }
}
