//! Legacy sessions over Streamable HTTP.

use super::*;
use crate::gateway::error::{Kind, Retry};
use std::time::Duration;

const PARAMS: &[u8] =
    br#"{"protocolVersion":"2025-06-18","capabilities":{"x":1.0},"clientInfo":{"name":"c","version":"1"}}"#;

#[tokio::test]
async fn a_session_lives_from_initialize_to_delete() {
    let server = TestServer::start(|seen| handshake(seen).unwrap_or_else(|| json(ANSWER))).await;
    let upstream = upstream(&backend(server.address));
    let session = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    assert_eq!(session.protocol_version(), "2025-06-18");
    let result: serde_json::Value = serde_json::from_slice(session.initialize_result()).unwrap();
    assert_eq!(result["serverInfo"]["name"], "t");
    let answer = session.call(Bytes::from_static(CALL.as_bytes()), &TIMEOUTS).await.unwrap();
    assert_eq!(text(answer).await, ANSWER);
    assert_eq!((upstream.stats().sessions, upstream.stats().legacy), (1, true));
    session.close().await;
    assert!(session.is_lost());
    assert_eq!(upstream.stats().sessions, 0);

    let seen: Vec<Seen> = server.seen().into_iter().filter(|seen| seen.method != Method::GET).collect();
    let [initialize, initialized, called, deleted] = &seen[..] else { unreachable!("{seen:?}") };
    // The client's own parameters go out byte for byte.
    assert!(initialize.body.contains(std::str::from_utf8(PARAMS).unwrap()), "{}", initialize.body);
    assert_eq!((initialize.header("mcp-session-id"), initialize.header("mcp-protocol-version")), (None, None));
    assert!(initialized.is("notifications/initialized"));
    assert_eq!(deleted.method, Method::DELETE);
    for request in [initialized, called, deleted] {
        assert_eq!(request.header("mcp-session-id"), Some("s-1"));
        assert_eq!(request.header("mcp-protocol-version"), Some("2025-06-18"));
    }
}

