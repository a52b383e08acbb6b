//! Which path is what: the server, for those who know the token; health, readiness and metrics for everyone who reaches the port,
//! since they tell nothing about any client.

use super::super::reply::{self, Reply};
use super::super::server;
use super::Pod;
use http::header::{ALLOW, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

/// JSON-RPC code of a request that is refused before it is looked at: "invalid request".
const INVALID_REQUEST: i32 = -32600;

/// Answers one request.
pub(super) async fn answer(pod: &Pod, request: Request<Incoming>) -> Reply {
    let path = request.uri().path();
    if path == pod.path {
        return match refused(pod, &request).await {
            Some(refusal) => refusal,
            None => server::handle(&pod.shim, request).await,
        };
    }
    let page = match path {
        "/healthz" => reply::text(StatusCode::OK, "ok"),
        "/readyz" => match pod.readiness.get() {
            Ok(()) => reply::text(StatusCode::OK, "ready"),
            Err(why) => reply::text(StatusCode::SERVICE_UNAVAILABLE, &why),
        },
        "/metrics" => pod.metrics.page(&pod.shim.stats()),
        _ => return reply::text(StatusCode::NOT_FOUND, &format!("nothing is here; the server is at {}", pod.path)),
    };
    if matches!(*request.method(), Method::GET | Method::HEAD) { page } else { only_to_read() }
}

fn only_to_read() -> Reply {
    let mut reply = reply::text(StatusCode::METHOD_NOT_ALLOWED, "this can only be read");
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    reply
}

/// Why a request does not reach the server.
async fn refused(pod: &Pod, request: &Request<Incoming>) -> Option<Reply> {
    // Browsers say on whose behalf they ask. No gateway does, and no page has any business here, not even under a name that was
    // bent to point to this machine.
    if request.headers().contains_key(ORIGIN) {
        return Some(reply::refuse(StatusCode::FORBIDDEN, None, INVALID_REQUEST, "this is not for browsers"));
    }
    let door = pod.door.as_ref()?;
    if door.admits(request.headers()).await {
        return None;
    }
    pod.metrics.unauthorized.inc();
    let text = "the token of this server is required, as a bearer token";
    let mut refusal = reply::refuse(StatusCode::UNAUTHORIZED, None, INVALID_REQUEST, text);
    refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    Some(refusal)
}
