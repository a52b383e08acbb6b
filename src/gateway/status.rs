//! What a gateway tells of its routes and backends: to people on `/status`, to the operator in reports.

use super::catalog::{Conflict, ListKind, View};
use super::config::EngineReport;
use super::state::{RouteState, Running, ServerState};
use super::upstream::UpstreamStats;
use crate::ir::channel::{RouteReport, ServerReport, short_name};
use crate::ir::snapshot::Access;
use serde::Serialize;
use std::sync::Arc;

/// Conflicting names in a report at the most: enough to find the cause.
const MAX_CONFLICTS: usize = 32;

/// Every route, for people.
pub(super) fn of_routes(running: &Running) -> Vec<RouteStatus> {
    running.routes.iter().map(|route| RouteStatus::of(route)).collect()
}

/// Every backend and route, for the operator.
pub(super) fn report(running: &Running) -> EngineReport {
    let routes = running.routes.iter().map(|route| {
        let servers = listings(route).map(|(server, listing)| server_report(server, listing)).collect();
        let unavailable = matches!(route.spec.access, Access::Unavailable { .. });
        (route.id().clone(), RouteReport { servers, unavailable })
    });
    EngineReport {
        backends: running.upstreams().map(|upstream| (upstream.id().clone(), upstream.report())).collect(),
        routes: routes.collect(),
    }
}

/// What the catalogue of the kind of client seen last says of one server.
struct Listing {
    position: usize,
    /// Absent until a client was there to list for.
    view: Option<Arc<View>>,
    listed: Option<bool>,
    problem: Option<String>,
}

fn listings(route: &RouteState) -> impl Iterator<Item = (&ServerState, Listing)> {
    let catalog = route.catalogs.latest();
    let reports = catalog.as_ref().map(|catalog| catalog.reports()).unwrap_or_default();
    let view = catalog.map(|catalog| catalog.view());
    route.servers.iter().enumerate().map(move |(position, server)| {
        let report = reports.get(position);
        let listing = Listing {
            position,
            view: view.clone(),
            listed: report.map(|report| report.listed),
            problem: report.and_then(|report| report.problem.as_ref()).map(ToString::to_string),
        };
        (server, listing)
    })
}

impl Listing {
    fn count(&self, kind: ListKind) -> usize {
        self.view.as_ref().map_or(0, |view| view.count(self.position, kind))
    }

    fn conflicts(&self) -> impl Iterator<Item = &Conflict> {
        let all = self.view.iter().flat_map(|view| view.conflicts());
        all.filter(|conflict| conflict.server == self.position)
    }
}

/// A route as `/status` shows it: what the kind of client seen last sees.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RouteStatus {
    route: String,
    servers: Vec<ServerStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerStatus {
    name: String,
    /// Absent until a client was there to list for.
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    tools: usize,
    prompts: usize,
    resources: usize,
    resource_templates: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    conflicts: Vec<Conflict>,
    backends: Vec<BackendStatus>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BackendStatus {
    backend: String,
    #[serde(flatten)]
    stats: UpstreamStats,
}

impl RouteStatus {
    fn of(route: &RouteState) -> Self {
        let servers = listings(route).map(|(server, listing)| ServerStatus::of(server, listing));
        Self { route: route.id().to_string(), servers: servers.collect() }
    }
}

impl ServerStatus {
    fn of(server: &ServerState, listing: Listing) -> Self {
        let backends = server.group.backends();
        Self {
            name: server.name.to_string(),
            listed: listing.listed,
            tools: listing.count(ListKind::Tools),
            prompts: listing.count(ListKind::Prompts),
            resources: listing.count(ListKind::Resources),
            resource_templates: listing.count(ListKind::Templates),
            conflicts: listing.conflicts().cloned().collect(),
            problem: listing.problem,
            backends: backends
                .map(|backend| BackendStatus { backend: backend.id().to_string(), stats: backend.stats() })
                .collect(),
        }
    }
}

fn server_report(server: &ServerState, listing: Listing) -> ServerReport {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let taken = listing.conflicts().filter(|conflict| conflict.is_taken());
    let conflicts = taken.take(MAX_CONFLICTS).map(|conflict| short_name(&conflict.key));
    // Tiers are tried in their order, each backend with a share of it: the first that is not known to fail answers.
    let active = server.spec.tiers.iter().zip(server.group.tiers()).find(|(_, tier)| tier.is_usable());
    ServerReport {
        name: server.name.to_string(),
        active_priority: active.as_ref().map(|(spec, _)| spec.priority),
        untried: active.is_some_and(|(_, tier)| !tier.is_tried()),
        healthy: number(server.group.backends().filter(|backend| backend.is_callable()).count()),
        total: number(server.group.backends().count()),
        listed: listing.listed,
        tools: number(listing.count(ListKind::Tools)),
        conflicts: conflicts.collect(),
        // What is listed may be a little old; it is there none the less.
        problem: if listing.listed == Some(true) { None } else { listing.problem },
    }
}
