//! What belongs to one gateway.

use crate::api::auth_policy::{PolicyTargetKind, PolicyTargetRef};
use crate::ir::ids::ObjectId;
use crate::operator::inspect::{Inspected, Listed};
use std::collections::BTreeSet;

/// Leaves the gateways of this name, their routes, the backends and the policies of these. Says whether there is such a gateway.
///
/// A route or policy that cannot be read stays: it may be one of the gateway's.
pub(super) fn only_of_gateway(seen: &mut Inspected, name: &str) -> bool {
    seen.gateways.retain(|gateway| gateway.id.name == name);
    let gateways = ids(&seen.gateways);
    seen.routes.retain(|route| {
        let Ok(object) = &route.object else { return true };
        object
            .spec
            .parent_refs
            .iter()
            .any(|parent| gateways.contains(&id(parent.namespace.as_deref(), &route.id.namespace, &parent.name)))
    });
    let routes = ids(&seen.routes);
    let backends: BTreeSet<ObjectId> = seen
        .routes
        .iter()
        .filter_map(|route| Some((&route.id.namespace, route.object.as_ref().ok()?)))
        .flat_map(|(home, route)| {
            let refs = route.spec.servers.iter().flat_map(|server| &server.backend_refs);
            refs.map(move |backend| id(backend.namespace.as_deref(), home, &backend.name))
        })
        .collect();
    seen.backends.retain(|backend| backends.contains(&backend.id));
    seen.auth_policies.retain(|policy| {
        let Ok(object) = &policy.object else { return true };
        object.spec.target_refs.iter().any(|PolicyTargetRef { kind, name }| {
            let target = ObjectId::new(&policy.id.namespace, name);
            match kind {
                PolicyTargetKind::MCPGateway => gateways.contains(&target),
                PolicyTargetKind::MCPRoute => routes.contains(&target),
            }
        })
    });
    !gateways.is_empty()
}

fn ids<K>(listed: &[Listed<K>]) -> BTreeSet<ObjectId> {
    listed.iter().map(|listed| listed.id.clone()).collect()
}

fn id(namespace: Option<&str>, home: &str, name: &str) -> ObjectId {
    ObjectId::new(namespace.unwrap_or(home), name)
}
