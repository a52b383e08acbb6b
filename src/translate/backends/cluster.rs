//! Targets in a cluster: pods that the operator runs, Services, remote servers, and servers of other operators.

use super::{Candidate, Unusable, Variant, url};
use crate::api::backend::{RemoteServer, ServerRef, ServiceServer};
use crate::api::conditions::Reason;
use crate::api::pod::{EnvFromSource, EnvSourceRef, EnvVar, Volume};
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::snapshot::{AddressPolicy, Endpoint, HeaderAuth, Target, Transport, UpstreamTls};
use crate::translate::facts::{Cluster, Content, GroupKind};
use crate::translate::naming::{SHIM_PATH, SHIM_PORT, TOKEN_KEY, backend_objects, service_host};
use crate::translate::problem::Problem;

/// Where the backend is in this cluster.
pub(super) fn target(candidate: &Candidate<'_>, cluster: &Cluster) -> Result<Target, Unusable> {
    let transport = candidate.variant.transport();
    match candidate.variant {
        Variant::Stdio(_) => Ok(behind_shim(transport, pods(candidate, SHIM_PORT))),
        Variant::Http(server) => Ok(inside(transport, &server.path, pods(candidate, server.port))),
        Variant::Service(server) => Ok(inside(transport, &server.path, service(candidate, server)?)),
        Variant::Remote(server) => remote(candidate, server, AddressPolicy::PublicOnly),
        Variant::ServerRef(reference) => other_operators(candidate, reference, cluster),
    }
}

/// A server inside the cluster, whose addresses the cluster itself chose.
fn inside(transport: Transport, path: &str, endpoints: Vec<Endpoint>) -> Target {
    let addresses = AddressPolicy::Any;
    Target::Http { transport, endpoints, path: path.to_owned(), host: None, tls: None, addresses, shim: false }
}

/// A stdio server in pods of its own.
fn behind_shim(transport: Transport, endpoints: Vec<Endpoint>) -> Target {
    let (path, addresses) = (SHIM_PATH.to_owned(), AddressPolicy::Any);
    Target::Http { transport, endpoints, path, host: None, tls: None, addresses, shim: true }
}

/// The headless Service of the pods: the data plane resolves its name again and again, unless it is told who is ready.
fn pods(candidate: &Candidate<'_>, port: u16) -> Vec<Endpoint> {
    let service = ObjectId::new(&candidate.id.namespace, backend_objects(&candidate.id.name));
    vec![Endpoint { host: service_host(&service), port }]
}

/// The Service's own name: who is behind it, the data plane is told apart from this.
fn service(candidate: &Candidate<'_>, server: &ServiceServer) -> Result<Vec<Endpoint>, Unusable> {
    let id = ObjectId::new(&candidate.id.namespace, &server.name);
    let missing = |message: String| Unusable::Unresolved(Problem::new(Reason::ServiceNotFound, message));
    let Some(known) = candidate.facts.services.get(&id) else {
        return Err(missing(format!("spec.service.name: Service {} does not exist in this namespace", server.name)));
    };
    // By such a Service a tenant could make the gateway call anything; `remote` is confined to public addresses.
    if known.is_external_name {
        let message = format!("spec.service.name: Service {} is of type ExternalName; use spec.remote", server.name);
        return Err(Unusable::Unresolved(Problem::new(Reason::UnsupportedValue, message)));
    }
    if !known.ports.contains_key(&server.port) {
        let ports: Vec<String> = known.ports.keys().map(u16::to_string).collect();
        return Err(missing(format!(
            "spec.service.port: Service {} has no port {}; it has {}",
            server.name,
            server.port,
            ports.join(", ")
        )));
    }
    Ok(vec![Endpoint { host: service_host(&id), port: server.port }])
}

/// A server outside, by its URL.
pub(super) fn remote(
    candidate: &Candidate<'_>,
    server: &RemoteServer,
    addresses: AddressPolicy,
) -> Result<Target, Unusable> {
    let mut target = url::target("spec.remote.url", &server.url, candidate.variant.transport(), addresses)
        .map_err(Unusable::Refused)?;
    if let (Some(wanted), Target::Http { tls, .. }) = (&server.tls, &mut target) {
        if tls.is_none() {
            return Err(Unusable::Refused(Problem::invalid("spec.remote.tls goes with an https:// URL")));
        }
        let reference = &wanted.ca_certificate_ref;
        let key = SecretKey::new(&candidate.id.namespace, &reference.name, &reference.key);
        match candidate.facts.secrets.get(&key.secret).and_then(|secret| secret.keys.get(&key.key)) {
            Some(Content::Certificates) => *tls = Some(UpstreamTls { server_name: None, ca: Some(key) }),
            found => {
                let what = if found.is_some() { "holds no PEM certificate" } else { "does not exist" };
                let message = format!(
                    "spec.remote.tls.caCertificateRef: key {} of Secret {} {what}",
                    reference.key, reference.name
                );
                return Err(Unusable::Unresolved(Problem::new(Reason::InvalidCertificateRef, message)));
            }
        }
    }
    Ok(target)
}

