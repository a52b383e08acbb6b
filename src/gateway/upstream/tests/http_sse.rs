//! Legacy sessions over HTTP+SSE.

use super::*;
use crate::gateway::error::Kind;

const PARAMS: &[u8] = br#"{"protocolVersion":"2024-11-05","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;

type Pipe = mpsc::UnboundedSender<io::Result<Bytes>>;

/// A server of 2024-11-05. `answer` says what its stream brings after a message came; the pipe is the stream itself.
async fn server(answer: impl Fn(&Seen, &Pipe) + Send + Sync + 'static) -> (TestServer, Arc<Mutex<Option<Pipe>>>) {
    let pipe = Arc::new(Mutex::new(None::<Pipe>));
    let shared = Arc::clone(&pipe);
    let server = TestServer::start(move |seen| {
        if seen.method == Method::GET {
            let (sender, reply) = stream();
            send(&sender, "event: endpoint\ndata: /messages?sessionId=s-7\n\n");
            *shared.lock() = Some(sender);
            return reply;
        }
        let pipe = shared.lock().clone().unwrap();
        if seen.is("initialize") {
            let initialized = INITIALIZED.replace("2025-06-18", "2024-11-05");
            send(&pipe, &format!("event: message\ndata: {initialized}\n\n"));
        } else if !seen.is("notifications/initialized") {
            answer(seen, &pipe);
        }
        reply(202, "text/plain", "Accepted")
    })
    .await;
    (server, pipe)
}

fn send(pipe: &Pipe, text: &str) {
    pipe.send(Ok(Bytes::from(text.to_owned()))).unwrap();
}

fn message_event(text: &str) -> String {
    format!("event: message\ndata: {text}\n\n")
}

async fn open(server: &TestServer, inbox: &Arc<Inbox>) -> Arc<super::super::UpstreamSession> {
    let upstream = upstream(&backend_with(&[server.address], Transport::Sse, "/sse"));
    upstream.open_session(PARAMS, inbox.clone(), &TIMEOUTS).await.unwrap()
}

fn request(id: &str, token: &str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x","_meta":{{"progressToken":{token}}}}}}}"#).into()
}

fn progress(token: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
    )
}

fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#)
}

#[tokio::test]
async fn a_session_end_to_end() {
    let (server, _pipe) = server(|_, pipe| send(pipe, &message_event(ANSWER))).await;
    let session = open(&server, &Arc::default()).await;
    assert_eq!(session.protocol_version(), "2024-11-05");
    let mut answer = into_stream(session.call(Bytes::from_static(CALL.as_bytes()), &TIMEOUTS).await.unwrap());
    assert_eq!(message(&mut answer).await, ANSWER);
    session.notify(Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#)).await.unwrap();
    let seen = server.seen();
    assert_eq!((&seen[0].method, seen[0].path.as_str()), (&Method::GET, "/sse"));
    assert!(seen[1..].iter().all(|seen| seen.method == Method::POST && seen.path == "/messages?sessionId=s-7"));
    session.close().await;
    assert!(session.is_lost());
    let error = session.notify(Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind, Kind::SessionLost);
}

#[tokio::test]
async fn what_the_server_says_goes_to_whom_it_concerns() {
    let (server, pipe) = server(|_, _| {}).await;
    let inbox = Arc::<Inbox>::default();
    let session = open(&server, &inbox).await;
    let pipe = pipe.lock().clone().unwrap();
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;

    // Without a call: to the session.
    send(&pipe, &message_event(log));
    inbox.until(|inbox| inbox.messages.lock().len() == 1).await;

    // With one call: to that call.
    let mut one = into_stream(session.call(request("1", "\"a\""), &TIMEOUTS).await.unwrap());
    send(&pipe, &message_event(log));
    assert_eq!(message(&mut one).await, log);

    // With two: progress by its token, answers by their id, all else to the session.
    let mut two = into_stream(session.call(request("\"2\"", "5"), &TIMEOUTS).await.unwrap());
    send(&pipe, &message_event(&progress("5")));
    send(&pipe, &message_event(&progress("\"\\u0061\"")));
    send(&pipe, &message_event(log));
    send(&pipe, &message_event(&result("\"2\"")));
    send(&pipe, &message_event(&result("99")));
    send(&pipe, &message_event(&result("1")));
    assert_eq!(message(&mut two).await, progress("5"));
    assert_eq!(message(&mut two).await, result("\"2\""));
    assert_eq!(message(&mut one).await, progress("\"\\u0061\""));
    assert_eq!(message(&mut one).await, result("1"));
    inbox.until(|inbox| inbox.messages.lock().len() == 2).await;
    assert_eq!(inbox.messages.lock()[..], [log, log]);
}

#[tokio::test]
async fn a_large_answer_finds_its_call_among_several() {
    let (server, pipe) = server(|_, _| {}).await;
    let session = open(&server, &Arc::default()).await;
    let pipe = pipe.lock().clone().unwrap();
    let mut one = into_stream(session.call(request("1", "1"), &TIMEOUTS).await.unwrap());
    let mut two = into_stream(session.call(request("2", "2"), &TIMEOUTS).await.unwrap());
    let text = "x".repeat(1 << 20);
    let id_first = format!(r#"{{"jsonrpc":"2.0","id":2,"result":{{"text":"{text}"}}}}"#);
    let id_last = format!(r#"{{"result":{{"text":"{text}"}},"jsonrpc":"2.0","id":1}}"#);
    send(&pipe, &message_event(&id_last));
    send(&pipe, &message_event(&id_first));
    for (stream, expected) in [(&mut one, id_last), (&mut two, id_first)] {
        let mut whole = Vec::new();
        loop {
            let Some(Ok(Event::Part { bytes, last })) = stream.next().await else { unreachable!() };
            whole.extend_from_slice(&bytes);
            if last {
                break;
            }
        }
        assert_eq!(whole, expected.as_bytes());
    }
}

#[tokio::test]
async fn the_end_of_the_stream_ends_calls_and_session() {
    let (server, pipe) = server(|_, _| {}).await;
    let inbox = Arc::<Inbox>::default();
    let session = open(&server, &inbox).await;
    let mut answer = into_stream(session.call(request("1", "1"), &TIMEOUTS).await.unwrap());
    pipe.lock().take();
    assert_eq!(answer.next().await.unwrap().unwrap_err().kind, Kind::ConnectionReset);
    inbox.until(|inbox| inbox.lost.lock().is_some()).await;
    assert!(session.is_lost());
    let error = session.call(request("2", "2"), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::SessionLost);
}

#[tokio::test]
async fn a_foreign_message_endpoint_is_refused() {
    let server = TestServer::start(|_| events("event: endpoint\ndata: http://169.254.169.254/latest\n\n")).await;
    let upstream = upstream(&backend_with(&[server.address], Transport::Sse, "/sse"));
    let error = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::BadAnswer, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_never_names_its_endpoint_times_out() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let server = TestServer::start(move |_| {
        let (sender, reply) = stream();
        held.lock().push(sender);
        reply
    })
    .await;
    let upstream = upstream(&backend_with(&[server.address], Transport::Sse, "/sse"));
    let error = upstream.open_session(PARAMS, Arc::<Inbox>::default(), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::RequestTimeout, "{error}");
}
