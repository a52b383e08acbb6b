//! Services.

use super::metadata::Subject;
use crate::ir::infra::{Expose, GatewayInfra, ListenerPort};
use crate::translate::naming::{ADMIN_PORT, CHANNEL_PORT, PEER_PORT, gateway_peers_service};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The Service of a gateway that clients connect to, with its listeners' ports.
pub(super) fn for_clients(subject: &Subject<'_>, infra: &GatewayInfra) -> Service {
    let type_ = match infra.expose {
        Expose::ClusterIp | Expose::HttpRoute { .. } | Expose::Ingress { .. } => "ClusterIP",
        Expose::LoadBalancer => "LoadBalancer",
        Expose::NodePort => "NodePort",
    };
    let spec = ServiceSpec {
        type_: Some(type_.to_owned()),
        ports: Some(infra.ports.iter().copied().map(listener_port).collect()),
        ..selecting(subject)
    };
    Service { metadata: subject.metadata(), spec: Some(spec), ..Service::default() }
}

/// The headless Service over a gateway's own pods. It names pods that are not ready, too: a replica that drains still has
/// sessions for the others, and the operator still talks to one that refuses its first generation.
pub(super) fn for_peers(subject: &Subject<'_>) -> Service {
    let ports = [("admin", ADMIN_PORT), ("channel", CHANNEL_PORT), ("peer", PEER_PORT)];
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ports: Some(ports.into_iter().map(|(name, number)| port(name, number, None)).collect()),
        ..selecting(subject)
    };
    let metadata = subject.metadata_as(gateway_peers_service(&subject.id.name));
    Service { metadata, spec: Some(spec), ..Service::default() }
}

/// The headless Service over a backend's pods, for the gateways that call it.
pub(super) fn for_gateways(subject: &Subject<'_>, number: u16) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        ports: Some(vec![port("mcp", number, Some("http"))]),
        ..selecting(subject)
    };
    Service { metadata: subject.metadata(), spec: Some(spec), ..Service::default() }
}

fn selecting(subject: &Subject<'_>) -> ServiceSpec {
    ServiceSpec {
        selector: subject.selector().match_labels,
        ip_family_policy: Some("PreferDualStack".to_owned()),
        ..ServiceSpec::default()
    }
}

/// Named by its number, so that the order of listeners changes nothing.
fn listener_port(listener: ListenerPort) -> ServicePort {
    let protocol = if listener.tls { "https" } else { "http" };
    port(&format!("{protocol}-{}", listener.port), listener.port, Some(protocol))
}

fn port(name: &str, number: u16, app_protocol: Option<&str>) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::Int(number.into())),
        protocol: Some("TCP".to_owned()),
        app_protocol: app_protocol.map(str::to_owned),
        node_port: None,
    }
}
