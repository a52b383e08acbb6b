//! One client connection: TLS, HTTP/1.1, and the checks that come before the handler.

use super::guard::{self, Guard};
use super::{ConnectionInfo, Handler, Shared};
use crate::gateway::downstream::body::ResponseBody;
use crate::gateway::error::GatewayError;
use crate::gateway::metrics::{ListenerMetrics, MethodClass};
use crate::net::clock::{Clock, ClockedBody, ClockedIo};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// The least that hyper takes as a buffer's bound, in bytes.
const HYPER_MIN_BUFFER: usize = 8192;

/// What the listeners of one port are at the moment. Swapped whole on reload; live connections follow.
pub(super) struct PortState {
    pub(super) listeners: Vec<ListenerState>,
    pub(super) tls: Option<TlsAcceptor>,
    /// Of the first listener: a connection belongs to the port, and only its requests to one of the listeners.
    pub(super) metrics: ListenerMetrics,
}

/// One listener of a port.
pub(super) struct ListenerState {
    pub(super) name: Arc<str>,
    pub(super) guard: Guard,
}

impl PortState {
    /// The listener that answers for a request, after Host and Origin were checked.
    fn admit<B>(&self, request: &Request<B>) -> Result<&ListenerState, GatewayError> {
        let host = guard::requested_host(request.uri(), request.headers())?;
        let ranked = self.listeners.iter().filter_map(|listener| Some((listener.guard.rank(&host)?, listener)));
        let (_, listener) = ranked.max_by_key(|(rank, _)| *rank).ok_or_else(guard::host_refused)?;
        listener.guard.check_origin(request.headers(), &host)?;
        Ok(listener)
    }
}

/// How a connection is told to end.
#[derive(Clone)]
pub(super) struct Ending {
    /// Finish what was begun, begin nothing new.
    pub(super) graceful: CancellationToken,
    /// Close.
    pub(super) now: CancellationToken,
}

impl Ending {
    pub(super) fn child(&self) -> Self {
        Self { graceful: self.graceful.child_token(), now: self.now.child_token() }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<H: Handler>(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<Shared<H>>,
    port: Arc<ArcSwap<PortState>>,
    ending: Ending,
) {
    // Answers and events are written whole; waiting for more to send only delays them.
    let _ = stream.set_nodelay(true);
    let Some(acceptor) = port.load().tls.clone() else {
        return serve_http(stream, Peer { address: peer, tls: false, server_name: None }, shared, port, ending).await;
    };
    let metrics = port.load().metrics.clone();
    let within = shared.limits.load().client_read();
    let handshake = tokio::time::timeout(within, acceptor.accept(stream));
    let stream = tokio::select! {
        result = handshake => match result {
            Ok(Ok(stream)) => stream,
            // Scanners and clients without our CA make these: noise, unless one looks for it.
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                return metrics.tls_failed.inc();
            }
            Err(_) => {
                tracing::debug!(%peer, "TLS handshake took too long");
                return metrics.tls_failed.inc();
            }
        },
        () = ending.graceful.cancelled() => return,
    };
    let server_name = stream.get_ref().1.server_name().map(Arc::from);
    Box::pin(serve_http(stream, Peer { address: peer, tls: true, server_name }, shared, port, ending)).await;
}

/// The other end of a connection.
struct Peer {
    address: SocketAddr,
    tls: bool,
    server_name: Option<Arc<str>>,
}

async fn serve_http<H: Handler, T: AsyncRead + AsyncWrite + Unpin>(
    stream: T,
    peer: Peer,
    shared: Arc<Shared<H>>,
    port: Arc<ArcSwap<PortState>>,
    ending: Ending,
) {
    let clock = Clock::new();
    let limits = shared.limits.load_full();
    let header_bytes = limits.header_bytes as usize;
    let service = service_fn(|request| {
        clock.busy();
        let answer = answer(request, &peer, &shared, &port);
        let (clock, shared) = (&clock, &shared);
        async move {
            let mut response = answer.await;
            if shared.draining.load(Ordering::Relaxed) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| ClockedBody::new(body, Arc::clone(clock))))
        }
    });
    // No half-close: a client that closes its side while it waits has cancelled its request, and hyper then drops the
    // handler. That is how a modern client cancels.
    let connection = http1::Builder::new()
        .max_header_size(header_bytes)
        .max_buf_size(header_bytes.max(HYPER_MIN_BUFFER))
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(ClockedIo::new(stream, Arc::clone(&clock))), service);
    let mut connection = pin!(connection);
    let mut look = pin!(tokio::time::sleep(limits.client_read()));
    let mut ends = false;
    loop {
        tokio::select! {
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::trace!(peer = %peer.address, %error, "connection ended");
                }
                return;
            }
            () = look.as_mut() => match clock.check(limits.client_read()) {
                Some(next) => look.as_mut().reset(next),
                None => return port.load().metrics.timed_out.inc(),
            },
            () = ending.graceful.cancelled(), if !ends => {
                ends = true;
                connection.as_mut().graceful_shutdown();
            }
            () = ending.now.cancelled() => return,
        }
    }
}

/// Answers one request: with a refusal, or through the handler.
fn answer<'a, H: Handler>(
    request: Request<Incoming>,
    peer: &'a Peer,
    shared: &'a Arc<Shared<H>>,
    port: &'a ArcSwap<PortState>,
) -> impl Future<Output = Response<ResponseBody>> + Send + 'a {
    let admitted = port.load().admit(&request).map(|listener| ConnectionInfo {
        listener: Arc::clone(&listener.name),
        peer: peer.address,
        tls: peer.tls,
        server_name: peer.server_name.clone(),
    });
    async move {
        match admitted {
            Ok(info) => Arc::clone(&shared.handler).handle(request, &info).await,
            Err(error) => {
                tracing::debug!(peer = %peer.address, error = error.kind.word(), "request refused");
                shared.metrics.unrouted(MethodClass::OTHER, error.kind);
                refusal(&error)
            }
        }
    }
}

/// The answer to a request that is refused before anything of it was read.
pub fn refusal(error: &GatewayError) -> Response<ResponseBody> {
    let body = serde_json::json!({
        "jsonrpc": "2.0",
        "id": null,
        "error": {"code": error.rpc_code(), "message": error.message},
    });
    let mut response = Response::new(ResponseBody::Full(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
