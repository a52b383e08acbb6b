//! HTTPS listeners, and certificates that change while clients are connected.

use crate::support::generation::{generation, issue, listener, with_tls};
use crate::support::http::{Connection, post};
use crate::support::process::Gateway;
use crate::support::upstream::McpServer;
use serde_json::json;

fn initialize() -> Vec<u8> {
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
    });
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    post("/mcp", &headers, body.to_string().as_bytes())
}

#[tokio::test]
async fn a_new_certificate_is_served_without_dropping_a_connection() {
    let server = McpServer::start("search").await;
    let mut first = generation(&[("search", server.address)]);
    first.snapshot.listeners = vec![with_tls(listener("http"), &["cert"])];
    let old = issue(&mut first.credentials, "cert", &["localhost"]);
    let gateway = Gateway::serve(&first).await;
    let address = gateway.address("http").await;
    let mut before = Connection::open_tls(address, &old, "localhost").await.unwrap();
    assert_eq!(before.exchange(initialize()).await.unwrap().status, 200);

    let mut second = first.clone();
    let new = issue(&mut second.credentials, "cert", &["localhost"]);
    gateway.apply(&second).await;
    assert!(Connection::open_tls(address, &old, "localhost").await.is_err(), "the old certificate is gone");
    let mut after = Connection::open_tls(address, &new, "localhost").await.unwrap();
    assert_eq!(after.exchange(initialize()).await.unwrap().status, 200);
    assert_eq!(before.exchange(initialize()).await.unwrap().status, 200, "the old connection goes on");

    // A key that does not belong to the certificate must not take the listener down.
    let mut broken = second.clone();
    let reference = crate::support::generation::certificate("cert");
    let old_key = first.credentials.values[&reference.key].clone();
    broken.credentials.values.insert(reference.key, old_key);
    gateway.write(&broken);
    let status = gateway.status_where("the mismatch is refused", |status| !status["lastRefused"].is_null()).await;
    assert!(status["lastRefused"]["reason"].as_str().unwrap().contains("team/cert/tls.key does not fit"), "{status}");
    assert_eq!(status["generation"], second.hash());
    assert!(Connection::open_tls(address, &new, "localhost").await.is_ok());
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.listeners = vec![with_tls(listener("http"), &["fallback", "wild", "exact"])];
    let fallback = issue(&mut generation.credentials, "fallback", &["fallback.test"]);
    let wild = issue(&mut generation.credentials, "wild", &["*.example.com"]);
    let exact = issue(&mut generation.credentials, "exact", &["mcp.example.com"]);
    let gateway = Gateway::serve(&generation).await;
    let address = gateway.address("http").await;
    for (trusted, name) in [(&exact, "mcp.example.com"), (&wild, "other.example.com"), (&fallback, "fallback.test")] {
        assert!(Connection::open_tls(address, trusted, name).await.is_ok(), "{name}");
    }
    assert!(Connection::open_tls(address, &wild, "mcp.example.com").await.is_err(), "the exact one goes first");
}

#[tokio::test]
async fn plain_http_on_an_https_port_is_no_request() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.listeners = vec![with_tls(listener("http"), &["cert"])];
    issue(&mut generation.credentials, "cert", &["localhost"]);
    let gateway = Gateway::serve(&generation).await;
    let mut connection = Connection::open(gateway.address("http").await).await.unwrap();
    connection.send(initialize()).await.unwrap();
    let said = connection.closed().await;
    assert!(!said.starts_with(b"HTTP/"), "{said:?}");
    assert_eq!(server.received().len(), 0);
}
