//! What was made for a spec and is not wanted by the next one goes.

use crate::stage::{Stage, demo};
use crate::support::objects::{gateway, open, route};
use serde_json::json;

/// Waits until these objects are there.
async fn there(stage: &Stage, objects: &[(&str, &str)]) {
    for (kind, name) in objects {
        stage.until_some(&format!("{kind} {name}"), async || stage.get(kind, name).await).await;
    }
}

/// Waits until these objects are gone.
async fn gone(stage: &Stage, objects: &[(&str, &str)]) {
    for (kind, name) in objects {
        let is_gone = async || stage.get(kind, name).await.is_none().then_some(());
        stage.until_some(&format!("{kind} {name} goes"), is_gone).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_next_spec_does_not_want_goes() {
    let (ingress, budget, autoscaler) = (
        ("networking.k8s.io/v1/Ingress", "mcpgw-tools"),
        ("policy/v1/PodDisruptionBudget", "mcpgw-tools"),
        ("autoscaling/v2/HorizontalPodAutoscaler", "mcpgw-tools"),
    );
    let stage = Stage::new("change").await;
    stage.apply(&open("tools")).await;
    let behind_ingress = json!({"type": "Ingress", "ingress": {"className": "nginx"}});
    stage.apply(&gateway("tools", json!({"replicas": 2, "expose": behind_ingress}))).await;
    stage.apply(&demo("docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    there(&stage, &[ingress, budget]).await;

    let autoscaling = json!({"minReplicas": 2, "maxReplicas": 3, "targetCPUUtilizationPercentage": 80});
    stage.apply(&gateway("tools", json!({"autoscaling": autoscaling}))).await;
    there(&stage, &[autoscaler]).await;
    gone(&stage, &[ingress]).await;
    let wider = json!({"minReplicas": 2, "maxReplicas": 4, "targetCPUUtilizationPercentage": 80});
    stage.apply(&gateway("tools", json!({"autoscaling": wider}))).await;
    stage
        .until_some("the autoscaler may go further", async || {
            let found = stage.get(autoscaler.0, autoscaler.1).await?;
            (found["spec"]["maxReplicas"] == 4).then_some(())
        })
        .await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    gone(&stage, &[autoscaler, budget]).await;

    // A server in pods becomes one that is elsewhere.
    let of_pods = [
        ("apps/v1/Deployment", "mcpbe-docs"),
        ("v1/Service", "mcpbe-docs"),
        ("v1/Secret", "mcpbe-docs"),
        ("v1/ServiceAccount", "mcpbe-docs"),
        ("networking.k8s.io/v1/NetworkPolicy", "mcpbe-gateways-docs"),
    ];
    there(&stage, &of_pods).await;
    stage.replace_spec("MCPBackend", "docs", json!({"remote": {"url": "https://mcp.example.com/mcp"}})).await;
    gone(&stage, &of_pods).await;
    stage.end().await;
}
