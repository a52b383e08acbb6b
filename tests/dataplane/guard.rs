//! Forged Host and Origin headers, as a web page makes a browser send them.

use crate::support::generation::{generation, listener};
use crate::support::http::Connection;
use crate::support::mcp::LegacyClient;
use crate::support::process::{Gateway, gateway};
use crate::support::upstream::McpServer;
use mcp_gateway_operator::ir::snapshot::Listener;
use serde_json::json;
use std::net::SocketAddr;

async fn initialize(address: SocketAddr, headers: &str) -> (u16, String) {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
    })
    .to_string();
    let request = format!(
        "POST /mcp HTTP/1.1\r\n{headers}content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let answer = Connection::open(address).await.unwrap().exchange(request).await.unwrap();
    (answer.status, answer.text())
}

#[tokio::test]
async fn on_the_loopback_foreign_hosts_and_origins_are_refused_before_any_server_hears() {
    let server = McpServer::start("search").await;
    let gateway = gateway(&[("search", server.address)]).await;
    let address = gateway.address("http").await;
    for headers in [
        "host: evil.example\r\n",
        "host: evil.example\r\norigin: http://evil.example\r\n",
        "host: localhost\r\norigin: http://evil.example\r\n",
        "host: localhost\r\norigin: null\r\n",
        "host: 127.0.0.1.evil.example\r\n",
    ] {
        let (status, body) = initialize(address, headers).await;
        assert_eq!(status, 403, "{headers}: {body}");
        assert!(body.contains(r#""jsonrpc":"2.0""#), "{body}");
    }
    for headers in ["", "host: a\r\nhost: localhost\r\n", "host: \r\n"] {
        assert_eq!(initialize(address, headers).await.0, 400, "{headers}");
    }
    assert_eq!(server.received().len(), 0);
    for headers in [
        "host: localhost\r\n",
        "host: 127.0.0.1:1234\r\norigin: http://localhost:3000\r\n",
        "host: [::1]\r\norigin: http://127.0.0.1\r\n",
    ] {
        let (status, body) = initialize(address, headers).await;
        assert_eq!(status, 200, "{headers}: {body}");
    }
}

#[tokio::test]
async fn a_configured_hostname_is_answered_for_and_others_are_not() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.listeners = vec![Listener { hostname: Some("mcp.example.com".to_owned()), ..listener("http") }];
    let gateway = Gateway::serve(&generation).await;
    let address = gateway.address("http").await;
    assert_eq!(initialize(address, "host: mcp.example.com\r\norigin: https://mcp.example.com\r\n").await.0, 200);
    assert_eq!(initialize(address, "host: mcp.example.com\r\norigin: https://other.example.com\r\n").await.0, 403);
    assert_eq!(initialize(address, "host: other.example.com\r\n").await.0, 403);
}

#[tokio::test]
async fn a_refusal_disturbs_no_one_else() {
    let server = McpServer::start("search").await;
    let gateway = gateway(&[("search", server.address)]).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    initialize(address, "host: evil.example\r\n").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
}
