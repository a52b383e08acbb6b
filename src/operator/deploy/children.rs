//! What was built, in the order in which it is applied: what pods need comes before the pods, what leads to them after.

use crate::operator::apply::{ApplyError, Child};
use crate::operator::build::{BackendObjects, GatewayObjects, http_route_resource};

/// Everything of a gateway, but for its keys.
pub(super) fn of_gateway(objects: &GatewayObjects) -> Result<Vec<Child>, ApplyError> {
    // Destructured without `..`, so that nothing that is built is forgotten.
    let GatewayObjects {
        service_account,
        config_map,
        secret,
        service,
        peers_service,
        network_policies,
        deployment,
        disruption_budget,
        autoscaler,
        http_route,
        ingress,
    } = objects;
    let mut children = vec![
        Child::of(service_account)?,
        Child::of(secret)?,
        Child::of(config_map)?,
        Child::of(service)?,
        Child::of(peers_service)?,
    ];
    for policy in network_policies {
        children.push(Child::of(policy)?);
    }
    children.push(Child::of(deployment)?);
    if let Some(budget) = disruption_budget {
        children.push(Child::of(budget)?);
    }
    if let Some(autoscaler) = autoscaler {
        children.push(Child::of(autoscaler)?);
    }
    if let Some(route) = http_route {
        children.push(Child::dynamic(http_route_resource(), route.clone()));
    }
    if let Some(ingress) = ingress {
        children.push(Child::of(ingress)?);
    }
    Ok(children)
}

/// Everything of a backend.
pub(super) fn of_backend(objects: &BackendObjects) -> Result<Vec<Child>, ApplyError> {
    let BackendObjects { service_account, service, network_policies, deployment, disruption_budget } = objects;
    let mut children = vec![Child::of(service_account)?, Child::of(service)?];
    for policy in network_policies {
        children.push(Child::of(policy)?);
    }
    children.push(Child::of(deployment)?);
    if let Some(budget) = disruption_budget {
        children.push(Child::of(budget)?);
    }
    Ok(children)
}
