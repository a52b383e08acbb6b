//! The servers of a route: their names and globs, and the tiers of backends behind each.

use super::backends::CheckedBackend;
use super::facts::Facts;
use super::problem::{Problem, join};
use super::{resilience, settings, tenancy};
use crate::api::McpRouteSpec;
use crate::api::conditions::Reason;
use crate::api::route::{BackendRef, RouteServer, ToolPolicy};
use crate::ir::ids::ObjectId;
use crate::ir::snapshot;
use globset::Glob;
use std::collections::{BTreeMap, BTreeSet};

/// The servers of one route, sorted into what can be served and what cannot.
pub(super) struct CheckedServers<'a> {
    pub(super) usable: Vec<UsableServer<'a>>,
    /// One problem for each server that is left out because of its own values.
    pub(super) left_out: Vec<Problem>,
    /// Backends that cannot be used.
    pub(super) refs: Vec<Problem>,
    /// Why the route answers 503: a required server, or every one, is missing. `Invalid` when its own values are to blame.
    pub(super) unavailable: Option<Problem>,
}

/// A server that can be served. What of it depends on the gateway is [`resilience::at_gateway`]'s matter.
pub(super) struct UsableServer<'a> {
    pub(super) spec: &'a RouteServer,
    pub(super) served: snapshot::Server,
}

/// Everything that one check may look at.
struct Candidate<'a> {
    server: &'a RouteServer,
    index: usize,
    /// Servers before this one.
    earlier: &'a [RouteServer],
}

/// Reasons to leave a server out, in the order in which they are told.
const CHECKS: &[fn(&Candidate<'_>) -> Option<String>] = &[
    name_is_taken,        // status and catalogues tell servers apart by name
    prefix_is_no_name,    // the prefix begins every tool's name
    globs_are_malformed,  // and what they would match is anyone's guess
    overrides_contradict, // one tool, one change; one name, one tool
    attempts_are_none,    // zero attempts are no call
    timeouts_are_zero,    // every call would end at once
    weights_are_all_zero, // nobody would be called
];

/// Checks the servers of the route `id`.
pub(super) fn check<'a>(
    id: &ObjectId,
    spec: &'a McpRouteSpec,
    facts: &Facts,
    backends: &BTreeMap<&ObjectId, CheckedBackend<'_>>,
) -> CheckedServers<'a> {
    let mut checked = CheckedServers { usable: Vec::new(), left_out: Vec::new(), refs: Vec::new(), unavailable: None };
    for (index, server) in spec.servers.iter().enumerate() {
        let candidate = Candidate { server, index, earlier: &spec.servers[..index] };
        let mistake = CHECKS.iter().find_map(|check| check(&candidate));
        let (tiers, refs) = tiers(id, &candidate, facts, backends);
        checked.refs.extend(refs);
        if let Some(mistake) = mistake {
            let problem = Problem::invalid(format!("{} is left out: {mistake}", candidate.field()));
            checked.miss(server, &problem);
            checked.left_out.push(problem);
        } else if tiers.is_empty() {
            let message = format!("{} has no usable backend", candidate.field());
            checked.miss(server, &Problem::new(Reason::DependencyNotReady, message));
        } else {
            checked.usable.push(UsableServer { spec: server, served: translated(server, tiers) });
        }
    }
    if checked.usable.is_empty() {
        checked.unavailable = Some(if checked.left_out.len() == spec.servers.len() {
            Problem::invalid(join(&checked.left_out))
        } else {
            Problem::new(Reason::DependencyNotReady, "no server has a usable backend")
        });
    }
    checked
}

impl CheckedServers<'_> {
    /// Notes why `server` is not there; the route cannot do without a required one.
    fn miss(&mut self, server: &RouteServer, problem: &Problem) {
        if server.required && self.unavailable.is_none() {
            self.unavailable = Some(problem.clone());
        }
    }
}

impl Candidate<'_> {
    fn field(&self) -> String {
        if self.server.name.is_empty() {
            format!("spec.servers[{}]", self.index)
        } else {
            format!("spec.servers[{}]", self.server.name)
        }
    }

    fn tools(&self) -> Option<&ToolPolicy> {
        self.server.tools.as_ref()
    }
}

fn name_is_taken(candidate: &Candidate<'_>) -> Option<String> {
    let name = &candidate.server.name;
    if name.is_empty() {
        return Some("name is empty".to_owned());
    }
    candidate
        .earlier
        .iter()
        .any(|other| other.name == *name)
        .then(|| format!("an earlier server is named {name} too; choose another name"))
}

fn prefix_is_no_name(candidate: &Candidate<'_>) -> Option<String> {
    let prefix = candidate.server.prefix.as_deref()?;
    (!is_tool_name(prefix) || prefix.len() > 64).then(|| {
        format!("prefix {prefix:?} may have at most 64 letters, digits and '_', '-', '.', '/': tools are named with it")
    })
}

fn globs_are_malformed(candidate: &Candidate<'_>) -> Option<String> {
    let of_calls = candidate.server.matches.iter().flat_map(|call| &call.tools).map(|glob| ("matches[].tools", glob));
    let of_tools = candidate.tools().into_iter().flat_map(|tools| {
        let include = tools.include.iter().map(|glob| ("tools.include", glob));
        include.chain(tools.exclude.iter().map(|glob| ("tools.exclude", glob)))
    });
    of_calls.chain(of_tools).find_map(|(field, glob)| {
        Glob::new(glob).err().map(|error| format!("{field}: {glob:?} is not a glob: {}", error.kind()))
    })
}

