//! The peer port: takes in what other replicas send.

use super::forward::strip_internal;
use super::place::misdirected;
use super::protocol::{
    BOOT, CLIENT, ENDED, FORWARD, HOLDS, HOPS, Hop, INTENT, Intent, LEAVING, ROUTE, Refusal, parse_key,
};
use super::Peers;
use crate::gateway::downstream::body::ResponseBody;
use crate::gateway::downstream::respond;
use crate::gateway::downstream::service::{self, Inbound};
use crate::gateway::listener::body::read_body;
use crate::gateway::session::seal::MAX_ID;
use crate::gateway::state::Gateway;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Connections at a time. Every forwarded call and stream has one, so this is about what one replica takes of clients.
const CONNECTIONS: usize = 10_000;

/// Time for a TLS handshake, and for the whole of a message between replicas to arrive.
const WITHIN: Duration = Duration::from_secs(5);

/// How long a connection may idle between two requests: longer than the other side keeps it (90 s), which so closes first.
const IDLE: Duration = Duration::from_secs(120);

/// The head of a request, in bytes: a client's headers (64 KiB by default), and ours.
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// Accepts other replicas for as long as the gateway lives.
pub(super) async fn serve(socket: TcpListener, gateway: Weak<Gateway>, peers: Arc<Peers>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a peer's connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (gateway, peers) = (Weak::clone(&gateway), Arc::clone(&peers));
        tokio::spawn(async move {
            serve_connection(stream, gateway, peers).await;
            drop(permit);
        });
    }
}

async fn serve_connection(stream: TcpStream, gateway: Weak<Gateway>, peers: Arc<Peers>) {
    let Some(secured) = peers.secured() else { return };
    let _ = stream.set_nodelay(true);
    let stream = match timeout(WITHIN, secured.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a peer's TLS handshake failed"),
        Err(_elapsed) => return,
    };
    let service = service_fn(move |request| {
        let (gateway, peers) = (gateway.upgrade(), Arc::clone(&peers));
        async move {
            let response = match gateway {
                Some(gateway) => answer(&gateway, &peers, request).await,
                None => misdirected(Refusal::NotHere),
            };
            Ok::<_, Infallible>(response)
        }
    });
    // No half-close: a peer that closes has lost its client, and what it waited for is dropped.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::trace!(%error, "a peer's connection ended");
    }
}

async fn answer(gateway: &Arc<Gateway>, peers: &Arc<Peers>, request: Request<Incoming>) -> Response<ResponseBody> {
    // Whoever is asked later than the handshake is judged by what secures the channel now.
    if !peers.secured().is_some_and(|secured| secured.admits(request.headers())) {
        return respond::empty(StatusCode::UNAUTHORIZED);
    }
    let (parts, body) = request.into_parts();
    if let Some(path) = original_path(&parts.uri) {
        return forwarded(gateway, peers, parts, path, body).await;
    }
    let Ok(message) = read_body(body, MAX_ID as u64, Instant::now() + WITHIN).await else {
        return respond::empty(StatusCode::BAD_REQUEST);
    };
    match notice(gateway, peers, parts.uri.path(), &message) {
        Some(true) => respond::empty(StatusCode::OK),
        Some(false) => respond::empty(StatusCode::NOT_FOUND),
        None => respond::empty(StatusCode::BAD_REQUEST),
    }
}

/// Takes in a message between replicas: the answer is yes, no, or that it makes no sense.
fn notice(gateway: &Arc<Gateway>, peers: &Arc<Peers>, path: &str, message: &Bytes) -> Option<bool> {
    let text = std::str::from_utf8(message).ok()?;
    match path {
        HOLDS => Some(gateway.sessions.get(text).is_some()),
        LEAVING => {
            peers.leaves(text.parse().ok()?);
            Some(true)
        }
        ENDED => {
            peers.note_end(parse_key(message)?);
            Some(true)
        }
        _ => None,
    }
}

/// The path and query that the client asked for.
fn original_path(uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query()?.as_str().strip_prefix(FORWARD)?;
    if path.starts_with('/') { path.parse().ok() } else { None }
}

/// Answers a client's request that reached another replica. That one has decided whether the client may ask.
async fn forwarded(
    gateway: &Arc<Gateway>,
    peers: &Arc<Peers>,
    mut parts: Parts,
    path: Uri,
    body: Incoming,
) -> Response<ResponseBody> {
    let Some(sent) = Envelope::read(&parts.headers) else { return respond::empty(StatusCode::BAD_REQUEST) };
    if sent.boot.as_ref().is_some_and(|boot| *boot != peers.me().boot) {
        return misdirected(Refusal::NotHere);
    }
    if sent.hop.intent == Intent::Begin && peers.is_leaving() {
        return misdirected(Refusal::Leaving);
    }
    let running = Arc::clone(&gateway.running());
    let route = sent.route.parse().ok().and_then(|id| running.routes.iter().find(|route| *route.id() == id).cloned());
    let Some(route) = route else { return misdirected(Refusal::Behind) };
    parts.uri = path;
    strip_internal(&mut parts.headers);
    let inbound = Inbound {
        gateway,
        running: &running,
        route: &route,
        parts: &parts,
        client: sent.client,
        hop: Some(sent.hop),
    };
    service::serve(&inbound, body).await
}

/// What the sending replica wrote on a client's request.
struct Envelope {
    route: String,
    client: SocketAddr,
    boot: Option<String>,
    hop: Hop,
}

impl Envelope {
    fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok();
        Some(Self {
            route: text(ROUTE)?.to_owned(),
            client: text(CLIENT)?.parse().ok()?,
            boot: text(BOOT).map(str::to_owned),
            hop: Hop { intent: Intent::parse(text(INTENT)?)?, count: text(HOPS)?.parse().ok()? },
        })
    }
}
