//! Objects in, snapshots and statuses out: pure, total and deterministic.
//!
//! [`translate`] is the whole of it. It never fails: a user's mistake becomes a value in the snapshot or is left out of it,
//! and a condition says so, with the field and the way out. It reads no clock and looks nothing up; what it must know of
//! other objects comes in as [`facts`].

mod access;
mod attach;
mod backends;
mod claims;
pub mod facts;
mod gateways;
mod hostnames;
mod infra;
mod inputs;
mod listeners;
pub mod manifests;
mod matches;
pub mod naming;
mod plan;
mod policies;
mod problem;
mod resilience;
mod routes;
mod secrets;
mod servers;
mod settings;
mod size;
mod statuses;
mod strict;
mod telemetry;
mod tenancy;
mod yaml;

pub use backends::ready_endpoints;
pub use inputs::{DEFAULT_NAMESPACE, InputError, Inputs, LaptopFlags};
pub use plan::{BackendPlan, GatewayPlan, ListenerPlan, ParentPlan, Plan, PolicyPlan, RoutePlan};

use crate::ir::ids::ObjectId;
use gateways::World;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use policies::Policies;
use std::collections::BTreeMap;

/// Translates the whole world.
pub fn translate(inputs: &Inputs) -> Plan {
    // Each object by itself.
    let backends = backends::check(inputs);
    let routes = routes::check(inputs, &backends);
    let gateways = gateways::check(inputs);

    // How they hang together.
    let attachments = attach::routes(inputs, &gateways, &routes);
    let attached = attach::by_gateway(inputs, &attachments);
    let policies = Policies::attach(inputs);

    // What each gateway serves of it.
    let world = World { inputs, backends: &backends, routes: &routes, attached: &attached, policies: &policies };
    let mut plan = Plan::default();
    let mut outcomes = BTreeMap::new();
    for (id, gateway) in &gateways {
        let (gateway_plan, of_routes) = gateways::assemble(id, gateway, &world);
        plan.gateways.insert((*id).clone(), gateway_plan);
        outcomes.insert(*id, of_routes);
    }

    // What to say about the rest.
    plan.routes = statuses::of_routes(&routes, &attachments, &outcomes);
    plan.backends = statuses::of_backends(&backends, &plan.gateways);
    plan.auth_policies = policies.plans(inputs, &attachments);
    plan
}

/// All objects of a kind by age, the oldest first, and by name among those of the same second: the order in which
/// they may claim what only one can have.
fn oldest_first<K>(objects: &BTreeMap<ObjectId, K>, metadata: fn(&K) -> &ObjectMeta) -> Vec<(&ObjectId, &K)> {
    let mut sorted: Vec<(&ObjectId, &K)> = objects.iter().collect();
    // Stable, and the map is in the order of names.
    sorted.sort_by_key(|(_, object)| metadata(object).creation_timestamp.as_ref().map(|Time(created)| *created));
    sorted
}
