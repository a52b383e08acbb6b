//! The status of an `MCPGateway`.

use super::seen::SeenGateway;
use super::text::{count, summary};
use super::{Problem, Stamp, broken};
use crate::api::McpGatewayStatus;
use crate::api::conditions::{ConditionStatus, ConditionType, Finding, Reason};
use crate::translate::GatewayPlan;

/// The most addresses that a status holds, by its schema.
const MAX_ADDRESSES: usize = 32;

/// The whole status of a gateway.
pub(in crate::operator) fn gateway_status(
    plan: &GatewayPlan,
    seen: &SeenGateway,
    before: &McpGatewayStatus,
    stamp: &Stamp,
) -> McpGatewayStatus {
    // A generation that is not known again yet is the one before.
    let keeps = seen.is_first_look() && (seen.generation.is_none() || before.generation == seen.generation);
    let standing = Finding::standing(ConditionType::Programmed, &before.conditions).filter(|_| keeps);
    let programmed = programmed(plan, seen, standing);
    let programmed_now = u32::try_from(seen.programmed_pods()).unwrap_or(u32::MAX);
    let ready = ready(plan, seen);
    let accepted = broken(&plan.conditions, ConditionType::Accepted);
    McpGatewayStatus {
        replicas: seen.workload.replicas(),
        selector: seen.workload.selector(),
        addresses: seen.addresses.iter().take(MAX_ADDRESSES).cloned().collect(),
        generation: seen.generation.clone().or_else(|| before.generation.clone().filter(|_| keeps)),
        programmed_replicas: before.programmed_replicas.filter(|_| keeps).or(Some(programmed_now)),
        attached_routes: Some(u32::try_from(plan.attached_routes).unwrap_or(u32::MAX)),
        summary: Some(summary(sentence(plan, seen, accepted, &programmed, &ready))),
        conditions: stamp.conditions([plan.conditions.clone(), vec![programmed, ready]].concat(), &before.conditions),
    }
}

fn not_accepted() -> Problem {
    Problem::new(Reason::Invalid, "the gateway is not accepted; see Accepted")
}

/// What pods report, or what was said of it before: unless something is known to be wrong whatever they report.
fn programmed(plan: &GatewayPlan, seen: &SeenGateway, standing: Option<Finding>) -> Finding {
    let in_the_way = plan.snapshot.is_none().then(not_accepted).or_else(|| seen.workload.apply.problem());
    let reported = || standing.unwrap_or_else(|| seen.programmed());
    in_the_way.map_or_else(reported, |problem| problem.finding(ConditionType::Programmed))
}

/// True as soon as one pod serves; the reason then says what is wrong with the others.
fn ready(plan: &GatewayPlan, seen: &SeenGateway) -> Finding {
    let workload = &seen.workload;
    let ready = workload.ready().len();
    if ready == 0 {
        let in_the_way = plan.snapshot.is_none().then(not_accepted);
        return in_the_way.unwrap_or_else(|| seen.no_ready_pod()).finding(ConditionType::Ready);
    }
    let Some(problem) = workload.problem() else {
        return Finding::good(ConditionType::Ready, Reason::Ready, "");
    };
    let reason = if problem.is_usual() { Reason::Ready } else { problem.reason };
    let message = format!("{ready} of {} ready: {}", count(workload.live(), "pod"), problem.message);
    Finding::good(ConditionType::Ready, reason, message)
}

fn sentence(
    plan: &GatewayPlan,
    seen: &SeenGateway,
    accepted: Option<&Finding>,
    programmed: &Finding,
    ready: &Finding,
) -> String {
    if let Some(accepted) = accepted {
        return format!("Not accepted: {}", accepted.message);
    }
    match ready.status {
        ConditionStatus::Unknown => return format!("Waiting: {}", ready.message),
        ConditionStatus::False => return format!("Not serving: {}", ready.message),
        ConditionStatus::True => {}
    }
    if programmed.status != ConditionStatus::True {
        return format!("Serving, but not everywhere as it should: {}", programmed.message);
    }
    let routes = count(plan.attached_routes, "route");
    if !ready.message.is_empty() {
        return format!("Serving {routes}; {}", ready.message);
    }
    format!("Serving {routes} on {}", count(seen.workload.ready().len(), "pod"))
}
