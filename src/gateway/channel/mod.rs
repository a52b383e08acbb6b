//! The admin channel: how the operator pushes generations and addresses into this gateway, and hears how it is. The messages
//! are [`ir::channel`](crate::ir::channel).
//!
//! It exists where credentials secure it ([`door`]), and is for the operator only: one that knows the token may change
//! everything.

pub(crate) mod door;
mod reports;

use super::config::{Engine, Rank, Runtime, Verdict};
use super::listener::body::read_body;
use super::metrics::ChannelRequest;
use crate::ir::channel::{
    ENDPOINTS_PATH, Endpoints, GENERATION_PATH, Generation, MAX_PUSH_BYTES, MAX_WAIT_SECONDS, REPORT_PATH, Report,
};
use crate::net::socket::{self, Bind};
use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use reports::Reports;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Connections at a time: the operator has one for each request, and few requests.
const CONNECTIONS: usize = 64;

/// Time for a TLS handshake, for a request's headers, and to stay idle between two requests.
const WITHIN: Duration = Duration::from_secs(10);

/// Time for a push to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(15);

/// Pushes that are read and taken at a time: each may be large, and they have to wait for each other anyway.
const PUSHES: usize = 2;

/// The head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The channel's own state.
struct Channel<E> {
    runtime: Arc<Runtime<E>>,
    reports: Arc<Reports<E>>,
    pushes: Arc<Semaphore>,
}

/// Opens the channel's port, for as long as the process runs. Must run inside a tokio runtime.
pub fn open<E: Engine>(address: SocketAddr, runtime: &Arc<Runtime<E>>) -> io::Result<()> {
    let socket = socket::listen(Bind::from(address.ip()), address.port())?;
    if let Ok(address) = socket.local_addr() {
        tracing::info!(listener = "channel", %address, tls = true, "listening");
    }
    let channel = Arc::new(Channel {
        runtime: Arc::clone(runtime),
        reports: Reports::start(Arc::clone(runtime)),
        pushes: Arc::new(Semaphore::new(PUSHES)),
    });
    tokio::spawn(accept(socket, channel));
    Ok(())
}

async fn accept<E: Engine>(socket: TcpListener, channel: Arc<Channel<E>>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting a connection of the admin channel failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let channel = Arc::clone(&channel);
        tokio::spawn(async move {
            serve(stream, channel).await;
            drop(permit);
        });
    }
}

