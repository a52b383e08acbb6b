//! Routes by themselves: what each would serve, whichever gateway it attaches to.

use super::backends::CheckedBackend;
use super::inputs::Inputs;
use super::problem::Problem;
use super::servers::{self, UsableServer};
use super::{hostnames, matches, settings};
use crate::api::McpRouteSpec;
use crate::api::route::{HttpMatch, PathMatchType};
use crate::ir::ids::ObjectId;
use crate::ir::snapshot;
use std::collections::BTreeMap;

/// A route with what is decided about it.
pub(super) struct CheckedRoute<'a> {
    pub(super) spec: &'a McpRouteSpec,
    /// Why nothing of it can be served.
    pub(super) refused: Option<Problem>,
    /// Parts that are left out because of their own values.
    pub(super) left_out: Vec<Problem>,
    /// Backends that cannot be used.
    pub(super) refs: Vec<Problem>,
    pub(super) hostnames: Vec<String>,
    pub(super) matches: Vec<snapshot::HttpMatch>,
    pub(super) servers: Vec<UsableServer<'a>>,
    /// Why it answers 503: what it cannot do without is missing. `Invalid` when its own values are to blame.
    pub(super) unavailable: Option<Problem>,
}

/// Checks every route.
pub(super) fn check<'a>(
    inputs: &'a Inputs,
    backends: &BTreeMap<&ObjectId, CheckedBackend<'_>>,
) -> BTreeMap<&'a ObjectId, CheckedRoute<'a>> {
    let one =
        |(id, route): (&'a ObjectId, &'a crate::api::McpRoute)| (id, check_one(id, &route.spec, inputs, backends));
    inputs.routes.iter().map(one).collect()
}

fn check_one<'a>(
    id: &ObjectId,
    spec: &'a McpRouteSpec,
    inputs: &Inputs,
    backends: &BTreeMap<&ObjectId, CheckedBackend<'_>>,
) -> CheckedRoute<'a> {
    let (hostnames, bad_hostnames) = usable_hostnames(spec);
    let (matches, bad_matches) = usable_matches(spec);
    let servers = servers::check(id, spec, &inputs.facts, backends);
    let refused = nothing_to_answer_for(spec, &hostnames, &bad_hostnames)
        .or_else(|| nothing_to_match(&matches, &bad_matches))
        .or_else(|| nothing_to_serve(spec))
        .or_else(|| settings::timeout_of_zero("spec.timeouts", spec.timeouts.as_ref()));
    CheckedRoute {
        spec,
        refused,
        left_out: [bad_hostnames, bad_matches, servers.left_out].concat(),
        refs: servers.refs,
        hostnames,
        matches,
        servers: servers.usable,
        unavailable: servers.unavailable,
    }
}

fn usable_hostnames(spec: &McpRouteSpec) -> (Vec<String>, Vec<Problem>) {
    let mut usable = Vec::new();
    let mut problems = Vec::new();
    for hostname in &spec.hostnames {
        match hostnames::problem(hostname) {
            None => usable.push(hostname.clone()),
            Some(rule) => {
                problems.push(Problem::invalid(format!("spec.hostnames: {hostname:?} is left out: a hostname {rule}")));
            }
        }
    }
    (usable, problems)
}

/// A route that names hosts must never answer for all of them because each name was wrong.
fn nothing_to_answer_for(spec: &McpRouteSpec, usable: &[String], problems: &[Problem]) -> Option<Problem> {
    (usable.is_empty() && !spec.hostnames.is_empty()).then(|| problems.first().cloned()).flatten()
}

fn usable_matches(spec: &McpRouteSpec) -> (Vec<snapshot::HttpMatch>, Vec<Problem>) {
    let mut usable = Vec::new();
    let mut problems = Vec::new();
    for (index, conditions) in spec.matches.iter().enumerate() {
        match usable_match(conditions) {
            Ok(conditions) => usable.push(conditions),
            Err(rule) => problems.push(Problem::invalid(format!("spec.matches[{index}] is left out: {rule}"))),
        }
    }
    (usable, problems)
}

fn usable_match(conditions: &HttpMatch) -> Result<snapshot::HttpMatch, String> {
    let path = conditions.path.value.clone();
    if let Some(rule) = matches::path_problem(&path) {
        return Err(format!("path.value {path:?}: a path {rule}"));
    }
    if let Some(header) = conditions.headers.iter().find(|header| !matches::is_header_name(&header.name)) {
        return Err(format!("headers: {:?} is not a header's name", header.name));
    }
    let path = match conditions.path.type_ {
        PathMatchType::Exact => snapshot::PathMatch::Exact(path),
        PathMatchType::PathPrefix => snapshot::PathMatch::PathPrefix(path),
    };
    let pair = |name: &String, value: &String| snapshot::NameValue { name: name.clone(), value: value.clone() };
    let headers = conditions.headers.iter().map(|header| pair(&header.name, &header.value)).collect();
    let query = conditions.query_params.iter().map(|parameter| pair(&parameter.name, &parameter.value)).collect();
    Ok(matches::canonical(path, headers, query))
}

fn nothing_to_match(usable: &[snapshot::HttpMatch], problems: &[Problem]) -> Option<Problem> {
    if !usable.is_empty() {
        return None;
    }
    problems.first().cloned().or_else(|| Some(Problem::invalid("spec.matches is empty; remove it for the path /mcp")))
}

/// A route whose servers are all malformed or missing is another matter: it answers 503 until they are there.
fn nothing_to_serve(spec: &McpRouteSpec) -> Option<Problem> {
    spec.servers.is_empty().then(|| Problem::invalid("spec.servers is empty; name at least one server"))
}
