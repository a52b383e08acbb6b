//! What to say about routes and backends, once it is known what every gateway serves.

use super::attach::Attachment;
use super::backends::CheckedBackend;
use super::gateways::{Outcome, Outcomes};
use super::infra::or_paused;
use super::plan::{BackendPlan, GatewayPlan, ParentPlan, RoutePlan};
use super::problem::{accepted, accepted_without, refused, resolved_refs};
use super::routes::CheckedRoute;
use crate::api::conditions::{Finding, Reason};
use crate::ir::ids::ObjectId;
use crate::ir::infra::BackendInfra;
use std::collections::{BTreeMap, BTreeSet};

/// What to say about every route, at each of its parents.
pub(super) fn of_routes(
    routes: &BTreeMap<&ObjectId, CheckedRoute<'_>>,
    attachments: &BTreeMap<&ObjectId, Vec<Attachment<'_>>>,
    outcomes: &BTreeMap<&ObjectId, Outcomes<'_>>,
) -> BTreeMap<ObjectId, RoutePlan> {
    let one = |(id, route): (&&ObjectId, &CheckedRoute<'_>)| {
        let parents = attachments.get(id).map(Vec::as_slice).unwrap_or_default().iter();
        let parents = parents.map(|attachment| ParentPlan {
            gateway: attachment.gateway.clone(),
            section_name: attachment.parent.section_name.clone(),
            conditions: vec![
                accepted_at(route, attachment, outcomes.get(&attachment.gateway).and_then(|outcomes| outcomes.get(id))),
                resolved_refs(&route.refs),
            ],
        });
        ((*id).clone(), RoutePlan { parents: parents.collect() })
    };
    routes.iter().map(one).collect()
}

/// Whether a route is accepted at one parent.
fn accepted_at(route: &CheckedRoute<'_>, attachment: &Attachment<'_>, outcome: Option<&Outcome>) -> Finding {
    match (&attachment.sites, outcome) {
        (Err(problem), _) | (Ok(_), Some(Outcome::Refused(problem) | Outcome::Unavailable(problem))) => {
            refused(problem)
        }
        (Ok(_), Some(Outcome::Served { lost })) => {
            accepted_without(Reason::PartiallyInvalid, &[route.left_out.as_slice(), lost].concat())
        }
        // A route with a site is looked at by its gateway, so there is an outcome.
        (Ok(_), None) => accepted(),
    }
}

/// What to say about every backend, and which gateways can report on it.
pub(super) fn of_backends(
    backends: &BTreeMap<&ObjectId, CheckedBackend<'_>>,
    gateways: &BTreeMap<ObjectId, GatewayPlan>,
) -> BTreeMap<ObjectId, BackendPlan> {
    let mut callers: BTreeMap<&ObjectId, BTreeSet<ObjectId>> = BTreeMap::new();
    for (gateway, plan) in gateways {
        for backend in plan.snapshot.iter().flat_map(|snapshot| snapshot.backends.keys()) {
            callers.entry(backend).or_default().insert(gateway.clone());
        }
    }
    let one = |(id, backend): (&&ObjectId, &CheckedBackend<'_>)| {
        let callers = callers.get(id).cloned().unwrap_or_default();
        let infra = backend.infra.clone().map(|infra| BackendInfra { callers: callers.clone(), ..infra });
        let accepted = backend.accepted.as_ref().map_or_else(refused, |()| accepted());
        let plan = BackendPlan {
            conditions: vec![
                or_paused(accepted, infra.as_ref().map(|infra| &infra.rollout)),
                resolved_refs(&backend.refs),
            ],
            infra,
            gateways: callers,
        };
        ((*id).clone(), plan)
    };
    backends.iter().map(one).collect()
}
