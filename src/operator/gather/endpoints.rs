//! Ready addresses behind Services, from their `EndpointSlice`s.

use crate::api::McpBackend;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Endpoint;
use crate::operator::watch::{Caches, SERVICE_NAME};
use crate::translate::facts;
use crate::translate::naming::backend_objects;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The Services that backends name, with the ready addresses behind each of their ports.
pub(super) fn services(
    backends: &BTreeMap<ObjectId, McpBackend>,
    caches: &Caches,
) -> BTreeMap<ObjectId, facts::Service> {
    let named = backends
        .iter()
        .filter_map(|(id, backend)| Some(ObjectId::new(&id.namespace, &backend.spec.service.as_ref()?.name)));
    named
        .filter_map(|id| {
            let service = caches.services.get(&id)?;
            let slices = slices(&id, caches);
            Some((id, facts_of(&service, &slices)))
        })
        .collect()
}

/// The addresses of the ready pods that run each backend.
pub(super) fn of_pods(
    backends: &BTreeMap<ObjectId, McpBackend>,
    caches: &Caches,
) -> BTreeMap<ObjectId, BTreeSet<String>> {
    let run = backends.iter().filter(|(_, backend)| backend.spec.stdio.is_some() || backend.spec.http.is_some());
    run.map(|(id, _)| {
        let service = ObjectId::new(&id.namespace, backend_objects(&id.name));
        let ready = slices(&service, caches).iter().flat_map(|slice| ready(slice)).collect();
        (id.clone(), ready)
    })
    .filter(|(_, ready): &(_, BTreeSet<String>)| !ready.is_empty())
    .collect()
}

fn slices(service: &ObjectId, caches: &Caches) -> Vec<Arc<EndpointSlice>> {
    let slices = caches
        .endpoint_slices
        .in_namespace(&service.namespace, |slice| slice.labels().get(SERVICE_NAME) == Some(&service.name));
    of_one_family(slices, caches.services.get(service).as_deref())
}

/// With two IP families each pod is in two slices, by each of its addresses. It is one endpoint all the same: it has one health and
/// one load. The Service's first family counts, where there is anything of it.
fn of_one_family(mut slices: Vec<Arc<EndpointSlice>>, service: Option<&Service>) -> Vec<Arc<EndpointSlice>> {
    let families = service.and_then(|service| service.spec.as_ref()?.ip_families.as_ref());
    let first = families.and_then(|families| families.first()).map_or("IPv4", String::as_str);
    if slices.iter().any(|slice| slice.address_type == first) {
        slices.retain(|slice| slice.address_type == first);
    }
    slices
}

fn facts_of(service: &Service, slices: &[Arc<EndpointSlice>]) -> facts::Service {
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let number = u16::try_from(port.port).ok()?;
        let name = port.name.as_deref().unwrap_or_default();
        Some((number, slices.iter().flat_map(|slice| behind(slice, name)).collect()))
    });
    facts::Service { ports: ports.collect(), is_external_name: spec.type_.as_deref() == Some("ExternalName") }
}

/// Ready addresses with the number that the port of this name has there.
fn behind(slice: &EndpointSlice, port: &str) -> BTreeSet<Endpoint> {
    let ports = slice.ports.iter().flatten();
    let number = ports
        .filter(|candidate| candidate.name.as_deref().unwrap_or_default() == port)
        .find_map(|port| u16::try_from(port.port?).ok());
    let Some(port) = number else { return BTreeSet::new() };
    ready(slice).into_iter().map(|host| Endpoint { host, port }).collect()
}

/// Addresses that take new connections.
fn ready(slice: &EndpointSlice) -> BTreeSet<String> {
    // A name instead of addresses is one that anyone could have chosen.
    if slice.address_type == "FQDN" {
        return BTreeSet::new();
    }
    let is_ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        // Absent means that nobody knows better.
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    slice.endpoints.iter().filter(is_ready).flat_map(|endpoint| endpoint.addresses.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_with_addresses_of_two_families_is_one_endpoint() {
        let slice = |family: &str| -> Arc<EndpointSlice> {
            let slice = json!({"metadata": {"name": family}, "addressType": family, "endpoints": []});
            Arc::new(serde_json::from_value(slice).unwrap())
        };
        let service = |families: &[&str]| -> Service {
            serde_json::from_value(json!({"metadata": {"name": "s"}, "spec": {"ipFamilies": families}})).unwrap()
        };
        let kept = |slices: &[&str], families: &[&str]| -> Vec<String> {
            let slices = slices.iter().map(|family| slice(family)).collect();
            let kept = of_one_family(slices, Some(&service(families)));
            kept.iter().map(|slice| slice.address_type.clone()).collect()
        };
        assert_eq!(kept(&["IPv4", "IPv6", "IPv4"], &["IPv4", "IPv6"]), ["IPv4", "IPv4"]);
        assert_eq!(kept(&["IPv4", "IPv6"], &["IPv6", "IPv4"]), ["IPv6"]);
        assert_eq!(kept(&["IPv6"], &["IPv4"]), ["IPv6"], "written by hand");
        assert_eq!(kept(&["IPv4", "IPv6"], &[]), ["IPv4"]);
    }

    #[test]
    fn only_ready_addresses_of_the_named_port_count() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "s"},
            "spec": {"ports": [{"name": "mcp", "port": 80, "targetPort": "web"}, {"name": "other", "port": 81}]},
        }))
        .unwrap();
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": "s-1"}, "addressType": "IPv4",
            "ports": [{"name": "mcp", "port": 8000}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {}},
            ],
        }))
        .unwrap();
        let facts = facts_of(&service, &[Arc::new(slice)]);
        let at = |host: &str| Endpoint { host: host.to_owned(), port: 8000 };
        assert_eq!(facts.ports[&80], BTreeSet::from([at("10.0.0.1"), at("10.0.0.3")]));
        assert_eq!(facts.ports[&81], BTreeSet::new());
        assert!(!facts.is_external_name);
    }
}
