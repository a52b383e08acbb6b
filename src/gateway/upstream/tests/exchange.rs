//! Connections: reuse, stale ones, garbage, limits, timeouts.

use super::*;
use crate::gateway::error::{Kind, Retry};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Accepts connections one after another and plays one script on each: what to write after the request has come, and
/// whether to close then.
async fn scripted(scripts: Vec<(&'static [u8], bool)>) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut open = Vec::new();
        for (answer, close) in scripts {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = socket.read(&mut buffer).await.unwrap();
            socket.write_all(answer).await.unwrap();
            if !close {
                open.push(socket);
            }
        }
        std::future::pending::<()>().await;
    });
    (address, serving)
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

async fn failure_of(answer: &'static [u8]) -> GatewayError {
    let (address, _serving) = scripted(vec![(answer, true)]).await;
    match upstream(&backend(address)).call(&call(CALL), &TIMEOUTS).await {
        Err(error) => error,
        Ok(Answer::Json(body)) => body.collect(1 << 20).await.unwrap_err(),
        Ok(Answer::Events(mut stream)) => stream.next().await.unwrap().unwrap_err(),
        Ok(_) => unreachable!("the answer is broken"),
    }
}

#[tokio::test]
async fn calls_one_after_another_share_a_connection() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    let upstream = upstream(&backend(server.address));
    for _ in 0..5 {
        assert_eq!(text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await, ANSWER);
    }
    assert_eq!(server.accepted(), 1);
    let stats = upstream.stats();
    assert_eq!((stats.connections, stats.idle_connections, stats.modern, stats.legacy), (1, 1, true, false));
}

#[tokio::test]
async fn calls_at_the_same_time_have_connections_of_their_own() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    let upstream = upstream(&backend(server.address));
    let first = upstream.call(&call(CALL), &TIMEOUTS).await.unwrap();
    let (sender, reply) = stream();
    drop((sender, reply));
    // A JSON body of known length frees its connection when it has been read, not before.
    let second = upstream.call(&call(CALL), &TIMEOUTS).await.unwrap();
    assert_eq!(server.accepted(), 2);
    assert_eq!((text(first).await, text(second).await), (ANSWER.to_owned(), ANSWER.to_owned()));
    assert_eq!(upstream.stats().idle_connections, 2);
}

#[tokio::test]
async fn an_answer_dropped_midway_closes_its_connection() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    let upstream = upstream(&backend(server.address));
    drop(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap());
    assert_eq!((upstream.stats().connections, upstream.stats().idle_connections), (0, 0));
}

#[tokio::test]
async fn a_connection_that_went_stale_costs_no_call() {
    // The first connection is closed by the server right after its answer.
    let (address, _serving) = scripted(vec![(OK, true), (OK, false)]).await;
    let upstream = upstream(&backend(address));
    assert_eq!(text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await, "{}");
    // The close has to arrive before the next call finds it; loopback delivers it within the next turns of the runtime.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await, "{}");
}

