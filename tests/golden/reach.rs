//! What Kubernetes makes of `NetworkPolicies`: a pod that a policy selects in a direction may do in it what some policy allows, and
//! nothing else; a pod that none selects may do everything. A connection needs both of its ends.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;
use std::net::IpAddr;

pub(crate) type Labels = BTreeMap<String, String>;

/// One end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) address: IpAddr,
    /// What is a pod of the cluster. Everything else is an address and nothing more.
    pub(crate) pod: Option<Pod>,
}

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) labels: Labels,
    /// Ports by their names.
    pub(crate) ports: BTreeMap<String, u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// A cluster, as far as policies are about it.
pub(crate) struct Cluster {
    pub(crate) policies: Vec<NetworkPolicy>,
    /// Labels by namespace.
    pub(crate) namespaces: BTreeMap<String, Labels>,
}

/// Which way a connection goes, from where a policy stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Cluster {
    /// Whether a connection can be made.
    pub(crate) fn allows(&self, from: &End, to: &End, protocol: Protocol, port: u16) -> bool {
        let wanted = Connection { to, protocol, port };
        self.lets(Direction::Egress, from, to, &wanted) && self.lets(Direction::Ingress, to, from, &wanted)
    }

    /// Whether the policies about one end let it connect with the other.
    fn lets(&self, direction: Direction, own: &End, other: &End, wanted: &Connection<'_>) -> bool {
        let Some(pod) = &own.pod else { return true };
        let mut about: Vec<(&str, &NetworkPolicySpec)> = Vec::new();
        for policy in &self.policies {
            let spec = policy.spec.as_ref().unwrap();
            let namespace = policy.metadata.namespace.as_deref().unwrap();
            let selects = spec.pod_selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels));
            if namespace == pod.namespace && selects && is_about(spec, direction) {
                about.push((namespace, spec));
            }
        }
        about.is_empty()
            || about.iter().any(|(namespace, spec)| {
                rules(spec, direction).into_iter().any(|(peers, ports)| {
                    let names_it = peers.is_empty() || peers.iter().any(|peer| self.is_peer(namespace, peer, other));
                    names_it && (ports.is_empty() || ports.iter().any(|port| wanted.is_at(port)))
                })
            })
    }

    fn is_peer(&self, namespace: &str, peer: &NetworkPolicyPeer, end: &End) -> bool {
        if let Some(block) = &peer.ip_block {
            let holds = |cidr: &String| cidr.parse::<IpNet>().unwrap().contains(&end.address);
            return holds(&block.cidr) && !block.except.iter().flatten().any(holds);
        }
        let Some(pod) = &end.pod else { return false };
        let is_in_namespace = match &peer.namespace_selector {
            None => pod.namespace == namespace,
            Some(selector) => matches(selector, &self.namespaces[&pod.namespace]),
        };
        is_in_namespace && peer.pod_selector.as_ref().is_none_or(|selector| matches(selector, &pod.labels))
    }
}

type Rule<'a> = (&'a [NetworkPolicyPeer], &'a [NetworkPolicyPort]);

fn rules(spec: &NetworkPolicySpec, direction: Direction) -> Vec<Rule<'_>> {
    match direction {
        Direction::Ingress => {
            let rules = spec.ingress.iter().flatten();
            rules
                .map(|rule| (rule.from.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default()))
                .collect()
        }
        Direction::Egress => {
            let rules = spec.egress.iter().flatten();
            rules
                .map(|rule| (rule.to.as_deref().unwrap_or_default(), rule.ports.as_deref().unwrap_or_default()))
                .collect()
        }
    }
}

/// A policy that does not say is about connections to its pods, and about those from them where it has rules for them.
fn is_about(spec: &NetworkPolicySpec, direction: Direction) -> bool {
    match (&spec.policy_types, direction) {
        (Some(types), Direction::Ingress) => types.iter().any(|type_| type_ == "Ingress"),
        (Some(types), Direction::Egress) => types.iter().any(|type_| type_ == "Egress"),
        (None, Direction::Ingress) => true,
        (None, Direction::Egress) => spec.egress.is_some(),
    }
}

/// What is to be connected to.
struct Connection<'a> {
    to: &'a End,
    protocol: Protocol,
    port: u16,
}

impl Connection<'_> {
    fn is_at(&self, port: &NetworkPolicyPort) -> bool {
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some(other) => panic!("{other}"),
        };
        let wanted = i32::from(self.port);
        let is_number = match &port.port {
            None => true,
            Some(IntOrString::Int(number)) => (*number..=port.end_port.unwrap_or(*number)).contains(&wanted),
            // A name is one of the pod that is connected to.
            Some(IntOrString::String(name)) => {
                self.to.pod.as_ref().is_some_and(|pod| pod.ports.get(name) == Some(&self.port))
            }
        };
        protocol == self.protocol && is_number
    }
}

fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let LabelSelector { match_labels, match_expressions } = selector;
    match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
        && match_expressions.iter().flatten().all(|requirement| {
            let values = requirement.values.as_deref().unwrap_or_default();
            let value = labels.get(&requirement.key);
            let is_one = value.is_some_and(|value| values.contains(value));
            match requirement.operator.as_str() {
                "In" => is_one,
                "NotIn" => !is_one,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("{other}"),
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(namespace: &str, app: &str, last: u8) -> End {
        let labels = Labels::from([("app".to_owned(), app.to_owned())]);
        let pod = Pod { namespace: namespace.to_owned(), labels, ports: BTreeMap::from([("web".to_owned(), 80)]) };
        End { address: [10, 0, 0, last].into(), pod: Some(pod) }
    }

    fn cluster(policies: &[Value]) -> Cluster {
        let policy = |spec: &Value| {
            serde_json::from_value(json!({ "metadata": { "name": "p", "namespace": "one" }, "spec": spec })).unwrap()
        };
        let labelled = |name: &str| (name.to_owned(), Labels::from([("name".to_owned(), name.to_owned())]));
        Cluster {
            policies: policies.iter().map(policy).collect(),
            namespaces: BTreeMap::from([labelled("one"), labelled("two")]),
        }
    }

    /// The cases of the Kubernetes documentation, and those where its wording is easily misread.
    #[test]
    fn policies_mean_what_kubernetes_says() {
        let (server, client, stranger) = (pod("one", "server", 1), pod("one", "client", 2), pod("two", "client", 3));
        let outside = End { address: [192, 0, 2, 1].into(), pod: None };
        let selected = json!({ "matchLabels": { "app": "server" } });
        let ingress = |rules: Value| json!({ "podSelector": selected, "policyTypes": ["Ingress"], "ingress": rules });
        let client_only = json!([{ "from": [{ "podSelector": { "matchLabels": { "app": "client" } } }] }]);
        let of_two = json!({ "matchLabels": { "name": "two" } });
        let both =
            json!([{ "from": [{ "namespaceSelector": of_two, "podSelector": { "matchLabels": { "app": "x" } } }] }]);
        let either = json!([{ "from": [{ "namespaceSelector": of_two }, { "podSelector": { "matchLabels": { "app": "x" } } }] }]);
        let range = json!([{ "from": [{ "ipBlock": { "cidr": "192.0.2.0/24", "except": ["192.0.2.0/28"] } }] }]);
        // Policies, and who reaches the server's port 80: client, stranger, outside.
        let cases: Vec<(Vec<Value>, [bool; 3])> = vec![
            (vec![], [true, true, true]),
            (vec![json!({ "podSelector": {} })], [false, false, false]),
            (vec![json!({ "podSelector": { "matchLabels": { "app": "other" } } })], [true, true, true]),
            (vec![ingress(json!([]))], [false, false, false]),
            (vec![ingress(json!([{}]))], [true, true, true]),
            (vec![ingress(client_only.clone())], [true, false, false]),
            (vec![ingress(both)], [false, false, false]),
            (vec![ingress(either.clone())], [false, true, false]),
            (vec![ingress(client_only), ingress(either)], [true, true, false]),
            (vec![ingress(range)], [false, false, false]),
            (vec![ingress(json!([{ "from": [{ "ipBlock": { "cidr": "0.0.0.0/0" } }] }]))], [true, true, true]),
            (vec![ingress(json!([{ "ports": [{ "port": "web" }] }]))], [true, true, true]),
            (vec![ingress(json!([{ "ports": [{ "port": 70, "endPort": 79 }] }]))], [false, false, false]),
            (vec![ingress(json!([{ "ports": [{ "port": 80, "protocol": "UDP" }] }]))], [false, false, false]),
            // Of a client that may connect to nothing.
            (
                vec![json!({ "podSelector": { "matchLabels": { "app": "client" } }, "policyTypes": ["Egress"] })],
                [false, true, true],
            ),
        ];
        for (policies, expected) in cases {
            let cluster = cluster(&policies);
            let found = [&client, &stranger, &outside].map(|from| cluster.allows(from, &server, Protocol::Tcp, 80));
            assert_eq!(found, expected, "{policies:?}");
        }
    }
}
