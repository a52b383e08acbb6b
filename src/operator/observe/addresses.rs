//! Where clients reach a gateway, from the objects that expose it.

use crate::api::gateway::{AddressType, GatewayAddress};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::Value;
use std::net::IpAddr;

/// Of a Service: what its load balancer has, or its name inside the cluster. A load balancer that has no address yet has none.
pub(in crate::operator) fn of_service(service: &Service) -> Vec<GatewayAddress> {
    let is_load_balancer =
        service.spec.as_ref().and_then(|spec| spec.type_.as_deref()).is_some_and(|type_| type_ == "LoadBalancer");
    if !is_load_balancer {
        let (name, namespace) = (service.metadata.name.as_deref(), service.metadata.namespace.as_deref());
        return name
            .zip(namespace)
            .map(|(name, namespace)| address(&format!("{name}.{namespace}.svc")))
            .into_iter()
            .collect();
    }
    let balancer = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|ingress| ingress.hostname.as_deref().or(ingress.ip.as_deref())).map(address).collect()
}

/// Of an Ingress: the hosts of its rules, or what its controller has.
pub(in crate::operator) fn of_ingress(ingress: &Ingress) -> Vec<GatewayAddress> {
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let hosts: Vec<GatewayAddress> = rules.filter_map(|rule| rule.host.as_deref()).map(address).collect();
    if !hosts.is_empty() {
        return hosts;
    }
    let balancer = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    ingress.filter_map(|ingress| ingress.hostname.as_deref().or(ingress.ip.as_deref())).map(address).collect()
}

/// Of an `HTTPRoute` of Gateway API: its hostnames. Without any, only its own gateway's status says where it is.
pub(in crate::operator) fn of_http_route(route: &Value) -> Vec<GatewayAddress> {
    let hostnames = route.pointer("/spec/hostnames").and_then(Value::as_array);
    hostnames.into_iter().flatten().filter_map(Value::as_str).map(address).collect()
}

fn address(value: &str) -> GatewayAddress {
    let type_ = if value.parse::<IpAddr>().is_ok() { AddressType::IPAddress } else { AddressType::Hostname };
    GatewayAddress { type_, value: value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_those_that_clients_can_use() {
        let told = |addresses: Vec<GatewayAddress>| {
            addresses.into_iter().map(|address| format!("{:?} {}", address.type_, address.value)).collect::<Vec<_>>()
        };
        let service = |spec, status| {
            let meta = json!({"name": "tools", "namespace": "team"});
            told(of_service(
                &serde_json::from_value(json!({"metadata": meta, "spec": spec, "status": status})).unwrap(),
            ))
        };
        let balanced = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example"}]}});
        assert_eq!(service(json!({"type": "ClusterIP"}), json!({})), ["Hostname tools.team.svc"]);
        assert_eq!(service(json!({"type": "LoadBalancer"}), json!({})), Vec::<String>::new());
        assert_eq!(
            service(json!({"type": "LoadBalancer"}), balanced.clone()),
            ["IPAddress 192.0.2.1", "Hostname lb.example"]
        );
        let ingress = |rules| {
            let ingress = json!({"metadata": {}, "spec": {"rules": rules}, "status": balanced});
            told(of_ingress(&serde_json::from_value(ingress).unwrap()))
        };
        assert_eq!(ingress(json!([{"host": "mcp.example"}])), ["Hostname mcp.example"]);
        assert_eq!(ingress(json!([])), ["IPAddress 192.0.2.1", "Hostname lb.example"]);
        assert_eq!(told(of_http_route(&json!({"spec": {"hostnames": ["a.example"]}}))), ["Hostname a.example"]);
    }
}
