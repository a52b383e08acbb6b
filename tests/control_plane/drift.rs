//! What people change while a gateway lives: how many pods there are, whether it is paused, what is not theirs to change.

use crate::stage::{Stage, gateway, open};
use futures_util::StreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// Every number of pods that the Deployment ever asked for, from now on.
fn replicas_of(stage: &Stage, deployment: &str) -> Arc<Mutex<Vec<i64>>> {
    let (api, deployment) = (stage.api("apps/v1", "Deployment"), deployment.to_owned());
    let log = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&log);
    tokio::spawn(async move {
        let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            if let Event::Apply(object) | Event::InitApply(object) = event.expect("the watch goes on")
                && object.metadata.name.as_ref() == Some(&deployment)
            {
                written.lock().extend(object.data.pointer("/spec/replicas").and_then(Value::as_i64));
            }
        }
    });
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn between_a_number_of_replicas_and_an_autoscaler_nothing_drops_to_one() {
    let stage = Stage::new("scaling").await;
    stage.apply(&gateway("tools", json!({"replicas": 3}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    let replicas = replicas_of(&stage, "mcpgw-tools");

    stage.apply(&gateway("tools", json!({"autoscaling": {"minReplicas": 2, "maxReplicas": 6}}))).await;
    stage
        .until_some("the autoscaler is there", async || {
            let scaler = stage.get("autoscaling/v2/HorizontalPodAutoscaler", "mcpgw-tools").await?;
            (scaler["spec"]["minReplicas"] == 2 && scaler["spec"]["maxReplicas"] == 6).then_some(())
        })
        .await;
    // Whoever scales now is not the operator, and is let alone.
    stage.patch("apps/v1/Deployment", "mcpgw-tools", json!({"spec": {"replicas": 4}})).await;
    stage
        .patch(
            "MCPGateway",
            "tools",
            json!({"metadata": {"annotations": {"gateway.mcp-operator.dev/restartedAt": "now"}}}),
        )
        .await;
    stage
        .until_some("the pods are replaced", async || {
            let deployment = stage.get("apps/v1/Deployment", "mcpgw-tools").await?;
            let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
            (annotations["gateway.mcp-operator.dev/restartedAt"] == "now").then_some(())
        })
        .await;
    assert_eq!(stage.get("apps/v1/Deployment", "mcpgw-tools").await.unwrap()["spec"]["replicas"], 4);

    stage.apply(&gateway("tools", json!({"replicas": 2}))).await;
    stage
        .until_some("the autoscaler is gone", async || {
            stage.get("autoscaling/v2/HorizontalPodAutoscaler", "mcpgw-tools").await.is_none().then_some(())
        })
        .await;
    let deployment = stage.get("apps/v1/Deployment", "mcpgw-tools").await.unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    let mut seen = replicas.lock().clone();
    seen.dedup();
    assert_eq!(seen, [3, 4, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_begins_with_an_autoscaler_begins_with_its_minimum() {
    let stage = Stage::new("autoscaled").await;
    let replicas = replicas_of(&stage, "mcpgw-tools");
    stage.apply(&gateway("tools", json!({"autoscaling": {"minReplicas": 3, "maxReplicas": 6}}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    let mut seen = replicas.lock().clone();
    seen.dedup();
    assert_eq!(seen, [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_put_right_and_what_they_add_is_left() {
    let stage = Stage::new("drift").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;

    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "gateway", "image": "other:1"}]}}}});
    stage.strategic("apps/v1/Deployment", "mcpgw-tools", image).await;
    stage
        .patch(
            "v1/Service",
            "mcpgw-tools",
            json!({"metadata": {"annotations": {"theirs": "kept"}}, "spec": {"type": "NodePort"}}),
        )
        .await;
    stage.delete("v1/Secret", "mcpgw-tools").await;
    stage.delete("policy/v1/PodDisruptionBudget", "mcpgw-tools").await;
    stage
        .until_some("all is as it should be", async || {
            let deployment = stage.get("apps/v1/Deployment", "mcpgw-tools").await?;
            let service = stage.get("v1/Service", "mcpgw-tools").await?;
            stage.get("v1/Secret", "mcpgw-tools").await?;
            stage.get("policy/v1/PodDisruptionBudget", "mcpgw-tools").await?;
            let image = deployment["spec"]["template"]["spec"]["containers"][0]["image"].as_str()?;
            (image.contains("mcp-gateway") && service["spec"]["type"] == "ClusterIP").then_some(())
        })
        .await;
    let service = stage.get("v1/Service", "mcpgw-tools").await.unwrap();
    assert_eq!(service["metadata"]["annotations"]["theirs"], "kept");

    stage.delete("apps/v1/Deployment", "mcpgw-tools").await;
    stage
        .until_some("the Deployment is there again", async || stage.get("apps/v1/Deployment", "mcpgw-tools").await)
        .await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_gateway_is_left_as_it_is() {
    let stage = Stage::new("paused").await;
    stage.apply(&gateway("tools", json!({"replicas": 2}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    let pause =
        |paused: Option<&str>| json!({"metadata": {"annotations": {"gateway.mcp-operator.dev/paused": paused}}});
    stage.patch("MCPGateway", "tools", pause(Some("true"))).await;
    stage.patch("MCPGateway", "tools", json!({"spec": {"replicas": 1}})).await;
    // Seen by the operator, and not done.
    stage.until("MCPGateway", "tools", "Accepted=True Accepted").await;
    assert_eq!(stage.get("apps/v1/Deployment", "mcpgw-tools").await.unwrap()["spec"]["replicas"], 2);
    stage.delete("policy/v1/PodDisruptionBudget", "mcpgw-tools").await;

    stage.patch("MCPGateway", "tools", pause(None)).await;
    stage
        .until_some("the change is made", async || {
            let deployment = stage.get("apps/v1/Deployment", "mcpgw-tools").await?;
            (deployment["spec"]["replicas"] == 1).then_some(())
        })
        .await;
    assert_eq!(stage.get("policy/v1/PodDisruptionBudget", "mcpgw-tools").await, None, "one pod needs none");
}
