//! Names and ports of what the operator deploys, where the data plane has to know them.

use crate::ir::ids::ObjectId;
use sha2::{Digest as _, Sha256};

/// The port on which the shim serves a stdio backend's pod: any unprivileged one would do, for a pod's ports are its own.
pub const SHIM_PORT: u16 = 8080;

/// The path at which the shim serves it.
pub const SHIM_PATH: &str = "/mcp";

/// A gateway pod's port for the operator.
pub const CHANNEL_PORT: u16 = 9902;

/// The annotation of a pod that says whose it is, as `Kind/name`: a pod's own controller is a `ReplicaSet`.
pub const OWNER_ANNOTATION: &str = "gateway.mcp-operator.dev/owner";

/// The longest DNS label, and so the longest name of a Service.
const MAX_LABEL: usize = 63;

/// Name of the headless Service in front of the pods of a `stdio` or `http` backend.
///
/// A Service's name is a DNS label; a backend's may be longer and have dots. What does not fit is shortened, and told
/// apart by a hash.
pub fn backend_service(backend: &str) -> String {
    let plain = format!("mcpbe-{backend}");
    if plain.len() <= MAX_LABEL && !plain.contains('.') {
        return plain;
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(backend.as_bytes()));
    let hash = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
    let mut label = plain.replace('.', "-");
    label.truncate(MAX_LABEL - 1 - hash.len());
    format!("{}-{hash}", label.trim_end_matches('-'))
}

/// The DNS name of a Service, without the cluster's domain: every pod's resolver knows to append it.
pub(super) fn service_host(service: &ObjectId) -> String {
    format!("{}.{}.svc", service.name, service.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_are_labels_and_tell_backends_apart() {
        assert_eq!(backend_service("search"), "mcpbe-search");
        let long = "a".repeat(200);
        let names = ["a.b", "a-b", &long, &format!("{long}a"), &format!("{}.b", "a".repeat(49))].map(backend_service);
        for (index, name) in names.iter().enumerate() {
            assert!(name.len() <= MAX_LABEL && !name.contains('.') && !name.contains("--"), "{name}");
            assert!(!names[..index].contains(name), "{name}");
        }
    }
}
