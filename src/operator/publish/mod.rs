//! Publish (client): what is composed of the plan and of what is seen becomes a status, and its turns become Events. Only news is written.

mod events;
mod seen;
mod writer;

use super::client::ApiError;
use super::context::Context;
use super::metrics::Metrics;
use super::observe::events::{self as turns, EventNote};
use super::observe::{Stamp, Unreadable, backend_status, gateway_status, is_news, policy_status, route_status};
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
    let seen = context.deployments.standing(target).map(|standing| context.see_gateway(target, standing));
    let compose = |before: &_, stamp: &Stamp| {
        Some(gateway_status(world.plan.gateways.get(&target.id)?, seen.as_ref()?, before, stamp))
    };
    context.publish(&context.caches.gateways, target, compose, turns::of_gateway).await
}

async fn backend(context: &Context, target: &Target) -> Result<(), ApiError> {
    let world = context.world();
    let standing = context.deployments.standing(target);
    let seen = standing.map(|standing| context.see_backend(target, &world.inputs, standing));
    let compose = |before: &_, stamp: &Stamp| {
        let plan = world.plan.backends.get(&target.id)?;
        let gateways = context.see_gateways(&plan.gateways);
        Some(backend_status(&target.id, plan, seen.as_ref()?, &gateways, before, stamp))
    };
    context.publish(&context.caches.backends, target, compose, turns::of_backend).await
}

async fn route(context: &Context, target: &Target) -> Result<(), ApiError> {
    let world = context.world();
    let compose = |before: &_, stamp: &Stamp| {
        let parents = &world.inputs.routes.get(&target.id)?.spec.parent_refs;
        let plan = world.plan.routes.get(&target.id)?;
        let gateways = context.see_gateways(plan.parents.iter().map(|parent| &parent.gateway));
        Some(route_status(&target.id, parents, &world.plan, &gateways, before, stamp))
    };
    context.publish(&context.caches.routes, target, compose, turns::of_route).await
}

async fn policy(context: &Context, target: &Target) -> Result<(), ApiError> {
    let world = context.world();
    let compose =
        |before: &_, stamp: &Stamp| Some(policy_status(world.plan.auth_policies.get(&target.id)?, before, stamp));
    context.publish(&context.caches.auth_policies, target, compose, turns::of_policy).await
}

impl Context {
    /// Writes the status if there is anything to say yet, and it is news; then tells of what turned.
    async fn publish<K>(
        &self,
        cache: &Guarded<K>,
        target: &Target,
        compose: impl FnOnce(&K::Status, &Stamp) -> Option<K::Status>,
        turned: fn(&K::Status, &K::Status) -> Vec<EventNote>,
    ) -> Result<(), ApiError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + HasStatus + Clone + DeserializeOwned + Debug,
        K::Status: Clone + Default + PartialEq + Serialize + DeserializeOwned,
    {
        let writer = &self.publisher.writer;
        let Some(object) = cache.get(&target.id) else {
            writer.forget(target);
            return Ok(());
        };
        let object = match &object.0 {
            Ok(object) => object,
            Err(invalid) => {
                let uid = invalid.metadata.uid.clone().unwrap_or_default();
                let before: Unreadable = writer.last(target, &uid);
                let stamp = Stamp::new(invalid.metadata.generation, &Time(Timestamp::now()));
                let after = Unreadable::new(&invalid.error, &before, &stamp, target.kind != Kind::Route);
                return if is_news(&before, &after) { writer.write::<K>(target, &uid, &after).await } else { Ok(()) };
            }
        };
        let before = writer.standing(target.kind, object);
        let stamp = Stamp::new(object.meta().generation, &Time(Timestamp::now()));
        let Some(after) = compose(&before, &stamp).filter(|after| is_news(&before, after)) else { return Ok(()) };
        let uid = object.uid().unwrap_or_default();
        writer.write::<K>(target, &uid, &after).await?;
        for note in turned(&before, &after) {
            self.publisher.events.emit(target, &uid, note).await;
        }
        if target.kind == Kind::Gateway {
            // Its routes say in its words why no pod serves them.
            self.publish_gateway(&target.id);
        }
        Ok(())
    }
}
