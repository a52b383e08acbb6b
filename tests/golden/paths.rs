//! Who may connect to whom: the policies of a scenario, evaluated as Kubernetes evaluates them, against a table in words. No network
//! is needed, and no plugin that enforces them.

use crate::objects;
use crate::reach::{Cluster, End, Labels, Pod, Protocol};
use crate::support::cases;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The scenario.
const CASE: &str = "network-paths";

/// The chart as it is rendered: the operator's own policy is in it.
const RENDERED: &str = "deploy/install.yaml";

/// Namespace, name, labels, and the port that it listens on under a name.
type Other = (&'static str, &'static str, &'static [(&'static str, &'static str)], Option<(&'static str, u16)>);

/// Pods that are not made of our objects: where, what they are labelled with, and a port by its name.
const OTHERS: [Other; 9] = [
    ("apps", "client", &[("app", "client")], None),
    ("a", "database", &[("app", "database")], Some(("sql", 5432))),
    ("a", "web", &[("app", "web")], None),
    ("b", "database", &[("app", "database")], Some(("sql", 5432))),
    ("data", "lake", &[("app", "lake")], None),
    ("servers", "inside", &[("app", "inside")], None),
    ("mcp-system", "operator", &[("app.kubernetes.io/name", "mcp-operator")], None),
    ("monitoring", "prometheus", &[("app", "prometheus")], None),
    ("mcp-system", "stranger", &[("app", "stranger")], None),
];

/// What is no pod: the API server stands on a node, behind an address of its own.
const ADDRESSES: [(&str, &str); 9] = [
    ("api-server", "192.168.1.10"),
    ("metadata", "169.254.169.254"),
    ("metadata-azure", "168.63.129.16"),
    ("metadata-ipv6", "fd00:ec2::254"),
    ("private", "10.200.0.1"),
    ("public", "93.184.215.14"),
    ("public-ipv6", "2606:4700::1111"),
    ("dns", "10.96.0.10"),
    ("6to4-private", "2002:a00:1::1"),
];

const YES: bool = true;
const NO: bool = false;

