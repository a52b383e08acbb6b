//! Clients that take more than their share: of time, of memory, of connections.

use crate::support::generation::generation;
use crate::support::http::{Connection, post};
use crate::support::mcp::LegacyClient;
use crate::support::process::Gateway;
use crate::support::upstream::McpServer;
use crate::support::within;
use mcp_gateway_operator::ir::snapshot::Limits;

const JSON: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];

async fn limited(limits: Limits) -> (McpServer, Gateway) {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.limits = limits;
    let gateway = Gateway::serve(&generation).await;
    (server, gateway)
}

#[tokio::test]
async fn slow_loris_connections_are_closed_and_others_served_meanwhile() {
    let (_server, gateway) = limited(Limits { client_read_ms: 300, ..Limits::default() }).await;
    let address = gateway.address("http").await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        let mut connection = Connection::open(address).await.unwrap();
        connection.send("POST /mcp HTTP/1.1\r\nhost: loc").await.unwrap();
        slow.push(connection);
    }
    let mut client = LegacyClient::connect(address, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
    for mut connection in slow {
        assert!(connection.closed().await.is_empty());
    }
    let timed_out = r#"mcp_gateway_connections_total{listener="http",outcome="timed_out"}"#;
    assert!((gateway.metric(timed_out).await - 50.0).abs() < f64::EPSILON);
    assert_eq!(client.tools().await, ["echo", "wait"], "an idle connection stays");
}

#[tokio::test]
async fn a_body_that_trickles_is_given_up() {
    let (server, gateway) = limited(Limits { client_read_ms: 300, ..Limits::default() }).await;
    let mut connection = Connection::open(gateway.address("http").await).await.unwrap();
    let request = post("/mcp", &JSON, &[b' '; 100]);
    connection.send(&request[..request.len() - 1]).await.unwrap();
    assert_eq!(connection.answer().await.unwrap().status, 408);
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn oversized_headers_and_bodies_are_refused_unread() {
    let (server, gateway) =
        limited(Limits { header_bytes: 16 * 1024, request_body_bytes: 1000, ..Limits::default() }).await;
    let address = gateway.address("http").await;
    let long = "x".repeat(20 * 1024);
    let mut connection = Connection::open(address).await.unwrap();
    assert_eq!(connection.exchange(post("/mcp", &[("x-long", &long)], b"{}")).await.unwrap().status, 431);

    let announced = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        accept: application/json, text/event-stream\r\ncontent-length: 104857600\r\n\r\n";
    let mut connection = Connection::open(address).await.unwrap();
    let answer = connection.exchange(announced).await.unwrap();
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("larger than 1000 bytes"), "{}", answer.text());

    let chunked = announced.replace("content-length: 104857600", "transfer-encoding: chunked");
    let mut connection = Connection::open(address).await.unwrap();
    let answer = connection.exchange(format!("{chunked}3e9\r\n{}\r\n", "x".repeat(1001))).await.unwrap();
    assert_eq!(answer.status, 413);
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn a_hundred_megabytes_cost_no_memory_and_no_one_else() {
    let (_server, gateway) = limited(Limits::default()).await;
    let address = gateway.address("http").await;
    let before = gateway.metric("process_resident_memory_bytes").await;
    for _ in 0..3 {
        let mut connection = Connection::open(address).await.unwrap();
        let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
            accept: application/json, text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        connection.send(head).await.unwrap();
        let piece = format!("100000\r\n{}\r\n", " ".repeat(1024 * 1024));
        let mut sent = 0;
        // It is cut off on the way, whether we hear the answer or not.
        while sent < 100 && within("a piece is taken", connection.send(&piece)).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 100, "all of it was read");
    }
    let after = gateway.metric("process_resident_memory_bytes").await;
    assert!(after - before < 32.0 * 1024.0 * 1024.0, "{before} -> {after}");
    let mut client = LegacyClient::connect(address, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
}

#[tokio::test]
async fn a_connection_over_the_limit_is_told_so() {
    let (_server, gateway) = limited(Limits { connections: 2, ..Limits::default() }).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    let second = Connection::open(address).await.unwrap();
    let mut third = Connection::open(address).await.unwrap();
    assert_eq!(third.exchange(post("/mcp", &JSON, b"{}")).await.unwrap().status, 503);
    assert_eq!(client.tools().await, ["echo", "wait"]);
    drop(second);
    within("a place is free again", async {
        loop {
            let mut connection = Connection::open(address).await.unwrap();
            if connection.exchange(post("/mcp", &JSON, b"{}")).await.is_ok_and(|answer| answer.status == 400) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let (_server, gateway) = limited(Limits::default()).await;
    let address = gateway.address("http").await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"POST /mcp\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\nbad header: x\r\n\r\n",
    ] {
        let mut connection = Connection::open(address).await.unwrap();
        let answer = connection.exchange(garbage).await;
        assert!(
            answer.as_ref().is_ok_and(|answer| answer.status == 400),
            "{}: {answer:?}",
            String::from_utf8_lossy(garbage)
        );
    }
}
