//! `NetworkPolicies`: one for each path that is needed. They add up, so whoever needs another path adds a policy and changes none
//! of these.

use super::metadata::{Subject, backend_pods, gateway_pods, pairs};
use super::{Context, OperatorPods};
use crate::ir::infra::{BackendInfra, Destination, GatewayInfra};
use crate::translate::naming::{ADMIN_PORT, CHANNEL_PORT, PEER_PORT, backend_network_policy, gateway_network_policy};
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeSet;

/// DNS servers' ports: 5353 is where the pods of `OpenShift` listen behind their Service's port 53.
const DNS_PORTS: [u16; 2] = [53, 5353];

/// What is not public of IPv4: "this" network, private, shared, loopback, link-local (metadata services), protocol assignments, the
/// metadata service of Azure, benchmarking, multicast and reserved addresses.
const NOT_PUBLIC_V4: [&str; 12] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// Public addresses of IPv6: global unicast. All else is loopback, unique local, link-local, multicast, translated or unassigned.
const PUBLIC_V6: &str = "2000::/3";

/// What is not public of it: Teredo and other protocol assignments, documentation, and 6to4, which leads to any IPv4 address.
const NOT_PUBLIC_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

/// The policies of a gateway; none where connections are not restricted.
pub(super) fn of_gateway(subject: &Subject<'_>, infra: &GatewayInfra, context: &Context) -> Vec<NetworkPolicy> {
    let Some(destinations) = &infra.destinations else { return Vec::new() };
    let policy = |path: &str, directions: &[&str], ingress, egress| {
        policy(subject, gateway_network_policy(&subject.id.name, path), directions, ingress, egress)
    };
    let mut policies = vec![
        policy("clients", &["Ingress"], Some(vec![from_clients(infra)]), None),
        policy("dns", &["Egress"], None, Some(vec![to_dns()])),
        policy("operator", &["Ingress"], Some(vec![from_operator(&context.operator)]), None),
        policy("peers", &["Ingress", "Egress"], Some(vec![from_peers(subject)]), Some(vec![to_peers(subject)])),
    ];
    if !destinations.is_empty() {
        let rules = destinations.iter().map(to_destination).collect();
        policies.push(policy("backends", &["Egress"], None, Some(rules)));
    }
    if !context.scrapers.is_empty() {
        policies.push(policy("metrics", &["Ingress"], Some(vec![from_scrapers(&context.scrapers)]), None));
    }
    policies
}

/// The policies of a backend: the gateways that call it connect to it, and nobody else; and where its pods connect to.
pub(super) fn of_backend(subject: &Subject<'_>, infra: &BackendInfra, port: u16) -> Vec<NetworkPolicy> {
    let policy = |path: &str, directions: &[&str], ingress, egress| {
        policy(subject, backend_network_policy(&subject.id.name, path), directions, ingress, egress)
    };
    let callers = &infra.callers;
    // A rule that names nobody would let everybody in; no rules let in nobody. They are left out and not an empty list, which the
    // API server drops, and so finds a change whenever it is applied again.
    let from_callers = (!callers.is_empty()).then(|| {
        vec![NetworkPolicyIngressRule {
            from: Some(callers.iter().map(|caller| pods(&caller.namespace, gateway_pods(caller))).collect()),
            ports: Some(vec![tcp(port)]),
        }]
    });
    let mut policies = vec![policy("gateways", &["Ingress"], from_callers, None)];
    let Some(egress) = &infra.egress else { return policies };
    policies.push(policy("dns", &["Egress"], None, Some(vec![to_dns()])));
    policies.push(policy("public", &["Egress"], None, Some(vec![to_public(None)])));
    if !egress.is_empty() {
        policies.push(policy("egress", &["Egress"], None, Some(egress.clone())));
    }
    policies
}

fn policy(
    subject: &Subject<'_>,
    name: String,
    directions: &[&str],
    ingress: Option<Vec<NetworkPolicyIngressRule>>,
    egress: Option<Vec<NetworkPolicyEgressRule>>,
) -> NetworkPolicy {
    NetworkPolicy {
        metadata: subject.metadata_as(name),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(subject.selector()),
            policy_types: Some(directions.iter().map(|&direction| direction.to_owned()).collect()),
            ingress,
            egress,
        }),
    }
}