/// From, to, port, whether, and why.
const TABLE: &[(&str, &str, u16, bool, &str)] = &[
    // -- into a gateway
    ("apps/client", "a/mcpgw-tools", 8080, YES, "clients reach a listener"),
    ("public", "a/mcpgw-tools", 8080, YES, "clients reach it from outside, too"),
    ("apps/client", "a/mcpgw-tools", 8081, NO, "there is no such listener"),
    ("apps/client", "a/mcpgw-tools", 9901, NO, "probes and metrics are not for clients"),
    ("apps/client", "a/mcpgw-tools", 9902, NO, "the channel is the operator's"),
    ("apps/client", "a/mcpgw-tools", 9903, NO, "the peer port is the replicas'"),
    ("mcp-system/operator", "a/mcpgw-tools", 9902, YES, "the operator pushes generations"),
    ("mcp-system/stranger", "a/mcpgw-tools", 9902, NO, "being in the operator's namespace is not enough"),
    ("monitoring/prometheus", "a/mcpgw-tools", 9901, YES, "who scrapes reads metrics"),
    ("monitoring/prometheus", "a/mcpgw-tools", 9902, NO, "and no more"),
    ("a/mcpgw-tools", "a/mcpgw-tools", 9903, YES, "replicas speak to each other"),
    ("b/mcpgw-tools", "a/mcpgw-tools", 9903, NO, "those of another gateway do not, whatever its name"),
    ("a/mcpbe-files", "a/mcpgw-tools", 9902, NO, "a server does not steer its gateway"),
    ("a/mcpbe-files", "a/mcpgw-tools", 9903, NO, "nor is it a replica"),
    ("a/mcpbe-files", "a/mcpgw-tools", 8080, NO, "nor a client, unless it says so in its egress"),
    // -- from a gateway to its servers
    ("a/mcpgw-tools", "a/mcpbe-files", 8080, YES, "a gateway calls its stdio server"),
    ("a/mcpgw-tools", "a/mcpbe-free", 8080, YES, "an open one as well"),
    ("a/mcpgw-tools", "a/mcpbe-search", 3000, YES, "and its HTTP server"),
    ("a/mcpgw-tools", "a/mcpbe-search", 3001, NO, "at its port only"),
    ("a/mcpgw-tools", "a/web", 3000, YES, "the pods behind a Service"),
    ("a/mcpgw-tools", "servers/inside", 8000, YES, "another operator's server"),
    ("a/mcpgw-tools", "shared/mcpbe-clock", 8080, YES, "a server that is lent to it"),
    ("b/mcpgw-tools", "shared/mcpbe-clock", 8080, YES, "and to the other tenant"),
    ("a/mcpgw-tools", "public", 443, YES, "a remote server"),
    ("a/mcpgw-tools", "public-ipv6", 443, YES, "by IPv6, too"),
    ("a/mcpgw-tools", "dns", 53, YES, "names are resolved"),
    // -- and to nothing else
    ("a/mcpgw-tools", "a/mcpbe-unused", 3000, NO, "no route names that server"),
    ("a/mcpgw-tools", "b/mcpbe-notes", 8080, NO, "nor the other tenant's"),
    ("b/mcpgw-tools", "a/mcpbe-files", 8080, NO, "and the other way round"),
    ("b/mcpgw-tools", "public", 443, NO, "it has no remote server"),
    ("a/mcpgw-tools", "public", 80, NO, "none is at that port"),
    ("a/mcpgw-tools", "metadata", 443, NO, "a remote URL leads to no metadata service"),
    ("a/mcpgw-tools", "metadata-azure", 443, NO, "nor to this one"),
    ("a/mcpgw-tools", "api-server", 443, NO, "nor to the API server"),
    ("a/mcpgw-tools", "api-server", 6443, NO, "whatever its port"),
    ("a/mcpgw-tools", "private", 443, NO, "nor to a private address"),
    ("a/mcpgw-tools", "6to4-private", 443, NO, "nor to one in disguise"),
    // -- into a server
    ("apps/client", "a/mcpbe-files", 8080, NO, "only gateways call a server"),
    ("b/mcpgw-tools", "a/mcpbe-search", 3000, NO, "and only those that name it"),
    ("a/mcpbe-search", "a/mcpbe-files", 8080, NO, "servers do not call each other"),
    ("a/mcpbe-free", "a/mcpbe-files", 8080, NO, "an open one neither: the other end refuses"),
    ("mcp-system/operator", "a/mcpbe-files", 8080, NO, "nor does the operator call them"),
    ("apps/client", "a/mcpbe-search", 3000, NO, "of whatever kind"),
    ("apps/client", "a/mcpbe-unused", 3000, NO, "and of none, where no route names it"),
    ("apps/client", "a/mcpbe-free", 8080, NO, "open is the way out, not the way in"),
    // -- out of a server
    ("a/mcpbe-files", "dns", 53, YES, "a server resolves names"),
    ("a/mcpbe-files", "public", 443, YES, "and uses public APIs"),
    ("a/mcpbe-files", "public", 22, YES, "at any port"),
    ("a/mcpbe-files", "public-ipv6", 443, YES, "by IPv6, too"),
    ("a/mcpbe-files", "api-server", 6443, NO, "the API server is not its business"),
    ("a/mcpbe-files", "api-server", 443, NO, "whatever its port"),
    ("a/mcpbe-files", "metadata", 80, NO, "nor are the node's credentials"),
    ("a/mcpbe-files", "metadata-azure", 80, NO, "of whatever cloud"),
    ("a/mcpbe-files", "metadata-ipv6", 80, NO, "or protocol"),
    ("a/mcpbe-files", "private", 443, NO, "nor what is inside"),
    ("a/mcpbe-files", "6to4-private", 443, NO, "in disguise neither"),
    ("a/mcpbe-files", "a/database", 5432, NO, "nor other pods"),
    ("a/mcpbe-free", "api-server", 6443, YES, "unless it is open"),
    ("a/mcpbe-free", "a/database", 5432, YES, "to all"),
    ("a/mcpbe-search", "dns", 53, YES, "a server with rules of its own resolves names, too"),
    ("a/mcpbe-search", "public", 443, YES, "and uses public APIs"),
    ("a/mcpbe-search", "a/database", 5432, YES, "and what it names, by the name of a port"),
    ("a/mcpbe-search", "a/database", 5433, NO, "which is that port only"),
    ("a/mcpbe-search", "b/database", 5432, NO, "of its own namespace"),
    ("a/mcpbe-search", "data/lake", 9005, YES, "or a namespace by its labels, and a range of ports"),
    ("a/mcpbe-search", "data/lake", 9011, NO, "which has an end"),
    ("a/mcpbe-search", "private", 9005, NO, "and stays inside"),
    // -- the operator
    ("mcp-system/operator", "api-server", 6443, YES, "the operator speaks to the API server"),
    ("mcp-system/operator", "dns", 53, YES, "and resolves names"),
    ("mcp-system/operator", "private", 5432, NO, "and does nothing else"),
    ("apps/client", "mcp-system/operator", 8080, NO, "nobody asks it anything"),
    ("a/mcpgw-tools", "mcp-system/operator", 8080, NO, "gateways are asked, and do not ask"),
];

