//! The part of `lint` that looks at objects together: it translates them and tells what translation refuses.
//!
//! Files seldom hold the Secrets, Services and pods that objects refer to, so all of these are taken to be there and
//! right. What other files may hold is a warning only.

use super::lint::{Finding, Severity};
use crate::api::backend::McpBackendSpec;
use crate::api::common::{AllowedRoutes, FromNamespaces, SecretKeySelector};
use crate::api::conditions::{self, ConditionStatus, Reason};
use crate::api::pod::EnvVar;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Endpoint;
use crate::translate::facts::{Cluster, Content, Facts, GroupKind, Mode, Secret, Server, Service};
use crate::translate::manifests::{Manifest, ManifestError, Object};
use crate::translate::{InputError, Inputs, Plan, translate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// An address that stands for any; RFC 5737 keeps it for examples.
const SOMEWHERE: &str = "192.0.2.1";

/// Where an object stands: file and line.
type Places = BTreeMap<(&'static str, ObjectId), (String, u64)>;

/// What is wrong between objects.
pub(super) fn findings(manifests: Vec<Manifest>) -> Vec<Finding> {
    let mut inputs = Inputs::default();
    let mut places = Places::new();
    let mut found = Vec::new();
    for manifest in manifests {
        let place = (manifest.file.clone(), manifest.line);
        let key = key(&manifest.object);
        match inputs.insert(manifest) {
            Ok(()) => places.extend(key.map(|key| (key, place))),
            Err(error) => found.push(twice(&error, place)),
        }
    }
    inputs.facts = assumed(&inputs);
    inputs.mode =
        Mode::Cluster(Cluster { server_kinds: inputs.facts.servers.keys().cloned().collect(), ..Cluster::default() });
    let judge = Judge::of(&inputs);
    for (key, conditions) in conditions_of(&translate(&inputs)) {
        let Some((file, line)) = places.get(&key) else { continue };
        for condition in conditions {
            if let Some(severity) = judge.severity(&condition) {
                let message = judge.message(condition);
                let mistake =
                    ManifestError { file: file.clone(), line: *line, column: 0, field: String::new(), message };
                let finding = Finding { severity, mistake };
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    found
}

fn key(object: &Object) -> Option<(&'static str, ObjectId)> {
    let (kind, metadata) = match object {
        Object::Gateway(gateway) => ("MCPGateway", &gateway.metadata),
        Object::Backend(backend) => ("MCPBackend", &backend.metadata),
        Object::Route(route) => ("MCPRoute", &route.metadata),
        Object::AuthPolicy(policy) => ("MCPAuthPolicy", &policy.metadata),
        Object::Foreign(_) => return None,
    };
    Some((kind, id(metadata)))
}

fn id(metadata: &ObjectMeta) -> ObjectId {
    let namespace = metadata.namespace.as_deref().unwrap_or(crate::translate::DEFAULT_NAMESPACE);
    ObjectId::new(namespace, metadata.name.as_deref().unwrap_or_default())
}

fn twice(error: &InputError, (file, line): (String, u64)) -> Finding {
    let message = match error {
        InputError::Duplicate { kind, id, .. } => format!("{kind} {id} is defined twice: rename or remove one"),
        other @ InputError::UnknownBackend(_) => other.to_string(),
    };
    let mistake = ManifestError { file, line, column: 0, field: "metadata.name".to_owned(), message };
    Finding { severity: Severity::Error, mistake }
}

/// Every condition of every object.
fn conditions_of(plan: &Plan) -> Vec<((&'static str, ObjectId), Vec<conditions::Finding>)> {
    let gateways = plan.gateways.iter().map(|(id, gateway)| {
        let of_listeners = gateway.listeners.iter().flat_map(|listener| &listener.conditions);
        (("MCPGateway", id.clone()), gateway.conditions.iter().chain(of_listeners).cloned().collect())
    });
    let backends = plan.backends.iter().map(|(id, backend)| (("MCPBackend", id.clone()), backend.conditions.clone()));
    let routes = plan.routes.iter().map(|(id, route)| {
        (("MCPRoute", id.clone()), route.parents.iter().flat_map(|parent| &parent.conditions).cloned().collect())
    });
    let policies =
        plan.auth_policies.iter().map(|(id, policy)| (("MCPAuthPolicy", id.clone()), policy.conditions.clone()));
    gateways.chain(backends).chain(routes).chain(policies).collect()
}

/// Decides how much a condition matters, given what the files hold.
struct Judge {
    /// A gateway is there, so the files are meant to be a whole.
    is_whole: bool,
    /// Somebody's consent depends on labels of namespaces, which are not in the files.
    has_selector: bool,
}

impl Judge {
    fn of(inputs: &Inputs) -> Self {
        let selects = |allowed: &AllowedRoutes| allowed.namespaces.from == FromNamespaces::Selector;
        let listeners = inputs.gateways.values().flat_map(|gateway| &gateway.spec.listeners);
        let mut consents = listeners
            .map(|listener| &listener.allowed_routes)
            .chain(inputs.backends.values().map(|backend| &backend.spec.allowed_routes));
        Self { is_whole: !inputs.gateways.is_empty(), has_selector: consents.any(selects) }
    }

    fn message(&self, condition: conditions::Finding) -> String {
        let conditions::Finding { reason, mut message, .. } = condition;
        if self.has_selector && is_refused_consent(reason) {
            message.push_str("; a selector may allow it: the labels of namespaces are not known here");
        }
        message
    }

    /// None: nothing to tell.
    fn severity(&self, condition: &conditions::Finding) -> Option<Severity> {
        // Accepted without a reservation, and perhaps with a remark.
        let is_good = condition.status == ConditionStatus::True
            && (condition.message.is_empty() || condition.reason == Reason::Accepted);
        if is_good || condition.status == ConditionStatus::Unknown {
            return None;
        }
        let warning_unless = |is_error: bool| Some(if is_error { Severity::Error } else { Severity::Warning });
        match condition.reason {
            // Another object is to blame, and has a finding of its own.
            Reason::DependencyNotReady => None,
            Reason::BackendNotFound | Reason::NoMatchingParent | Reason::TargetNotFound => {
                warning_unless(self.is_whole)
            }
            reason if is_refused_consent(reason) => warning_unless(!self.has_selector),
            // A policy may stand in another file, and a route without one is a decision that is still to be made.
            Reason::Unauthenticated | Reason::Overridden => Some(Severity::Warning),
            _ => Some(Severity::Error),
        }
    }
}

fn is_refused_consent(reason: Reason) -> bool {
    matches!(reason, Reason::RefNotPermitted | Reason::NotAllowedByListeners)
}

/// Facts by which everything outside the files is there and right.
fn assumed(inputs: &Inputs) -> Facts {
    let mut facts = Facts::default();
    for (id, gateway) in &inputs.gateways {
        let certificates = gateway.spec.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        for reference in certificates.flat_map(|tls| &tls.certificate_refs) {
            let secret = facts.secrets.entry(ObjectId::new(&id.namespace, &reference.name)).or_default();
            secret.keys.insert("tls.crt".to_owned(), Content::Certificates);
            secret.keys.insert("tls.key".to_owned(), Content::PrivateKey);
        }
    }
    for (id, backend) in &inputs.backends {
        assume_backend(&mut facts, id, &backend.spec);
    }
    facts
}

fn assume_backend(facts: &mut Facts, id: &ObjectId, spec: &McpBackendSpec) {
    let McpBackendSpec { stdio, http, service, remote, server_ref, auth, .. } = spec;
    let local = |name: &str| ObjectId::new(&id.namespace, name);
    let somewhere = || Endpoint { host: SOMEWHERE.to_owned(), port: 80 };
    if let Some(header) = &auth.header {
        assume_key(&mut facts.secrets, id, &header.value_from.secret_key_ref, Content::Other);
    }
    if stdio.is_some() || http.is_some() {
        facts.pods.insert(id.clone(), [SOMEWHERE.to_owned()].into());
        facts.tokens.insert(id.clone());
    }
    let env = stdio.iter().flat_map(|server| &server.env).chain(http.iter().flat_map(|server| &server.env));
    for source in env.filter_map(|EnvVar { value_from, .. }| value_from.as_ref()) {
        if let Some(reference) = &source.secret_key_ref {
            assume_key(&mut facts.secrets, id, reference, Content::Other);
        }
        if let Some(reference) = &source.config_map_key_ref {
            facts.config_maps.entry(local(&reference.name)).or_default().insert(reference.key.clone());
        }
    }
    let env_from =
        stdio.iter().flat_map(|server| &server.env_from).chain(http.iter().flat_map(|server| &server.env_from));
    for source in env_from {
        if let Some(reference) = &source.secret_ref {
            facts.secrets.entry(local(&reference.name)).or_default();
        }
        if let Some(reference) = &source.config_map_ref {
            facts.config_maps.entry(local(&reference.name)).or_default();
        }
    }
    for volume in stdio.iter().flat_map(|server| &server.volumes).chain(http.iter().flat_map(|server| &server.volumes))
    {
        if let Some(name) = volume.secret() {
            facts.secrets.entry(local(name)).or_default();
        }
        if let Some(name) = volume.config_map() {
            facts.config_maps.entry(local(name)).or_default();
        }
    }
    if let Some(service) = service {
        let known: &mut Service = facts.services.entry(local(&service.name)).or_default();
        known.ports.insert(service.port, [somewhere()].into());
    }
    if let Some(tls) = remote.as_ref().and_then(|remote| remote.tls.as_ref()) {
        let reference = &tls.ca_certificate_ref;
        let reference = SecretKeySelector { name: reference.name.clone(), key: reference.key.clone() };
        assume_key(&mut facts.secrets, id, &reference, Content::Certificates);
    }
    if let Some(server) = server_ref {
        let kind = GroupKind { group: server.group.clone(), kind: server.kind.clone() };
        let known = Server { url: Some(format!("http://{SOMEWHERE}/mcp")) };
        // Only kinds on the operator's list are followed; which these are, a file cannot tell.
        facts.servers.entry(kind).or_default().insert(local(&server.name), known);
    }
}

fn assume_key(
    secrets: &mut BTreeMap<ObjectId, Secret>,
    id: &ObjectId,
    reference: &SecretKeySelector,
    content: Content,
) {
    let secret = secrets.entry(ObjectId::new(&id.namespace, &reference.name)).or_default();
    secret.keys.insert(reference.key.clone(), content);
}