/// A server that another operator runs, by the address in its status.
fn other_operators(candidate: &Candidate<'_>, reference: &ServerRef, cluster: &Cluster) -> Result<Target, Unusable> {
    let kind = GroupKind { group: reference.group.clone(), kind: reference.kind.clone() };
    let unresolved = |reason, message: String| Unusable::Unresolved(Problem::new(reason, message));
    if !cluster.server_kinds.contains(&kind) {
        let known: Vec<String> = cluster.server_kinds.iter().map(GroupKind::to_string).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(unresolved(
            Reason::InvalidKind,
            format!("spec.serverRef: {kind} is not among the kinds that the operator follows: {known}"),
        ));
    }
    let id = ObjectId::new(&candidate.id.namespace, &reference.name);
    let Some(server) = candidate.facts.servers.get(&kind).and_then(|servers| servers.get(&id)) else {
        return Err(unresolved(
            Reason::ServerNotFound,
            format!("spec.serverRef: {} {} does not exist in this namespace", reference.kind, reference.name),
        ));
    };
    let Some(address) = &server.url else {
        return Err(unresolved(
            Reason::ServerNotFound,
            format!("spec.serverRef: {} {} has no address in its status yet", reference.kind, reference.name),
        ));
    };
    let field = format!("spec.serverRef: the address of {} {}", reference.kind, reference.name);
    url::target(&field, address, candidate.variant.transport(), AddressPolicy::Any)
        .map_err(|problem| unresolved(Reason::ServerNotFound, problem.message))
}

/// What a gateway shows to our shim in the backend's pods.
pub(super) fn token(candidate: &Candidate<'_>) -> Result<HeaderAuth, Unusable> {
    let value = SecretKey::new(&candidate.id.namespace, backend_objects(&candidate.id.name), TOKEN_KEY);
    if !candidate.facts.tokens.contains(candidate.id) {
        let message = format!(
            "Secret {}, in which the operator keeps the token of this backend's pods, has no key {TOKEN_KEY} or could not be made; delete it if it is there, a new one is made then",
            value.secret.name
        );
        return Err(Unusable::Unresolved(Problem::new(Reason::SecretNotFound, message)));
    }
    Ok(HeaderAuth { header: "authorization".to_owned(), prefix: Some("Bearer ".to_owned()), value })
}

/// Secrets and `ConfigMap`s that the environment or the volumes of a pod name and that do not exist. The pod waits for them; the
/// backend is none the less where it is.
pub(super) fn missing_data(candidate: &Candidate<'_>) -> Vec<Problem> {
    let (variant, env, sources, volumes) = match candidate.variant {
        Variant::Stdio(server) => ("stdio", &server.env, &server.env_from, &server.volumes),
        Variant::Http(server) => ("http", &server.env, &server.env_from, &server.volumes),
        Variant::Service(_) | Variant::Remote(_) | Variant::ServerRef(_) => return Vec::new(),
    };
    let variables = env.iter().filter_map(|variable| missing_value(candidate, variant, variable));
    let wholes =
        sources.iter().enumerate().filter_map(|(index, source)| missing_source(candidate, variant, index, source));
    let files =
        volumes.iter().enumerate().filter_map(|(index, volume)| missing_volume(candidate, variant, index, volume));
    variables.chain(wholes).chain(files).collect()
}

fn missing_volume(candidate: &Candidate<'_>, variant: &str, index: usize, volume: &Volume) -> Option<Problem> {
    let id = |name: &str| ObjectId::new(&candidate.id.namespace, name);
    let field = format!("spec.{variant}.volumes[{index}]");
    let secret = volume.secret().map(id).filter(|id| !candidate.facts.secrets.contains_key(id));
    let config_map = volume.config_map().map(id).filter(|id| !candidate.facts.config_maps.contains_key(id));
    secret
        .map(|id| absent(Reason::SecretNotFound, &field, "Secret", &id))
        .or_else(|| config_map.map(|id| absent(Reason::ConfigMapNotFound, &field, "ConfigMap", &id)))
}

fn absent(reason: Reason, field: &str, kind: &str, id: &ObjectId) -> Problem {
    Problem::new(reason, format!("{field}: {kind} {} does not exist in this namespace; create it", id.name))
}

fn missing_value(candidate: &Candidate<'_>, variant: &str, variable: &EnvVar) -> Option<Problem> {
    let source = variable.value_from.as_ref()?;
    let field = format!("spec.{variant}.env[{}].valueFrom", variable.name);
    if let Some(reference) = &source.secret_key_ref {
        return candidate.secret(&format!("{field}.secretKeyRef"), reference).err();
    }
    let reference = source.config_map_key_ref.as_ref()?;
    let id = ObjectId::new(&candidate.id.namespace, &reference.name);
    let keys = candidate.facts.config_maps.get(&id);
    (!keys.is_some_and(|keys| keys.contains(&reference.key))).then(|| {
        let message = format!(
            "{field}.configMapKeyRef: ConfigMap {} or its key {} does not exist",
            reference.name, reference.key
        );
        Problem::new(Reason::ConfigMapNotFound, message)
    })
}

fn missing_source(candidate: &Candidate<'_>, variant: &str, index: usize, source: &EnvFromSource) -> Option<Problem> {
    let required = |reference: &Option<EnvSourceRef>| {
        let reference = reference.as_ref().filter(|reference| !reference.optional)?;
        Some(ObjectId::new(&candidate.id.namespace, &reference.name))
    };
    let field = format!("spec.{variant}.envFrom[{index}]");
    let secret = required(&source.secret_ref).filter(|id| !candidate.facts.secrets.contains_key(id));
    let config_map = required(&source.config_map_ref).filter(|id| !candidate.facts.config_maps.contains_key(id));
    secret
        .map(|id| absent(Reason::SecretNotFound, &field, "Secret", &id))
        .or_else(|| config_map.map(|id| absent(Reason::ConfigMapNotFound, &field, "ConfigMap", &id)))
}
