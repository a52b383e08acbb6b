//! A minimal MCP server: dual-era, one process, prepared answers. It does as little as an honest server can.

use crate::Result;
use crate::mcp::{self, ANSWER_BYTES, Era};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;

const SESSION_HEADER: &str = "mcp-session-id";
const VERSION_HEADER: &str = "mcp-protocol-version";

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    name: Option<&'a str>,
}

/// Serves until the process ends.
pub(crate) async fn serve(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service_fn(handle));
        // A client that goes away ends its own connection, nothing else.
        tokio::spawn(async { drop(connection.await) });
    }
}

async fn handle(request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, hyper::Error> {
    match *request.method() {
        Method::POST => {}
        Method::DELETE => return Ok(empty(StatusCode::OK)),
        // No stream of the server's own: it never has anything to say unasked.
        _ => return Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)
        .map_or_else(|_| empty(StatusCode::BAD_REQUEST), |message| answer(&head.headers, &message)))
}

fn answer(headers: &HeaderMap, message: &Message<'_>) -> Response<Full<Bytes>> {
    let Some(id) = message.id else { return empty(StatusCode::ACCEPTED) };
    let era = if headers.get(VERSION_HEADER).is_some_and(|version| version == mcp::MODERN_VERSION) {
        Era::Modern
    } else {
        Era::Legacy
    };
    if era == Era::Legacy && message.method != "initialize" && !headers.contains_key(SESSION_HEADER) {
        return empty(StatusCode::BAD_REQUEST);
    }
    match message.method {
        "initialize" if era == Era::Legacy => {
            let mut response = json(id.get(), &mcp::initialize_result());
            response.headers_mut().insert(SESSION_HEADER, next_session());
            response
        }
        "server/discover" if era == Era::Modern => json(id.get(), &mcp::discover_result()),
        "ping" if era == Era::Legacy => json(id.get(), "{}"),
        "tools/list" => json(id.get(), &mcp::list_result(era)),
        "tools/call" => {
            let name = message.params.as_ref().and_then(|params| params.name).unwrap_or_default();
            let size = name.strip_prefix("answer_").and_then(|size| size.parse().ok());
            match size.filter(|size| ANSWER_BYTES.contains(size)) {
                Some(bytes) => json(id.get(), mcp::call_result(era, bytes)),
                None => error(id.get(), StatusCode::OK, -32602, "unknown tool"),
            }
        }
        _ if era == Era::Modern => error(id.get(), StatusCode::NOT_FOUND, -32601, "method not found"),
        _ => error(id.get(), StatusCode::OK, -32601, "method not found"),
    }
}

fn next_session() -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed))
}

fn json(id: &str, result: &str) -> Response<Full<Bytes>> {
    json_text(mcp::answer(id, result))
}

fn error(id: &str, status: StatusCode, code: i32, message: &str) -> Response<Full<Bytes>> {
    let mut response =
        json_text(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#));
    *response.status_mut() = status;
    response
}

fn json_text(text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
