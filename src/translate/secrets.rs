//! The credentials that a snapshot names.

use crate::ir::ids::SecretKey;
use crate::ir::snapshot::{Backend, EnvValue, Listener, Snapshot, Target};
use std::collections::BTreeSet;

/// Every secret value that whoever runs `snapshot` must have.
pub(super) fn named_by(snapshot: &Snapshot) -> BTreeSet<SecretKey> {
    let listeners = snapshot.listeners.iter().flat_map(of_listener);
    let backends = snapshot.backends.values().flat_map(of_backend);
    listeners.chain(backends).cloned().collect()
}

// Destructured without `..`, so that a new field has to be looked at here.
fn of_listener(listener: &Listener) -> Vec<&SecretKey> {
    let Listener { name: _, port: _, hostname: _, tls } = listener;
    let certificates = tls.iter().flat_map(|tls| &tls.certificates);
    certificates.flat_map(|certificate| [&certificate.chain, &certificate.key]).collect()
}

fn of_backend(backend: &Backend) -> Vec<&SecretKey> {
    let Backend { target, auth } = backend;
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
