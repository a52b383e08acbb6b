//! Several replicas: a session is served whichever of them a request reaches.

use crate::support::generation::generation;
use crate::support::http::{Connection, post};
use crate::support::mcp::{LegacyClient, MODERN, ModernClient, text};
use crate::support::replicas::{Replica, Replicas};
use crate::support::upstream::{McpServer, Received, Reply};
use crate::support::within;
use mcp_gateway_operator::ir::channel::SERVER_NAME;
use mcp_gateway_operator::ir::secrets::PrivateBytes;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const SENT_ON: &str = r#"mcp_gateway_peer_requests_total{outcome="ok"}"#;

fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

/// A server that says something unasked, on the stream of a call, before it answers it.
async fn talkative() -> McpServer {
    McpServer::scripted("search", |received| {
        if received.method() != "tools/call" {
            return Reply::Default;
        }
        let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
        let answer = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": {"content": [{"type": "text", "text": "late"}]}});
        Reply::Events(vec![note, answer])
    })
    .await
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn any_replica_answers_for_a_session() {
    let server = McpServer::start("search").await;
    let replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let [owner, other] = &replicas.all[..] else { panic!("two replicas") };
    let client = LegacyClient::connect(owner.address, "/mcp").await;
    let mut elsewhere = client.over(other.address).await;
    assert_eq!(elsewhere.tools().await, ["echo", "wait"]);
    let reply = elsewhere.call("echo", json!({"n": 1})).await.unwrap();
    assert_eq!(text(&reply), r#"search {"n":1}"#);
    assert_eq!(server.count("initialize"), 1, "one session towards the server");
    assert!((other.gateway.metric(SENT_ON).await - 2.0).abs() < f64::EPSILON);
    assert!(owner.gateway.metric(SENT_ON).await < 1.0, "what is here costs no detour");
    assert!((owner.count("mcp_gateway_sessions_open").await - 1.0).abs() < f64::EPSILON);
    assert!(other.count("mcp_gateway_sessions_open").await < 1.0);
    let headers = elsewhere.post(&call("echo")).await.unwrap().headers;
    assert!(!headers.iter().any(|(name, _)| name.starts_with("mcp-peer")), "{headers:?}");
}

#[tokio::test]
async fn questions_are_answered_and_calls_cancelled_through_another_replica() {
    let server = McpServer::scripted("search", |received| {
        if received.method() != "tools/call" || received.tool() == "wait" {
            return Reply::Default;
        }
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "name?"}});
        let answer = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": {"content": []}});
        Reply::Events(vec![question, answer])
    })
    .await;
    let replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let [owner, other] = &replicas.all[..] else { panic!("two replicas") };
    let mut client =
        LegacyClient::connect_with(owner.address, "/mcp", "2025-11-25", json!({"elicitation": {}})).await;
    let mut elsewhere = client.over(other.address).await;
    let asked = client.post(&call("echo")).await.unwrap().messages();
    let id = &asked.iter().find(|message| message["method"] == "elicitation/create").unwrap()["id"];
    let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"action": "accept", "content": {"name": "octocat"}}});
    assert_eq!(elsewhere.post(&answer).await.unwrap().status, 202);
    let is_answer = |received: &Received| received.body["id"] == 1 && received.body["result"]["action"] == "accept";
    eventually("the answer arrives", async || server.received().iter().any(is_answer)).await;

    client.send(&call("wait")).await.unwrap();
    eventually("the call arrives", async || server.received().iter().any(|received| received.tool() == "wait")).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "call"}});
    assert_eq!(elsewhere.post(&cancel).await.unwrap().status, 202);
    server.got("notifications/cancelled", 1).await;
    let ended = within("the call's end", client.connection.answer()).await.unwrap();
    assert!(ended.messages().is_empty(), "{ended:?}");
}

