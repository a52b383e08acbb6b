//! Streamed answers: events, large messages, resumption, and what becomes of their connections.

use super::*;
use crate::gateway::error::Kind;
use std::time::Duration;

const PARAMS: &[u8] = br#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;

async fn streamed(upstream: &Upstream) -> EventStream {
    into_stream(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap())
}

#[tokio::test]
async fn events_come_one_by_one_and_the_connection_is_used_again() {
    let server = TestServer::start(|_| {
        events(&format!(": hello\n\nevent: message\ndata: {{\"method\":\"notifications/x\"}}\n\ndata: {ANSWER}\n\n"))
    })
    .await;
    let upstream = upstream(&backend(server.address));
    for _ in 0..3 {
        let mut stream = streamed(&upstream).await;
        assert_eq!(message(&mut stream).await, r#"{"method":"notifications/x"}"#);
        assert_eq!(message(&mut stream).await, ANSWER);
        assert!(stream.next().await.is_none());
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn a_stream_dropped_after_the_answer_frees_its_connection_once_it_ends() {
    let senders = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&senders);
    let server = TestServer::start(move |_| {
        let (sender, reply) = stream();
        sender.send(Ok(Bytes::from(format!("data: {ANSWER}\n\n")))).unwrap();
        kept.lock().push(sender);
        reply
    })
    .await;
    let upstream = upstream(&backend(server.address));
    let mut stream = streamed(&upstream).await;
    assert_eq!(message(&mut stream).await, ANSWER);
    drop(stream);
    assert_eq!(upstream.stats().idle_connections, 1, "kept, though the stream has not ended");

    let mut second = streamed(&upstream).await;
    assert_eq!(server.accepted(), 2, "a stream that has not ended is no free connection");
    message(&mut second).await;
    drop(second);

    senders.lock().clear();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    message(&mut streamed(&upstream).await).await;
    assert_eq!(server.accepted(), 2, "both streams have ended: their connections are free");
}

#[tokio::test]
async fn a_stream_dropped_before_the_answer_closes_its_connection() {
    let (closed, mut notice) = mpsc::unbounded_channel::<()>();
    let server = TestServer::start(move |_| {
        let (sender, reply) = stream();
        let closed = closed.clone();
        tokio::spawn(async move {
            sender.send(Ok(Bytes::from_static(b"data: {\"method\":\"notifications/x\"}\n\n"))).unwrap();
            sender.closed().await;
            closed.send(()).unwrap();
        });
        reply
    })
    .await;
    let upstream = upstream(&backend(server.address));
    let mut stream = streamed(&upstream).await;
    message(&mut stream).await;
    drop(stream);
    notice.recv().await.unwrap();
    assert_eq!(upstream.stats().connections, 0);
}

#[tokio::test]
async fn a_message_of_3_mib_comes_in_pieces_in_bounded_memory() {
    let large = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"text":"{}"}}}}"#, "x".repeat(3 << 20));
    let sent = format!("data: {large}\n\n");
    let server = TestServer::start(move |_| events(&sent)).await;
    let upstream = upstream(&backend(server.address));
    let mut stream = streamed(&upstream).await;
    let (mut whole, mut pieces, mut ended) = (Vec::new(), 0, false);
    while let Some(event) = stream.next().await {
        let Event::Part { bytes, last } = event.unwrap() else { unreachable!() };
        assert!(!ended && bytes.len() <= 1 << 20, "{}", bytes.len());
        assert!(pieces > 0 || bytes.len() >= crate::gateway::HOLD_BYTES);
        whole.extend_from_slice(&bytes);
        (pieces, ended) = (pieces + 1, last);
    }
    assert!(ended && pieces > 3, "{pieces}");
    assert_eq!(whole, large.as_bytes());
    assert_eq!(upstream.stats().idle_connections, 1);
}

