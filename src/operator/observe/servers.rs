//! The servers of a route as the pods of one gateway report them: the worst of all pods counts.

use super::Problem;
use super::text::{list, pods, quote};
use crate::api::conditions::{ConditionType, Finding, Reason, cut};
use crate::api::route::RouteServerStatus;
use crate::ir::channel::{Report, ServerReport};
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{self, Access, Snapshot};
use std::collections::BTreeSet;

/// The most conflicting names that a status holds, and the longest of them in bytes, by its schema.
const MAX_CONFLICTS: usize = 16;
const MAX_NAME_BYTES: usize = 256;

/// The servers of one route at one gateway.
pub(super) struct Servers<'a> {
    seen: Vec<SeenServer<'a>>,
    /// Pods that report on the route.
    pods: Vec<&'a str>,
    /// Those of them that answer 503 to everybody.
    closed: Vec<&'a str>,
    /// Why all of them should.
    reason: Option<&'a str>,
}

struct SeenServer<'a> {
    spec: &'a snapshot::Server,
    reports: Vec<(&'a str, &'a ServerReport)>,
}

impl<'a> Servers<'a> {
    /// Picks out what `reports` say of the route's servers as they should be; what a pod says of others is of another generation.
    pub(super) fn new(id: &ObjectId, snapshot: Option<&'a Snapshot>, reports: &[(&'a str, &'a Report)]) -> Self {
        let of_route: Vec<_> =
            reports.iter().filter_map(|(pod, report)| Some((*pod, report.routes.get(id)?))).collect();
        let route = snapshot.and_then(|snapshot| snapshot.routes.iter().find(|route| route.id == *id));
        let specs = route.map(|route| route.servers.as_slice()).unwrap_or_default();
        let seen = |spec: &'a snapshot::Server| SeenServer {
            spec,
            reports: of_route
                .iter()
                .filter_map(|(pod, route)| Some((*pod, route.servers.iter().find(|server| server.name == spec.name)?)))
                .collect(),
        };
        let reason = route.and_then(|route| match &route.access {
            Access::Unavailable { reason } => Some(reason.as_str()),
            Access::Anonymous => None,
        });
        let closed = of_route.iter().filter(|(_, report)| report.unavailable);
        Self {
            seen: specs.iter().map(seen).collect(),
            pods: of_route.iter().map(|(pod, _)| *pod).collect(),
            closed: closed.map(|(pod, _)| *pod).collect(),
            reason,
        }
    }

    pub(super) fn pods(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn statuses(&self) -> Vec<RouteServerStatus> {
        self.seen.iter().map(SeenServer::status).collect()
    }

    /// Why some pod cannot serve clients: it refuses them all, nothing can be called, or not what the route requires.
    pub(super) fn unavailable(&self) -> Option<Problem> {
        let message = self.refused().or_else(|| self.unserved())?;
        Some(Problem::new(Reason::Unavailable, message))
    }

    fn refused(&self) -> Option<String> {
        if let Some(reason) = self.reason {
            return Some(format!("clients get 503: {reason}"));
        }
        (!self.closed.is_empty())
            .then(|| format!("clients get 503 until what was missing is in force{}", self.place(&self.closed)))
    }

    fn unserved(&self) -> Option<String> {
        let is_dead = |server: &SeenServer<'_>, pod: &str| {
            server.reports.iter().any(|(name, report)| *name == pod && report.active_priority.is_none())
        };
        let required = self.seen.iter().find_map(|server| {
            let dead: Vec<&str> = server.dead_at();
            (server.spec.required && !dead.is_empty()).then(|| {
                let place = self.place(&dead);
                format!(
                    "server {}, which the route requires, has no backend that can be called{place}",
                    server.spec.name
                )
            })
        });
        let all = || {
            let is_all_dead = |pod: &&&str| self.seen.iter().all(|server| is_dead(server, pod));
            let dead: Vec<&str> = self.pods.iter().filter(is_all_dead).copied().collect();
            (!dead.is_empty()).then(|| format!("no server has a backend that can be called{}", self.place(&dead)))
        };
        required.or_else(all)
    }

    /// Whether no pod knows yet that clients can be served: by nothing at all, or not by what the route requires.
    pub(super) fn is_untried(&self) -> bool {
        let is_tried = |server: &SeenServer<'_>| {
            server.reports.iter().any(|(_, report)| report.active_priority.is_some() && !report.untried)
        };
        let required = self.seen.iter().filter(|server| server.spec.required);
        !self.seen.iter().any(is_tried) || !required.into_iter().all(is_tried)
    }

    pub(super) fn primary_active(&self) -> Finding {
        let type_ = ConditionType::PrimaryActive;
        let mut dead = Vec::new();
        let mut failed_over = Vec::new();
        for server in &self.seen {
            let (name, first) = (&server.spec.name, server.first_priority());
            let at = server.dead_at();
            if !at.is_empty() {
                dead.push(format!("server {name} has no backend that can be called{}", self.place(&at)));
            }
            let lower: Vec<(&str, u32)> = server
                .reports
                .iter()
                .filter_map(|(pod, report)| {
                    Some((*pod, report.active_priority.filter(|active| Some(*active) != first)?))
                })
                .collect();
            if let (Some(active), Some(first)) = (lower.iter().map(|(_, active)| active).max(), first) {
                let at: Vec<&str> = lower.iter().map(|(pod, _)| *pod).collect();
                let place = self.place(&at);
                failed_over.push(format!("server {name} is served by priority {active} instead of {first}{place}"));
            }
        }
        let reason = if dead.is_empty() { Reason::FailedOver } else { Reason::Unavailable };
        let told = [dead, failed_over].concat();
        if !told.is_empty() {
            return Finding::bad(type_, reason, told.join("; "));
        }
        if self.seen.iter().any(|server| server.reports.is_empty()) {
            return Problem::pending("no pod has reported on every server yet").finding(type_);
        }
        Finding::good(type_, Reason::PrimaryActive, "")
    }

    pub(super) fn catalog_complete(&self) -> Finding {
        let type_ = ConditionType::CatalogComplete;
        let missing: Vec<String> = self.seen.iter().filter_map(|server| self.not_listed(server)).collect();
        let conflicts: Vec<String> = self.seen.iter().filter_map(SeenServer::conflict).collect();
        let reason = if missing.is_empty() { Reason::NameConflict } else { Reason::Unavailable };
        let told = [missing, conflicts].concat();
        if !told.is_empty() {
            return Finding::bad(type_, reason, told.join("; "));
        }
        let is_listed = |server: &SeenServer<'_>| server.reports.iter().any(|(_, report)| report.listed == Some(true));
        if !self.seen.iter().all(is_listed) {
            return Problem::pending("no client was there to list for yet").finding(type_);
        }
        Finding::good(type_, Reason::CatalogComplete, "")
    }

    fn not_listed(&self, server: &SeenServer<'_>) -> Option<String> {
        let missing: Vec<&(&str, &ServerReport)> =
            server.reports.iter().filter(|(_, report)| report.listed == Some(false)).collect();
        let (_, first) = missing.first()?;
        let at: Vec<&str> = missing.iter().map(|(pod, _)| *pod).collect();
        let why = first.problem.as_deref().map(|why| format!(": {}", quote(why))).unwrap_or_default();
        Some(format!("server {} is not in the catalogue{}{why}", server.spec.name, self.place(&at)))
    }

    /// Names the pods where something is so, unless it is so at all of them.
    fn place(&self, at: &[&str]) -> String {
        if at.len() == self.pods.len() { String::new() } else { format!(" at {}", pods(at)) }
    }
}

