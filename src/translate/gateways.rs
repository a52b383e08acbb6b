//! Gateways: what each one serves, put together of listeners, routes and backends.

use super::access::{self, Verdict};
use super::attach::{Attached, Attachment};
use super::backends::{self, CheckedBackend};
use super::claims::{Claims, Site};
use super::facts::Mode;
use super::infra::{self, or_paused};
use super::inputs::Inputs;
use super::listeners::{self, CheckedListener};
use super::plan::{GatewayPlan, ListenerPlan};
use super::policies::Policies;
use super::problem::{Problem, accepted, accepted_without, join, refused, resolved_refs};
use super::routes::CheckedRoute;
use super::servers::UsableServer;
use super::settings::{self, Settings};
use super::telemetry::{self, CheckedTelemetry};
use super::{resilience, secrets, size};
use crate::api::conditions::Reason;
use crate::ir::generation::MAX_SNAPSHOT_BYTES;
use crate::ir::ids::ObjectId;
use crate::ir::infra::GatewayInfra;
use crate::ir::snapshot::{Access, Endpoint, Route, SNAPSHOT_VERSION, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// A gateway with what is decided about itself, before any route is looked at.
pub(super) struct CheckedGateway<'a> {
    pub(super) listeners: Vec<CheckedListener<'a>>,
    settings: Result<Settings, Problem>,
    telemetry: Result<CheckedTelemetry, Problem>,
    /// What to deploy, but for the destinations; nothing on a laptop.
    infra: Result<Option<GatewayInfra>, Problem>,
    /// What the gateway itself refers to and there is not.
    missing: Option<Problem>,
}

/// What became of each route at one gateway.
pub(super) type Outcomes<'a> = BTreeMap<&'a ObjectId, Outcome>;

/// What became of a route at a gateway.
pub(super) enum Outcome {
    /// It is in the snapshot, but for these parts.
    Served { lost: Vec<Problem> },
    /// It is in the snapshot and answers 503.
    Unavailable(Problem),
    /// It is not in the snapshot.
    Refused(Problem),
}

/// All that decides about routes, whatever the gateway.
pub(super) struct World<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) backends: &'a BTreeMap<&'a ObjectId, CheckedBackend<'a>>,
    pub(super) routes: &'a BTreeMap<&'a ObjectId, CheckedRoute<'a>>,
    pub(super) attached: &'a Attached<'a>,
    pub(super) policies: &'a Policies<'a>,
}

/// Checks every gateway by itself.
pub(super) fn check(inputs: &Inputs) -> BTreeMap<&ObjectId, CheckedGateway<'_>> {
    let one = |(id, gateway)| {
        let gateway: &crate::api::McpGateway = gateway;
        let listeners = listeners::check(id, &gateway.spec.listeners, &inputs.mode, &inputs.facts);
        let infra = match &inputs.mode {
            Mode::Cluster(cluster) => infra::of_gateway(id, gateway, &listeners, cluster).map(Some),
            Mode::Laptop(_) => Ok(None),
        };
        let missing = infra::missing(&gateway.spec, &inputs.mode);
        let telemetry = telemetry::check(id, &gateway.spec.telemetry, &inputs.mode, &inputs.facts);
        (id, CheckedGateway { listeners, settings: settings::of_gateway(&gateway.spec), telemetry, infra, missing })
    };
    inputs.gateways.iter().map(one).collect()
}

/// Puts together what one gateway serves, and says what became of each route there.
pub(super) fn assemble<'a>(
    id: &ObjectId,
    gateway: &CheckedGateway<'_>,
    world: &World<'a>,
) -> (GatewayPlan, Outcomes<'a>) {
    let Ok((settings, infra)) = acceptable(gateway) else {
        return (plan(gateway, None, None, &Outcomes::new()), unserved(id, world));
    };
    let (routes, mut outcomes) = routes(id, settings, world);
    let (snapshot, too_large) = size::fit(snapshot(id, gateway, settings, routes, world), MAX_SNAPSHOT_BYTES);
    for route in too_large {
        if let Some(outcome) = outcomes.get_mut(&route) {
            *outcome = Outcome::Refused(Problem::new(
                Reason::SnapshotTooLarge,
                format!(
                    "with this route the configuration of MCPGateway {id} would exceed {MAX_SNAPSHOT_BYTES} bytes compressed; make the route smaller or use another gateway"
                ),
            ));
        }
    }
    let endpoints = endpoints(&snapshot, world);
    let infra = infra.cloned().map(|infra| GatewayInfra {
        destinations: infra.destinations.as_ref().map(|_| infra::of_snapshot(&snapshot, &endpoints, world.backends)),
        ..infra
    });
    (GatewayPlan { endpoints, ..plan(gateway, Some(snapshot), infra, &outcomes) }, outcomes)
}

