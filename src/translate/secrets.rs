//! The credentials that a snapshot names.

use super::facts::{Facts, Mode};
use super::problem::Problem;
use crate::api::common::SecretKeySelector;
use crate::api::conditions::Reason;
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::snapshot::{Backend, EnvValue, Listener, Snapshot, Target, Tracing};
use std::collections::BTreeSet;

/// The place of a secret value that `field` of `object` names, if the Secret and its key exist.
pub(super) fn key(
    field: &str,
    object: &ObjectId,
    reference: &SecretKeySelector,
    mode: &Mode,
    facts: &Facts,
) -> Result<SecretKey, Problem> {
    let key = SecretKey::new(&object.namespace, &reference.name, &reference.key);
    let known = facts.secrets.get(&key.secret);
    if known.is_some_and(|secret| secret.keys.contains_key(&key.key)) {
        return Ok(key);
    }
    let SecretKeySelector { name, key } = reference;
    let message = match (mode, known) {
        (Mode::Laptop(_), _) => {
            format!(
                "{field}: there is no cluster to read Secret {name} from; give it by --secret {name}.{key}=@FILE or {name}.{key}=$VARIABLE"
            )
        }
        (Mode::Cluster(_), None) => format!("{field}: Secret {name} does not exist in this namespace; create it"),
        (Mode::Cluster(_), Some(_)) => format!("{field}: Secret {name} has no key {key}; add it"),
    };
    Err(Problem::new(Reason::SecretNotFound, message))
}

/// Every secret value that whoever runs `snapshot` must have.
pub(super) fn named_by(snapshot: &Snapshot) -> BTreeSet<SecretKey> {
    let listeners = snapshot.listeners.iter().flat_map(of_listener);
    let backends = snapshot.backends.values().flat_map(of_backend);
    let tracing = snapshot.tracing.iter().flat_map(of_tracing);
    listeners.chain(backends).chain(tracing).cloned().collect()
}

// Destructured without `..`, so that a new field has to be looked at here.
fn of_listener(listener: &Listener) -> Vec<&SecretKey> {
    let Listener { name: _, port: _, hostname: _, tls } = listener;
    let certificates = tls.iter().flat_map(|tls| &tls.certificates);
    certificates.flat_map(|certificate| [&certificate.chain, &certificate.key]).collect()
}

fn of_tracing(tracing: &Tracing) -> Vec<&SecretKey> {
    let Tracing { endpoint: _, protocol: _, sampled_per_million: _, headers } = tracing;
    headers.iter().map(|header| &header.value).collect()
}

fn of_backend(backend: &Backend) -> Vec<&SecretKey> {
    let Backend { target, auth, health: _, outlier_detection: _, circuit_breaker: _ } = backend;
    let mut keys: Vec<&SecretKey> = auth.iter().map(|auth| &auth.value).collect();
    match target {
        Target::Http { transport: _, endpoints: _, path: _, host: _, tls, addresses: _, shim: _ } => {
            keys.extend(tls.iter().filter_map(|tls| tls.ca.as_ref()));
        }
        Target::Process(process) => keys.extend(process.env.iter().filter_map(|variable| match &variable.value {
            EnvValue::Secret(key) => Some(key),
            EnvValue::Literal(_) => None,
        })),
    }
    keys
}
