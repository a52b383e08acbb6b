//! The data plane as what surrounds it sees it, and what it tells people about itself.

use super::catalog::{Catalog, Conflict, ListKind};
use super::config::Engine;
use super::error::GatewayError;
use super::metrics::Metrics;
use super::peers::peering::{JoinError, Peering};
use super::state::{Gateway, RouteState, ServerState};
use crate::ir::generation::Generation;
use crate::ir::snapshot::Endpoint;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

impl Engine for Gateway {
    fn start(generation: &Generation, metrics: Arc<Metrics>) -> Result<Arc<Self>, GatewayError> {
        Self::new(generation, metrics)
    }

    fn apply(&self, generation: &Generation) -> Result<String, GatewayError> {
        Self::apply(self, generation)
    }

    fn join(&self, peering: Peering) -> Result<(), JoinError> {
        Self::join(self, peering)
    }

    fn set_peers(&self, peers: &BTreeSet<Endpoint>) {
        Self::set_peers(self, peers);
    }

    fn status(&self) -> serde_json::Value {
        let running = self.running();
        let routes: Vec<RouteStatus> = running.routes.iter().map(|route| RouteStatus::of(route)).collect();
        serde_json::to_value(routes).unwrap_or_default()
    }

    /// Nothing that lasts would be worth refusing: a session begun now ends with the others.
    fn drain(&self) {}

    fn close_streams(&self) {
        Self::close_streams(self);
    }

    async fn shutdown(&self) {
        Self::shutdown(self).await;
    }
}

/// A route as `/status` shows it: what the kind of client seen last sees.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteStatus {
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
    stats: super::upstream::UpstreamStats,
}

impl RouteStatus {
    fn of(route: &RouteState) -> Self {
        let catalog = route.catalogs.latest();
        let servers = route.servers.iter().enumerate();
        Self {
            route: route.id().to_string(),
            servers: servers.map(|(position, server)| ServerStatus::of(position, server, catalog.as_deref())).collect(),
        }
    }
}

impl ServerStatus {
    fn of(position: usize, server: &ServerState, catalog: Option<&Catalog>) -> Self {
        let report = catalog.and_then(|catalog| catalog.reports().get(position).cloned());
        let view = catalog.map(Catalog::view);
        let count = |kind| view.as_ref().map_or(0, |view| view.count(position, kind));
        let conflicts =
            view.iter().flat_map(|view| view.conflicts()).filter(|conflict| conflict.server == position).cloned();
        let backends = server.group.backends();
        Self {
            name: server.name.to_string(),
            listed: report.as_ref().map(|report| report.listed),
            problem: report.and_then(|report| report.problem).map(|problem| problem.to_string()),
            tools: count(ListKind::Tools),
            prompts: count(ListKind::Prompts),
            resources: count(ListKind::Resources),
            resource_templates: count(ListKind::Templates),
            conflicts: conflicts.collect(),
            backends: backends
                .map(|backend| BackendStatus { backend: backend.id().to_string(), stats: backend.stats() })
                .collect(),
        }
    }
}