fn from_clients(infra: &GatewayInfra) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule {
        from: None,
        ports: Some(infra.ports.iter().map(|listener| tcp(listener.port)).collect()),
    }
}

fn from_operator(operator: &OperatorPods) -> NetworkPolicyIngressRule {
    let labels = LabelSelector { match_labels: Some(operator.labels.clone()), match_expressions: None };
    NetworkPolicyIngressRule {
        from: Some(vec![pods(&operator.namespace, labels)]),
        ports: Some(vec![tcp(ADMIN_PORT), tcp(CHANNEL_PORT)]),
    }
}

fn from_scrapers(namespaces: &BTreeSet<String>) -> NetworkPolicyIngressRule {
    let of = |namespace: &String| NetworkPolicyPeer {
        namespace_selector: Some(namespace_named(namespace)),
        ..NetworkPolicyPeer::default()
    };
    NetworkPolicyIngressRule { from: Some(namespaces.iter().map(of).collect()), ports: Some(vec![tcp(ADMIN_PORT)]) }
}

fn from_peers(subject: &Subject<'_>) -> NetworkPolicyIngressRule {
    NetworkPolicyIngressRule { from: Some(vec![own_pods(subject)]), ports: Some(vec![tcp(PEER_PORT)]) }
}

fn to_peers(subject: &Subject<'_>) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule { to: Some(vec![own_pods(subject)]), ports: Some(vec![tcp(PEER_PORT)]) }
}

/// To whoever answers: a cluster's DNS may be pods, a cache on the node, or outside.
fn to_dns() -> NetworkPolicyEgressRule {
    let ports = DNS_PORTS.into_iter().flat_map(|number| [port("UDP", number), port("TCP", number)]);
    NetworkPolicyEgressRule { to: None, ports: Some(ports.collect()) }
}

fn to_destination(destination: &Destination) -> NetworkPolicyEgressRule {
    match destination {
        Destination::Backend { backend, port } => NetworkPolicyEgressRule {
            to: Some(vec![pods(&backend.namespace, backend_pods(backend))]),
            ports: Some(vec![tcp(*port)]),
        },
        Destination::Namespace { namespace, ports } => NetworkPolicyEgressRule {
            to: Some(vec![NetworkPolicyPeer {
                namespace_selector: Some(namespace_named(namespace)),
                ..NetworkPolicyPeer::default()
            }]),
            // No list at all means every port.
            ports: (!ports.is_empty()).then(|| ports.iter().copied().map(tcp).collect()),
        },
        Destination::Public { port } => to_public(Some(vec![tcp(*port)])),
        Destination::Anywhere { port } => NetworkPolicyEgressRule { to: None, ports: Some(vec![tcp(*port)]) },
    }
}

/// To public addresses; at all ports where none are named.
fn to_public(ports: Option<Vec<NetworkPolicyPort>>) -> NetworkPolicyEgressRule {
    NetworkPolicyEgressRule {
        to: Some(vec![block("0.0.0.0/0", &NOT_PUBLIC_V4), block(PUBLIC_V6, &NOT_PUBLIC_V6)]),
        ports,
    }
}

fn own_pods(subject: &Subject<'_>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { pod_selector: Some(subject.selector()), ..NetworkPolicyPeer::default() }
}

fn pods(namespace: &str, labels: LabelSelector) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        namespace_selector: Some(namespace_named(namespace)),
        pod_selector: Some(labels),
        ip_block: None,
    }
}

/// By the label that Kubernetes itself gives every namespace.
fn namespace_named(namespace: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(pairs([("kubernetes.io/metadata.name", namespace)])), match_expressions: None }
}

fn block(cidr: &str, except: &[&str]) -> NetworkPolicyPeer {
    let except = Some(except.iter().map(|&cidr| cidr.to_owned()).collect());
    NetworkPolicyPeer { ip_block: Some(IPBlock { cidr: cidr.to_owned(), except }), ..NetworkPolicyPeer::default() }
}

fn tcp(number: u16) -> NetworkPolicyPort {
    port("TCP", number)
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number.into())),
        end_port: None,
    }
}