impl SeenServer<'_> {
    fn first_priority(&self) -> Option<u32> {
        self.spec.tiers.first().map(|tier| tier.priority)
    }

    /// Pods that have nothing to call.
    fn dead_at(&self) -> Vec<&str> {
        self.reports.iter().filter(|(_, report)| report.active_priority.is_none()).map(|(pod, _)| *pod).collect()
    }

    fn conflict_names(&self) -> BTreeSet<&str> {
        self.reports.iter().flat_map(|(_, report)| report.conflicts.iter().map(String::as_str)).collect()
    }

    fn conflict(&self) -> Option<String> {
        let names: Vec<&str> = self.conflict_names().into_iter().collect();
        (!names.is_empty()).then(|| {
            format!(
                "server {}: {} taken by an earlier server; give one of them a prefix, or exclude or rename the tool",
                self.spec.name,
                list("name", &names),
            )
        })
    }

    fn status(&self) -> RouteServerStatus {
        let reports = || self.reports.iter().map(|(_, report)| report);
        let active =
            if self.dead_at().is_empty() { reports().filter_map(|report| report.active_priority).max() } else { None };
        RouteServerStatus {
            name: self.spec.name.clone(),
            active_priority: active,
            healthy: reports().map(|report| report.healthy).min(),
            total: reports().map(|report| report.total).max(),
            tools: reports().filter(|report| report.listed == Some(true)).map(|report| report.tools).max(),
            conflicts: self
                .conflict_names()
                .into_iter()
                .take(MAX_CONFLICTS)
                .map(|name| cut(name.to_owned(), MAX_NAME_BYTES))
                .collect(),
            reporting: Some(u32::try_from(self.reports.len()).unwrap_or(u32::MAX)),
        }
    }
}
