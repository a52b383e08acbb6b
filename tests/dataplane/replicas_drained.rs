//! A replica that leaves in good order: what it knows of its sessions goes to another one, and nothing is lost.

use crate::support::balancer::Balancer;
use crate::support::generation::generation;
use crate::support::http::{Connection, post};
use crate::support::mcp::{LegacyClient, text};
use crate::support::notifier::Notifier;
use crate::support::replicas::{Replica, Replicas, channels, peer_address};
use crate::support::within;
use mcp_gateway_operator::ir::generation::Generation;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A generation whose replicas serve on for a moment when they are told to leave, as in a cluster.
fn served(server: &Notifier) -> Generation {
    let mut generation = generation(&[("search", server.address)]);
    generation.snapshot.drain.min_duration_ms = 300;
    generation
}

fn wait() -> Value {
    json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": {"name": "wait", "arguments": {"n": 1}}})
}

/// A client's stream of what servers say unasked, opened again wherever it is let in, after the event it saw last.
struct Listener {
    client: LegacyClient,
    address: SocketAddr,
    stream: Option<Connection>,
    pending: String,
    last: Option<String>,
}

impl Listener {
    async fn open(client: &LegacyClient, address: SocketAddr) -> Self {
        let client = client.over(address).await;
        let mut listener = Self { client, address, stream: None, pending: String::new(), last: None };
        listener.connect().await;
        listener
    }

    async fn connect(&mut self) {
        let mut stream = Connection::open(self.address).await.unwrap();
        stream.send(self.client.stream_request(self.last.as_deref())).await.unwrap();
        let head = stream.head().await.unwrap();
        assert_eq!(head.status, 200, "{head:?}");
        self.stream = Some(stream);
        self.pending.clear();
    }

    /// The next message, however often the stream ends before it.
    async fn next(&mut self) -> Value {
        loop {
            while let Some((block, rest)) = self.pending.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.pending = rest;
                let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                self.last = field("id: ").or_else(|| self.last.take());
                if let Some(message) = field("data: ").and_then(|data| serde_json::from_str(&data).ok()) {
                    return message;
                }
            }
            match self.stream.as_mut().unwrap().chunk().await {
                Ok(Some(chunk)) => self.pending.push_str(std::str::from_utf8(&chunk).unwrap()),
                _ => self.connect().await,
            }
        }
    }
}