/// Everything that can be at an end of a connection, by its name.
fn ends(objects: &[Value]) -> BTreeMap<String, End> {
    let mut ends = BTreeMap::new();
    for (number, (namespace, name, labels, port)) in OTHERS.into_iter().enumerate() {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let ports = port.map(|(name, number)| (name.to_owned(), number)).into_iter().collect();
        let pod = Pod { namespace: namespace.to_owned(), labels, ports };
        ends.insert(format!("{namespace}/{name}"), End { address: inside(1, number), pod: Some(pod) });
    }
    let deployments = objects.iter().filter(|object| object["kind"] == "Deployment");
    for (number, deployment) in deployments.enumerate() {
        let text = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        let labels: Labels =
            serde_json::from_value(deployment["spec"]["template"]["metadata"]["labels"].clone()).unwrap();
        let namespace = text("/metadata/namespace");
        let name = format!("{namespace}/{}", text("/metadata/name"));
        let pod = Pod { namespace, labels, ports: BTreeMap::new() };
        ends.insert(name, End { address: inside(2, number), pod: Some(pod) });
    }
    for (name, address) in ADDRESSES {
        ends.insert(name.to_owned(), End { address: address.parse().unwrap(), pod: None });
    }
    ends
}

fn inside(network: u8, number: usize) -> IpAddr {
    [10, 0, network, u8::try_from(number + 1).unwrap()].into()
}

fn policies(objects: &[Value]) -> Vec<NetworkPolicy> {
    let ours = objects.iter().filter(|object| object["kind"] == "NetworkPolicy").cloned();
    let rendered: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(RENDERED).unwrap()).unwrap();
    let rendered = rendered.into_iter().filter(|object| object["kind"] == "NetworkPolicy");
    ours.chain(rendered).map(|policy| serde_json::from_value(policy).unwrap()).collect()
}

fn namespaces(ends: &BTreeMap<String, End>) -> BTreeMap<String, Labels> {
    let named = |name: &str| {
        let mut labels = Labels::from([("kubernetes.io/metadata.name".to_owned(), name.to_owned())]);
        if name == "data" {
            labels.insert("team".to_owned(), "data".to_owned());
        }
        (name.to_owned(), labels)
    };
    ends.values().filter_map(|end| Some(named(&end.pod.as_ref()?.namespace))).collect()
}

#[test]
fn who_may_connect_to_whom() {
    let case = cases().into_iter().find(|case| case.name() == CASE).unwrap();
    let objects = objects::of_case(&case);
    let ends = ends(&objects);
    let cluster = Cluster { policies: policies(&objects), namespaces: namespaces(&ends) };
    let mut wrong = Vec::new();
    for (from, to, port, expected, why) in TABLE {
        let protocol = if *port == 53 { Protocol::Udp } else { Protocol::Tcp };
        if cluster.allows(&ends[*from], &ends[*to], protocol, *port) != *expected {
            wrong.push(format!("{from} -> {to}:{port} should be {expected}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A policy that nothing in the table depends on could be forgotten, or widened, without anybody noticing.
#[test]
fn each_policy_makes_a_difference() {
    let case = cases().into_iter().find(|case| case.name() == CASE).unwrap();
    let objects = objects::of_case(&case);
    let ends = ends(&objects);
    let all = policies(&objects);
    let namespaces = namespaces(&ends);
    let holds = |policies: Vec<NetworkPolicy>| {
        let cluster = Cluster { policies, namespaces: namespaces.clone() };
        TABLE.iter().all(|(from, to, port, expected, _)| {
            let protocol = if *port == 53 { Protocol::Udp } else { Protocol::Tcp };
            cluster.allows(&ends[*from], &ends[*to], protocol, *port) == *expected
        })
    };
    assert!(holds(all.clone()));
    // One tenant's are enough: the other's, and those of what both use, are made alike; and so are those of the server without a route.
    let is_looked_at = |policy: &&NetworkPolicy| {
        policy.metadata.namespace.as_deref() == Some("a") && !policy.metadata.name.as_ref().unwrap().ends_with("unused")
    };
    let looked_at: Vec<&NetworkPolicy> = all.iter().filter(is_looked_at).collect();
    assert!(looked_at.len() > 10, "{} policies", looked_at.len());
    for policy in looked_at {
        let without = all.iter().filter(|other| other.metadata != policy.metadata).cloned().collect();
        assert!(!holds(without), "{:?}", policy.metadata.name);
    }
}
