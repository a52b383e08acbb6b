//! What to deploy for a backend that runs in pods.

use super::volumes::{self, Place};
use super::{overlay, rollout};
use crate::api::McpBackend;
use crate::api::backend::{BackendNetworkPolicy, HttpServer, StdioServer};
use crate::api::gateway_settings::NetworkPolicyMode;
use crate::api::pod::{EnvFromSource, EnvVar, Resources, Volume, VolumeMount};
use crate::ir::ids::ObjectId;
use crate::ir::infra::{BackendInfra, Program, Variable, VariableSource, VariableSourceKind, VariableValue};
use crate::translate::backends::Variant;
use crate::translate::backends::stdio::{Definition, definition};
use crate::translate::problem::Problem;
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// What to deploy for a backend, but for its callers: they follow from what gateways serve. `None` for a server that runs
/// elsewhere.
pub(in crate::translate) fn of_backend(
    id: &ObjectId,
    backend: &McpBackend,
    variant: Variant<'_>,
) -> Result<Option<BackendInfra>, Problem> {
    let (program, pods) = match variant {
        Variant::Stdio(server) => (stdio(server)?, Pods::stdio(server)),
        Variant::Http(server) => (http(server), Pods::http(server)),
        Variant::Service(_) | Variant::Remote(_) | Variant::ServerRef(_) => return Ok(None),
    };
    let volumes = volumes::volumes(pods.place, pods.volumes)?;
    Ok(Some(BackendInfra {
        backend: id.clone(),
        replicas: backend.spec.replicas.unwrap_or(1),
        program,
        env: pods.env.iter().map(variable).collect(),
        env_from: pods.env_from.iter().filter_map(source).collect(),
        resources: pods.resources.and_then(resources),
        mounts: volumes::mounts(pods.place, pods.mounts, &volumes)?,
        volumes,
        egress: egress(backend.spec.network_policy.as_ref()),
        callers: BTreeSet::new(),
        overlay: overlay::check(backend.spec.pod_template.as_ref())?,
        rollout: rollout(&backend.metadata),
    }))
}

/// What `stdio` and `http` say in the same words.
struct Pods<'a> {
    place: Place<'a>,
    env: &'a [EnvVar],
    env_from: &'a [EnvFromSource],
    resources: Option<&'a Resources>,
    volumes: &'a [Volume],
    mounts: &'a [VolumeMount],
}

impl<'a> Pods<'a> {
    fn stdio(server: &'a StdioServer) -> Self {
        let StdioServer { env, env_from, resources, volumes, volume_mounts, .. } = server;
        let place = Place { field: "spec.stdio", has_shim: true };
        Self { place, env, env_from, resources: resources.as_ref(), volumes, mounts: volume_mounts }
    }

    fn http(server: &'a HttpServer) -> Self {
        let HttpServer { env, env_from, resources, volumes, volume_mounts, .. } = server;
        let place = Place { field: "spec.http", has_shim: false };
        Self { place, env, env_from, resources: resources.as_ref(), volumes, mounts: volume_mounts }
    }
}

/// Absent where nothing is said: what is empty the API server drops.
fn resources(written: &Resources) -> Option<ResourceRequirements> {
    let Resources { limits, requests } = written;
    let said = |amounts: &BTreeMap<String, Quantity>| (!amounts.is_empty()).then(|| amounts.clone());
    let (limits, requests) = (said(limits), said(requests));
    (limits.is_some() || requests.is_some()).then_some(ResourceRequirements { limits, requests, claims: None })
}

fn egress(policy: Option<&BackendNetworkPolicy>) -> Option<Vec<NetworkPolicyEgressRule>> {
    let Some(policy) = policy else { return Some(Vec::new()) };
    (policy.mode == NetworkPolicyMode::Restricted).then(|| policy.egress.clone())
}

fn stdio(server: &StdioServer) -> Result<Program, Problem> {
    let Definition { command, args, working_dir, isolation, pool } = definition(server)?;
    Ok(Program::Stdio { image: server.image.clone(), command, args, working_dir, isolation, pool })
}

fn http(server: &HttpServer) -> Program {
    Program::Http {
        image: server.image.clone(),
        port: server.port,
        command: server.command.clone(),
        args: server.args.clone(),
    }
}

fn variable(variable: &EnvVar) -> Variable {
    let source = variable.value_from.as_ref();
    let secret = source.and_then(|source| source.secret_key_ref.as_ref());
    let config_map = source.and_then(|source| source.config_map_key_ref.as_ref());
    let value = match (secret, config_map) {
        (Some(secret), _) => VariableValue::Secret { name: secret.name.clone(), key: secret.key.clone() },
        (None, Some(map)) => VariableValue::ConfigMap { name: map.name.clone(), key: map.key.clone() },
        (None, None) => VariableValue::Literal { value: variable.value.clone().unwrap_or_default() },
    };
    Variable { name: variable.name.clone(), value }
}

fn source(source: &EnvFromSource) -> Option<VariableSource> {
    let (kind, reference) = match (&source.secret_ref, &source.config_map_ref) {
        (Some(reference), _) => (VariableSourceKind::Secret, reference),
        (None, Some(reference)) => (VariableSourceKind::ConfigMap, reference),
        (None, None) => return None,
    };
    Some(VariableSource {
        prefix: source.prefix.clone(),
        kind,
        name: reference.name.clone(),
        optional: reference.optional,
    })
}