#[tokio::test]
async fn the_handshake_may_come_as_events_with_others_before_it() {
    let server = TestServer::start(|seen| match seen.method {
        Method::POST if seen.is("initialize") => {
            events(&format!("data: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}}\n\ndata: {INITIALIZED}\n\n"))
        }
        _ => handshake(seen).unwrap(),
    })
    .await;
    let inbox = Arc::<Inbox>::default();
    let session = upstream(&backend(server.address)).open_session(PARAMS, inbox.clone(), &TIMEOUTS).await.unwrap();
    assert_eq!(session.protocol_version(), "2025-06-18");
    assert_eq!(inbox.messages.lock()[..], [r#"{"jsonrpc":"2.0","method":"notifications/x"}"#]);
}

#[tokio::test]
async fn a_modern_server_says_that_it_has_no_sessions() {
    for (code, kind) in [(-32022, Kind::EraUnavailable), (-32601, Kind::EraUnavailable), (-32603, Kind::BadAnswer)] {
        let error = format!(r#"{{"jsonrpc":"2.0","id":0,"error":{{"code":{code},"message":"no"}}}}"#);
        let server = TestServer::start(move |_| reply(400, "application/json", &error)).await;
        let opened = upstream(&backend(server.address)).open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await;
        assert_eq!(opened.map(|_| ()).unwrap_err().kind, kind, "{code}");
    }
}

#[tokio::test]
async fn an_unknown_session_is_lost_however_the_server_says_it() {
    const OLD_WAY: &str =
        r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#;
    for (code, media, body) in [(404, "text/plain", ""), (400, "application/json", OLD_WAY)] {
        let server = TestServer::start(move |seen| handshake(seen).unwrap_or_else(|| reply(code, media, body))).await;
        let upstream = upstream(&backend(server.address));
        let session = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
        assert!(!session.is_lost());
        let error = session.call(Bytes::from_static(CALL.as_bytes()), &TIMEOUTS).await.map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.retry), (Kind::SessionLost, Retry::Safe));
        assert!(session.is_lost());
    }
}

#[tokio::test]
async fn a_refused_call_does_not_end_the_session() {
    const REFUSED: &str = r#"{"jsonrpc":"2.0","error":{"code":-32602,"message":"no such tool"},"id":7}"#;
    let server =
        TestServer::start(|seen| handshake(seen).unwrap_or_else(|| reply(400, "application/json", REFUSED))).await;
    let upstream = upstream(&backend(server.address));
    let session = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    let answer = session.call(Bytes::from_static(CALL.as_bytes()), &TIMEOUTS).await.unwrap();
    assert!(matches!(answer, Answer::Rejected { status: 400, body } if body == REFUSED));
    assert!(!session.is_lost());
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_stream_is_read_and_opened_again_from_where_it_broke() {
    let gets = Arc::new(AtomicUsize::new(0));
    let (held, counted) = (Arc::new(Mutex::new(Vec::new())), Arc::clone(&gets));
    let server = TestServer::start(move |seen| {
        if seen.method != Method::GET {
            return handshake(seen).unwrap();
        }
        match counted.fetch_add(1, Ordering::SeqCst) {
            0 => events("id: e1\ndata: {\"n\":1}\n\nevent: other\ndata: {}\n\n"),
            1 => status(503),
            _ => {
                let (sender, reply) = stream();
                sender.send(Ok(Bytes::from_static(b"data: {\"n\":2}\n\n"))).unwrap();
                held.lock().push(sender);
                reply
            }
        }
    })
    .await;
    let inbox = Arc::<Inbox>::default();
    let upstream = upstream(&backend(server.address));
    let session = upstream.open_session(PARAMS, inbox.clone(), &TIMEOUTS).await.unwrap();
    inbox.until(|inbox| inbox.messages.lock().len() == 2).await;
    assert_eq!(inbox.messages.lock()[..], [r#"{"n":1}"#, r#"{"n":2}"#]);
    let gets: Vec<_> = server.seen().into_iter().filter(|seen| seen.method == Method::GET).collect();
    let resumed: Vec<_> = gets.iter().map(|get| get.header("last-event-id")).collect();
    assert_eq!(resumed, [None, Some("e1"), Some("e1")]);
    assert!(gets.iter().all(|get| get.header("mcp-session-id") == Some("s-1")));
    session.close().await;
}

#[tokio::test]
async fn a_session_that_ends_on_its_stream_is_reported_lost() {
    let server = TestServer::start(|seen| match seen.method {
        Method::GET => status(404),
        _ => handshake(seen).unwrap(),
    })
    .await;
    let inbox = Arc::<Inbox>::default();
    let upstream = upstream(&backend(server.address));
    let session = upstream.open_session(PARAMS, inbox.clone(), &TIMEOUTS).await.unwrap();
    inbox.until(|inbox| inbox.lost.lock().is_some()).await;
    assert_eq!(inbox.lost.lock().as_ref().map(|error| error.kind), Some(Kind::SessionLost));
    assert!(session.is_lost());
}

#[tokio::test]
async fn messages_too_large_for_the_servers_own_stream_are_dropped_and_the_next_arrive() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let server = TestServer::start(move |seen| {
        if seen.method != Method::GET {
            return handshake(seen).unwrap();
        }
        let (sender, reply) = stream();
        for size in [5 << 20, 1 << 20] {
            sender.send(Ok(Bytes::from(format!("data: \"{}\"\n\n", "x".repeat(size))))).unwrap();
        }
        held.lock().push(sender);
        reply
    })
    .await;
    let inbox = Arc::<Inbox>::default();
    let upstream = upstream(&backend(server.address));
    let _session = upstream.open_session(PARAMS, inbox.clone(), &TIMEOUTS).await.unwrap();
    inbox.until(|inbox| !inbox.messages.lock().is_empty()).await;
    let sizes: Vec<usize> = inbox.messages.lock().iter().map(String::len).collect();
    assert_eq!(sizes, [(1 << 20) + 2]);
}

#[tokio::test(start_paused = true)]
async fn closing_a_session_is_bounded() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let server = TestServer::start(move |seen| match seen.method {
        // A body that never ends, after a head that comes at once.
        Method::DELETE => {
            let (sender, reply) = stream();
            held.lock().push(sender);
            reply
        }
        _ => handshake(seen).unwrap(),
    })
    .await;
    let upstream = upstream(&backend(server.address));
    let session = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    let begun = tokio::time::Instant::now();
    session.close().await;
    assert!(begun.elapsed() <= Duration::from_secs(2));
}

#[tokio::test]
async fn the_servers_own_streams_do_not_count_as_calls() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let server = TestServer::start(move |seen| {
        if seen.method != Method::GET {
            return handshake(seen).unwrap_or_else(|| json(ANSWER));
        }
        let (sender, reply) = stream();
        sender.send(Ok(Bytes::from_static(b"data: {}\n\n"))).unwrap();
        held.lock().push(sender);
        reply
    })
    .await;
    let inbox = Arc::<Inbox>::default();
    let upstream = upstream(&backend(server.address));
    let session = upstream.open_session(PARAMS, inbox.clone(), &TIMEOUTS).await.unwrap();
    inbox.until(|inbox| !inbox.messages.lock().is_empty()).await;
    // The stream has taken over the connection of the handshake.
    assert_eq!((server.accepted(), upstream.stats().connections), (1, 0));
    text(session.call(Bytes::from_static(CALL.as_bytes()), &TIMEOUTS).await.unwrap()).await;
    assert_eq!((server.accepted(), upstream.stats().connections), (2, 1));
}

#[tokio::test]
async fn a_session_stays_with_the_server_that_began_it_whatever_its_name_stands_for() {
    let server = TestServer::start(|seen| handshake(seen).unwrap_or_else(|| json(ANSWER))).await;
    let mut spec = backend(server.address);
    let Target::Http { endpoints, .. } = &mut spec.target else { unreachable!() };
    "localhost".clone_into(&mut endpoints[0].host);
    let upstream = upstream(&spec);
    let session = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    assert_eq!(session.endpoint().address().map(|address| address.host.as_str()), Some("127.0.0.1"));
    assert!(upstream.owns(&session));
    text(session.call(CALL.into(), &TIMEOUTS).await.unwrap()).await;
    let host = format!("localhost:{}", server.address.port());
    assert!(
        server.seen().iter().all(|seen| seen.header("host") == Some(host.as_str())),
        "asked for by name all the same"
    );

    // Told who is behind the name, nothing changes for it, as long as its server is among them.
    let told = |address: &str| {
        std::collections::BTreeSet::from([Endpoint { host: address.into(), port: server.address.port() }])
    };
    upstream.set_endpoints(Some(&told("127.0.0.1")));
    assert!(upstream.owns(&session));
    upstream.set_endpoints(Some(&told("127.0.0.2")));
    assert!(!upstream.owns(&session));
    upstream.set_endpoints(None);

    // Its server is gone: another one may take its place, with a session of its own.
    drop(server);
    // The first call may still go out on a connection that nobody knows to be closed.
    drop(session.call(CALL.into(), &TIMEOUTS).await);
    let error = session.call(CALL.into(), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind, session.is_lost()), (Kind::SessionLost, true));
}
