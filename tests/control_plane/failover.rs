//! What is wrong with servers: what clients notice of it, and what the statuses say.

use crate::stage::{Stage, backend, gateway, open, route};
use crate::support::mcp::LegacyClient;
use crate::support::upstream::McpServer;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_failed_over_and_one_that_is_down_are_told_apart() {
    let stage = Stage::new("failover").await;
    let (first, second) = (stage.server("first").await, stage.server("second").await);
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.apply(&backend("first", "first")).await;
    stage.apply(&backend("second", "second")).await;
    stage.apply(&route("tools", "tools", &["first", "second"])).await;
    stage.until("MCPRoute", "tools", "PrimaryActive=True PrimaryActive").await;
    stage.until("MCPRoute", "tools", "Ready=True Ready").await;
    let address = stage.addresses("tools")[0];
    // Clients call on meanwhile: by them a gateway notices.
    let call = async || {
        let mut client = LegacyClient::connect(address, "/tools").await;
        client.call("echo", json!({})).await.unwrap()["result"].to_string()
    };
    assert!(call().await.contains("first"));

    let place = first.address;
    drop(first);
    stage.until_some("the stand-in answers", async || call().await.contains("second").then_some(())).await;
    let message = stage.until("MCPRoute", "tools", "PrimaryActive=False FailedOver").await;
    assert!(message.contains("server tools is served by priority 1 instead of 0"), "{message}");
    stage.until("MCPRoute", "tools", "Ready=True Ready").await;
    stage.until("MCPBackend", "first", "Verified=False Unavailable").await;
    stage.until("MCPBackend", "second", "Verified=True Verified").await;

    drop(second);
    stage.until_some("nothing answers", async || (call().await == "null").then_some(())).await;
    let message = stage.until("MCPRoute", "tools", "Ready=False Unavailable").await;
    assert!(message.contains("no server has a backend that can be called"), "{message}");
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;

    let _first = McpServer::start_at("first", place).await;
    stage.until_some("the first answers again", async || call().await.contains("first").then_some(())).await;
    stage.until("MCPRoute", "tools", "PrimaryActive=True PrimaryActive").await;
    stage.until("MCPRoute", "tools", "Ready=True Ready").await;
    stage.until("MCPBackend", "first", "Verified=True Verified").await;
    assert_eq!(stage.times_told("tools", "FailedOver").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_claim_one_name_and_a_service_without_addresses_are_reported() {
    let stage = Stage::new("names").await;
    let _servers = (stage.server("one").await, stage.server("two").await);
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.apply(&backend("one", "one")).await;
    stage.apply(&backend("two", "two")).await;
    let mut both = route("tools", "tools", &["one"]);
    both["spec"]["servers"] = json!([
        {"name": "one", "backendRefs": [{"name": "one"}]}, {"name": "two", "backendRefs": [{"name": "two"}]},
    ]);
    stage.apply(&both).await;
    stage.until("MCPRoute", "tools", "Ready=True Ready").await;
    stage.until("MCPRoute", "tools", "CatalogComplete=Unknown Pending").await;
    assert_eq!(LegacyClient::connect(stage.addresses("tools")[0], "/tools").await.tools().await.len(), 2);
    let message = stage.until("MCPRoute", "tools", "CatalogComplete=False NameConflict").await;
    assert!(
        message.contains("server two: names echo and wait taken by an earlier server; give one of them a prefix"),
        "{message}"
    );

    let mut apart = both.clone();
    apart["spec"]["servers"][1]["prefix"] = json!("two_");
    stage.apply(&apart).await;
    stage
        .until_some("a client lists them all", async || {
            let mut client = LegacyClient::connect(stage.addresses("tools")[0], "/tools").await;
            (client.tools().await.len() == 4).then_some(())
        })
        .await;
    stage.until("MCPRoute", "tools", "CatalogComplete=True CatalogComplete").await;

    let slice = stage.get("discovery.k8s.io/v1/EndpointSlice", "one").await.unwrap();
    stage.patch("discovery.k8s.io/v1/EndpointSlice", "one", json!({"endpoints": []})).await;
    stage.until("MCPBackend", "one", "Available=False NoEndpoints").await;
    stage.until("MCPBackend", "one", "Ready=False NoEndpoints").await;
    stage.patch("discovery.k8s.io/v1/EndpointSlice", "one", json!({"endpoints": slice["endpoints"]})).await;
    stage.until("MCPBackend", "one", "Ready=True Ready").await;
}