/// The ready addresses of what a snapshot serves; none on a laptop, where nobody knows more than the spec.
fn endpoints(snapshot: &Snapshot, world: &World<'_>) -> BTreeMap<ObjectId, BTreeSet<Endpoint>> {
    if matches!(world.inputs.mode, Mode::Laptop(_)) {
        return BTreeMap::new();
    }
    let ready = |id: &ObjectId| {
        let backend = world.backends.get(id)?;
        backends::ready_endpoints(id, backend.spec, &world.inputs.facts).filter(|ready| !ready.is_empty())
    };
    snapshot.backends.keys().filter_map(|id| Some((id.clone(), ready(id)?))).collect()
}

/// The settings of a gateway that can be run, and what to deploy for it: both make sense, and there is at least one listener
/// to serve.
fn acceptable<'g>(gateway: &'g CheckedGateway<'_>) -> Result<(&'g Settings, Option<&'g GatewayInfra>), Problem> {
    let settings = gateway.settings.as_ref().map_err(Clone::clone)?;
    gateway.telemetry.as_ref().map_err(Clone::clone)?;
    if gateway.listeners.iter().any(|listener| listener.served.is_some()) {
        return Ok((settings, gateway.infra.as_ref().map_err(Clone::clone)?.as_ref()));
    }
    let problems = listener_problems(gateway);
    let message = if problems.is_empty() {
        "spec.listeners is empty; name at least one listener".to_owned()
    } else {
        join(&problems)
    };
    Err(Problem::new(Reason::ListenersNotValid, message))
}

fn listener_problems(gateway: &CheckedGateway<'_>) -> Vec<Problem> {
    gateway
        .listeners
        .iter()
        .filter(|listener| listener.served.is_none())
        .flat_map(|listener| listener.accepted.as_ref().err().into_iter().chain(&listener.refs))
        .cloned()
        .collect()
}

/// No route is served by a gateway that is not.
fn unserved<'a>(id: &ObjectId, world: &World<'a>) -> Outcomes<'a> {
    let problem =
        Problem::new(Reason::ListenersNotValid, format!("MCPGateway {id} cannot be served; its conditions say why"));
    attached(id, world).iter().map(|(route, _)| (*route, Outcome::Refused(problem.clone()))).collect()
}

/// The routes that the gateway serves, oldest first: among equal matches the data plane takes the first.
fn routes<'a>(id: &ObjectId, settings: &Settings, world: &World<'a>) -> (Vec<Route>, Outcomes<'a>) {
    let mut claims = Claims::default();
    let mut served = Vec::new();
    let mut outcomes = Outcomes::new();
    for &(route_id, ref attachments) in attached(id, world) {
        let Some(route) = world.routes.get(route_id) else { continue };
        let sites = sites(attachments);
        if sites.is_empty() {
            continue;
        }
        let outcome = match admit(id, route_id, route, world) {
            Err(problem) => Outcome::Refused(problem),
            Ok((access, problem)) => {
                let (matches, mut lost) = claims.claim(route_id, &sites, &route.matches);
                if matches.is_empty() {
                    Outcome::Refused(Problem::new(Reason::Conflicted, join(&lost)))
                } else {
                    let timeouts = settings::overridden(&settings.timeouts, route.spec.timeouts.as_ref());
                    let mut servers = Vec::with_capacity(route.servers.len());
                    for UsableServer { spec, served } in &route.servers {
                        let (server, without) = resilience::at_gateway(spec, served, &timeouts, &access);
                        servers.push(server);
                        lost.extend(without);
                    }
                    served.push(Route {
                        id: route_id.clone(),
                        listeners: sites.iter().map(|site| site.listener.clone()).collect(),
                        hostnames: hosts(&sites),
                        matches,
                        access,
                        servers,
                        timeouts,
                    });
                    problem.map_or(Outcome::Served { lost }, Outcome::Unavailable)
                }
            }
        };
        outcomes.insert(route_id, outcome);
    }
    (served, outcomes)
}

/// The routes that name a gateway, oldest first.
fn attached<'a>(id: &ObjectId, world: &World<'a>) -> &'a [(&'a ObjectId, Vec<&'a Attachment<'a>>)] {
    world.attached.get(id).map(Vec::as_slice).unwrap_or_default()
}