fn overrides_contradict(candidate: &Candidate<'_>) -> Option<String> {
    let overrides = &candidate.tools()?.overrides;
    let mut changed = BTreeSet::new();
    let mut given = BTreeSet::new();
    overrides.iter().find_map(|change| {
        let rename = change.rename.as_deref();
        if !changed.insert(&change.name) {
            return Some(format!("tools.overrides names {} twice; make one entry of them", change.name));
        }
        if let Some(name) = rename.filter(|name| !is_tool_name(name) || name.is_empty()) {
            return Some(format!(
                "tools.overrides[{}].rename {name:?} may have letters, digits and '_', '-', '.', '/' only",
                change.name
            ));
        }
        let name = rename?;
        (!given.insert(name))
            .then(|| format!("tools.overrides gives the name {name} to two tools; choose another for {}", change.name))
    })
}

fn attempts_are_none(candidate: &Candidate<'_>) -> Option<String> {
    (candidate.server.failover.attempts == 0).then(|| "failover.attempts must be at least 1, the first call".to_owned())
}

fn timeouts_are_zero(candidate: &Candidate<'_>) -> Option<String> {
    settings::timeout_of_zero("timeouts", candidate.server.timeouts.as_ref()).map(|problem| problem.message)
}

fn weights_are_all_zero(candidate: &Candidate<'_>) -> Option<String> {
    let refs = &candidate.server.backend_refs;
    if refs.is_empty() {
        return Some("backendRefs is empty; name at least one MCPBackend".to_owned());
    }
    refs.iter()
        .all(|reference| reference.weight == 0)
        .then(|| "backendRefs: every weight is 0; give one backend a weight above 0".to_owned())
}

/// What MCP recommends for tool names, and the slash that many servers use.
fn is_tool_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte))
}

/// The usable backends by priority, and what is wrong with the others.
///
/// A tier in which nothing takes calls is left out: a backend of weight 0 is being drained, and the next tier serves.
fn tiers(
    route: &ObjectId,
    candidate: &Candidate<'_>,
    facts: &Facts,
    backends: &BTreeMap<&ObjectId, CheckedBackend<'_>>,
) -> (Vec<snapshot::Tier>, Vec<Problem>) {
    let mut tiers: BTreeMap<u32, Vec<snapshot::WeightedBackend>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for reference in &candidate.server.backend_refs {
        let namespace = reference.namespace.as_deref().unwrap_or(&route.namespace);
        let backend = ObjectId::new(namespace, &reference.name);
        // Of a backend named twice the first entry counts; the schema refuses the second.
        if !seen.insert(backend.clone()) {
            continue;
        }
        match usable(route, &backend, facts, backends) {
            Ok(()) => tiers.entry(reference.priority).or_default().push(weighted(backend, reference)),
            Err(problem) => problems.push(Problem {
                message: format!("{}.backendRefs: {}", candidate.field(), problem.message),
                ..problem
            }),
        }
    }
    let serves = |tier: &snapshot::Tier| tier.backends.iter().any(|backend| backend.weight > 0);
    let tiers =
        tiers.into_iter().map(|(priority, backends)| snapshot::Tier { priority, backends }).filter(serves).collect();
    (tiers, problems)
}

fn weighted(backend: ObjectId, reference: &BackendRef) -> snapshot::WeightedBackend {
    snapshot::WeightedBackend { backend, weight: reference.weight }
}

/// Whether `route` may use `backend`. From another namespace a missing backend and one that does not consent look the
/// same, so that names cannot be probed.
fn usable(
    route: &ObjectId,
    backend: &ObjectId,
    facts: &Facts,
    backends: &BTreeMap<&ObjectId, CheckedBackend<'_>>,
) -> Result<(), Problem> {
    let found = backends.get(backend);
    let consents = |found: &CheckedBackend<'_>| {
        tenancy::allows(&found.spec.allowed_routes, &backend.namespace, &route.namespace, facts)
    };
    if backend.namespace != route.namespace && !found.is_some_and(consents) {
        return Err(Problem::new(
            Reason::RefNotPermitted,
            format!(
                "MCPBackend {backend} does not exist or does not allow routes of namespace {}; its owner allows them by spec.allowedRoutes",
                route.namespace
            ),
        ));
    }
    match found {
        None => Err(Problem::new(
            Reason::BackendNotFound,
            format!("MCPBackend {backend} does not exist; create it or correct the name"),
        )),
        Some(found) if found.served.is_none() => Err(Problem::new(
            Reason::DependencyNotReady,
            format!("MCPBackend {backend} cannot be used; its conditions say why"),
        )),
        Some(_) => Ok(()),
    }
}

fn translated(server: &RouteServer, tiers: Vec<snapshot::Tier>) -> snapshot::Server {
    let call_match = |call: &crate::api::route::CallMatch| snapshot::CallMatch {
        methods: call.methods.clone(),
        tools: call.tools.clone(),
    };
    snapshot::Server {
        name: server.name.clone(),
        prefix: server.prefix.clone().filter(|prefix| !prefix.is_empty()),
        matches: server.matches.iter().map(call_match).collect(),
        tools: server.tools.as_ref().map(tool_policy).unwrap_or_default(),
        tiers,
        failover: resilience::failover(&server.failover),
        load_balancing: resilience::load_balancing(&server.load_balancing),
        // Its gateway decides.
        timeouts: None,
        fallback: resilience::fallback(&server.filters),
        required: server.required,
    }
}

fn tool_policy(policy: &ToolPolicy) -> snapshot::ToolPolicy {
    let change = |change: &crate::api::route::ToolOverride| snapshot::ToolOverride {
        name: change.name.clone(),
        rename: change.rename.clone(),
        description: change.description.clone(),
    };
    snapshot::ToolPolicy {
        include: policy.include.clone(),
        exclude: policy.exclude.clone(),
        overrides: policy.overrides.iter().map(change).collect(),
    }
}
