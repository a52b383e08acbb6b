//! A replica that is gone from one moment to the next: its sessions go on at the others.

use crate::support::generation::generation;
use crate::support::http::Connection;
use crate::support::mcp::{LegacyClient, text};
use crate::support::replicas::{Replica, Replicas};
use crate::support::upstream::{McpServer, Reply};
use crate::support::within;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const ADOPTED: &str = "mcp_gateway_sessions_adopted_total";

fn wait() -> Value {
    json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": {"name": "wait", "arguments": {}}})
}

#[tokio::test]
async fn the_session_of_a_lost_replica_goes_on_with_its_id_and_capabilities() {
    let server = McpServer::start("search").await;
    let mut replicas = Replicas::start(3, &mut generation(&[("search", server.address)])).await;
    let capabilities = json!({"elicitation": {"form": {}}, "roots": {"listChanged": true}});
    let client =
        LegacyClient::connect_with(replicas.all[0].address, "/mcp", "2025-06-18", capabilities.clone()).await;
    replicas.all[0].kill().await;
    // Concurrent requests take it up once, whoever they reach.
    let calls = (0..8).map(|number| {
        let (client, address) = (&client, replicas.all[1 + number % 2].address);
        async move { client.over(address).await.call("echo", json!({"n": number})).await.unwrap() }
    });
    for (number, reply) in futures_util::future::join_all(calls).await.iter().enumerate() {
        assert_eq!(text(reply), format!(r#"search {{"n":{number}}}"#));
    }
    let adopted = replicas.all[1].count(ADOPTED).await + replicas.all[2].count(ADOPTED).await;
    assert!((adopted - 1.0).abs() < f64::EPSILON, "{adopted}");
    let greetings: Vec<Value> = server
        .received()
        .iter()
        .filter(|received| received.method() == "initialize")
        .map(|received| received.body["params"].clone())
        .collect();
    assert_eq!(greetings.len(), 2, "one more session towards the server");
    assert_eq!(greetings[1]["capabilities"], capabilities, "the server hears what the client can do");
    assert_eq!(greetings[1]["clientInfo"], greetings[0]["clientInfo"]);
    assert_eq!(greetings[1]["protocolVersion"], "2025-06-18");

    // An end is an end, also of a session that was taken up.
    assert_eq!(client.over(replicas.all[1].address).await.delete().await.unwrap().status, 204);
    for replica in &replicas.all[1..] {
        assert_eq!(client.over(replica.address).await.post(&wait()).await.unwrap().status, 404);
    }
}

#[tokio::test]
async fn a_call_on_a_lost_replica_ends_in_an_error_and_is_not_made_again() {
    let server = McpServer::start("search").await;
    let mut replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    let mut elsewhere = client.over(replicas.all[1].address).await;
    elsewhere.send(&wait()).await.unwrap();
    server.got("tools/call", 1).await;
    replicas.all[0].kill().await;
    let answer = elsewhere.connection.answer().await.unwrap();
    let message = answer.messages().pop().unwrap();
    assert_eq!((&message["id"], &message["error"]["code"]), (&"call".into(), &(-32010).into()), "{message}");
    assert_eq!(server.count("tools/call"), 1);
    // What does no harm is simply done by the next.
    assert_eq!(elsewhere.tools().await, ["echo", "wait"]);
}

#[tokio::test]
async fn a_stream_of_a_lost_replica_is_opened_again_elsewhere() {
    let server = McpServer::scripted("search", |received| match received.method() {
        "tools/call" => {
            let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
            let answer = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": {"content": []}});
            Reply::Events(vec![note, answer])
        }
        _ => Reply::Default,
    })
    .await;
    let mut replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    let mut stream = Connection::open(replicas.all[1].address).await.unwrap();
    stream.send(client.stream_request(None)).await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);
    let priming = String::from_utf8(stream.chunk().await.unwrap().unwrap()).unwrap();
    let id = priming.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    replicas.all[0].kill().await;
    within("the stream ends as streams do", async { while stream.chunk().await.unwrap().is_some() {} }).await;

    let mut again = Connection::open(replicas.all[1].address).await.unwrap();
    again.send(client.stream_request(Some(&id))).await.unwrap();
    assert_eq!(again.head().await.unwrap().status, 200);
    let priming = String::from_utf8(again.chunk().await.unwrap().unwrap()).unwrap();
    let fresh = priming.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert_ne!(fresh, id, "another life of the session has other events");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_under_load_costs_no_session() {
    let server = McpServer::start("search").await;
    let mut replicas = Replicas::start(3, &mut generation(&[("search", server.address)])).await;
    let address = replicas.address();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..12)
        .map(|_| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let mut client = LegacyClient::connect(address, "/mcp").await;
                let (mut calls, mut lost) = (0, 0);
                while !over.load(Ordering::Relaxed) {
                    let call = client.message("tools/call", json!({"name": "echo", "arguments": {}}));
                    let answer = client.post(&call).await.unwrap();
                    assert!([200, 502, 503].contains(&answer.status), "a session is lost: {answer:?}");
                    // What was under way when the replica was killed may be lost, nothing after it.
                    if answer.status == 200 && answer.messages()[0].get("result").is_some() {
                        calls += 1;
                    } else {
                        lost += 1;
                    }
                }
                (calls, lost)
            })
        })
        .collect();
    server.got("tools/call", 200).await;
    replicas.all[1].kill().await;
    let after = server.count("tools/call");
    server.got("tools/call", after + 500).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        let (calls, lost) = client.await.unwrap();
        assert!(calls > 0 && lost <= 2, "{calls} calls, {lost} lost");
    }
}

#[tokio::test]
async fn a_replica_that_comes_back_at_the_same_address_is_another_one() {
    let server = McpServer::start("search").await;
    let mut base = generation(&[("search", server.address)]);
    let mut replicas = Replicas::start(2, &mut base).await;
    let client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    let peers: Vec<_> = replicas.all.iter().map(|replica| replica.peer).collect();
    replicas.all[0].kill().await;
    replicas.all[0] = Replica::start(&base, peers[0], &peers).await;
    for replica in &replicas.all {
        let reply = client.over(replica.address).await.call("echo", json!({})).await.unwrap();
        assert_eq!(text(&reply), "search {}");
    }
    let adopted = replicas.all[0].count(ADOPTED).await + replicas.all[1].count(ADOPTED).await;
    assert!((adopted - 1.0).abs() < f64::EPSILON, "{adopted}");
}
