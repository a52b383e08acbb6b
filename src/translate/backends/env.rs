//! The environment of a stdio server on a laptop: values here, names of secrets there.

use super::{Candidate, Unusable};
use crate::api::backend::StdioServer;
use crate::api::conditions::Reason;
use crate::api::pod::{EnvFromSource, EnvVar};
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::snapshot::{self, EnvValue};
use crate::translate::problem::Problem;

/// All variables, each once: `env` goes before `envFrom`, and of equals the last, as in a pod.
pub(super) fn resolve(candidate: &Candidate<'_>, server: &StdioServer) -> Result<Vec<snapshot::EnvVar>, Unusable> {
    let mut variables: Vec<snapshot::EnvVar> = Vec::new();
    let mut set = |variable: snapshot::EnvVar| {
        variables.retain(|other| other.name != variable.name);
        variables.push(variable);
    };
    for (index, source) in server.env_from.iter().enumerate() {
        whole_secret(candidate, index, source)?.into_iter().for_each(&mut set);
    }
    for variable in &server.env {
        set(snapshot::EnvVar { name: variable.name.clone(), value: value(candidate, variable)? });
    }
    Ok(variables)
}

fn value(candidate: &Candidate<'_>, variable: &EnvVar) -> Result<EnvValue, Unusable> {
    let field = format!("spec.stdio.env[{}].valueFrom", variable.name);
    let Some(source) = &variable.value_from else {
        return Ok(EnvValue::Literal(variable.value.clone().unwrap_or_default()));
    };
    match (&source.secret_key_ref, &source.config_map_key_ref) {
        (Some(reference), None) => {
            let key = candidate.secret(&format!("{field}.secretKeyRef"), reference).map_err(Unusable::Unresolved)?;
            Ok(EnvValue::Secret(key))
        }
        (None, Some(_)) => {
            Err(needs_a_cluster(&format!("{field}.configMapKeyRef"), "write the value into env[].value"))
        }
        _ => Err(Unusable::Refused(Problem::invalid(format!(
            "{field} takes exactly one of secretKeyRef and configMapKeyRef"
        )))),
    }
}

fn whole_secret(
    candidate: &Candidate<'_>,
    index: usize,
    source: &EnvFromSource,
) -> Result<Vec<snapshot::EnvVar>, Unusable> {
    let field = format!("spec.stdio.envFrom[{index}]");
    let reference = match (&source.secret_ref, &source.config_map_ref) {
        (Some(reference), None) => reference,
        (None, Some(reference)) if reference.optional => return Ok(Vec::new()),
        (None, Some(_)) => return Err(needs_a_cluster(&format!("{field}.configMapRef"), "write the values into env")),
        _ => {
            return Err(Unusable::Refused(Problem::invalid(format!(
                "{field} takes exactly one of secretRef and configMapRef"
            ))));
        }
    };
    let secret = ObjectId::new(&candidate.id.namespace, &reference.name);
    let prefix = source.prefix.as_deref().unwrap_or_default();
    match candidate.facts.secrets.get(&secret) {
        Some(known) => {
            let variable = |key: &String| snapshot::EnvVar {
                name: format!("{prefix}{key}"),
                value: EnvValue::Secret(SecretKey { secret: secret.clone(), key: key.clone() }),
            };
            Ok(known.keys.keys().map(variable).collect())
        }
        None if reference.optional => Ok(Vec::new()),
        None => Err(Unusable::Unresolved(Problem::new(
            Reason::SecretNotFound,
            format!(
                "{field}.secretRef: there is no cluster to read Secret {0} from; give its keys by --secret {0}.KEY=@FILE or {0}.KEY=$VARIABLE",
                reference.name
            ),
        ))),
    }
}

fn needs_a_cluster(field: &str, way_out: &str) -> Unusable {
    let message = format!("{field}: there is no cluster to read a ConfigMap from; {way_out}");
    Unusable::Refused(Problem::new(Reason::UnsupportedValue, message))
}
