//! Backends: where each child server is, and with which credentials it is called.

mod cluster;
mod endpoints;
mod env;
mod laptop;
pub(super) mod stdio;
mod url;

pub use endpoints::ready_endpoints;

use super::facts::{Facts, Mode};
use super::inputs::Inputs;
use super::matches::is_header_name;
use super::problem::Problem;
use super::{infra, resilience, secrets, tenancy};
use crate::api::backend::{BackendAuthType, HttpServer, RemoteServer, ServerRef, ServiceServer, StdioServer};
use crate::api::common::{SecretKeySelector, Transport};
use crate::api::{McpBackend, McpBackendSpec};
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::infra::BackendInfra;
use crate::ir::snapshot;
use std::collections::BTreeMap;

/// A backend with what is decided about it.
pub(super) struct CheckedBackend<'a> {
    pub(super) spec: &'a McpBackendSpec,
    pub(super) accepted: Result<(), Problem>,
    /// References that lead nowhere.
    pub(super) refs: Vec<Problem>,
    /// What the data plane calls; absent when the backend cannot be used.
    pub(super) served: Option<snapshot::Backend>,
    /// What to deploy for it, but for its callers.
    pub(super) infra: Option<BackendInfra>,
}

/// Why a backend cannot be used.
enum Unusable {
    /// Its own values: `Accepted=False`.
    Refused(Problem),
    /// What they refer to: `ResolvedRefs=False`.
    Unresolved(Problem),
}

/// Where a backend's server is: the union of the spec.
#[derive(Clone, Copy)]
pub(super) enum Variant<'a> {
    Stdio(&'a StdioServer),
    Http(&'a HttpServer),
    Service(&'a ServiceServer),
    Remote(&'a RemoteServer),
    ServerRef(&'a ServerRef),
}

/// A backend on its way through the checks.
struct Candidate<'a> {
    id: &'a ObjectId,
    spec: &'a McpBackendSpec,
    variant: Variant<'a>,
    facts: &'a Facts,
    mode: &'a Mode,
}

/// Checks every backend.
pub(super) fn check(inputs: &Inputs) -> BTreeMap<&ObjectId, CheckedBackend<'_>> {
    inputs.backends.iter().map(|(id, backend)| (id, check_one(id, backend, inputs))).collect()
}

fn check_one<'a>(id: &'a ObjectId, backend: &'a McpBackend, inputs: &'a Inputs) -> CheckedBackend<'a> {
    let spec = &backend.spec;
    let refused = |problem, refs| CheckedBackend { spec, accepted: Err(problem), refs, served: None, infra: None };
    let variant = match variant(spec) {
        Ok(variant) => variant,
        Err(problem) => return refused(problem, Vec::new()),
    };
    let candidate = Candidate { id, spec, variant, facts: &inputs.facts, mode: &inputs.mode };
    let (resolved, mut refs) = match &inputs.mode {
        Mode::Cluster(cluster) => (cluster::target(&candidate, cluster), cluster::missing_data(&candidate)),
        Mode::Laptop(laptop) => (laptop::target(&candidate, laptop), Vec::new()),
    };
    let served = match resolved.and_then(|target| served(&candidate, target)) {
        Ok(served) => Some(served),
        Err(Unusable::Refused(problem)) => return refused(problem, refs),
        Err(Unusable::Unresolved(problem)) => {
            refs.insert(0, problem);
            None
        }
    };
    if let Some(problem) = tenancy::reaches_too_far(&spec.allowed_routes, "spec", &inputs.mode) {
        return refused(problem, refs);
    }
    let infra = match &inputs.mode {
        Mode::Cluster(_) => infra::of_backend(id, backend, variant),
        Mode::Laptop(_) => Ok(None),
    };
    match infra {
        Ok(infra) => CheckedBackend { spec, accepted: Ok(()), refs, served, infra },
        // Pods that were made before the mistake go on, and are called.
        Err(problem) => CheckedBackend { spec, accepted: Err(problem), refs, served, infra: None },
    }
}

