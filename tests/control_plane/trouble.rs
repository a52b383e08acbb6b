//! What is wrong with pods and with objects: each thing is told apart, with the way out, and is over once its cause is.

use crate::kubelet::Fault;
use crate::stage::{Stage, backend, gateway, open, route};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};

/// The message of a condition must name all of these.
fn names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_pods_from_running_is_told_apart() {
    let stage = Stage::new("pods").await;
    let faults: [(Fault, &str, &[&str]); 4] = [
        (Fault::Unschedulable, "PodsNotScheduled", &["pod mcpgw-tools-", "1 Insufficient cpu", "add nodes"]),
        (Fault::ImagePull, "ImagePullFailed", &["pod mcpgw-tools-", "mcp-gateway", "imagePullSecrets"]),
        (Fault::Create, "ContainersNotCreated", &["pod mcpgw-tools-", "secret \"settings\" not found"]),
        (
            Fault::Crash,
            "ContainersCrashing",
            &["pod mcpgw-tools-", "exit code 2", "kubectl logs --previous mcpgw-tools-"],
        ),
    ];
    let _server = stage.server("docs").await;
    stage.kubelet.fault("mcpgw-tools", Some(faults[0].0));
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.apply(&backend("docs", "docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    for (fault, reason, parts) in faults {
        stage.kubelet.fault("mcpgw-tools", Some(fault));
        names(&stage.until("MCPGateway", "tools", &format!("Ready=False {reason}")).await, parts);
        names(&stage.until("MCPGateway", "tools", &format!("Programmed=False {reason}")).await, parts);
        let message = stage.until("MCPRoute", "docs", &format!("Ready=False {reason}")).await;
        names(&message, parts);
        names(&message, &["no pod of", "tools is ready"]);
    }
    stage.kubelet.fault("mcpgw-tools", None);
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    for (_, reason, _) in faults {
        assert_eq!(stage.times_told("tools", reason).await, 1, "{reason}");
    }

    stage.patch("MCPGateway", "tools", json!({"spec": {"replicas": 0}})).await;
    names(&stage.until("MCPGateway", "tools", "Ready=False NoPods").await, &["raise spec.replicas"]);
    names(&stage.until("MCPRoute", "docs", "Ready=False NoPods").await, &["raise spec.replicas"]);
    stage.patch("MCPGateway", "tools", json!({"spec": {"replicas": 1}})).await;
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_serves_says_what_is_wrong_with_its_other_pod() {
    let stage = Stage::new("other").await;
    stage.apply(&gateway("tools", json!({"replicas": 2}))).await;
    stage.programmed("tools", 2).await;
    let (pod, _) = stage.kubelet.pods("mcpgw-tools-").remove(0);
    stage.kubelet.fault(&pod, Some(Fault::ImagePull));
    let message = stage.until("MCPGateway", "tools", "Ready=True ImagePullFailed").await;
    names(&message, &["1 of 2 pods ready", &format!("pod {pod}"), "imagePullSecrets"]);
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    stage.kubelet.fault(&pod, None);
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;
    stage.programmed("tools", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_pods_of_a_backend_is_told_of_the_backend() {
    let stage = Stage::new("server").await;
    let mut docs = backend("docs", "docs");
    docs["spec"] = json!({"http": {"image": "docs:1", "port": 8000}});
    stage.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mcpbe-docs"}})).await;
    stage.kubelet.fault("mcpbe-docs", Some(Fault::ImagePull));
    stage.apply(&docs).await;
    let message = stage.until("MCPBackend", "docs", "Available=False ObjectConflict").await;
    names(&message, &["ServiceAccount mcpbe-docs exists", "rename or delete it"]);
    stage.delete("v1/ServiceAccount", "mcpbe-docs").await;

    let message = stage.until("MCPBackend", "docs", "Available=False ImagePullFailed").await;
    names(&message, &["pod mcpbe-docs-", "docs:1", "imagePullSecrets"]);
    names(&stage.until("MCPBackend", "docs", "Ready=False ImagePullFailed").await, &["pod mcpbe-docs-"]);
    stage.kubelet.fault("mcpbe-docs", None);
    stage.until("MCPBackend", "docs", "Available=True Available").await;
    for reason in ["ObjectConflict", "ImagePullFailed"] {
        assert_eq!(stage.times_told("docs", reason).await, 1, "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_a_gateway_refuses_says_why_and_the_last_good_one_stays() {
    let stage = Stage::new("refused").await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    let (pod, address) = stage.kubelet.pods("mcpgw-tools-").remove(0);
    let taken = TcpListener::bind(SocketAddr::new(address.parse().unwrap(), 9000)).unwrap();
    let more = json!([
        {"name": "http", "port": 8080, "protocol": "HTTP"},
        {"name": "more", "port": 9000, "protocol": "HTTP"},
    ]);
    stage.apply(&gateway("tools", json!({"replicas": 1, "listeners": more}))).await;
    let message = stage.until("MCPGateway", "tools", "Programmed=False GenerationRefused").await;
    names(&message, &[&format!("pod {pod} refuses it"), "9000"]);
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;
    assert!(tokio::net::TcpStream::connect(stage.addresses("tools")[0]).await.is_ok(), "the last good one is served");

    drop(taken);
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    assert_eq!(stage.times_told("tools", "GenerationRefused").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_out_of_date_and_one_that_cannot_be_reached_are_told_apart() {
    let stage = Stage::new("outdated").await;
    stage.apply(&gateway("tools", json!({"replicas": 2}))).await;
    stage.programmed("tools", 2).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    let before = stage.get("MCPGateway", "tools").await.unwrap()["status"]["generation"].clone();
    let (pod, _) = stage.kubelet.pods("mcpgw-tools-").remove(0);
    // It hangs, and the kubelet has not noticed yet.
    stage.kubelet.freeze(&pod, true);
    stage.kubelet.signal(&pod, Signal::STOP);
    stage.patch("MCPGateway", "tools", json!({"spec": {"sessions": {"idleTimeout": "2h"}}})).await;
    // For a moment it is so of both.
    let message = stage
        .until_some("one replica is out of date", async || {
            let message = stage.until("MCPGateway", "tools", "Programmed=False ReplicasOutdated").await;
            message.contains("is live on 1 of 2 pods").then_some(message)
        })
        .await;
    names(&message, &["is live on 1 of 2 pods", &format!("pod {pod} is still on {}", before.as_str().unwrap())]);
    let message = stage.until("MCPGateway", "tools", "Programmed=False ChannelUnreachable").await;
    names(&message, &[&format!("pod {pod}"), "admin channel", "NetworkPolicies"]);
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;

    stage.kubelet.signal(&pod, Signal::CONT);
    stage.kubelet.freeze(&pod, false);
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    assert_eq!(stage.times_told("tools", "ChannelUnreachable").await, 1);
    assert_eq!(stage.times_told("tools", "ReplicasOutdated").await, 0, "that passes by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_else_is_left_alone() {
    let stage = Stage::new("foreign").await;
    let theirs = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "mcpgw-tools", "labels": {"app.kubernetes.io/managed-by": "mcp-operator"}},
        "data": {"theirs": "x"},
    });
    stage.apply(&theirs).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    let message = stage.until("MCPGateway", "tools", "Programmed=False ObjectConflict").await;
    names(&message, &["ConfigMap mcpgw-tools exists", "rename or delete it"]);
    let standing = stage.get("v1/ConfigMap", "mcpgw-tools").await.unwrap();
    assert_eq!((&standing["data"], &standing["metadata"]["ownerReferences"]), (&json!({"theirs": "x"}), &Value::Null));
    stage.delete("v1/ConfigMap", "mcpgw-tools").await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;

    // The gateway goes, and takes nothing along that is not its own.
    stage.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mcpgw-other"}})).await;
    stage.apply(&gateway("other", json!({"replicas": 1}))).await;
    stage.until("MCPGateway", "other", "Programmed=False ObjectConflict").await;
    stage.delete("MCPGateway", "other").await;
    stage
        .until_some("its account is gone", async || {
            stage.get("v1/ServiceAccount", "mcpgw-other").await.is_none().then_some(())
        })
        .await;
    assert!(stage.get("v1/ConfigMap", "mcpgw-other").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_refuses_is_told_with_its_words() {
    let stage = Stage::new("invalid").await;
    let overlay = json!({"spec": {"nodeSelector": {"disk": "not a label!"}}});
    stage.apply(&gateway("tools", json!({"replicas": 1, "podTemplate": overlay}))).await;
    let message = stage.until("MCPGateway", "tools", "Programmed=False PodTemplateInvalid").await;
    names(&message, &["Deployment mcpgw-tools", "nodeSelector", "correct spec.podTemplate"]);
    stage.replace_spec("MCPGateway", "tools", gateway("tools", json!({"replicas": 1}))["spec"].clone()).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;

    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"},
        "spec": {"hard": {"count/deployments.apps": "1"}},
    });
    stage.apply(&quota).await;
    stage
        .until_some("the quota counts", async || {
            let quota = stage.get("v1/ResourceQuota", "none").await?;
            (quota["status"]["used"]["count/deployments.apps"] == "1").then_some(())
        })
        .await;
    stage.apply(&gateway("more", json!({"replicas": 1}))).await;
    let message = stage.until("MCPGateway", "more", "Programmed=False Forbidden").await;
    names(&message, &["Deployment mcpgw-more", "exceeded quota: none"]);
    stage.delete("v1/ResourceQuota", "none").await;
    stage.until("MCPGateway", "more", "Programmed=True Programmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_cannot_be_created_and_a_gateway_that_is_paused_from_the_start_say_so() {
    let stage = Stage::new("quota").await;
    let quota = json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}},
    });
    stage.apply(&quota).await;
    stage
        .until_some("the quota counts", async || {
            let quota = stage.get("v1/ResourceQuota", "none").await?;
            (quota["status"]["hard"]["pods"] == "0").then_some(())
        })
        .await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    names(&stage.until("MCPGateway", "tools", "Ready=False ReplicaFailure").await, &["exceeded quota: none"]);
    stage.delete("v1/ResourceQuota", "none").await;
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;
    assert_eq!(stage.times_told("tools", "ReplicaFailure").await, 1);

    let mut paused = gateway("paused", json!({"replicas": 1}));
    paused["metadata"]["annotations"] = json!({"gateway.mcp-operator.dev/paused": "true"});
    stage.apply(&paused).await;
    names(&stage.until("MCPGateway", "paused", "Programmed=False Paused").await, &["told to leave it alone"]);
    assert!(stage.get("apps/v1/Deployment", "mcpgw-paused").await.is_none());
    let go_on = json!({"metadata": {"annotations": {"gateway.mcp-operator.dev/paused": null}}});
    stage.patch("MCPGateway", "paused", go_on).await;
    stage.until("MCPGateway", "paused", "Programmed=True Programmed").await;
}