#[tokio::test]
async fn the_servers_sessions_go_on_at_the_successor() {
    let server = Notifier::start().await;
    let mut replicas = Replicas::start(2, &mut served(&server)).await;
    let mut client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    client.call("echo", json!({"n": 0})).await.unwrap();
    server.got("GET", 1).await;
    // One event is read, one is not.
    server.notify(json!(0));
    let mut listener = Listener::open(&client, replicas.all[1].address).await;
    assert_eq!(within("an event", listener.next()).await["params"]["data"], 0);
    drop(listener.stream.take());

    replicas.all[0].gateway.process.signal(Signal::TERM);
    server.got("GET", 2).await;
    server.notify(json!(1));
    assert!(replicas.all[0].gateway.process.ended().await.success());
    server.notify(json!(2));

    let mut elsewhere = client.over(replicas.all[1].address).await;
    let reply = elsewhere.call("echo", json!({"n": 1})).await.unwrap();
    assert_eq!(text(&reply), r#"{"n":1}"#);
    listener.connect().await;
    for expected in [1, 2] {
        assert_eq!(within("an event", listener.next()).await["params"]["data"], expected);
    }
    assert_eq!((server.count("initialize"), server.count("DELETE")), (1, 0), "the server notices nothing");
    assert!(replicas.all[1].count("mcp_gateway_sessions_adopted_total").await < 1.0);
    assert!((replicas.all[1].count("mcp_gateway_sessions_open").await - 1.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn calls_in_flight_end_where_they_run_and_are_cancelled_from_anywhere() {
    let server = Notifier::start().await;
    let mut replicas = Replicas::start(2, &mut served(&server)).await;
    let client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    // One call directly, one through the other replica, one that will be cancelled.
    let mut waiting = Vec::new();
    for (number, address) in
        [replicas.all[0].address, replicas.all[1].address, replicas.all[0].address].into_iter().enumerate()
    {
        let mut waiter = client.over(address).await;
        let mut call = wait();
        call["id"] = json!(format!("call-{number}"));
        waiter.send(&call).await.unwrap();
        waiting.push(waiter);
    }
    server.got("tools/call", 3).await;
    replicas.all[0].gateway.process.signal(Signal::TERM);
    server.got("GET", 2).await;

    let mut elsewhere = client.over(replicas.all[1].address).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "call-2"}});
    assert_eq!(elsewhere.post(&cancel).await.unwrap().status, 202);
    let mut cancelled = waiting.pop().unwrap();
    assert!(cancelled.connection.answer().await.unwrap().messages().is_empty(), "it ended without an answer");
    server.release(3);
    for mut waiter in waiting {
        let reply = waiter.connection.answer().await.unwrap().messages().pop().unwrap();
        assert_eq!(text(&reply), r#"{"n":1}"#);
    }
    assert!(replicas.all[0].gateway.process.ended().await.success());
    assert_eq!(server.count("initialize"), 1);
}

#[tokio::test]
async fn a_question_asked_before_is_answered_after() {
    let server = Notifier::start().await;
    let mut replicas = Replicas::start(2, &mut served(&server)).await;
    let client = LegacyClient::connect_with(replicas.all[0].address, "/mcp", "2025-11-25", json!({"roots": {}})).await;
    server.got("GET", 1).await;
    server.say(&json!({"jsonrpc": "2.0", "id": 7, "method": "roots/list"}));
    let mut listener = Listener::open(&client, replicas.all[0].address).await;
    let question = within("the question", listener.next()).await;
    replicas.all[0].gateway.process.signal(Signal::TERM);
    assert!(replicas.all[0].gateway.process.ended().await.success());
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}});
    assert_eq!(client.over(replicas.all[1].address).await.post(&answer).await.unwrap().status, 202);
    within("the answer", async {
        while server.answers().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(server.answers(), [json!({"jsonrpc": "2.0", "id": 7, "result": {"roots": []}})]);
}

#[tokio::test]
async fn everybody_learns_where_a_session_went() {
    let server = Notifier::start().await;
    let mut replicas = Replicas::start(3, &mut served(&server)).await;
    let clients =
        futures_util::future::join_all((0..6).map(|_| LegacyClient::connect(replicas.all[0].address, "/mcp"))).await;
    replicas.all[0].gateway.process.signal(Signal::TERM);
    assert!(replicas.all[0].gateway.process.ended().await.success());
    for client in &clients {
        for replica in &replicas.all[1..] {
            client.over(replica.address).await.call("echo", json!({})).await.unwrap();
        }
    }
    for replica in &replicas.all[1..] {
        for outcome in ["gone", "not_there", "lost", "unavailable"] {
            let series = format!(r#"mcp_gateway_peer_requests_total{{outcome="{outcome}"}}"#);
            assert!(replica.gateway.metric(&series).await < 1.0, "nobody asks where it was before: {outcome}");
        }
    }
    assert_eq!(server.count("initialize"), clients.len());
}

#[tokio::test]
async fn new_sessions_begin_at_those_that_stay() {
    let server = Notifier::start().await;
    let mut generation = served(&server);
    generation.snapshot.drain.min_duration_ms = 3_000;
    let replicas = Replicas::start(2, &mut generation).await;
    let [leaving, staying] = &replicas.all[..] else { panic!("two replicas") };
    leaving.gateway.process.signal(Signal::TERM);
    leaving.gateway.process.logged("it drains", |line| line.contains("draining").then_some(())).await;
    within("the other one knows", async {
        while staying.count("mcp_gateway_peers").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "0"},
    }});
    let headers = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
    let mut connection = Connection::open(leaving.address).await.unwrap();
    let begun = connection.exchange(post("/mcp", &headers, initialize.to_string().as_bytes())).await.unwrap();
    assert_eq!((begun.status, begun.header("connection")), (200, Some("close")), "{begun:?}");
    assert!((staying.count("mcp_gateway_sessions_total").await - 1.0).abs() < f64::EPSILON);
    let mut client = LegacyClient::connect(staying.address, "/mcp").await;
    client.session = begun.header("mcp-session-id").map(str::to_owned);
    client.call("echo", json!({})).await.unwrap();
    let sent_on = staying.gateway.metric(r#"mcp_gateway_peer_requests_total{outcome="ok"}"#).await;
    assert!(sent_on < 1.0, "it is the session of the one that stays");
}

#[tokio::test]
async fn alone_a_replica_ends_its_sessions_and_the_next_one_takes_them_up() {
    let server = Notifier::start().await;
    let mut generation = served(&server);
    let mut replicas = Replicas::start(1, &mut generation).await;
    let client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    let peer = replicas.all[0].peer;
    replicas.all[0].gateway.process.signal(Signal::TERM);
    assert!(replicas.all[0].gateway.process.ended().await.success());
    let next = Replica::start(&generation, peer, &[peer]).await;
    let reply = client.over(next.address).await.call("echo", json!({})).await.unwrap();
    assert_eq!(text(&reply), "{}");
    assert_eq!(server.count("initialize"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_under_load_fails_no_call_and_loses_no_notification() {
    const CLIENTS: usize = 8;
    let server = Arc::new(Notifier::start().await);
    let mut replicas = Replicas::start(3, &mut served(&server)).await;
    let address = replicas.address();
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(LegacyClient::connect(address, "/mcp").await);
    }
    server.got("GET", CLIENTS).await;
    let mut listening = Vec::new();
    for client in &clients {
        let mut listener = Listener::open(client, address).await;
        listening.push(tokio::spawn(async move {
            let mut heard = Vec::new();
            loop {
                let message = listener.next().await;
                if message["params"]["data"] == "last" {
                    return heard;
                }
                heard.push(message["params"]["data"].as_u64().unwrap());
            }
        }));
    }
    let calling: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let mut calls = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    let reply = client.call("echo", json!({"n": calls})).await.unwrap();
                    assert_eq!(text(&reply), format!(r#"{{"n":{calls}}}"#));
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let speaking = tokio::spawn({
        let (server, over) = (Arc::clone(&server), Arc::clone(&over));
        async move {
            let mut said = 0_u64;
            while !over.load(Ordering::Relaxed) {
                server.notify(json!(said));
                said += 1;
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            said
        }
    });

    server.got("tools/call", 100).await;
    replicas.all[0].gateway.process.signal(Signal::TERM);
    let left: Vec<_> = replicas.all[1..].iter().map(|replica| replica.address).collect();
    replicas.balancer.set_targets(&left);
    assert!(replicas.all[0].gateway.process.ended().await.success());
    let log = replicas.all[0].gateway.process.log().join("\n");
    assert!(!log.contains("did not finish"), "streams end before the timeout:\n{log}");
    let after = server.count("tools/call");
    server.got("tools/call", after + 100).await;
    over.store(true, Ordering::Relaxed);
    let said = speaking.await.unwrap();
    server.notify(json!("last"));

    for caller in calling {
        assert!(caller.await.unwrap() > 0);
    }
    for listener in listening {
        let heard = within("the last notification", listener).await.unwrap();
        let missing: BTreeSet<u64> =
            (0..said).collect::<BTreeSet<_>>().difference(&heard.iter().copied().collect()).copied().collect();
        assert!(missing.is_empty(), "lost of {said}: {missing:?}");
        assert_eq!(heard.len() as u64, said, "none came twice");
        assert!(heard.is_sorted(), "they came in their order");
    }
    assert_eq!((server.count("initialize"), server.count("DELETE")), (CLIENTS, 0), "no server session was begun anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_update_keeps_every_session_and_its_servers_sessions() {
    let server = Arc::new(Notifier::start().await);
    let mut generation = served(&server);
    generation.credentials.channels = Some(channels());
    let peers: Vec<SocketAddr> = (0..4).map(|_| peer_address()).collect();
    let mut old = Vec::new();
    for peer in &peers[..2] {
        old.push(Replica::start(&generation, *peer, &peers).await);
    }
    let mut addresses: Vec<_> = old.iter().map(|replica| replica.address).collect();
    let balancer = Balancer::start(&addresses).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut calling = Vec::new();
    for _ in 0..6 {
        let mut client = LegacyClient::connect(balancer.address, "/mcp").await;
        let over = Arc::clone(&over);
        calling.push(tokio::spawn(async move {
            let mut calls = 0_u64;
            while !over.load(Ordering::Relaxed) {
                let reply = client.call("echo", json!({"n": calls})).await.unwrap();
                assert_eq!(text(&reply), format!(r#"{{"n":{calls}}}"#));
                calls += 1;
            }
        }));
    }
    server.got("GET", 6).await;
    // One by one, a new replica comes and an old one goes: sessions move twice at the most.
    let mut new = Vec::new();
    for (mut leaving, peer) in old.into_iter().zip(&peers[2..]) {
        new.push(Replica::start(&generation, *peer, &peers).await);
        addresses.push(new.last().unwrap().address);
        balancer.set_targets(&addresses);
        let before = server.count("tools/call");
        server.got("tools/call", before + 50).await;
        leaving.gateway.process.signal(Signal::TERM);
        addresses.retain(|address| *address != leaving.address);
        balancer.set_targets(&addresses);
        assert!(leaving.gateway.process.ended().await.success());
    }
    let before = server.count("tools/call");
    server.got("tools/call", before + 50).await;
    over.store(true, Ordering::Relaxed);
    for caller in calling {
        caller.await.unwrap();
    }
    assert_eq!((server.count("initialize"), server.count("DELETE")), (6, 0), "no server session was begun anew");
    let mut open = 0.0;
    for replica in &new {
        open += replica.count("mcp_gateway_sessions_open").await;
    }
    assert!((open - 6.0).abs() < f64::EPSILON, "{open}");
}
