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
    let keeps = seen.is_first_look() && before.generation == seen.generation;
    let programmed = programmed(plan, seen);
    let standing = || Finding::standing(ConditionType::Programmed, &before.conditions);
    let programmed = if keeps { standing().unwrap_or(programmed) } else { programmed };
    let programmed_now = u32::try_from(seen.programmed_pods()).unwrap_or(u32::MAX);
    let ready = ready(plan, seen);
    let accepted = broken(&plan.conditions, ConditionType::Accepted);
    McpGatewayStatus {
        replicas: seen.workload.replicas(),
        selector: seen.workload.selector(),
        addresses: seen.addresses.iter().take(MAX_ADDRESSES).cloned().collect(),
        generation: seen.generation.clone(),
        programmed_replicas: before.programmed_replicas.filter(|_| keeps).or(Some(programmed_now)),
        attached_routes: Some(u32::try_from(plan.attached_routes).unwrap_or(u32::MAX)),
        summary: Some(summary(sentence(plan, seen, accepted, &programmed, &ready))),
        conditions: stamp.conditions([plan.conditions.clone(), vec![programmed, ready]].concat(), &before.conditions),
    }
}

fn not_accepted() -> Problem {
    Problem::new(Reason::Invalid, "the gateway is not accepted; see Accepted")
}

fn programmed(plan: &GatewayPlan, seen: &SeenGateway) -> Finding {
    let in_the_way = plan.snapshot.is_none().then(not_accepted).or_else(|| seen.workload.apply.problem());
    in_the_way.map_or_else(|| seen.programmed(), |problem| problem.finding(ConditionType::Programmed))
}

/// True as soon as one pod serves; the reason then says what is wrong with the others.
fn ready(plan: &GatewayPlan, seen: &SeenGateway) -> Finding {
    let workload = &seen.workload;
    let ready = workload.ready().len();
    if ready == 0 {
        let in_the_way = plan.snapshot.is_none().then(not_accepted).or_else(|| workload.apply.problem());
        let problem = in_the_way.unwrap_or_else(|| workload.apply.explain(seen.no_ready_pod()));
        return problem.finding(ConditionType::Ready);
    }
    let Some(problem) = workload.problem() else {
        return Finding::good(ConditionType::Ready, Reason::Ready, "");
    };
    // Pods come and go; that alone is nothing to look at.
    let is_normal = matches!(problem.reason, Reason::PodsStarting | Reason::NoPods | Reason::Pending);
    let reason = if is_normal { Reason::Ready } else { problem.reason };
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
