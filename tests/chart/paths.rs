//! Who may connect to the operator, and where it connects to.

use crate::helm::{items, objects, of_kind, text};
use mcp_gateway_operator::api::GATEWAY_LABEL;
use mcp_gateway_operator::translate::naming::CHANNEL_PORT;
use serde_json::{Value, json};

const OPERATOR: &str = "app.kubernetes.io/name";

#[test]
fn the_policy_is_about_the_operators_pods_in_both_directions() {
    for case in [None, Some("namespaced"), Some("everything")] {
        let policy = policy(case);
        assert_eq!(policy["spec"]["podSelector"], json!({"matchLabels": {OPERATOR: "mcp-operator"}}));
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    }
}

#[test]
fn who_tests_and_who_scrapes_gets_to_the_health_port() {
    let rule = |case| {
        let policy = policy(case);
        let rules: Vec<Value> = items(&policy, "/spec/ingress").cloned().collect();
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0]["ports"], json!([{"port": "health", "protocol": "TCP"}]));
        rules[0]["from"].clone()
    };
    let tests = json!({"podSelector": {"matchLabels": {OPERATOR: "mcp-operator-test"}}});
    let names = json!([{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring"]}]);
    let scrapers = json!({"namespaceSelector": {"matchExpressions": names}});
    assert_eq!(rule(None), json!([tests]));
    assert_eq!(rule(Some("everything")), json!([tests, scrapers]));
}

#[test]
fn the_operator_gets_to_the_api_server_to_dns_and_to_gateways() {
    let tcp = |ports: &[u16]| ports.iter().map(|port| json!({"port": port, "protocol": "TCP"})).collect::<Vec<_>>();
    let names = |names: &[&str]| json!({"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": names}]});
    let cidrs = json!([{"ipBlock": {"cidr": "10.96.0.1/32"}}, {"ipBlock": {"cidr": "192.0.2.10/32"}}]);
    let cases = [
        (None, Value::Null, tcp(&[443, 6443]), json!({})),
        (Some("namespaced"), Value::Null, tcp(&[443, 6443]), names(&["team-a", "team-b"])),
        (Some("everything"), cidrs, tcp(&[443, 8443]), json!({})),
    ];
    for (case, servers, ports, namespaces) in cases {
        let policy = policy(case);
        let rules: Vec<&Value> = items(&policy, "/spec/egress").collect();
        let [api_server, dns, gateways] = rules[..] else { panic!("{case:?}: {rules:?}") };
        assert_eq!((&api_server["to"], &api_server["ports"]), (&servers, &json!(ports)), "{case:?}");
        let to_dns =
            [53, 5353].map(|port| [json!({"port": port, "protocol": "UDP"}), json!({"port": port, "protocol": "TCP"})]);
        assert_eq!(*dns, json!({"ports": to_dns.concat()}), "{case:?}");
        let pods = json!({"matchExpressions": [{"key": GATEWAY_LABEL, "operator": "Exists"}]});
        let to = json!([{"namespaceSelector": namespaces, "podSelector": pods}]);
        assert_eq!(*gateways, json!({"to": to, "ports": tcp(&[CHANNEL_PORT])}), "{case:?}");
    }
}

fn policy(case: Option<&str>) -> Value {
    let objects = objects(case);
    let policies = of_kind(&objects, "NetworkPolicy");
    assert_eq!(policies.len(), 1);
    assert_eq!(text(policies[0], "/metadata/namespace"), "mcp-system");
    policies[0].clone()
}
