//! Where a backend's server is right now. It changes with every pod that comes and goes, and is no part of a snapshot.

use super::{Variant, variant};
use crate::api::McpBackendSpec;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Endpoint;
use crate::translate::facts::Facts;
use crate::translate::naming::SHIM_PORT;
use std::collections::BTreeSet;

/// The ready addresses of a backend in a cluster; absent where there is nothing but the address in the snapshot.
pub fn ready_endpoints(id: &ObjectId, spec: &McpBackendSpec, facts: &Facts) -> Option<BTreeSet<Endpoint>> {
    let pods = |port| {
        let addresses = facts.pods.get(id).into_iter().flatten();
        addresses.map(|host| Endpoint { host: host.clone(), port }).collect()
    };
    match variant(spec) {
        Ok(Variant::Stdio(_)) => Some(pods(SHIM_PORT)),
        Ok(Variant::Http(server)) => Some(pods(server.port)),
        // Those behind the Service's port, not its one virtual address: health and load are per endpoint.
        Ok(Variant::Service(server)) => {
            let service = facts.services.get(&ObjectId::new(&id.namespace, &server.name));
            Some(service.and_then(|service| service.ports.get(&server.port)).cloned().unwrap_or_default())
        }
        Ok(Variant::Remote(_) | Variant::ServerRef(_)) | Err(_) => None,
    }
}
