//! The life of a gateway: objects appear, statuses become true step by step, and everything goes with it.

use crate::stage::{Stage, gateway, open};
use crate::support::mcp::LegacyClient;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_comes_serves_and_goes() {
    let stage = Stage::new("life").await;
    let server = stage.server("tools").await;
    stage.apply(&open("tools")).await;
    stage.gateway_with_route("tools", json!({"replicas": 2})).await;

    stage.until("MCPGateway", "tools", "Accepted=True Accepted").await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    stage.until("MCPGateway", "tools", "Ready=True Ready").await;
    stage.until("MCPBackend", "tools", "Verified=True Verified").await;
    stage.until("MCPRoute", "tools", "Programmed=True Programmed").await;
    stage.until("MCPRoute", "tools", "PrimaryActive=True PrimaryActive").await;

    for address in stage.addresses("tools") {
        let mut client = LegacyClient::connect(address, "/tools").await;
        assert_eq!(client.tools().await, ["echo", "wait"]);
    }
    drop(server);
    let _ = gateway("x", json!({}));
}