/// An event stream that breaks once its text has gone out.
fn breaking(text: &'static str) -> Reply {
    let (sender, reply) = stream();
    tokio::spawn(async move {
        sender.send(Ok(Bytes::from_static(text.as_bytes()))).unwrap();
        // Time is paused in these tests: it passes once everyone else waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let _ = sender.send(Err(io::Error::other("gone")));
    });
    reply
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_a_reset() {
    let server = TestServer::start(|_| breaking("id: 1\ndata: {\"method\":\"notifications/x\"}\n\n")).await;
    let upstream = upstream(&backend(server.address));
    let mut stream = streamed(&upstream).await;
    message(&mut stream).await;
    // A modern stream is not resumed, whatever ids it has.
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind, Kind::ConnectionReset);
    assert!(stream.next().await.is_none());
}

/// A session whose calls are answered by `first`, and whose GETs by `rest`, in order.
async fn resuming(first: fn() -> Reply, rest: fn(usize) -> Reply) -> (TestServer, Arc<Upstream>, EventStream) {
    let resumed = AtomicUsize::new(0);
    let server = TestServer::start(move |seen| match (&seen.method, seen.header("last-event-id")) {
        (&Method::GET, Some(_)) => rest(resumed.fetch_add(1, Ordering::SeqCst)),
        _ => handshake(seen).unwrap_or_else(first),
    })
    .await;
    let upstream = upstream(&backend(server.address));
    let session = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    let stream = into_stream(session.call(Bytes::from_static(CALL.as_bytes()), &TIMEOUTS).await.unwrap());
    (server, upstream, stream)
}

async fn paused(stream: &mut EventStream) -> Duration {
    match stream.next().await {
        Some(Ok(Event::Paused(wait))) => wait,
        other => unreachable!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_the_server_pauses_is_resumed_until_the_answer() {
    let (server, _upstream, mut stream) = resuming(
        || events("id: a\nretry: 500\ndata:\n\n"),
        |round| match round {
            0 => events("id: b\ndata: {\"method\":\"notifications/x\"}\n\n"),
            _ => events(&format!("data: {ANSWER}\n\n")),
        },
    )
    .await;
    let begun = tokio::time::Instant::now();
    assert_eq!(paused(&mut stream).await, Duration::from_millis(500));
    assert_eq!(message(&mut stream).await, r#"{"method":"notifications/x"}"#);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!(paused(&mut stream).await, Duration::from_millis(500));
    assert_eq!(message(&mut stream).await, ANSWER);
    assert!(stream.next().await.is_none());
    let ids: Vec<_> = server.seen().iter().filter_map(|seen| seen.header("last-event-id").map(str::to_owned)).collect();
    assert_eq!(ids, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_with_ids_is_resumed_too() {
    let (_server, _upstream, mut stream) =
        resuming(|| breaking("id: a\ndata:\n\n"), |_| events(&format!("data: {ANSWER}\n\n"))).await;
    assert_eq!(paused(&mut stream).await, Duration::from_secs(1));
    assert_eq!(message(&mut stream).await, ANSWER);
}

#[tokio::test(start_paused = true)]
async fn fruitless_resumption_gives_up() {
    let (server, _upstream, mut stream) = resuming(|| events("id: a\ndata:\n\n"), |_| status(503)).await;
    let mut rounds = 0;
    let error = loop {
        match stream.next().await.unwrap() {
            Ok(Event::Paused(_)) => rounds += 1,
            Ok(event) => unreachable!("{event:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!((rounds, error.kind), (5, Kind::HttpStatus));
    assert_eq!(server.seen().iter().filter(|seen| seen.header("last-event-id").is_some()).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_session_lost_while_paused_is_said_at_once() {
    let (_server, _upstream, mut stream) = resuming(|| events("id: a\ndata:\n\n"), |_| status(404)).await;
    paused(&mut stream).await;
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind, Kind::SessionLost);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_ids_is_not_resumed() {
    let (_server, _upstream, mut stream) =
        resuming(|| events("data: {\"method\":\"notifications/x\"}\n\n"), |_| status(500)).await;
    message(&mut stream).await;
    assert!(stream.next().await.is_none());
}