/// Everything that a route is attached to at one gateway: several parentRefs may name its listeners.
fn sites(attachments: &[&Attachment<'_>]) -> Vec<Site> {
    let mut sites: BTreeMap<&str, &Site> = BTreeMap::new();
    for site in attachments.iter().filter_map(|attachment| attachment.sites.as_ref().ok()).flatten() {
        sites.insert(&site.listener, site);
    }
    sites.into_values().cloned().collect()
}

/// The hosts of all sites. A site without hosts is there for all of its listener's, so then nothing narrows the route.
fn hosts(sites: &[Site]) -> Vec<String> {
    if sites.iter().any(|site| site.hosts.is_empty()) {
        return Vec::new();
    }
    let mut hosts: Vec<String> = sites.iter().flat_map(|site| site.hosts.clone()).collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Whether a route is in the snapshot at all, for whom, and why it is not accepted all the same.
fn admit(
    gateway: &ObjectId,
    id: &ObjectId,
    route: &CheckedRoute<'_>,
    world: &World<'_>,
) -> Result<(Access, Option<Problem>), Problem> {
    if let Some(problem) = &route.refused {
        return Err(problem.clone());
    }
    match access::decide(world.policies, gateway, id, &world.inputs.mode) {
        Verdict::Refuse(problem) => Err(problem),
        Verdict::Unknown(problem) => Ok((Access::Unavailable { reason: problem.message.clone() }, Some(problem))),
        Verdict::Admit(access) => Ok(match &route.unavailable {
            None => (access, None),
            // What is missing may come; what is wrong with the route itself is told as such.
            Some(problem) => {
                let own_fault = Some(problem.clone()).filter(|problem| problem.reason == Reason::Invalid);
                (Access::Unavailable { reason: problem.message.clone() }, own_fault)
            }
        }),
    }
}

fn snapshot(
    id: &ObjectId,
    gateway: &CheckedGateway<'_>,
    settings: &Settings,
    routes: Vec<Route>,
    world: &World<'_>,
) -> Snapshot {
    let named = routes.iter().flat_map(size::backends);
    let backends = named.filter_map(|id| Some((id.clone(), world.backends.get(id)?.served.clone()?))).collect();
    // Destructured without `..`, so that a new setting cannot be forgotten.
    let Settings { protocol, sessions, timeouts, drain, limits } = settings;
    Snapshot {
        version: SNAPSHOT_VERSION,
        gateway: id.clone(),
        listeners: gateway.listeners.iter().filter_map(|listener| listener.served.clone()).collect(),
        routes,
        backends,
        protocol: protocol.clone(),
        sessions: sessions.clone(),
        timeouts: timeouts.clone(),
        drain: drain.clone(),
        limits: limits.clone(),
        tracing: gateway.telemetry.as_ref().ok().and_then(|telemetry| telemetry.served.clone()),
    }
}

fn plan(
    gateway: &CheckedGateway<'_>,
    snapshot: Option<Snapshot>,
    infra: Option<GatewayInfra>,
    outcomes: &Outcomes<'_>,
) -> GatewayPlan {
    let of_listeners = gateway.listeners.iter().flat_map(|listener| listener.refs.clone());
    let of_telemetry = gateway.telemetry.iter().flat_map(|telemetry| telemetry.refs.clone());
    let refs: Vec<Problem> = of_listeners.chain(gateway.missing.clone()).chain(of_telemetry).collect();
    let accepted = match acceptable(gateway) {
        Err(problem) => refused(&problem),
        Ok(_) => accepted_without(Reason::ListenersNotValid, &listener_problems(gateway)),
    };
    // A route that answers 503 is in the snapshot, and yet not accepted.
    let is_accepted = |route: &&Route| matches!(outcomes.get(&route.id), Some(Outcome::Served { .. }));
    let attached: Vec<&Route> = snapshot.iter().flat_map(|snapshot| &snapshot.routes).filter(is_accepted).collect();
    GatewayPlan {
        endpoints: BTreeMap::new(),
        secrets: snapshot.as_ref().map(secrets::named_by).unwrap_or_default(),
        attached_routes: attached.len(),
        conditions: vec![or_paused(accepted, infra.as_ref().map(|infra| &infra.rollout)), resolved_refs(&refs)],
        infra,
        listeners: gateway.listeners.iter().map(|listener| listener_plan(listener, &attached)).collect(),
        snapshot,
    }
}

fn listener_plan(listener: &CheckedListener<'_>, attached: &[&Route]) -> ListenerPlan {
    let name = &listener.spec.name;
    let is_here = |route: &&&Route| listener.served.is_some() && route.listeners.contains(name);
    ListenerPlan {
        name: name.clone(),
        attached_routes: attached.iter().filter(is_here).count(),
        conditions: vec![
            listener.accepted.as_ref().map_or_else(refused, |()| accepted()),
            resolved_refs(&listener.refs),
        ],
    }
}
