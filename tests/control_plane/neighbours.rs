//! What is on either side of a gateway: backends of every kind, and the ways in from outside.

use crate::stage::{Stage, backend, gateway, open, route};
use crate::support::mcp::{LegacyClient, text};
use serde_json::{Value, json};

/// A backend with this spec.
fn of_kind(name: &str, spec: Value) -> Value {
    let mut backend = backend(name, name);
    backend["spec"] = spec;
    backend
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_the_operator_runs_comes_serves_and_goes() {
    let stage = Stage::new("hosted").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({}))).await;
    stage.apply(&of_kind("docs", json!({"http": {"image": "docs:1", "port": 8000}, "replicas": 2}))).await;
    stage.apply(&route("tools", "tools", &["docs"])).await;
    stage.until("MCPBackend", "docs", "Available=True Available").await;
    stage.until("MCPBackend", "docs", "Verified=True Verified").await;
    stage.until("MCPRoute", "tools", "Ready=True Ready").await;
    let status = stage.get("MCPBackend", "docs").await.unwrap()["status"].clone();
    assert_eq!((&status["endpoints"]["ready"], &status["replicas"]), (&json!(2), &json!(2)));
    let pods: Vec<String> =
        stage.names("v1/Pod").await.into_iter().filter(|name| name.starts_with("mcpbe-docs-")).collect();
    let address = stage.addresses("tools")[0];
    let mut client = LegacyClient::connect(address, "/tools").await;
    let answer = client.call("echo", json!({})).await.unwrap();
    assert!(pods.iter().any(|pod| text(&answer).contains(pod.as_str())), "{answer} of {pods:?}");

    // Elsewhere from now on: nothing is run any more, and clients do not notice.
    let _server = stage.server("docs").await;
    stage.replace_spec("MCPBackend", "docs", json!({"service": {"name": "docs", "port": 80}})).await;
    stage
        .until_some("its pods are gone", async || {
            let left = stage.names("apps/v1/Deployment").await;
            (!left.contains(&"mcpbe-docs".to_owned())).then_some(())
        })
        .await;
    stage
        .until_some("the other server answers", async || {
            let mut client = LegacyClient::connect(address, "/tools").await;
            text(&client.call("echo", json!({})).await.ok()?).contains("docs").then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stdio_backend_becomes_pods_with_the_shim() {
    let stage = Stage::new("stdio").await;
    stage
        .apply(&of_kind("files", json!({"stdio": {"image": "files:1", "command": ["files-mcp"], "args": ["/data"]}})))
        .await;
    let deployment = stage.until_some("the pods", async || stage.get("apps/v1/Deployment", "mcpbe-files").await).await;
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "files:1");
    assert_eq!(pod["containers"][0]["command"], json!(["/shim/mcp-gateway"]));
    let args = pod["containers"][0]["args"].to_string();
    assert!(args.contains("files-mcp") && args.contains("/data"), "{args}");
    assert!(pod["initContainers"][0]["image"].as_str().unwrap().contains("mcp-gateway"), "{pod}");
    assert_eq!(pod["automountServiceAccountToken"], false);
    stage.until("MCPBackend", "files", "Verified=Unknown NotAttached").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_operator_is_followed_by_its_status() {
    let stage = Stage::new("others").await;
    stage.cluster.install("MCPServer", "mcp.x-k8s.io", "v1alpha1", "mcpservers").await;
    let server = stage.server("theirs").await;
    let url = |path: &str| json!({"address": {"url": format!("http://{}{path}", server.address)}});
    let theirs = |status: Value| json!({"apiVersion": "mcp.x-k8s.io/v1alpha1", "kind": "MCPServer", "metadata": {"name": "theirs"}, "status": status});
    let reference = json!({"serverRef": {"group": "mcp.x-k8s.io", "kind": "MCPServer", "name": "theirs"}});
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({}))).await;
    stage.apply(&of_kind("theirs", reference)).await;
    stage.apply(&route("tools", "tools", &["theirs"])).await;
    let missing = stage.until("MCPBackend", "theirs", "ResolvedRefs=False ServerNotFound").await;
    assert!(missing.contains("MCPServer theirs does not exist"), "{missing}");
    stage.apply(&theirs(json!({}))).await;
    stage
        .until_some("its status has no address yet", async || {
            let message = stage.until("MCPBackend", "theirs", "ResolvedRefs=False ServerNotFound").await;
            message.contains("no address in its status yet").then_some(())
        })
        .await;
    stage.apply(&theirs(url("/mcp"))).await;
    stage.until("MCPBackend", "theirs", "ResolvedRefs=True ResolvedRefs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_exposed_in_each_way_and_says_where() {
    let stage = Stage::new("exposed").await;
    stage.cluster.install("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes").await;
    let expose = |expose: Value| {
        let listener = json!({"name": "http", "port": 8080, "protocol": "HTTP", "hostname": "mcp.example.com"});
        gateway("tools", json!({"listeners": [listener], "expose": expose}))
    };
    let addresses = async |expected: Value| {
        stage
            .until_some(&format!("addresses {expected}"), async || {
                let status = stage.get("MCPGateway", "tools").await?["status"].clone();
                let found = status.get("addresses").cloned().unwrap_or(json!([]));
                (found == expected).then_some(())
            })
            .await;
    };
    stage.apply(&expose(json!({"type": "LoadBalancer"}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    addresses(json!([])).await;
    let balanced = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}});
    stage.patch_status("v1/Service", "mcpgw-tools", balanced.clone()).await;
    addresses(json!([{"type": "IPAddress", "value": "203.0.113.7"}])).await;

    stage.apply(&expose(json!({"type": "Ingress", "ingress": {"className": "nginx"}}))).await;
    addresses(json!([{"type": "Hostname", "value": "mcp.example.com"}])).await;
    let ingress = stage.get("networking.k8s.io/v1/Ingress", "mcpgw-tools").await.unwrap();
    assert_eq!(ingress["spec"]["ingressClassName"], "nginx");

    stage
        .apply(&expose(
            json!({"type": "HTTPRoute", "httpRoute": {"parentRefs": [{"name": "edge", "namespace": "infra"}]}}),
        ))
        .await;
    let route = stage
        .until_some("the HTTPRoute", async || stage.get("gateway.networking.k8s.io/v1/HTTPRoute", "mcpgw-tools").await)
        .await;
    assert_eq!(route["spec"]["hostnames"], json!(["mcp.example.com"]));
    assert_eq!(route["spec"]["parentRefs"], json!([{"name": "edge", "namespace": "infra"}]));
    stage
        .until_some("the Ingress is gone", async || {
            stage.get("networking.k8s.io/v1/Ingress", "mcpgw-tools").await.is_none().then_some(())
        })
        .await;
    stage.apply(&expose(json!({"type": "ClusterIP"}))).await;
    stage
        .until_some("the HTTPRoute is gone", async || {
            stage.get("gateway.networking.k8s.io/v1/HTTPRoute", "mcpgw-tools").await.is_none().then_some(())
        })
        .await;
}
