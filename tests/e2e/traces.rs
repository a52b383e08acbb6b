//! Traces of a gateway in a pod, at a collector in a pod.

use crate::cluster::kubectl;
use crate::stage::{COLLECTOR, Stage, demo};
use crate::support::collector::{Span, spans_of};
use crate::support::mcp::ModernClient;
use crate::support::objects::{gateway, open, route};
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_one_trace_at_a_collector_in_the_cluster() {
    let stage = Stage::new("traces").await;
    collector(&stage).await;
    stage.apply(&open("tools")).await;
    let telemetry = json!({"otlp": {"endpoint": "http://otel:4317"}});
    stage.apply(&gateway("tools", json!({"replicas": 1, "telemetry": telemetry}))).await;
    stage.apply(&demo("docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    kubectl(&["rollout", "status", "--namespace", &stage.namespace, "deployment/otel", "--timeout=60s"]);

    let mut client = ModernClient::connect(stage.service("tools").await, "/docs").await;
    let meta = json!({"traceparent": format!("00-{TRACE}-b7ad6b7169203331-01")});
    let call = json!({"name": "add", "arguments": {"a": 2, "b": 40}, "_meta": meta});
    client.request("tools/call", call).await.unwrap();

    let arrived = stage
        .until_some("the call's spans", async || {
            let log =
                kubectl(&["logs", "--namespace", &stage.namespace, "deployment/otel", "--container", "collector"]);
            let spans = spans_of(&log);
            let both = spans.iter().any(Span::is_server) && spans.iter().any(Span::is_client);
            both.then_some(spans)
        })
        .await;
    let named = |span: &&Span| span.name() == "tools/call add";
    let request = arrived.iter().filter(named).find(|span| span.is_server()).expect("a span of the request");
    let attempt = arrived.iter().filter(named).find(|span| span.is_client()).expect("a span of the attempt");
    assert_eq!((request.trace_id(), attempt.trace_id()), (TRACE, TRACE));
    assert_eq!(attempt.parent(), request.id());
    let pod = stage.gateway_pods("tools").await.remove(0)["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(request.of_process("service.name"), "tools");
    assert_eq!(request.of_process("service.namespace"), stage.namespace);
    assert_eq!(request.of_process("k8s.pod.name"), pod);
    stage.end().await;
}

/// A collector that writes what arrives to its log.
async fn collector(stage: &Stage) {
    let config = r#"
receivers:
  otlp: {protocols: {grpc: {endpoint: "[::]:4317"}}}
exporters:
  file: {path: /dev/stdout, flush_interval: 100ms}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
"#;
    stage
        .apply(&json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "otel"}, "data": {"config.yaml": config},
        }))
        .await;
    let container = json!({
        "name": "collector", "image": COLLECTOR, "args": ["--config", "file:/etc/otel/config.yaml"],
        "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/otel"}],
    });
    stage.deploy("otel", container, json!([{"name": "config", "configMap": {"name": "otel"}}]), 4317).await;
}
