//! What to deploy for a backend that runs in pods.

use super::{overlay, rollout};
use crate::api::McpBackend;
use crate::api::backend::{HttpServer, StdioServer};
use crate::api::pod::{EnvFromSource, EnvVar};
use crate::ir::ids::ObjectId;
use crate::ir::infra::{BackendInfra, Program, Variable, VariableSource, VariableSourceKind, VariableValue};
use crate::translate::backends::Variant;
use crate::translate::backends::stdio::{Definition, definition};
use crate::translate::problem::Problem;
use std::collections::BTreeSet;

/// What to deploy for a backend, but for its callers: they follow from what gateways serve. `None` for a server that runs
/// elsewhere.
pub(in crate::translate) fn of_backend(
    id: &ObjectId,
    backend: &McpBackend,
    variant: Variant<'_>,
) -> Result<Option<BackendInfra>, Problem> {
    let (program, env, env_from) = match variant {
        Variant::Stdio(server) => (stdio(server)?, &server.env, &server.env_from),
        Variant::Http(server) => (http(server), &server.env, &server.env_from),
        Variant::Service(_) | Variant::Remote(_) | Variant::ServerRef(_) => return Ok(None),
    };
    Ok(Some(BackendInfra {
        backend: id.clone(),
        replicas: backend.spec.replicas.unwrap_or(1),
        program,
        env: env.iter().map(variable).collect(),
        env_from: env_from.iter().filter_map(source).collect(),
        callers: BTreeSet::new(),
        overlay: overlay::check(backend.spec.pod_template.as_ref())?,
        rollout: rollout(&backend.metadata),
    }))
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
