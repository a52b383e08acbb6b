//! Leaving: what is in flight ends well, nothing new begins, and no process stays behind.

use crate::support::generation::generation;
use crate::support::http::{Connection, post};
use crate::support::mcp::{LegacyClient, text};
use crate::support::process::Gateway;
use crate::support::upstream::McpServer;
use rustix::process::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_call_in_flight_is_answered_and_then_the_process_ends() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    // Long enough to look at it from outside.
    generation.snapshot.drain.min_duration_ms = 500;
    let mut gateway = Gateway::serve(&generation).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    let mut other = LegacyClient::connect(address, "/mcp").await;
    let call = client.message("tools/call", json!({"name": "wait", "arguments": {"n": 1}}));
    client.send(&call).await.unwrap();
    server.got("tools/call", 1).await;

    gateway.process.signal(Signal::TERM);
    gateway.process.logged("it drains", |line| line.contains("draining").then_some(())).await;
    assert_eq!(gateway.page("/readyz").await.status, 503);
    assert_eq!(gateway.page("/healthz").await.status, 200);
    let late = other.post(&json!({"jsonrpc": "2.0", "id": 9, "method": "ping"})).await.unwrap();
    assert_eq!((late.status, late.header("connection")), (200, Some("close")), "still served, and sent elsewhere");

    server.release(1);
    let answer = client.connection.answer().await.unwrap();
    let reply = answer.messages().into_iter().find(|message| message["id"] == call["id"]).unwrap();
    assert_eq!(text(&reply), r#"search {"n":1}"#);
    assert!(gateway.process.ended().await.success());
    assert!(Connection::open(address).await.is_err());
}

#[tokio::test]
async fn a_standing_stream_does_not_hold_up_the_end() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.drain.timeout_ms = 60_000;
    let mut gateway = Gateway::serve(&generation).await;
    let client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    let mut stream = Connection::open(gateway.address("http").await).await.unwrap();
    let session = client.session.unwrap();
    let get = format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\
         mcp-protocol-version: {}\r\n\r\n",
        client.version
    );
    stream.send(get).await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);
    let before = Instant::now();
    gateway.process.signal(Signal::TERM);
    assert!(gateway.process.ended().await.success());
    assert!(before.elapsed() < Duration::from_secs(20), "{:?}", before.elapsed());
}

#[tokio::test]
async fn a_call_that_never_ends_is_cut_off_at_the_timeout() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.drain.timeout_ms = 200;
    let mut gateway = Gateway::serve(&generation).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    let call = client.message("tools/call", json!({"name": "wait", "arguments": {}}));
    client.send(&call).await.unwrap();
    server.got("tools/call", 1).await;
    gateway.process.signal(Signal::INT);
    assert!(gateway.process.ended().await.success());
    client.connection.closed().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.drain.min_duration_ms = 600_000;
    let mut gateway = Gateway::serve(&generation).await;
    gateway.process.signal(Signal::TERM);
    gateway.process.logged("it drains", |line| line.contains("draining").then_some(())).await;
    gateway.process.signal(Signal::TERM);
    assert_eq!(gateway.process.ended().await.code(), Some(130));
}

#[tokio::test]
async fn the_oldest_clients_get_the_answers_to_their_calls_before_their_stream_ends() {
    let server = McpServer::start("search").await;
    let mut gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    let mut stream = Connection::open(address).await.unwrap();
    stream.send("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);
    let first = String::from_utf8(stream.chunk().await.unwrap().unwrap()).unwrap();
    let endpoint = first.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "old", "version": "0"},
    }});
    let call =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "wait", "arguments": {"n": 1}}});
    let (mut pending, mut posts) = (String::new(), Connection::open(address).await.unwrap());
    for message in [&initialize, &call] {
        let bytes = post(&endpoint, &[("content-type", "application/json")], message.to_string().as_bytes());
        assert_eq!(posts.exchange(bytes).await.unwrap().status, 202);
        if message["id"] == 0 {
            stream.event(&mut pending).await.unwrap().unwrap();
        }
    }
    server.got("tools/call", 1).await;
    gateway.process.signal(Signal::TERM);
    gateway.process.logged("it drains", |line| line.contains("draining").then_some(())).await;
    server.release(1);
    let answer = stream.event(&mut pending).await.unwrap().unwrap();
    assert_eq!(text(&answer), r#"search {"n":1}"#);
    assert_eq!(stream.event(&mut pending).await.unwrap(), None, "and then the stream ends");
    assert!(gateway.process.ended().await.success());
}