#[tokio::test]
async fn garbage_is_a_bad_answer() {
    for garbage in [
        &b"lorem ipsum dolor\r\n\r\n"[..],
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    ] {
        let error = failure_of(garbage).await;
        assert_eq!(error.kind, Kind::BadAnswer, "{}: {error}", String::from_utf8_lossy(garbage));
        assert!(error.message.contains("team/search") && !error.message.contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn dying_midway_is_a_reset_that_forbids_a_blind_retry() {
    for cut in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\ncontent-",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
    ] {
        let error = failure_of(cut).await;
        let found = (error.kind, error.retry);
        assert_eq!(found, (Kind::ConnectionReset, Retry::IfIdempotent), "{}", String::from_utf8_lossy(cut));
    }
}

#[tokio::test]
async fn oversized_headers_are_refused() {
    let mut head = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    head.resize(300 * 1024, b'a');
    let error = failure_of(head.leak()).await;
    assert_eq!(error.kind, Kind::AnswerTooLarge, "{error}");
}

#[tokio::test]
async fn a_body_is_collected_up_to_its_limit() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    let upstream = upstream(&backend(server.address));
    for (limit, fits) in [(ANSWER.len(), true), (ANSWER.len() - 1, false)] {
        let Answer::Json(body) = upstream.call(&call(CALL), &TIMEOUTS).await.unwrap() else { unreachable!() };
        assert_eq!(body.collect(limit).await.map_err(|error| error.kind).is_ok(), fits, "{limit}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_runs_into_the_request_timeout() {
    let (address, _serving) = scripted(vec![(b"", false)]).await;
    let upstream = upstream(&backend(address));
    let error = upstream.call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.retry), (Kind::RequestTimeout, Retry::IfIdempotent));
    assert_eq!(upstream.stats().last_error, Some("request_timeout"));
    assert_eq!(upstream.stats().connections, 0, "its connection is closed");
}

#[tokio::test]
async fn a_refused_connection_is_safe_to_retry_and_names_no_address() {
    let address = closed_port().await;
    let error = upstream(&backend(address)).call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.retry), (Kind::ConnectFailed, Retry::Safe));
    assert_eq!(error.message, "backend team/search refuses connections");
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_closed_in_time() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    let upstream = upstream(&backend(server.address));
    text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await;
    assert_eq!(upstream.stats().idle_connections, 1);
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!((upstream.stats().idle_connections, upstream.stats().connections), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_servers_own_idle_timeout_is_respected() {
    let server = TestServer::start(|_| {
        let mut reply = json(ANSWER);
        reply.headers_mut().insert("keep-alive", HeaderValue::from_static("timeout=5"));
        reply
    })
    .await;
    let upstream = upstream(&backend(server.address));
    text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await;
    tokio::time::sleep(std::time::Duration::from_millis(4_500)).await;
    text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await;
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn shutting_down_closes_what_idles_and_lets_calls_end() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    let upstream = upstream(&backend(server.address));
    let (one, two) =
        (upstream.call(&call(CALL), &TIMEOUTS).await.unwrap(), upstream.call(&call(CALL), &TIMEOUTS).await);
    text(two.unwrap()).await;
    upstream.shutdown().await;
    assert_eq!((upstream.stats().idle_connections, upstream.stats().connections), (0, 1));
    assert_eq!(text(one).await, ANSWER);
    assert_eq!((upstream.stats().idle_connections, upstream.stats().connections), (0, 0));
}

#[tokio::test]
async fn connections_of_one_backend_are_bounded() {
    let bound = Arc::new(super::super::pool::Bound::default());
    let permits: Vec<_> = std::iter::from_fn(|| bound.take()).collect();
    assert_eq!(permits.len(), super::super::pool::MAX_CONNECTIONS as usize);
    drop(permits);
    assert_eq!(bound.open(), 0);
}

/// Connections are driven by their calls, so a wake-up that goes astray is a call that hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_calls_at_once_all_end_and_share_connections() {
    let large = format!(r#"{{"jsonrpc":"2.0","id":7,"result":"{}"}}"#, "x".repeat(400_000));
    let expected = large.clone();
    let server = TestServer::start(move |seen| match seen.header("mcp-name") {
        Some("events") => events(&format!("data: {{\"method\":\"n\"}}\n\ndata: {ANSWER}\n\n")),
        Some("large") => json(&large),
        _ => json(ANSWER),
    })
    .await;
    let upstream = upstream(&backend(server.address));
    let mut callers = JoinSet::new();
    for caller in 0..24 {
        let (upstream, expected) = (Arc::clone(&upstream), expected.clone());
        callers.spawn(async move {
            for round in 0..60 {
                let name = ["plain", "events", "large"][(caller + round) % 3];
                let call = ModernCall { name: Some(HeaderValue::from_static(name)), ..call(CALL) };
                match upstream.call(&call, &TIMEOUTS).await.unwrap() {
                    Answer::Events(mut stream) => {
                        message(&mut stream).await;
                        assert_eq!(message(&mut stream).await, ANSWER);
                    }
                    answer => assert_eq!(text(answer).await, if name == "large" { &expected } else { ANSWER }),
                }
            }
        });
    }
    callers.join_all().await;
    // Streams are left at their answer, before their end, so a caller may find its last connection not free yet.
    assert!(server.accepted() <= 24 * 2, "{}", server.accepted());
    assert!(upstream.stats().connections <= 24 * 2, "{:?}", upstream.stats());
}
