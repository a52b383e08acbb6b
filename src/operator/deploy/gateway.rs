//! What is deployed for one `MCPGateway`: keys, a generation, all objects around its pods, and the push to each of them.

use super::generation::{Made, deployed};
use super::keys::{Keeper, Kept};
use super::{DeployError, Standing, children, rollouts};
use crate::ir::channel::Endpoints;
use crate::ir::generation::Generation;
use crate::ir::ids::ObjectId;
use crate::ir::infra::GatewayInfra;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{Endpoint, Snapshot};
use crate::operator::apply::{Child, key_of};
use crate::operator::build;
use crate::operator::context::Context;
use crate::operator::fleet::Addresses;
use crate::operator::observe::is_ready;
use crate::operator::observe::seen::Apply;
use crate::operator::push::{CHANNEL_PORT, Desired};
use crate::operator::queue::Done;
use crate::operator::target::Target;
use crate::operator::world::World;
use crate::translate::naming::{PEER_PORT, gateway_objects};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::SignedDuration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is remembered of a gateway from one piece of work to the next.
#[derive(Default)]
pub(super) struct Gateway {
    kept: Option<Kept>,
    made: Option<Made>,
}

pub(super) async fn deploy(context: &Arc<Context>, target: &Target) -> Result<Done, DeployError> {
    let id = &target.id;
    let Some(owner) = context.owner(&context.caches.gateways, target) else { return Ok(Done::Settled) };
    let world = context.world();
    // Absent: malformed, or newer than the last translation, which comes here again.
    let Some(plan) = world.plan.gateways.get(id) else { return Ok(Done::Settled) };
    let pods = context.pod_addresses(target);
    context.fleet.follow(id, &pods, context.on_news(id));
    let before = context.deployments.last(target).unwrap_or_default();
    let standing = Standing { owner: owner.uid.clone(), ready: context.ready_pods(target), ..before };
    let (Some(snapshot), Some(infra)) = (&plan.snapshot, &plan.infra) else {
        // What is deployed goes on as it is.
        context.note(target, &world, standing);
        return Ok(Done::Settled);
    };
    if infra.rollout.paused {
        context.note(target, &world, Standing { apply: Apply::Paused, ..standing });
        return Ok(Done::Settled);
    }
    // No other piece of work is about this gateway now.
    let mut gateway = context.deployments.gateways.lock().remove(id).unwrap_or_default();
    let step =
        Step { context, target, id, owner: &owner, world: &world, snapshot, infra, pods: &pods, standing: &standing };
    let done = Box::pin(step.take(&mut gateway)).await;
    let generation = gateway.made.as_ref().map(|made| made.hash.clone()).or_else(|| standing.generation.clone());
    context.deployments.gateways.lock().insert(id.clone(), gateway);
    if done.as_ref().is_err_and(DeployError::is_busy) {
        // Soon there is something to say.
        return done;
    }
    let apply = done.as_ref().map_or_else(DeployError::outcome, |_| Apply::Done);
    context.note(target, &world, Standing { apply, generation, ..standing });
    done
}

/// One piece of work on a gateway.
struct Step<'a> {
    context: &'a Arc<Context>,
    target: &'a Target,
    id: &'a ObjectId,
    owner: &'a OwnerReference,
    world: &'a World,
    snapshot: &'a Snapshot,
    infra: &'a GatewayInfra,
    pods: &'a Addresses,
    standing: &'a Standing,
}

