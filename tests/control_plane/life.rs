//! The life of a gateway: objects appear, statuses become true step by step, and everything goes with it.

use crate::kubelet::Fault;
use crate::stage::{Stage, backend, gateway, open, route};
use crate::support::mcp::LegacyClient;
use serde_json::{Value, json};
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn objects_appear_statuses_become_true_step_by_step_and_everything_goes_with_the_gateway() {
    let stage = Stage::new("life").await;
    let _server = stage.server("tools").await;

    // Alone: nobody runs its pods yet.
    stage.kubelet.fault("mcpgw-tools", Some(Fault::Unschedulable));
    stage.apply(&gateway("tools", json!({"replicas": 2}))).await;
    stage.until("MCPGateway", "tools", "Accepted=True Accepted").await;
    stage.until("MCPGateway", "tools", "Ready=False PodsNotScheduled").await;
    stage.until("MCPGateway", "tools", "Programmed=False PodsNotScheduled").await;
    assert_owned(&stage, "tools").await;

    let (told, well) = status_command(&stage);
    assert!(
        told.contains("mcpgateway/tools") && told.contains("PodsNotScheduled (Programmed, Ready: False)"),
        "{told}"
    );
    assert!(!well);

    // A backend that no route names, then a route that nothing lets clients into, then a policy.
    stage.apply(&backend("tools", "tools")).await;
    stage.until("MCPBackend", "tools", "Available=True Available").await;
    stage.until("MCPBackend", "tools", "Verified=Unknown NotAttached").await;
    stage.apply(&route("tools", "tools", &["tools"])).await;
    stage.until("MCPRoute", "tools", "Accepted=False Unauthenticated").await;
    stage.apply(&open("tools")).await;
    stage.until("MCPAuthPolicy", "tools", "Accepted=True Accepted").await;
    stage.until("MCPRoute", "tools", "Accepted=True Accepted").await;
    stage.until("MCPRoute", "tools", "Ready=False PodsNotScheduled").await;

    stage.kubelet.fault("mcpgw-tools", None);
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    stage.until("MCPRoute", "tools", "Programmed=True Programmed").await;
    stage.until("MCPRoute", "tools", "Ready=True Ready").await;
    stage.until("MCPRoute", "tools", "PrimaryActive=True PrimaryActive").await;
    stage.until("MCPBackend", "tools", "Verified=True Verified").await;
    stage.until("MCPBackend", "tools", "Ready=True Ready").await;

    stage.programmed("tools", 2).await;
    let addresses = stage.addresses("tools");
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        let mut client = LegacyClient::connect(address, "/tools").await;
        assert_eq!(client.tools().await, ["echo", "wait"]);
    }
    stage.until("MCPRoute", "tools", "CatalogComplete=True CatalogComplete").await;
    let (told, well) = status_command(&stage);
    assert!(told.contains("Serving 1 route on 2 pods") && !told.contains("WHAT IS WRONG"), "{told}");
    assert!(well, "{told}");

    let status = &stage.get("MCPGateway", "tools").await.unwrap()["status"];
    assert_eq!(status["programmedReplicas"], 2);
    assert_eq!(status["attachedRoutes"], 1);
    assert_eq!(
        status["addresses"],
        json!([{"type": "Hostname", "value": format!("mcpgw-tools.{}.svc", stage.namespace)}])
    );
    let scale =
        format!("/apis/gateway.mcp-operator.dev/v1alpha1/namespaces/{}/mcpgateways/tools/scale", stage.namespace);
    let scale: Value =
        stage.cluster.client().request(http::Request::get(scale).body(Vec::new()).unwrap()).await.unwrap();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(2), &json!(2)));
    let server = stage.until_some("the route's server", async || {
        let route = stage.get("MCPRoute", "tools").await?;
        let server = route["status"]["parents"][0]["servers"][0].clone();
        (server["tools"] == 2).then_some(server)
    });
    let server = server.await;
    assert_eq!((&server["activePriority"], &server["healthy"], &server["total"]), (&json!(0), &json!(1), &json!(1)));
    let told = stage.events("tools").await;
    for reason in ["PodsNotScheduled", "Unauthenticated", "Programmed", "Verified", "Ready"] {
        assert!(told.iter().any(|event| event == reason), "no Event {reason}: {told:?}");
    }

    stage.delete("MCPGateway", "tools").await;
    stage
        .until_some("everything of the gateway is gone", async || {
            let left = owned(&stage, "tools").await;
            let runs = !stage.kubelet.pods("mcpgw-tools").is_empty();
            (left.is_empty() && !runs && stage.names("v1/Pod").await.is_empty()).then_some(())
        })
        .await;
    stage.until("MCPRoute", "tools", "Accepted=False NoMatchingParent").await;
    stage.until("MCPBackend", "tools", "Verified=Unknown NotAttached").await;
}

/// What `kubectl mcp status` says, and whether it finds everything well.
fn status_command(stage: &Stage) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-mcp"))
        .args(["status", "--fail", "--full", "-n", &stage.namespace, "--kubeconfig"])
        .arg(stage.cluster.kubeconfig())
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

/// Kinds of which a gateway has objects.
const KINDS: [&str; 8] = [
    "apps/v1/Deployment",
    "autoscaling/v2/HorizontalPodAutoscaler",
    "networking.k8s.io/v1/NetworkPolicy",
    "policy/v1/PodDisruptionBudget",
    "v1/ConfigMap",
    "v1/Secret",
    "v1/Service",
    "v1/ServiceAccount",
];

async fn assert_owned(stage: &Stage, gateway: &str) {
    let expected = [
        "apps/v1/Deployment mcpgw-tools",
        "networking.k8s.io/v1/NetworkPolicy mcpgw-clients-tools",
        "networking.k8s.io/v1/NetworkPolicy mcpgw-operator-tools",
        "networking.k8s.io/v1/NetworkPolicy mcpgw-peers-tools",
        "policy/v1/PodDisruptionBudget mcpgw-tools",
        "v1/ConfigMap mcpgw-tools",
        "v1/Secret mcpgw-tools",
        "v1/Secret mcpkeys-tools",
        "v1/Service mcpgw-tools",
        "v1/Service mcppeers-tools",
        "v1/ServiceAccount mcpgw-tools",
    ];
    let found = owned(stage, gateway).await;
    let missing: Vec<&&str> = expected.iter().filter(|name| !found.contains(&(**name).to_owned())).collect();
    assert!(missing.is_empty(), "{missing:?} of {found:?}");
}

/// Everything that the gateway controls, as `kind name`.
async fn owned(stage: &Stage, gateway: &str) -> Vec<String> {
    let mut found = Vec::new();
    for kind in KINDS {
        for name in stage.names(kind).await {
            let Some(object) = stage.get(kind, &name).await else { continue };
            let owners = object["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
            let controls = |owner: &Value| {
                owner["kind"] == "MCPGateway" && owner["name"] == *gateway && owner["controller"] == true
            };
            if owners.iter().any(controls) {
                found.push(format!("{kind} {name}"));
            }
        }
    }
    found
}