#[tokio::test]
async fn a_stream_is_read_and_resumed_through_another_replica() {
    let server = talkative().await;
    let replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let [owner, other] = &replicas.all[..] else { panic!("two replicas") };
    let mut client = LegacyClient::connect(owner.address, "/mcp").await;
    let mut stream = Connection::open(other.address).await.unwrap();
    stream.send(client.stream_request(None)).await.unwrap();
    let head = stream.head().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));

    // The priming event's id is all that arrives before the connection breaks.
    client.send(&call("echo")).await.unwrap();
    assert_eq!(client.connection.head().await.unwrap().status, 200);
    let first = String::from_utf8(client.connection.chunk().await.unwrap().unwrap()).unwrap();
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    client.connection = Connection::open(owner.address).await.unwrap();
    let mut resumed = Connection::open(other.address).await.unwrap();
    resumed.send(client.stream_request(Some(&id))).await.unwrap();
    assert_eq!(resumed.head().await.unwrap().status, 200);
    let (mut pending, mut seen) = (String::new(), Vec::new());
    while let Some(message) = within("the rest of the stream", resumed.event(&mut pending)).await.unwrap() {
        seen.push(message);
    }
    assert_eq!(seen.last().unwrap()["result"]["content"][0]["text"], "late", "{seen:?}");
    assert_eq!(server.count("tools/call"), 1, "the call was not made again");

    drop(stream);
    eventually("the owner hears that the client left", async || {
        owner.count("mcp_gateway_streams_open").await < 1.0
    })
    .await;
}

#[tokio::test]
async fn an_ended_session_is_gone_everywhere() {
    let server = McpServer::start("search").await;
    let mut replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    assert_eq!(client.over(replicas.all[1].address).await.delete().await.unwrap().status, 204);
    for replica in &replicas.all {
        let answer = client.over(replica.address).await.post(&call("echo")).await.unwrap();
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    // Nor does anybody take it up when the one that saw its end is gone.
    replicas.all[0].kill().await;
    let answer = client.over(replicas.all[1].address).await.post(&call("echo")).await.unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");
    assert_eq!(server.count("initialize"), 1);
}

#[tokio::test]
async fn the_oldest_clients_post_to_any_replica() {
    let server = McpServer::start("search").await;
    let mut replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let mut stream = Connection::open(replicas.all[0].address).await.unwrap();
    stream.send("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);
    let first = String::from_utf8(stream.chunk().await.unwrap().unwrap()).unwrap();
    let endpoint = first.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "old", "version": "0"},
    }});
    let mut pending = String::new();
    for (turn, message) in [initialize, call("echo"), call("echo")].into_iter().enumerate() {
        let mut posts = Connection::open(replicas.all[(turn + 1) % 2].address).await.unwrap();
        let bytes = post(&endpoint, &[("content-type", "application/json")], message.to_string().as_bytes());
        assert_eq!(posts.exchange(bytes).await.unwrap().status, 202, "{message}");
        let told = within("an answer on the stream", stream.event(&mut pending)).await.unwrap().unwrap();
        assert_eq!(told["id"], message["id"], "{told}");
        assert!(told.get("result").is_some(), "{told}");
    }
    // The stream ends with its replica, and the session with its stream.
    replicas.all[0].kill().await;
    let mut posts = Connection::open(replicas.all[1].address).await.unwrap();
    let bytes = post(&endpoint, &[("content-type", "application/json")], call("echo").to_string().as_bytes());
    assert_eq!(posts.exchange(bytes).await.unwrap().status, 404);
}

#[tokio::test]
async fn a_new_key_logs_nobody_out_though_one_replica_has_it_before_the_other() {
    let server = McpServer::start("search").await;
    let mut base = generation(&[("search", server.address)]);
    let replicas = Replicas::start(2, &mut base).await;
    let [first, second] = &replicas.all[..] else { panic!("two replicas") };
    let with_keys = |keys: &[u8]| {
        let mut next = base.clone();
        next.credentials.keyring = keys.iter().map(|key| PrivateBytes::new([*key; 32])).collect();
        next
    };
    let mut clients = vec![LegacyClient::connect(first.address, "/mcp").await];
    // Before, in the middle of, and after each step: added, promoted, and, too early, retired.
    for keys in [&[7, 8][..], &[8, 7], &[8]] {
        for replica in [first, second] {
            replica.gateway.apply(&with_keys(keys)).await;
            clients.push(LegacyClient::connect(replica.address, "/mcp").await);
            for client in &clients {
                for reached in [first, second] {
                    let reply = client.over(reached.address).await.call("echo", json!({})).await.unwrap();
                    assert_eq!(text(&reply), "search {}", "keys {keys:?}");
                }
            }
        }
    }
    assert_eq!(server.count("initialize"), clients.len(), "no session was begun anew");
}

