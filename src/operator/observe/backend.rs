//! The status of an `MCPBackend`.

use super::seen::{SeenBackend, SeenGateway};
use super::text::{count, pods, quote, summary};
use super::{Problem, Stamp, broken, find};
use crate::api::McpBackendStatus;
use crate::api::backend::{EndpointCounts, ServerInfo};
use crate::api::conditions::{ConditionStatus, ConditionType, Finding, Reason, cut};
use crate::ir::channel::BackendReport;
use crate::ir::ids::ObjectId;
use crate::translate::BackendPlan;
use std::collections::{BTreeMap, BTreeSet};

/// The most that a status holds, by its schema.
const MAX_VERSIONS: usize = 16;
const MAX_VERSION_BYTES: usize = 32;
const MAX_INFO_BYTES: usize = 256;

/// The whole status of a backend. `gateways` has what is seen of the gateways that hold it.
pub(in crate::operator) fn backend_status(
    id: &ObjectId,
    plan: &BackendPlan,
    seen: &SeenBackend,
    gateways: &BTreeMap<ObjectId, SeenGateway>,
    before: &McpBackendStatus,
    stamp: &Stamp,
) -> McpBackendStatus {
    let holders: Vec<&SeenGateway> = plan.gateways.iter().filter_map(|gateway| gateways.get(gateway)).collect();
    let reports: Vec<(&str, &BackendReport)> = holders
        .iter()
        .flat_map(|gateway| gateway.reports())
        .filter_map(|(pod, report)| Some((pod, report.backends.get(id)?)))
        .collect();
    // Until each pod was looked at once, what was said before stands.
    let is_first_look = holders.len() < plan.gateways.len() || holders.iter().any(|gateway| gateway.is_first_look());
    let verified_before = stamp.standing(ConditionType::Verified, &before.conditions);
    let verified_before = verified_before.filter(|before| is_first_look && before.reason != Reason::NotAttached);
    let keeps = verified_before.is_some();

    let endpoints = seen.endpoints.or_else(|| {
        let counted = before.endpoints.as_ref().map(|counts| counts.total.unwrap_or(counts.ready)).filter(|_| keeps);
        counted.or_else(|| reports.iter().map(|(_, report)| report.endpoints).max())
    });
    let available_before = stamp.standing(ConditionType::Available, &before.conditions);
    let available = available_before
        .filter(|_| keeps && seen.endpoints.is_none())
        .unwrap_or_else(|| available(plan, seen, endpoints));
    let (usable, ejected) = match before.endpoints.as_ref().filter(|_| keeps) {
        Some(before) => (Some(before.ready), before.ejected),
        // The worst of all pods counts.
        None => (
            reports.iter().filter_map(|(_, report)| report.usable).min(),
            reports.iter().filter_map(|(_, report)| report.ejected).max(),
        ),
    };
    let endpoints = endpoints.map(|total| counts(total, usable, ejected));
    let verified = verified_before.unwrap_or_else(|| verified(plan, &holders, &reports));
    let findings = [plan.conditions.clone(), vec![available, verified]].concat();
    let ready = ready(&findings);
    let said = if keeps {
        Said { info: before.server_info.clone(), versions: before.protocol_versions.clone(), tools: before.tools }
    } else {
        Said::by(&reports)
    };
    let workload = seen.workload.as_ref();
    McpBackendStatus {
        summary: Some(summary(sentence(&findings, &ready, &said, endpoints.as_ref()))),
        server_info: said.info,
        protocol_versions: said.versions,
        tools: said.tools,
        endpoints,
        replicas: workload.and_then(super::seen::Workload::replicas),
        selector: workload.and_then(super::seen::Workload::selector),
        conditions: stamp.conditions([findings, vec![ready]].concat(), &before.conditions),
    }
}

/// Counts that fit together: pods may not have heard of an address that is gone.
fn counts(total: u32, usable: Option<u32>, ejected: Option<u32>) -> EndpointCounts {
    EndpointCounts {
        ready: usable.map_or(total, |usable| usable.min(total)),
        total: Some(total),
        ejected: ejected.map(|ejected| ejected.min(total)),
    }
}

/// What a server says about itself, from the first pod that knows.
struct Said {
    info: Option<ServerInfo>,
    versions: Vec<String>,
    tools: Option<u32>,
}

impl Said {
    fn by(reports: &[(&str, &BackendReport)]) -> Self {
        let info = reports.iter().find_map(|(_, report)| report.server.as_ref());
        let versions: BTreeSet<&String> = reports.iter().flat_map(|(_, report)| &report.versions).collect();
        let short = |text: &str, max| cut(text.to_owned(), max);
        Self {
            info: info.map(|info| ServerInfo {
                name: short(&info.name, MAX_INFO_BYTES),
                version: info.version.as_deref().map(|version| short(version, MAX_INFO_BYTES)),
            }),
            versions: versions
                .into_iter()
                .take(MAX_VERSIONS)
                .map(|version| short(version, MAX_VERSION_BYTES))
                .collect(),
            tools: reports.iter().filter_map(|(_, report)| report.tools).max(),
        }
    }
}

