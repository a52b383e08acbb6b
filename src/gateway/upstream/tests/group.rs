//! Failover between backends.

use super::super::Group;
use super::*;
use crate::gateway::error::{Kind, Retry};
use crate::gateway::upstream::Introduction;
use crate::ir::snapshot::{Failover, LoadBalancing, Server, Tier, WeightedBackend};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PARAMS: &[u8] = br#"{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;

fn group(tiers: &[&[(&str, u32, SocketAddr)]], attempts: u32) -> Group {
    let mut upstreams = BTreeMap::new();
    let tiers = tiers.iter().zip(0..).map(|(members, priority)| {
        let backends = members.iter().map(|(name, weight, address)| {
            let upstream = upstream_named(name, &backend(*address), &Credentials::default());
            let backend = upstream.id().clone();
            upstreams.insert(backend.clone(), upstream);
            WeightedBackend { backend, weight: *weight }
        });
        Tier { priority, backends: backends.collect() }
    });
    let server = Server {
        name: "search".to_owned(),
        prefix: None,
        matches: Vec::new(),
        tools: crate::ir::snapshot::ToolPolicy::default(),
        tiers: tiers.collect(),
        failover: Failover { attempts, ..Failover::default() },
        load_balancing: LoadBalancing::default(),
        timeouts: None,
        fallback: None,
        required: false,
    };
    Group::new(&server, &upstreams)
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_moves_the_call_to_the_next_tier() {
    let backup = TestServer::start(|_| json(ANSWER)).await;
    let group = group(&[&[("primary", 1, closed_port().await)], &[("backup", 1, backup.address)]], 3);
    let begun = tokio::time::Instant::now();
    let (upstream, answer) = group.call(&call(CALL), &TIMEOUTS).await.unwrap();
    assert_eq!((upstream.id().name.as_str(), text(answer).await.as_str()), ("backup", ANSWER));
    assert!(begun.elapsed() >= Duration::from_millis(100), "the second attempt waits for the backoff");
}

#[tokio::test(start_paused = true)]
async fn a_session_opens_on_the_backend_that_takes_it() {
    let backup = TestServer::start(|seen| handshake(seen).unwrap()).await;
    let group = group(&[&[("primary", 1, closed_port().await)], &[("backup", 1, backup.address)]], 3);
    let session = group.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS, None).await.unwrap();
    assert_eq!(session.backend().name, "backup");
    assert!(group.contains(&session));
    let other = self::group(&[&[("backup", 1, backup.address)]], 1);
    assert!(!other.contains(&session), "a backend of the same name is not the same backend");
}

#[tokio::test]
async fn what_was_sent_is_not_sent_again() {
    let primary = TestServer::start(|_| status(500)).await;
    let backup = TestServer::start(|_| json(ANSWER)).await;
    let group = group(&[&[("primary", 1, primary.address)], &[("backup", 1, backup.address)]], 3);
    let error = group.call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.retry), (Kind::HttpStatus, Retry::IfIdempotent));
    assert_eq!((primary.seen().len(), backup.seen().len()), (1, 0));
}

#[tokio::test]
async fn weights_share_the_calls() {
    let (main, canary) = (TestServer::start(|_| json(ANSWER)).await, TestServer::start(|_| json(ANSWER)).await);
    let group = group(&[&[("main", 9, main.address), ("canary", 1, canary.address), ("off", 0, main.address)]], 3);
    for _ in 0..20 {
        text(group.call(&call(CALL), &TIMEOUTS).await.unwrap().1).await;
    }
    assert_eq!((main.seen().len(), canary.seen().len()), (18, 2));
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_last_cause_is_told() {
    let (one, two) = (closed_port().await, closed_port().await);
    let alone = group(&[&[("one", 1, one)]], 3).call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!((alone.kind, alone.message.as_ref()), (Kind::ConnectFailed, "backend team/one refuses connections"));
    let both = group(&[&[("one", 1, one)], &[("two", 1, two)]], 3);
    let error = both.call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.retry), (Kind::NoBackend, Retry::Safe));
    assert!(error.message.ends_with("in 2 attempts; the last: backend team/two refuses connections"), "{error}");
    let error = group(&[], 3).call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::NoBackend);
}