#[tokio::test]
async fn a_new_certificate_and_token_reach_the_replicas_one_after_the_other() {
    let server = McpServer::start("search").await;
    let mut base = generation(&[("search", server.address)]);
    let replicas = Replicas::start(2, &mut base).await;
    let [first, second] = &replicas.all[..] else { panic!("two replicas") };
    let client = LegacyClient::connect(second.address, "/mcp").await;
    let mut next = base.clone();
    next.credentials.channels = Some(crate::support::replicas::channels());
    first.gateway.apply(&next).await;
    // The one that is ahead still knows the other's certificate.
    client.over(first.address).await.call("echo", json!({})).await.unwrap();
    second.gateway.apply(&next).await;
    client.over(first.address).await.call("echo", json!({})).await.unwrap();
    assert_eq!(server.count("initialize"), 1);
}

#[tokio::test]
async fn strangers_get_nothing_from_the_peer_port() {
    let server = McpServer::start("search").await;
    let mut base = generation(&[("search", server.address)]);
    let replicas = Replicas::start(1, &mut base).await;
    let Replica { peer, address, .. } = &replicas.all[0];
    let client = LegacyClient::connect(*address, "/mcp").await;
    let session = client.session.unwrap();
    let channels = base.credentials.channels.unwrap();
    let certificate = CertificateDer::from_pem_slice(channels.certificate.expose()).unwrap();
    for (token, expected) in [("", 401), ("the operator's token", 401), ("a replica's token", 200)] {
        let mut stranger = Connection::open_tls(*peer, &certificate, SERVER_NAME).await.unwrap();
        let headers = [("mcp-peer-token", token)];
        let answer = stranger.exchange(post("/v1/holds", &headers, session.as_bytes())).await.unwrap();
        assert_eq!(answer.status, expected, "{token:?}");
    }
    let mut plain = Connection::open(*peer).await.unwrap();
    plain.send("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(!plain.closed().await.starts_with(b"HTTP/"));
    // What only replicas may say means nothing in a client's request.
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-session-id", "unknown"),
        ("mcp-peer-intent", "adopt"),
        ("mcp-peer-token", "a replica's token"),
    ];
    let mut forger = Connection::open(*address).await.unwrap();
    let answer = forger.exchange(post("/mcp", &headers, call("echo").to_string().as_bytes())).await.unwrap();
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn without_a_certificate_there_is_no_peer_port() {
    let server = McpServer::start("search").await;
    let peer = crate::support::replicas::peer_address();
    let replica = Replica::start(&generation(&[("search", server.address)]), peer, &[peer]).await;
    assert!(Connection::open(peer).await.is_err());
    let mut client = LegacyClient::connect(replica.address, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
    client.session = Some("unknown".to_owned());
    assert_eq!(client.post(&call("echo")).await.unwrap().status, 404);
    // It is opened by the first generation that secures it.
    let mut secured = generation(&[("search", server.address)]);
    secured.credentials.channels = Some(crate::support::replicas::channels());
    replica.gateway.apply(&secured).await;
    assert!(Connection::open(peer).await.is_ok());
}

#[tokio::test]
async fn modern_clients_are_any_replicas() {
    let tasks = AtomicUsize::new(0);
    let server = McpServer::scripted("search", move |received| {
        if received.method() == "tools/call" && received.header("mcp-protocol-version") == Some(MODERN) {
            tasks.fetch_add(1, Ordering::Relaxed);
        }
        Reply::Default
    })
    .await;
    let replicas = Replicas::start(2, &mut generation(&[("search", server.address)])).await;
    let mut client = ModernClient::connect(replicas.address(), "/mcp").await;
    for number in 0..4 {
        let reply = client.call("echo", json!({"n": number})).await.unwrap();
        assert_eq!(text(&reply), format!(r#"search {{"n":{number}}}"#));
    }
    for replica in &replicas.all {
        assert!(replica.gateway.metric(SENT_ON).await < 1.0, "nothing of theirs is one replica's");
    }
}
