//! The HTTP side: which request is what, in which era.

use super::message::{FIRST_MODERN, Kind, Message};
use super::reply::{self, Reply, SESSION_HEADER};
use super::routes::Refusal;
use super::session::{self, InUse, Session};
use super::{Shim, ShimError, ShimLimits, modern};
use crate::gateway::mcp::envelope::DecodeError;
use crate::gateway::mcp::headers::GATEWAY_SESSION;
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

/// The header that names the protocol's revision.
const VERSION_HEADER: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The longest name of a session that our gateway may send, in bytes; it sends 43.
const MAX_GATEWAY_SESSION: usize = 128;

/// Serves one connection until either side ends it.
pub(super) async fn serve(shim: Arc<Shim>, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let closed = shim.closed.clone();
    let service = service_fn(move |request| {
        let shim = Arc::clone(&shim);
        async move { Ok::<_, Infallible>(handle(&shim, request).await) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(io), service);
    if let Some(Err(error)) = closed.run_until_cancelled(connection).await {
        tracing::debug!(%error, "a connection to a stdio server ended");
    }
}

/// Answers one request of MCP.
pub(super) async fn handle(shim: &Arc<Shim>, request: Request<Incoming>) -> Reply {
    match *request.method() {
        Method::POST => post(shim, request).await,
        Method::GET => get(shim, request.headers()),
        Method::DELETE => delete(shim, request.headers()),
        _ => method_not_allowed(),
    }
}

async fn post(shim: &Arc<Shim>, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    let body = match read(body, &shim.limits).await {
        Ok(body) => body,
        Err(reply) => return reply,
    };
    let message = match Message::decode(body) {
        Ok(message) => message,
        Err(error) => return reply::refuse(StatusCode::BAD_REQUEST, None, rpc_code(error), &error.to_string()),
    };
    if message.kind == Kind::Request && shim.draining.is_cancelled() {
        return reply::unavailable(message.id(), &ShimError::Closing);
    }
    if message.kind == Kind::Request && message.method == "initialize" {
        let _in_flight = shim.calls.token();
        return session::initialize(shim, message, gateway_session(&head.headers)).await;
    }
    if message.is_modern() || names_modern_version(&head.headers) {
        return modern::handle(shim, message).await;
    }
    let Some(id) = session_id(&head.headers) else { return session_required(message.id()) };
    match shim.sessions.find(id) {
        Some((session, in_use)) => in_session(shim, &session, &message, in_use).await,
        None => reply::session_not_found(message.id().filter(|_| message.kind == Kind::Request)),
    }
}

async fn in_session(shim: &Shim, session: &Session, message: &Message, in_use: InUse) -> Reply {
    let sent = match message.kind {
        Kind::Request => {
            let in_flight = shim.calls.token();
            return match session.call(shim, message, in_use).await.map(|call| call.holding(in_flight)) {
                Ok(call) => reply::relay(message.id(), call, |_| StatusCode::OK).await,
                Err(ShimError::Gone) if session.is_gone() => reply::session_not_found(message.id()),
                Err(error) => reply::unavailable(message.id(), &error),
            };
        }
        Kind::Notification => session.notify(message).await,
        Kind::Response { .. } => session.answer(message).await,
    };
    match sent {
        Ok(()) => reply::empty(StatusCode::ACCEPTED),
        Err(_) => reply::session_not_found(None),
    }
}

fn get(shim: &Shim, headers: &HeaderMap) -> Reply {
    let Some(id) = session_id(headers) else {
        return if names_modern_version(headers) { method_not_allowed() } else { session_required(None) };
    };
    let Some((session, in_use)) = shim.sessions.find(id) else { return reply::session_not_found(None) };
    match session.open_stream() {
        Ok((inlet, waiting)) => reply::events(waiting, inlet, Box::new(in_use)),
        Err(Refusal::StreamTaken) => {
            reply::refuse(StatusCode::CONFLICT, None, -32600, "the session has a stream already")
        }
        Err(_) => reply::session_not_found(None),
    }
}

fn delete(shim: &Shim, headers: &HeaderMap) -> Reply {
    match session_id(headers) {
        Some(id) if shim.sessions.end(id) => reply::empty(StatusCode::OK),
        Some(_) => reply::session_not_found(None),
        None if names_modern_version(headers) => method_not_allowed(),
        None => session_required(None),
    }
}

async fn read(body: Incoming, limits: &ShimLimits) -> Result<Bytes, Reply> {
    let limit = limits.body_bytes;
    let reading = Limited::new(body, limit).collect();
    let Ok(read) = tokio::time::timeout(limits.body_within, reading).await else {
        return Err(reply::refuse(StatusCode::REQUEST_TIMEOUT, None, -32600, "the body did not come in time"));
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("the body is larger than {limit} bytes");
            Err(reply::refuse(StatusCode::PAYLOAD_TOO_LARGE, None, -32600, &text))
        }
        Err(_) => Err(reply::refuse(StatusCode::BAD_REQUEST, None, -32700, "the body ended early")),
    }
}

/// Whether the text is not JSON at all, or JSON that is no message.
fn rpc_code(error: DecodeError) -> i32 {
    use DecodeError as E;
    match error {
        E::InvalidUtf8 { .. } | E::Syntax { .. } | E::TrailingData { .. } | E::TooDeep { .. } => -32700,
        _ => -32600,
    }
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_HEADER)?.to_str().ok()
}

/// What our gateway knows a session by.
fn gateway_session(headers: &HeaderMap) -> Option<&str> {
    headers.get(GATEWAY_SESSION)?.to_str().ok().filter(|key| !key.is_empty() && key.len() <= MAX_GATEWAY_SESSION)
}

fn names_modern_version(headers: &HeaderMap) -> bool {
    headers.get(VERSION_HEADER).and_then(|version| version.to_str().ok()).is_some_and(|version| version >= FIRST_MODERN)
}

fn session_required(id: Option<&str>) -> Reply {
    reply::refuse(StatusCode::BAD_REQUEST, id, -32600, "the header Mcp-Session-Id is required: initialize first")
}

fn method_not_allowed() -> Reply {
    reply::refuse(StatusCode::METHOD_NOT_ALLOWED, None, -32600, "this HTTP method is not offered")
}