impl Step<'_> {
    async fn take(&self, gateway: &mut Gateway) -> Result<Done, DeployError> {
        let fleet = &self.context.fleet;
        let all_pods_have_them =
            gateway.made.as_ref().is_some_and(|made| fleet.all_serve(self.id, self.pods.len(), &made.hash));
        let idle_timeout = i64::try_from(self.snapshot.sessions.idle_timeout_ms).unwrap_or(i64::MAX);
        let keeper = Keeper {
            context: self.context,
            gateway: self.id,
            owner: self.owner,
            idle_timeout: SignedDuration::from_millis(idle_timeout),
            all_pods_have_them,
        };
        let kept = keeper.keys(gateway.kept.take()).await?;
        let made = self.generation(gateway.made.take(), &kept).await?;
        // Said before pods can report it: until then they are out of date, and never ahead.
        let standing = Standing { generation: Some(made.hash.clone()), ..self.standing.clone() };
        self.context.note(self.target, self.world, standing);
        // Pods have it in a moment; what is applied below is what new pods begin with.
        self.push(&kept, &made);
        let next_look = keeper.next_look(&kept.keys);
        let payload = made.payload();
        gateway.kept = Some(kept);
        gateway.made = Some(made);
        let objects = build::gateway(self.infra, &payload?, &self.context.build(self.owner.clone()));
        let waits = self.waits_for_others(&objects.deployment);
        let all = children::of_gateway(&objects)?.into_iter();
        let (later, now): (Vec<Child>, Vec<Child>) = all.partition(|child| waits && child.is_deployment());
        let kept = later.iter().map(Child::key).chain([key_of::<Secret>(keeper.secret_id())]);
        self.context.make_so(&self.id.namespace, self.owner, &now, kept).await?;
        Ok(Done::Again(if waits { rollouts::LOOK_AGAIN } else { next_look }))
    }

    /// Whether a new version of the operator would replace the pods, and enough others are being replaced already.
    fn waits_for_others(&self, built: &Deployment) -> bool {
        let (deployments, wanted) = (&self.context.caches.deployments, &self.context.options.gateway_image);
        let live =
            |gateway: &ObjectId| deployments.get(&ObjectId::new(&gateway.namespace, gateway_objects(&gateway.name)));
        let is_upgrade = self.infra.image.is_none()
            && live(self.id).is_some_and(|live| rollouts::image(&live) != rollouts::image(built));
        let is_over = |other: &ObjectId| live(other).is_none_or(|live| rollouts::is_rolled_out(&live, wanted));
        is_upgrade && !self.context.deployments.rollouts.admits(self.id, is_over)
    }

    /// The generation to serve: the one before if nothing changed.
    async fn generation(&self, before: Option<Made>, kept: &Kept) -> Result<Made, DeployError> {
        let values = self.world.values.get(self.id).cloned().unwrap_or_default();
        let mut credentials = Credentials { values, ..Credentials::default() };
        kept.keys.fill(&mut credentials);
        let made = match before {
            Some(before) if before.is_of(self.snapshot, &credentials) => before,
            before => {
                let deployed = match &before {
                    Some(before) => Some(before.deployed()),
                    None => deployed(self.context, self.id, &self.owner.uid).await?,
                };
                Made::new(Generation { snapshot: self.snapshot.clone(), credentials }, deployed.as_ref())?
            }
        };
        match self.context.fleet.outdone(self.id, &made.hash, made.revision()) {
            Some(revision) => made.after(revision),
            None => Ok(made),
        }
    }

    fn push(&self, kept: &Kept, made: &Made) {
        let backends = self.world.plan.gateways.get(self.id).map(|plan| plan.endpoints.clone()).unwrap_or_default();
        let peers = self.pods.values().map(|pod| Endpoint { host: pod.ip().to_string(), port: PEER_PORT });
        let desired = Desired {
            hash: made.hash.clone(),
            generation: Arc::clone(&made.packed),
            endpoints: Arc::new(Endpoints { backends, peers: peers.collect() }),
            clients: kept.clients.clone(),
        };
        self.context.fleet.desire(self.id, desired);
        self.context.fleet.follow(self.id, self.pods, self.context.on_news(self.id));
    }
}

impl Context {
    /// What all objects are built with.
    pub(super) fn build(&self, owner: OwnerReference) -> build::Context {
        build::Context {
            owner,
            gateway_image: self.options.gateway_image.clone(),
            operator: build::OperatorPods {
                namespace: self.options.namespace.clone(),
                labels: BTreeMap::from([("app.kubernetes.io/name".to_owned(), "mcp-operator".to_owned())]),
            },
            scrapers: self.options.scrapers.clone(),
        }
    }

    fn ready_pods(&self, target: &Target) -> BTreeSet<String> {
        let pods = self.caches.pods_of(target);
        pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| pod.metadata.name.clone()).collect()
    }

    /// Where the admin channel of each of a gateway's pods is, as far as they have addresses and are not over.
    fn pod_addresses(&self, target: &Target) -> Addresses {
        let pods = self.caches.pods_of(target);
        let address = |pod: &k8s_openapi::api::core::v1::Pod| {
            let status = pod.status.as_ref()?;
            let is_over = matches!(status.phase.as_deref(), Some("Failed" | "Succeeded"));
            let ip: IpAddr = status.pod_ip.as_ref().filter(|_| !is_over)?.parse().ok()?;
            Some((pod.metadata.name.clone()?, SocketAddr::new(ip, CHANNEL_PORT)))
        };
        pods.iter().filter_map(|pod| address(pod)).collect()
    }
}