/// What the data plane calls at `target`.
fn served(candidate: &Candidate<'_>, target: snapshot::Target) -> Result<snapshot::Backend, Unusable> {
    Ok(snapshot::Backend {
        target,
        auth: auth(candidate)?,
        health: resilience::health(&candidate.spec.health),
        outlier_detection: resilience::outlier_detection(&candidate.spec.outlier_detection),
        circuit_breaker: resilience::circuit_breaker(&candidate.spec.circuit_breaker),
    })
}

/// The one variant that is set.
pub(super) fn variant(spec: &McpBackendSpec) -> Result<Variant<'_>, Problem> {
    let McpBackendSpec { stdio, http, service, remote, server_ref, .. } = spec;
    let set = [
        stdio.as_ref().map(Variant::Stdio),
        http.as_ref().map(Variant::Http),
        service.as_ref().map(Variant::Service),
        remote.as_ref().map(Variant::Remote),
        server_ref.as_ref().map(Variant::ServerRef),
    ];
    let mut set = set.into_iter().flatten();
    match (set.next(), set.next()) {
        (Some(variant), None) => Ok(variant),
        _ => Err(Problem::invalid("spec takes exactly one of stdio, http, service, remote and serverRef")),
    }
}

impl Variant<'_> {
    /// The transport that the spec names; processes and other operators' servers are always the current one.
    fn transport(self) -> snapshot::Transport {
        let transport = match self {
            Self::Http(server) => server.transport,
            Self::Service(server) => server.transport,
            Self::Remote(server) => server.transport,
            Self::Stdio(_) | Self::ServerRef(_) => Transport::StreamableHTTP,
        };
        match transport {
            Transport::StreamableHTTP => snapshot::Transport::StreamableHttp,
            Transport::SSE => snapshot::Transport::Sse,
        }
    }
}

/// The header that is shown to the server, with its value's place: what the spec names, or our own token.
fn auth(candidate: &Candidate<'_>) -> Result<Option<snapshot::HeaderAuth>, Unusable> {
    match (candidate.mode, candidate.variant, own_auth(candidate)?) {
        (Mode::Cluster(_), Variant::Stdio(_), None) => cluster::token(candidate).map(Some),
        (_, _, own) => Ok(own),
    }
}

/// The header that the spec names.
fn own_auth(candidate: &Candidate<'_>) -> Result<Option<snapshot::HeaderAuth>, Unusable> {
    let refuse = |message: &str| Err(Unusable::Refused(Problem::invalid(message)));
    let header = match (candidate.spec.auth.type_, &candidate.spec.auth.header) {
        (BackendAuthType::None, None) => return Ok(None),
        (BackendAuthType::None, Some(_)) => {
            return refuse("spec.auth.header goes with type: Header; set it or remove header");
        }
        (BackendAuthType::Header, None) => return refuse("spec.auth.header is required with type: Header"),
        (BackendAuthType::Header, Some(header)) => header,
    };
    if matches!(candidate.variant, Variant::Stdio(_)) {
        return refuse("spec.auth does not apply to stdio; a process takes its credentials from spec.stdio.env");
    }
    let name = header.name.to_ascii_lowercase();
    if !is_header_name(&name) || is_the_gateways_own(&name) {
        return refuse(
            "spec.auth.header.name is malformed or a header that the gateway itself sets; use Authorization or one of the server's own",
        );
    }
    let value = candidate
        .secret("spec.auth.header.valueFrom.secretKeyRef", &header.value_from.secret_key_ref)
        .map_err(Unusable::Unresolved)?;
    Ok(Some(snapshot::HeaderAuth { header: name, prefix: header.prefix.clone(), value }))
}

/// Headers that carry the exchange itself.
fn is_the_gateways_own(name: &str) -> bool {
    const OWN: [&str; 12] = [
        "accept",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "keep-alive",
        "last-event-id",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    OWN.contains(&name) || name.starts_with("mcp-")
}

impl Candidate<'_> {
    /// The place of a secret value, if the Secret and its key exist.
    fn secret(&self, field: &str, reference: &SecretKeySelector) -> Result<SecretKey, Problem> {
        secrets::key(field, self.id, reference, self.mode, self.facts)
    }
}