async fn serve<E: Engine>(stream: TcpStream, channel: Arc<Channel<E>>) {
    // A generation without channels came later: nobody can show anything then.
    let Some(door) = channel.runtime.door() else { return };
    let _ = stream.set_nodelay(true);
    let stream = match timeout(WITHIN, door.acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake of the admin channel failed"),
        Err(_elapsed) => return,
    };
    let service = service_fn(move |request| {
        let channel = Arc::clone(&channel);
        async move { Ok::<_, Infallible>(channel.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WITHIN)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of the admin channel ended");
    }
}

/// What became of a request, for its answer and its count.
enum Outcome {
    /// In this way.
    Decided(Verdict, Option<Arc<Report>>),
    /// There is no such thing to ask, or it was asked in a way that makes no sense.
    Invalid(StatusCode, &'static str),
}

impl<E: Engine> Channel<E> {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let asked = match request.uri().path() {
            GENERATION_PATH => ChannelRequest::Generation,
            ENDPOINTS_PATH => ChannelRequest::Endpoints,
            REPORT_PATH => ChannelRequest::Report,
            _ => ChannelRequest::Other,
        };
        // Whoever is asked later than the handshake is judged by what secures the channel now.
        if !self.runtime.door().is_some_and(|door| door.admits(request.headers())) {
            self.runtime.metrics().channel_request(asked, "unauthorized");
            return unauthorized();
        }
        let outcome = self.handle(asked, request).await;
        let (word, response) = match outcome {
            Outcome::Decided(verdict, report) => (word(verdict), reported(verdict, report.as_deref())),
            Outcome::Invalid(status, message) => ("invalid", said(status, message)),
        };
        self.runtime.metrics().channel_request(asked, word);
        response
    }

    async fn handle(self: &Arc<Self>, asked: ChannelRequest, request: Request<Incoming>) -> Outcome {
        match (asked, request.method()) {
            (ChannelRequest::Report, &Method::GET) => self.report(request.uri().query().unwrap_or_default()).await,
            (ChannelRequest::Generation, &Method::PUT) => self.take(request.into_body(), take_generation).await,
            (ChannelRequest::Endpoints, &Method::PUT) => self.take(request.into_body(), take_endpoints).await,
            (ChannelRequest::Other, _) => Outcome::Invalid(StatusCode::NOT_FOUND, "no such path"),
            _ => Outcome::Invalid(StatusCode::METHOD_NOT_ALLOWED, "not with this method"),
        }
    }

    async fn report(&self, query: &str) -> Outcome {
        let report = match Wanted::parse(query) {
            Some(Wanted { after: Some(after), wait }) => self.reports.after(after, wait).await,
            Some(Wanted { after: None, .. }) => self.reports.fresh().await,
            None => return Outcome::Invalid(StatusCode::BAD_REQUEST, "after and wait are whole numbers"),
        };
        Outcome::Decided(Verdict::Served, report)
    }

    /// Reads a push and has it taken, on a thread that may take its time: decoding and compiling do.
    async fn take(self: &Arc<Self>, body: Incoming, take: fn(&Runtime<E>, &[u8]) -> Option<Verdict>) -> Outcome {
        let Ok(_permit) = self.pushes.acquire().await else { return unexpected() };
        let body = match read_body(body, MAX_PUSH_BYTES as u64, Instant::now() + BODY_WITHIN).await {
            Ok(body) => body,
            Err(error) => {
                let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::BAD_REQUEST);
                return Outcome::Invalid(status, "the message is too large, or did not arrive");
            }
        };
        let channel = Arc::clone(self);
        let taken = tokio::task::spawn_blocking(move || {
            let verdict = take(&channel.runtime, &body)?;
            Some((verdict, channel.reports.now()))
        });
        match taken.await {
            Ok(Some((verdict, report))) => Outcome::Decided(verdict, Some(report)),
            // The parser's error may quote a secret.
            Ok(None) => Outcome::Invalid(StatusCode::BAD_REQUEST, "the message makes no sense"),
            Err(_panicked) => unexpected(),
        }
    }
}

fn take_generation<E: Engine>(runtime: &Runtime<E>, message: &[u8]) -> Option<Verdict> {
    let pushed: Generation = serde_json::from_slice(message).ok()?;
    let rank = Rank::pushed(pushed.revision);
    Some(match pushed.unpack() {
        Ok(generation) => runtime.offer(&generation, rank),
        Err(error) => runtime.unreadable(error.to_string(), rank),
    })
}

fn take_endpoints<E: Engine>(runtime: &Runtime<E>, message: &[u8]) -> Option<Verdict> {
    let endpoints: Endpoints = serde_json::from_slice(message).ok()?;
    runtime.set_endpoints(&endpoints);
    Some(Verdict::Served)
}

/// Which report is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    after: Option<u64>,
    wait: Duration,
}

impl Wanted {
    fn parse(query: &str) -> Option<Self> {
        let mut wanted = Self { after: None, wait: Duration::ZERO };
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "after" => wanted.after = Some(value.parse().ok()?),
                "wait" => wanted.wait = Duration::from_secs(value.parse::<u64>().ok()?.min(MAX_WAIT_SECONDS)),
                _ => {}
            }
        }
        Some(wanted)
    }
}

fn unexpected() -> Outcome {
    Outcome::Invalid(StatusCode::INTERNAL_SERVER_ERROR, "it failed unexpectedly")
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Served => "ok",
        Verdict::Refused => "refused",
        Verdict::Superseded => "superseded",
        Verdict::Leaving => "leaving",
    }
}

fn reported(verdict: Verdict, report: Option<&Report>) -> Response<Full<Bytes>> {
    let Some(body) = report.and_then(|report| serde_json::to_vec(report).ok()) else {
        return said(StatusCode::INTERNAL_SERVER_ERROR, "there is no report");
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = match verdict {
        Verdict::Served => StatusCode::OK,
        Verdict::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        Verdict::Superseded => StatusCode::CONFLICT,
        Verdict::Leaving => StatusCode::SERVICE_UNAVAILABLE,
    };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn said(status: StatusCode, message: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(message.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, PUT"));
    }
    response
}

/// Whoever does not know the token does not keep a connection, either.
fn unauthorized() -> Response<Full<Bytes>> {
    let mut response = said(StatusCode::UNAUTHORIZED, "the token is not this gateway's");
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_from_the_query() {
        let wanted = |after, seconds| Some(Wanted { after, wait: Duration::from_secs(seconds) });
        assert_eq!(Wanted::parse(""), wanted(None, 0));
        assert_eq!(Wanted::parse("after=7&wait=20"), wanted(Some(7), 20));
        assert_eq!(Wanted::parse("wait=9999&after=0&other=x"), wanted(Some(0), MAX_WAIT_SECONDS));
        for nonsense in ["after=", "after=-1", "wait=1.5", "after=1&wait=x"] {
            assert_eq!(Wanted::parse(nonsense), None, "{nonsense}");
        }
    }
}
