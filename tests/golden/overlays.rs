//! Overlays that nobody thought of: whatever translation takes, the pod meets the `restricted` standard.

use crate::objects::gateway_pod;
use crate::restricted;
use mcp_gateway_operator::api::{API_VERSION, McpGateway};
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::ir::infra::GatewayInfra;
use mcp_gateway_operator::translate::{Inputs, translate};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};

/// What a gateway with this overlay deploys.
fn infra(overlay: &Value) -> Option<GatewayInfra> {
    let gateway: McpGateway = serde_json::from_value(json!({
        "apiVersion": API_VERSION,
        "kind": "MCPGateway",
        "metadata": { "name": "tools", "namespace": "team" },
        "spec": {
            "listeners": [{ "name": "http", "port": 80, "protocol": "HTTP" }],
            "podTemplate": { "spec": overlay },
        },
    }))
    .unwrap();
    let mut inputs = Inputs::default();
    inputs.gateways.insert(ObjectId::new("team", "tools"), gateway);
    translate(&inputs).gateways.into_values().next().and_then(|planned| planned.infra)
}

/// Some of these fields, each good or bad.
fn some_of(fields: Vec<(&'static str, Value)>) -> impl Strategy<Value = Value> {
    // A few only: of many, one would nearly always be bad.
    subsequence(fields, 0..3).prop_map(|fields| {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(fields.collect::<Map<_, _>>())
    })
}

fn of_containers() -> impl Strategy<Value = Value> {
    some_of(vec![
        ("runAsNonRoot", json!(true)),
        ("runAsNonRoot", json!(false)),
        ("runAsUser", json!(1000)),
        ("runAsUser", json!(0)),
        ("privileged", json!(false)),
        ("privileged", json!(true)),
        ("allowPrivilegeEscalation", json!(false)),
        ("allowPrivilegeEscalation", json!(true)),
        ("readOnlyRootFilesystem", json!(false)),
        ("procMount", json!("Default")),
        ("procMount", json!("Unmasked")),
        ("seccompProfile", json!({ "type": "RuntimeDefault" })),
        ("seccompProfile", json!({ "type": "Unconfined" })),
        ("capabilities", json!({ "drop": ["ALL"] })),
        ("capabilities", json!({ "drop": [] })),
        ("capabilities", json!({ "add": ["NET_BIND_SERVICE"] })),
        ("capabilities", json!({ "add": ["NET_ADMIN"] })),
    ])
}

fn container() -> impl Strategy<Value = Value> {
    let ports =
        select(vec![json!([]), json!([{ "containerPort": 1 }]), json!([{ "containerPort": 1, "hostPort": 1 }])]);
    (select(vec!["gateway", "other"]), proptest::option::of(of_containers()), ports).prop_map(
        |(name, context, ports)| {
            let mut container = json!({ "name": name, "image": "a:1", "ports": ports });
            if let Some(context) = context {
                container["securityContext"] = context;
            }
            container
        },
    )
}

fn pod() -> impl Strategy<Value = Value> {
    let context = some_of(vec![
        ("runAsNonRoot", json!(false)),
        ("runAsUser", json!(1000)),
        ("runAsUser", json!(0)),
        ("seccompProfile", json!({ "type": "Localhost", "localhostProfile": "a" })),
        ("seccompProfile", json!({ "type": "Unconfined" })),
        ("fsGroup", json!(1)),
        ("sysctls", json!([{ "name": "kernel.msgmax", "value": "1" }])),
    ]);
    let rest = some_of(vec![
        ("hostNetwork", json!(true)),
        ("hostPID", json!(true)),
        ("serviceAccountName", json!("admin")),
        ("automountServiceAccountToken", json!(true)),
        ("automountServiceAccountToken", json!(false)),
        ("nodeSelector", json!({ "a": "b" })),
        ("ephemeralContainers", json!([{ "name": "a" }])),
        ("volumes", json!([{ "name": "a", "hostPath": { "path": "/" } }])),
        ("volumes", json!([{ "name": "snapshot", "emptyDir": {} }])),
    ]);
    let init = proptest::option::weighted(0.3, container());
    (context, rest, vec(container(), 0..3), init).prop_map(|(context, mut pod, containers, init)| {
        pod["securityContext"] = context;
        pod["containers"] = json!(containers);
        if let Some(init) = init {
            pod["initContainers"] = json!([init]);
        }
        pod
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn an_overlay_that_is_taken_weakens_nothing(overlay in pod()) {
        if let Some(infra) = infra(&overlay) {
            let violations = restricted::violations(&gateway_pod(&infra));
            prop_assert!(violations.is_empty(), "{violations:?}");
        }
    }
}

/// The property above says little if nearly all are refused, or none.
#[test]
fn some_overlays_are_taken_and_some_are_not() {
    let mut runner = TestRunner::deterministic();
    let taken = (0..200).filter(|_| infra(&pod().new_tree(&mut runner).unwrap().current()).is_some()).count();
    assert!((30..170).contains(&taken), "{taken} of 200");
}
