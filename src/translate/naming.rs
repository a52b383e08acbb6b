//! Names and ports of what the operator deploys: some of them the data plane has to know.
//!
//! Every name is a DNS label made of a prefix and the object's name, which may be longer and have dots. What does not fit is
//! shortened, and told apart by a hash. What there is several of per gateway differs in the prefix and not in a suffix, so that
//! the peers of a gateway `a` and a gateway `a-peers` never meet.

use crate::ir::ids::ObjectId;
use sha2::{Digest as _, Sha256};

/// The port on which the shim serves a stdio backend's pod: any unprivileged one would do, for a pod's ports are its own.
pub const SHIM_PORT: u16 = 8080;

/// The path at which the shim serves it.
pub const SHIM_PATH: &str = "/mcp";

/// The key of the Secret with a stdio backend's token, and the name of the file that its pods find it in.
pub const TOKEN_KEY: &str = "token";

/// Where the pods of a stdio backend have the shim.
pub const SHIM_DIR: &str = "/shim";

/// Where they have the token.
pub const TOKEN_DIR: &str = "/var/run/mcp/token";

/// Their HOME, which is writable. Many images of interpreters have none for a user that they do not know.
pub const HOME_DIR: &str = "/home/mcp";

/// Where they have their temporary files.
pub const TMP_DIR: &str = "/tmp";

/// The volumes behind these directories, in the same order.
pub const OWN_VOLUMES: [&str; 4] = ["shim", "token", "home", "tmp"];

/// A gateway pod's port for probes and metrics.
pub const ADMIN_PORT: u16 = 9901;

/// A gateway pod's port for the operator.
pub const CHANNEL_PORT: u16 = 9902;

/// A gateway pod's port for the other replicas.
pub const PEER_PORT: u16 = 9903;

/// The annotation of a pod that says whose it is, as `Kind/name`: a pod's own controller is a `ReplicaSet`.
pub const OWNER_ANNOTATION: &str = "gateway.mcp-operator.dev/owner";

/// The annotation by which a Deployment without `replicas` says with how many to begin.
pub const INITIAL_REPLICAS_ANNOTATION: &str = "gateway.mcp-operator.dev/initial-replicas";

/// The longest DNS label, and so the longest name of a Service; also the longest value of a label.
const MAX_LABEL: usize = 63;

/// Name of everything that there is one of per gateway: its Deployment, the Service for clients, the `ConfigMap`, the Secret.
pub fn gateway_objects(gateway: &str) -> String {
    prefixed("mcpgw", gateway)
}

/// Name of the headless Service over a gateway's own pods, by which replicas find each other.
pub fn gateway_peers_service(gateway: &str) -> String {
    prefixed("mcppeers", gateway)
}

/// Name of the Secret with what the operator made up for a gateway: nothing mounts it.
pub fn gateway_keys(gateway: &str) -> String {
    prefixed("mcpkeys", gateway)
}

/// Name of the `NetworkPolicy` of a gateway for one path: a lower-case word.
pub fn gateway_network_policy(gateway: &str, path: &str) -> String {
    prefixed(&format!("mcpgw-{path}"), gateway)
}

/// Name of everything that there is one of per `stdio` or `http` backend: its Deployment, the headless Service in front of its
/// pods, the Secret with its token.
pub fn backend_objects(backend: &str) -> String {
    prefixed("mcpbe", backend)
}

/// Name of the `NetworkPolicy` of a backend for one path: a lower-case word.
pub fn backend_network_policy(backend: &str, path: &str) -> String {
    prefixed(&format!("mcpbe-{path}"), backend)
}

/// An object's name as the value of a label.
pub fn label_value(name: &str) -> String {
    if name.len() <= MAX_LABEL { name.to_owned() } else { shortened(name, name) }
}

fn prefixed(prefix: &str, name: &str) -> String {
    let plain = format!("{prefix}-{name}");
    if plain.len() <= MAX_LABEL && !plain.contains('.') { plain } else { shortened(&plain, name) }
}

/// A DNS label that begins like `text` and ends in a hash of `name`.
fn shortened(text: &str, name: &str) -> String {
    let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(name.as_bytes()));
    let hash = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
    let mut label = text.replace('.', "-");
    label.truncate(MAX_LABEL - 1 - hash.len());
    format!("{}-{hash}", label.trim_end_matches('-'))
}

/// The DNS name of a Service, without the cluster's domain: every pod's resolver knows to append it.
pub fn service_host(service: &ObjectId) -> String {
    format!("{}.{}.svc", service.name, service.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels_and_tell_objects_apart() {
        assert_eq!(backend_objects("search"), "mcpbe-search");
        let long = "a".repeat(200);
        let names = ["a.b", "a-b", &long, &format!("{long}a"), &format!("{}.b", "a".repeat(49))].map(backend_objects);
        for (index, name) in names.iter().enumerate() {
            assert!(name.len() <= MAX_LABEL && !name.contains('.') && !name.contains("--"), "{name}");
            assert!(!names[..index].contains(name), "{name}");
        }
    }

    #[test]
    fn the_value_of_a_label_is_the_name_where_it_fits() {
        assert_eq!(label_value("tools.example"), "tools.example");
        let long = label_value(&format!("{}.b", "a".repeat(80)));
        assert!(long.len() <= MAX_LABEL && long.starts_with("aaa"), "{long}");
    }
}