#[tokio::test(start_paused = true)]
async fn endpoints_of_one_backend_take_turns_and_stand_in_for_each_other() {
    let (one, two) = (TestServer::start(|_| json(ANSWER)).await, TestServer::start(|_| json(ANSWER)).await);
    let addresses = [one.address, closed_port().await, two.address];
    let id = ObjectId::new("team", "many");
    let many =
        upstream_named("many", &backend_with(&addresses, Transport::StreamableHttp, "/"), &Credentials::default());
    let tier = Tier { priority: 0, backends: vec![WeightedBackend { backend: id.clone(), weight: 1 }] };
    let server = Server {
        name: "search".to_owned(),
        prefix: None,
        matches: Vec::new(),
        tools: crate::ir::snapshot::ToolPolicy::default(),
        tiers: vec![tier],
        failover: Failover { backoff_ms: 1, ..Failover::default() },
        load_balancing: LoadBalancing::default(),
        timeouts: None,
        fallback: None,
        required: false,
    };
    let group = Group::new(&server, &BTreeMap::from([(id, many)]));
    for _ in 0..9 {
        text(group.call(&call(CALL), &TIMEOUTS).await.unwrap().1).await;
    }
    assert_eq!(one.seen().len() + two.seen().len(), 9);
    assert!(one.seen().len() >= 3 && two.seen().len() >= 3);
}

#[tokio::test]
async fn addresses_change_under_calls_and_sessions() {
    let serve = || TestServer::start(|seen| handshake(seen).unwrap_or_else(|| json(ANSWER)));
    let (own, one, two) = (serve().await, serve().await, serve().await);
    let upstream = upstream_named("many", &backend(own.address), &Credentials::default());
    let told = |servers: &[&TestServer]| {
        let endpoint =
            |server: &&TestServer| Endpoint { host: server.address.ip().to_string(), port: server.address.port() };
        servers.iter().map(endpoint).collect::<BTreeSet<_>>()
    };
    let calls = |server: &TestServer| server.seen().iter().filter(|seen| seen.is("tools/call")).count();
    let call_often = async || {
        for _ in 0..4 {
            text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await;
        }
    };

    upstream.set_endpoints(Some(&told(&[&one, &two])));
    call_often().await;
    assert_eq!((calls(&own), calls(&one), calls(&two)), (0, 2, 2));
    assert_eq!(
        one.seen()[0].header("host"),
        Some(own.address.to_string().as_str()),
        "asked for by the server's own name"
    );
    let accepted = one.accepted.load(Ordering::Relaxed);

    let session = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    let (stays, goes) = if one.seen().iter().any(|seen| seen.is("initialize")) { (&one, &two) } else { (&two, &one) };
    upstream.set_endpoints(Some(&told(&[stays])));
    assert!(upstream.owns(&session) && !session.is_lost(), "its address stays");
    let before = (calls(stays), calls(goes));
    call_often().await;
    assert_eq!((calls(stays), calls(goes)), (before.0 + 4, before.1));
    assert!(one.accepted.load(Ordering::Relaxed) <= accepted + 2, "connections are used again");

    upstream.set_endpoints(Some(&told(&[goes])));
    assert!(!upstream.owns(&session), "its address is gone");
    for nothing in [None, Some(&told(&[]))] {
        upstream.set_endpoints(nothing);
        let before = calls(&own);
        call_often().await;
        assert_eq!((upstream.endpoints(), calls(&own)), (1, before + 4), "back to what the spec says");
        upstream.set_endpoints(Some(&told(&[&one])));
    }
}

/// The request path is spawned: its futures must be movable between threads.
#[test]
fn the_futures_are_send() {
    fn assert_send<T: Send>(_: T) {}
    fn check(group: &Group, upstream: &Arc<Upstream>, session: &super::super::UpstreamSession, call: &ModernCall) {
        assert_send(group.call(call, &TIMEOUTS));
        assert_send(group.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS, None));
        assert_send(upstream.call(call, &TIMEOUTS));
        assert_send(session.call(Bytes::new(), &TIMEOUTS));
        assert_send(session.notify(Bytes::new()));
        assert_send(session.close());
        assert_send(upstream.shutdown());
    }
    let _ = check;
}

#[tokio::test]
async fn a_tier_is_tried_once_a_backend_with_a_share_has_answered() {
    let server = TestServer::start(|_| json("{}")).await;
    let group = group(&[&[("a", 1, server.address), ("b", 0, server.address)]], 1);
    let is = || group.tiers().map(|tier| (tier.is_usable(), tier.is_tried())).next().unwrap();
    assert_eq!(is(), (true, false));
    let know = |backend: usize| {
        group.backends().nth(backend).unwrap().knowledge().introduced(Introduction::unreadable());
    };
    know(1);
    assert_eq!(is(), (true, false), "it takes nothing");
    know(0);
    assert_eq!(is(), (true, true));
}
