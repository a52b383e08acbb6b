//! Upstreams against real servers on loopback: hyper where HTTP is well-formed, raw sockets where it is not.

mod exchange;
mod group;
mod http_sse;
mod modern;
mod real;
mod security;
mod session;
mod stream;
mod verify;

use super::super::error::GatewayError;
use super::super::metrics::Metrics;
use super::{Answer, Event, EventStream, ModernCall, SessionSink, Upstream};
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{AddressPolicy, Backend, Endpoint, HeaderAuth, Limits, Target, Timeouts, Transport};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub(super) type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// A request as a test server saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn is(&self, method: &str) -> bool {
        self.body.contains(&format!("\"method\":\"{method}\""))
    }
}

/// A server on loopback. Dropping it closes its port and every connection.
pub(super) struct TestServer {
    pub(super) address: SocketAddr,
    pub(super) seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections ever accepted.
    pub(super) accepted: Arc<AtomicUsize>,
    _accepting: JoinSet<()>,
}

impl TestServer {
    pub(super) async fn start(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, accepted) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<AtomicUsize>::default());
        let (log, count, answer) = (Arc::clone(&seen), Arc::clone(&accepted), Arc::new(answer));
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await?.to_bytes();
                        let seen = Seen {
                            method: head.method,
                            path: head.uri.to_string(),
                            headers: head.headers,
                            body: String::from_utf8(body.to_vec()).unwrap(),
                        };
                        let reply = answer(&seen);
                        log.lock().push(seen);
                        Ok::<_, hyper::Error>(reply)
                    }
                });
                connections.spawn(async move {
                    let serving = hyper::server::conn::http1::Builder::new();
                    let _ = serving.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { address, seen, accepted, _accepting: accepting }
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }
}

pub(super) fn json(text: &str) -> Reply {
    reply(200, "application/json", text)
}

pub(super) fn reply(status: u16, content_type: &str, text: &str) -> Reply {
    let body = Full::new(Bytes::from(text.to_owned())).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

pub(super) fn status(status: u16) -> Reply {
    let mut reply = reply(status, "text/plain", "");
    reply.headers_mut().remove("content-type");
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

/// An event stream that stays open for as long as the sender lives; an error breaks the connection.
pub(super) fn stream() -> (mpsc::UnboundedSender<io::Result<Bytes>>, Reply) {
    let (sender, receiver) = mpsc::unbounded_channel::<io::Result<Bytes>>();
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|piece| (piece.map(Frame::data), receiver))
    });
    let body = UnsyncBoxBody::new(StreamBody::new(frames));
    (sender, Response::builder().header("content-type", "text/event-stream").body(body).unwrap())
}

/// An event stream with this text and then an end.
pub(super) fn events(text: &str) -> Reply {
    let (sender, reply) = stream();
    sender.send(Ok(Bytes::from(text.to_owned()))).unwrap();
    reply
}

pub(super) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"t","version":"1"}}}"#;

/// Answers the handshake as a server with sessions does; 405 to GET and 200 to DELETE.
pub(super) fn handshake(seen: &Seen) -> Option<Reply> {
    match seen.method {
        Method::GET => Some(status(405)),
        Method::DELETE => Some(status(200)),
        _ if seen.is("initialize") => {
            let mut reply = json(INITIALIZED);
            reply.headers_mut().insert("mcp-session-id", HeaderValue::from_static("s-1"));
            Some(reply)
        }
        _ if seen.is("notifications/initialized") => Some(status(202)),
        _ => None,
    }
}

pub(super) const TIMEOUTS: Timeouts =
    Timeouts { connect_ms: 2_000, request_ms: 5_000, response_ms: 10_000, progress_extends_request: false };

pub(super) fn backend(address: SocketAddr) -> Backend {
    backend_with(&[address], Transport::StreamableHttp, "/mcp")
}

pub(super) fn backend_with(addresses: &[SocketAddr], transport: Transport, path: &str) -> Backend {
    let endpoints =
        addresses.iter().map(|address| Endpoint { host: address.ip().to_string(), port: address.port() }).collect();
    let target = Target::Http {
        transport,
        endpoints,
        path: path.to_owned(),
        host: None,
        tls: None,
        addresses: AddressPolicy::Any,
        shim: false,
    };
    Backend::new(target, None)
}

pub(super) fn with_auth(mut backend: Backend, auth: HeaderAuth) -> Backend {
    backend.auth = Some(auth);
    backend
}

pub(super) fn upstream_named(name: &str, backend: &Backend, credentials: &Credentials) -> Arc<Upstream> {
    try_upstream(name, backend, credentials).unwrap()
}

pub(super) fn try_upstream(
    name: &str,
    backend: &Backend,
    credentials: &Credentials,
) -> Result<Arc<Upstream>, GatewayError> {
    let id = ObjectId::new("team", name);
    let metrics = Metrics::new().unwrap().backend(&id);
    Upstream::new(id, backend, credentials, &Limits::default(), metrics)
}

pub(super) fn upstream(backend: &Backend) -> Arc<Upstream> {
    upstream_named("search", backend, &Credentials::default())
}

/// A port on which nothing listens.
pub(super) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Remembers what a session's server said outside of calls.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) messages: Mutex<Vec<String>>,
    pub(super) lost: Mutex<Option<GatewayError>>,
    changed: tokio::sync::Notify,
}

impl SessionSink for Inbox {
    fn deliver(&self, message: Bytes) {
        self.messages.lock().push(String::from_utf8(message.to_vec()).unwrap());
        self.changed.notify_one();
    }

    fn lost(&self, error: GatewayError) {
        *self.lost.lock() = Some(error);
        self.changed.notify_one();
    }
}

impl Inbox {
    /// Waits until `holds`; the test's own time limit bounds it.
    pub(super) async fn until(&self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            self.changed.notified().await;
        }
    }
}

pub(super) fn call(text: &'static str) -> ModernCall {
    ModernCall {
        body: Bytes::from_static(text.as_bytes()),
        protocol_version: HeaderValue::from_static("2026-07-28"),
        method: HeaderValue::from_static("tools/call"),
        name: Some(HeaderValue::from_static("add")),
        extra: Vec::new(),
        trace: None,
    }
}

pub(super) const CALL: &str = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"add"}}"#;
pub(super) const ANSWER: &str = r#"{"jsonrpc":"2.0","id":7,"result":{"content":[]}}"#;

/// The whole of a JSON answer.
pub(super) async fn text(answer: Answer) -> String {
    match answer {
        Answer::Json(body) => String::from_utf8(body.collect(1 << 20).await.unwrap().to_vec()).unwrap(),
        Answer::Events(_) => "an event stream".to_owned(),
        Answer::Rejected { status, .. } => format!("rejected with {status}"),
        Answer::Accepted => "accepted".to_owned(),
    }
}

pub(super) fn into_stream(answer: Answer) -> EventStream {
    match answer {
        Answer::Events(stream) => stream,
        _ => unreachable!("the test server answers with an event stream"),
    }
}

/// The next message of a stream that must have one.
pub(super) async fn message(stream: &mut EventStream) -> String {
    match stream.next().await {
        Some(Ok(Event::Message(message))) => String::from_utf8(message.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}
