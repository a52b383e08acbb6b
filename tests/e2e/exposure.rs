//! How clients reach a gateway: Services of each type, `HTTPRoute`, Ingress, TLS, both IP families.

use crate::cluster::{self, kubectl};
use crate::stage::{DEMO, Stage, by_reference, demo};
use crate::support::http::Connection;
use crate::support::mcp::ModernClient;
use crate::support::objects::{CLIENT_PORT, gateway, open, route};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// A route to one child, through a gateway with this spec.
async fn served(prefix: &str, spec: Value) -> Stage {
    let stage = Stage::new(prefix).await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", spec)).await;
    stage.apply(&demo("docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    stage
}

async fn assert_serves(address: SocketAddr) {
    let mut client = ModernClient::connect(address, "/docs").await;
    assert!(client.tools().await.contains(&"whoami".to_owned()), "{address}");
}

/// Waits until the status tells this address.
async fn told_address(stage: &Stage, expected: &str) {
    stage
        .until_some(&format!("the status tells {expected}"), async || {
            let gateway = stage.get("MCPGateway", "tools").await?;
            gateway["status"]["addresses"].to_string().contains(expected).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_moves_from_a_cluster_address_to_a_node_port_to_a_load_balancer() {
    let stage = served("expose", json!({"replicas": 1})).await;
    assert_serves(stage.service("tools").await).await;

    stage.apply(&gateway("tools", json!({"replicas": 1, "expose": {"type": "NodePort"}}))).await;
    let port = stage
        .until_some("a port of the nodes", async || {
            let service = stage.get("v1/Service", "mcpgw-tools").await?;
            service["spec"]["ports"][0]["nodePort"].as_u64()
        })
        .await;
    let nodes: Value = serde_json::from_str(&kubectl(&["get", "nodes", "-o", "json"])).unwrap();
    let addresses = nodes["items"][0]["status"]["addresses"].as_array().unwrap();
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP").unwrap();
    let node: IpAddr = internal["address"].as_str().unwrap().parse().unwrap();
    let address = SocketAddr::new(node, port.try_into().unwrap());
    stage.leads_somewhere(address).await;
    assert_serves(address).await;

    stage.apply(&gateway("tools", json!({"replicas": 1, "expose": {"type": "LoadBalancer"}}))).await;
    // Nobody balances here: the test plays the cloud.
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}});
    stage
        .until_some("a Service of type LoadBalancer", async || {
            let service = stage.get("v1/Service", "mcpgw-tools").await?;
            (service["spec"]["type"] == "LoadBalancer").then_some(())
        })
        .await;
    stage.patch_status("v1/Service", "mcpgw-tools", status).await;
    told_address(&stage, "203.0.113.7").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_stands_behind_gateway_api_and_behind_an_ingress() {
    cluster::definitions_of("gateway.networking.k8s.io_httproutes.yaml");
    let parent = json!({"type": "HTTPRoute", "httpRoute": {"parentRefs": [{"name": "edge"}]}});
    let stage = served("edge", json!({"replicas": 1, "expose": parent})).await;
    let route = stage
        .until_some("an HTTPRoute", async || stage.get("gateway.networking.k8s.io/v1/HTTPRoute", "mcpgw-tools").await)
        .await;
    let rule = &route["spec"]["rules"][0];
    assert_eq!(rule["timeouts"], json!({"request": "0s", "backendRequest": "0s"}), "streams have no end");
    assert_eq!(rule["backendRefs"][0]["name"], "mcpgw-tools");
    assert_eq!(route["spec"]["parentRefs"][0]["name"], "edge");

    stage
        .apply(&gateway(
            "tools",
            json!({"replicas": 1, "expose": {"type": "Ingress", "ingress": {"className": "nginx"}}}),
        ))
        .await;
    let ingress =
        stage.until_some("an Ingress", async || stage.get("networking.k8s.io/v1/Ingress", "mcpgw-tools").await).await;
    assert_eq!(ingress["spec"]["ingressClassName"], "nginx");
    stage
        .until_some("the HTTPRoute goes", async || {
            stage.get("gateway.networking.k8s.io/v1/HTTPRoute", "mcpgw-tools").await.is_none().then_some(())
        })
        .await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_has_its_certificate_from_a_secret_and_takes_the_next_one_without_a_restart() {
    let stage = Stage::new("tls").await;
    let first = certificate();
    stage.apply(&secret(&first)).await;
    stage.apply(&open("tools")).await;
    let listener = json!([{
        "name": "https", "port": 8443, "protocol": "HTTPS", "hostname": "mcp.example.com",
        "tls": {"certificateRefs": [{"name": "mcp-tls"}]},
    }]);
    stage.apply(&gateway("tools", json!({"replicas": 1, "listeners": listener}))).await;
    stage.apply(&demo("docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    let address = stage.service_port("tools", 8443).await;
    let request = || initialize("mcp.example.com");
    let mut connection = Connection::open_tls(address, first.cert.der(), "mcp.example.com").await.unwrap();
    assert_eq!(connection.exchange(request()).await.unwrap().status, 200);

    let restarts = stage.gateway_pods("tools").await[0]["metadata"]["uid"].clone();
    let second = certificate();
    stage.apply(&secret(&second)).await;
    stage
        .until_some("the next certificate is shown", async || {
            Connection::open_tls(address, second.cert.der(), "mcp.example.com").await.ok()
        })
        .await;
    assert_eq!(connection.exchange(request()).await.unwrap().status, 200, "the old connection goes on");
    assert_eq!(stage.gateway_pods("tools").await[0]["metadata"]["uid"], restarts);
    stage.end().await;
}

/// The first request of a client that knows the gateway by this name.
fn initialize(hostname: &str) -> Vec<u8> {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string();
    let head = [
        "POST /docs HTTP/1.1".to_owned(),
        format!("host: {hostname}"),
        "content-type: application/json".to_owned(),
        "accept: application/json, text/event-stream".to_owned(),
        format!("content-length: {}", body.len()),
    ];
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}

fn certificate() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(vec!["mcp.example.com".to_owned()]).unwrap()
}

fn secret(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "mcp-tls"},
        "stringData": {"tls.crt": certificate.cert.pem(), "tls.key": certificate.signing_key.serialize_pem()},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn services_have_both_families_where_the_cluster_has_them() {
    let stage = served("dual", json!({"replicas": 1})).await;
    let service = stage.get("v1/Service", "mcpgw-tools").await.unwrap();
    assert_eq!(service["spec"]["ipFamilyPolicy"], "PreferDualStack");
    let addresses = service["spec"]["clusterIPs"].as_array().unwrap();
    let families = service["spec"]["ipFamilies"].as_array().unwrap();
    assert_eq!(addresses.len(), families.len());
    if families.len() == 1 {
        eprintln!("NOT RUN: this cluster has one IP family only");
    }
    for address in addresses {
        let address = SocketAddr::new(address.as_str().unwrap().parse().unwrap(), CLIENT_PORT);
        stage.leads_somewhere(address).await;
        assert_serves(address).await;
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_operator_is_served_by_its_status() {
    let stage = served("other", json!({"replicas": 1})).await;
    stage.server_of_another_operator("theirs", DEMO, &["--name", "theirs", "--http", "[::]:8000"]).await;
    stage.apply(&by_reference("theirs")).await;
    stage.apply(&route("theirs", "tools", &["theirs"])).await;
    stage.until("MCPBackend", "theirs", "ResolvedRefs=False ServerNotFound").await;
    // The kind may come while the operator runs.
    stage.says_where("theirs", "http").await;
    stage.until("MCPBackend", "theirs", "Ready=True Ready").await;
    stage.until("MCPRoute", "theirs", "Ready=True Ready").await;
    let mut client = ModernClient::connect(stage.service("tools").await, "/theirs").await;
    assert!(client.tools().await.contains(&"whoami".to_owned()));
    stage.end().await;
}