/// True as soon as there is an endpoint; the reason then says what is wrong with pods that are none.
fn available(plan: &BackendPlan, seen: &SeenBackend, endpoints: Option<u32>) -> Finding {
    let type_ = ConditionType::Available;
    let of_pods = seen.workload.as_ref().and_then(|workload| {
        let problem = workload.apply.problem().or_else(|| workload.problem())?;
        Some(workload.apply.explain(problem))
    });
    let Some(endpoints) = endpoints else {
        return if plan.gateways.is_empty() {
            Finding::unknown(type_, Reason::NotAttached, "no accepted route names it, so nobody tried")
        } else {
            Problem::pending("no gateway has reported on it yet").finding(type_)
        };
    };
    match (endpoints, of_pods) {
        (0, Some(problem)) => problem.finding(type_),
        (0, None) => Finding::bad(type_, Reason::NoEndpoints, "it has no ready address"),
        (_, Some(problem)) if !problem.is_usual() => Finding::good(type_, problem.reason, problem.message),
        (_, _) => Finding::good(type_, Reason::Available, ""),
    }
}

fn verified(plan: &BackendPlan, holders: &[&SeenGateway], reports: &[(&str, &BackendReport)]) -> Finding {
    let type_ = ConditionType::Verified;
    if plan.gateways.is_empty() {
        return Finding::unknown(type_, Reason::NotAttached, "no accepted route names it, so nobody tried");
    }
    let failed: Vec<&(&str, &BackendReport)> =
        reports.iter().filter(|(_, report)| report.verified == Some(false)).collect();
    if let Some((_, first)) = failed.first() {
        let names: Vec<&str> = failed.iter().map(|(pod, _)| *pod).collect();
        let why = first.problem.as_deref().map_or_else(|| "no answer".to_owned(), quote);
        let place = if failed.len() == reports.len() { String::new() } else { format!(" at gateway {}", pods(&names)) };
        return Finding::bad(type_, Reason::Unavailable, format!("the MCP handshake fails{place}: {why}"));
    }
    if reports.iter().any(|(_, report)| report.verified == Some(true)) {
        return Finding::good(type_, Reason::Verified, "");
    }
    let silence = holders.iter().find_map(|gateway| gateway.silence()).filter(|_| reports.is_empty());
    let Problem { reason, message } = silence.unwrap_or_else(|| Problem::pending("no gateway has tried yet"));
    Finding::unknown(type_, reason, message)
}

/// Calls can be sent to it: everything else holds.
fn ready(findings: &[Finding]) -> Finding {
    let type_ = ConditionType::Ready;
    let order =
        [ConditionType::Accepted, ConditionType::ResolvedRefs, ConditionType::Available, ConditionType::Verified];
    if let Some(bad) = order.iter().find_map(|type_| broken(findings, *type_)) {
        return Finding::bad(type_, bad.reason, bad.message.clone());
    }
    let is_unknown = |finding: &&Finding| finding.status == ConditionStatus::Unknown;
    if let Some(unknown) = order.iter().find_map(|type_| find(findings, *type_).filter(is_unknown)) {
        return Finding::unknown(type_, unknown.reason, unknown.message.clone());
    }
    Finding::good(type_, Reason::Ready, "")
}

fn sentence(findings: &[Finding], ready: &Finding, said: &Said, endpoints: Option<&EndpointCounts>) -> String {
    if let Some(accepted) = broken(findings, ConditionType::Accepted) {
        return format!("Not accepted: {}", accepted.message);
    }
    match (ready.status, ready.reason) {
        (ConditionStatus::False, _) => return format!("Not ready: {}", ready.message),
        (ConditionStatus::Unknown, Reason::NotAttached) => return "Not in use: no accepted route names it".to_owned(),
        (ConditionStatus::Unknown, _) => return format!("Waiting: {}", ready.message),
        (ConditionStatus::True, _) => {}
    }
    let name = said.info.as_ref().map_or("It", |info| info.name.as_str());
    let endpoints =
        count(endpoints.map_or(0, |counts| usize::try_from(counts.ready).unwrap_or(usize::MAX)), "endpoint");
    let tools = said.tools.and_then(|tools| usize::try_from(tools).ok()).map(|tools| count(tools, "tool"));
    match tools {
        Some(tools) => format!("{name} answers at {endpoints} with {tools}"),
        None => format!("{name} answers at {endpoints}"),
    }
}
