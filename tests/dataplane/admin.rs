//! The admin port of a real process.

use crate::support::generation::generation;
use crate::support::mcp::LegacyClient;
use crate::support::process::{Gateway, gateway};
use crate::support::upstream::McpServer;
use serde_json::json;

#[tokio::test]
async fn it_tells_what_is_served_and_what_happened() {
    let server = McpServer::start("search").await;
    let first = generation(&[("search", server.address)]);
    let gateway = Gateway::serve(&first).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    client.call("echo", json!({})).await.unwrap();

    assert_eq!(gateway.page("/healthz").await.status, 200);
    assert_eq!(gateway.page("/readyz").await.status, 200);
    let status = gateway.status().await;
    assert_eq!(status["generation"], first.hash());
    assert_eq!(status["listeners"][0]["address"], address.to_string());
    assert!(status["routes"].to_string().contains("search"), "{status}");
    let config = gateway.page("/config").await.json();
    assert_eq!(config["routes"][0]["id"], "team/tools");
    assert!(config.get("credentials").is_none() && config.get("keyring").is_none(), "{config}");

    let call = r#"mcp_gateway_requests_total{method="tools/call",outcome="ok",route="team/tools",server="search"}"#;
    assert!((gateway.metric(call).await - 1.0).abs() < f64::EPSILON);
    assert!((gateway.metric("mcp_gateway_sessions_open").await - 1.0).abs() < f64::EPSILON);
    let info = format!(r#"mcp_gateway_generation_info{{hash="{}"}}"#, first.hash());
    assert!((gateway.metric(&info).await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn an_upstream_that_is_down_does_not_make_it_unready() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let gateway = gateway(&[("search", nowhere)]).await;
    assert_eq!(gateway.page("/readyz").await.status, 200);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_idle_gateway_is_small_and_soon_there() {
    let server = McpServer::start("search").await;
    let before = std::time::Instant::now();
    let gateway = gateway(&[("search", server.address)]).await;
    assert!(gateway.page("/readyz").await.status == 200);
    // The bars are the benchmark's, on a release build. This only keeps a debug build within sight of them.
    assert!(before.elapsed() < std::time::Duration::from_secs(5), "{:?}", before.elapsed());
    let resident = gateway.metric("process_resident_memory_bytes").await;
    assert!(resident < 60.0 * 1024.0 * 1024.0, "{resident}");
}
