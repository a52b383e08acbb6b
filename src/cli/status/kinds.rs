//! What is told of the objects of each kind.

use super::state::{Level, State, Told};
use crate::api::route::{ParentRef, RouteParentStatus, RouteServerStatus};
use crate::api::{CONTROLLER_NAME, McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use crate::ir::ids::ObjectId;
use crate::operator::inspect::{Inspected, Listed};
use serde_json::Value;

/// All objects of one kind.
pub(super) struct Section {
    /// The kind, as in manifests.
    pub(super) kind: &'static str,
    /// What they are called together, in JSON.
    pub(super) plural: &'static str,
    /// The heading above their names.
    pub(super) heading: &'static str,
    /// Headings of what is particular to the kind; the last ones are the least important.
    pub(super) columns: &'static [&'static str],
    /// The worst first, then by name.
    pub(super) entries: Vec<Entry>,
}

/// One object.
pub(super) struct Entry {
    pub(super) id: ObjectId,
    pub(super) generation: Option<i64>,
    pub(super) state: State,
    /// As many as there are columns.
    pub(super) cells: Vec<String>,
    /// Its status as it is; null if it has none, or cannot be read.
    pub(super) status: Value,
}

impl Section {
    pub(super) fn is_good(&self) -> bool {
        self.entries.iter().all(|entry| entry.state.level == Level::Good)
    }

    fn entries<K>(
        mut self,
        listed: &[Listed<K>],
        tell: impl Fn(&Listed<K>, &K) -> (State, Vec<String>, Value),
    ) -> Self {
        let malformed = |listed: &Listed<K>, why: &str| {
            (State::malformed(listed, why), self.columns.iter().map(|_| unknown()).collect(), Value::Null)
        };
        let entry = |listed: &Listed<K>| {
            let (state, cells, status) = match &listed.object {
                Ok(object) => tell(listed, object),
                Err(why) => malformed(listed, why),
            };
            Entry { id: listed.id.clone(), generation: listed.generation, state, cells, status }
        };
        self.entries = listed.iter().map(entry).collect();
        self.entries.sort_by(|left, right| (left.state.level, &left.id).cmp(&(right.state.level, &right.id)));
        self
    }
}

/// Everything there is.
pub(super) fn sections(seen: &Inspected) -> Vec<Section> {
    let section = |kind, plural, heading, columns| Section { kind, plural, heading, columns, entries: Vec::new() };
    vec![
        section("MCPGateway", "gateways", "GATEWAY", &["READY", "ROUTES", "ADDRESS"]).entries(&seen.gateways, gateway),
        section("MCPRoute", "routes", "ROUTE", &["SERVERS", "TOOLS", "GATEWAY"]).entries(&seen.routes, route),
        section("MCPBackend", "backends", "BACKEND", &["ENDPOINTS", "TOOLS", "SERVER"])
            .entries(&seen.backends, backend),
        section("MCPAuthPolicy", "authPolicies", "POLICY", &["TARGET"]).entries(&seen.auth_policies, auth_policy),
    ]
}

fn gateway(listed: &Listed<McpGateway>, gateway: &McpGateway) -> (State, Vec<String>, Value) {
    let status = gateway.status.clone().unwrap_or_default();
    let told = [Told { at: None, conditions: &status.conditions }];
    let state = State::of(listed, status.summary.as_deref(), &told);
    let addresses: Vec<&str> = status.addresses.iter().map(|address| address.value.as_str()).collect();
    let pods = status.programmed_replicas.zip(status.replicas).map(|(programmed, all)| format!("{programmed}/{all}"));
    let cells = vec![known(pods), known(status.attached_routes), first(&addresses)];
    (state, cells, json(gateway.status.as_ref()))
}

fn backend(listed: &Listed<McpBackend>, backend: &McpBackend) -> (State, Vec<String>, Value) {
    let status = backend.status.clone().unwrap_or_default();
    let told = [Told { at: None, conditions: &status.conditions }];
    let state = State::of(listed, status.summary.as_deref(), &told);
    let server = status.server_info.as_ref().map(|info| match &info.version {
        Some(version) => format!("{} {version}", info.name),
        None => info.name.clone(),
    });
    let cells = vec![known(status.endpoints.map(|endpoints| endpoints.ready)), known(status.tools), known(server)];
    (state, cells, json(backend.status.as_ref()))
}

fn route(listed: &Listed<McpRoute>, route: &McpRoute) -> (State, Vec<String>, Value) {
    let status = route.status.clone().unwrap_or_default();
    let refs = &route.spec.parent_refs;
    // Other controllers may tell of the same gateways.
    let ours = |parent_ref: &ParentRef| {
        let is_ours =
            |parent: &&RouteParentStatus| parent.controller_name == CONTROLLER_NAME && parent.parent_ref == *parent_ref;
        status.parents.iter().find(is_ours)
    };
    let told: Vec<Told<'_>> = refs
        .iter()
        .map(|parent_ref| Told {
            at: (refs.len() > 1).then(|| parent_name(parent_ref)),
            conditions: ours(parent_ref).map(|parent| parent.conditions.as_slice()).unwrap_or_default(),
        })
        .collect();
    let state = State::of(listed, status.summary.as_deref(), &told);
    let names: Vec<String> = refs.iter().map(parent_name).collect();
    let served =
        |servers: &[RouteServerStatus]| servers.iter().filter(|server| server.active_priority.is_some()).count();
    // Of several gateways, the one that serves least.
    let told_of = refs.iter().filter_map(ours).map(|parent| parent.servers.as_slice()).filter(|told| !told.is_empty());
    let least = told_of.min_by_key(|servers| served(servers));
    let tools = least.and_then(|servers| {
        let known: Vec<u64> = servers.iter().filter_map(|server| server.tools.map(u64::from)).collect();
        (!known.is_empty()).then(|| known.iter().sum::<u64>())
    });
    let servers = least.map(|servers| format!("{}/{}", served(servers), servers.len()));
    (state, vec![known(servers), known(tools), first(&names)], json(route.status.as_ref()))
}

fn auth_policy(listed: &Listed<McpAuthPolicy>, policy: &McpAuthPolicy) -> (State, Vec<String>, Value) {
    let status = policy.status.clone().unwrap_or_default();
    let told = [Told { at: None, conditions: &status.conditions }];
    let state = State::of(listed, status.summary.as_deref(), &told);
    let targets: Vec<String> = policy.spec.target_refs.iter().map(|target| target.name.clone()).collect();
    (state, vec![first(&targets)], json(policy.status.as_ref()))
}

/// As the route names it: with a namespace only if it is another one.
fn parent_name(parent: &ParentRef) -> String {
    let namespace = parent.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    let section = parent.section_name.as_ref().map(|section| format!(":{section}")).unwrap_or_default();
    format!("{namespace}{}{section}", parent.name)
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(unknown, |value| value.to_string())
}

fn unknown() -> String {
    "-".to_owned()
}

fn first<S: AsRef<str>>(names: &[S]) -> String {
    match names {
        [] => unknown(),
        [one] => one.as_ref().to_owned(),
        [one, more @ ..] => format!("{} +{}", one.as_ref(), more.len()),
    }
}

fn json(status: Option<&impl serde::Serialize>) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}
