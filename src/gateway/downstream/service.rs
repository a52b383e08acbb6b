//! Takes each HTTP request in: finds its route, checks what can be checked without the body, and hands it to its era.

use super::body::ResponseBody;
use super::{legacy, modern, respond, sse_transport};
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::listener::body::read_body;
use crate::gateway::listener::{ConnectionInfo, Handler};
use crate::gateway::mcp::envelope::{self, DecodeError, Envelope, Kind as MessageKind};
use crate::gateway::mcp::headers::{PROTOCOL_VERSION, SESSION_ID};
use crate::gateway::mcp::modern as modern_protocol;
use crate::gateway::mcp::version::{Era, Version};
use crate::gateway::metrics::MethodClass;
use crate::gateway::peers::Hop;
use crate::gateway::router::RequestFacts;
use crate::gateway::state::{Gateway, RouteState, Running};
use crate::gateway::trace::Origin;
use crate::ir::snapshot::Access;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const METHODS: &str = "POST, GET, DELETE";

/// A request whose route is found.
pub(crate) struct Inbound<'a> {
    pub(crate) gateway: &'a Arc<Gateway>,
    pub(crate) running: &'a Arc<Running>,
    pub(crate) route: &'a Arc<RouteState>,
    pub(crate) parts: &'a Parts,
    /// The other end of the client's connection.
    pub(crate) client: SocketAddr,
    /// That another replica sent this on, and why.
    pub(crate) hop: Option<Hop>,
}

impl Inbound<'_> {
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Where the request comes from, if it may have to be traced.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.running.tracer.as_ref().map(|tracer| Origin::new(tracer, self.client, self.headers()))
    }

    /// A header's value, if it is there and visible ASCII.
    pub(crate) fn header(&self, name: &http::HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }
}

impl Handler for Gateway {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        connection: &ConnectionInfo,
    ) -> Response<ResponseBody> {
        let running = Arc::clone(&self.running());
        let (parts, body) = request.into_parts();
        let route = match find_route(&running, &parts, connection) {
            Ok(route) => route,
            Err(error) => {
                self.metrics.unrouted(MethodClass::of(""), error.kind);
                return respond::error(Era::Legacy, None, &error);
            }
        };
        let client = connection.peer;
        let inbound = Inbound { gateway: &self, running: &running, route: &route, parts: &parts, client, hop: None };
        serve(&inbound, body).await
    }
}

/// Answers a request whose route is found, be it this replica's client's or another's.
pub(crate) async fn serve(inbound: &Inbound<'_>, body: Incoming) -> Response<ResponseBody> {
    match inbound.parts.method {
        Method::POST => post(inbound, body).await,
        Method::GET => get(inbound).await,
        Method::DELETE => legacy::delete(inbound).await,
        _ => respond::method_not_allowed(METHODS),
    }
}

fn find_route(running: &Running, parts: &Parts, connection: &ConnectionInfo) -> Result<Arc<RouteState>, GatewayError> {
    let host = parts.uri.authority().map(http::uri::Authority::as_str);
    let facts = RequestFacts {
        listener: &connection.listener,
        host: host.or_else(|| parts.headers.get(HOST)?.to_str().ok()).unwrap_or_default(),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
    };
    let route = running.router.find(&facts).and_then(|index| running.routes.get(index)).ok_or_else(|| {
        GatewayError::new(Kind::RouteNotFound, format!("no route of this gateway takes {}", parts.uri.path()))
    })?;
    match &route.spec.access {
        Access::Anonymous => Ok(Arc::clone(route)),
        Access::Unavailable { .. } => Err(GatewayError::new(
            Kind::RouteUnavailable,
            "this route is not available: its access policy or a server that it needs is invalid or unresolved",
        )),
    }
}

async fn post(inbound: &Inbound<'_>, body: Incoming) -> Response<ResponseBody> {
    let limits = &inbound.running.snapshot.limits;
    let deadline = Instant::now() + Duration::from_millis(limits.client_read_ms);
    let body = match acceptable(inbound.headers()) {
        Ok(()) => read_body(body, limits.request_body_bytes, deadline).await,
        Err(error) => Err(error),
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return refused(inbound, Era::Legacy, None, &error),
    };
    match envelope::decode(&body) {
        Ok(envelope) => match modern_protocol::era(inbound.headers(), &envelope) {
            Era::Modern => modern::post(inbound, &body, &envelope).await,
            Era::Legacy => legacy::post(inbound, &body, &envelope).await,
        },
        Err(DecodeError::Batch) => legacy::post_batch(inbound, &body).await,
        Err(error) => refused(inbound, Era::Legacy, None, &error.into()),
    }
}

/// GET is a legacy session's stream; without a session, the transport of 2024-11-05.
async fn get(inbound: &Inbound<'_>) -> Response<ResponseBody> {
    let modern = inbound.header(&PROTOCOL_VERSION).is_some_and(is_modern);
    if modern {
        return respond::method_not_allowed("POST");
    }
    if !accepts(inbound.headers(), "text/event-stream") {
        let error = GatewayError::new(Kind::NotAcceptable, "the Accept header must allow text/event-stream");
        return refused(inbound, Era::Legacy, None, &error);
    }
    if inbound.headers().contains_key(SESSION_ID) {
        return legacy::get(inbound).await;
    }
    if inbound.running.snapshot.protocol.legacy_sse {
        return sse_transport::open(inbound);
    }
    respond::method_not_allowed(METHODS)
}

/// An error answer that is counted, to this message if it could be read.
pub(crate) fn refused(
    inbound: &Inbound<'_>,
    era: Era,
    envelope: Option<&Envelope<'_>>,
    error: &GatewayError,
) -> Response<ResponseBody> {
    let timer = inbound.route.metrics.start(MethodClass::of(""));
    let request = envelope.filter(|envelope| envelope.kind() == MessageKind::Request);
    let span = request.and_then(|request| Some(inbound.origin()?.begin(request, None)));
    timer.traced(span).failed(error.kind);
    respond::error(era, envelope.and_then(Envelope::id), error)
}

/// Whether a header names a revision of the modern era.
pub(crate) fn is_modern(version: &str) -> bool {
    Version::parse(version).is_some_and(|version| version.era() == Era::Modern)
}

fn acceptable(headers: &HeaderMap) -> Result<(), GatewayError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(GatewayError::new(Kind::UnsupportedMediaType, "the Content-Type must be application/json"));
    }
    Ok(())
}

/// Whether a client takes both forms of an answer to its POST, as Streamable HTTP demands.
pub(crate) fn accepts_both(headers: &HeaderMap) -> Result<(), GatewayError> {
    if accepts(headers, "application/json") && accepts(headers, "text/event-stream") {
        return Ok(());
    }
    Err(GatewayError::new(
        Kind::NotAcceptable,
        "the Accept header must allow both application/json and text/event-stream",
    ))
}

fn accepts(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = wanted.split('/').next().unwrap_or_default();
    headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |range| {
            let range = range.split(';').next().unwrap_or_default().trim();
            range.eq_ignore_ascii_case(wanted)
                || range == "*/*"
                || range.strip_suffix("/*").is_some_and(|prefix| prefix.eq_ignore_ascii_case(kind))
        },
    )
}

/// A body and its envelope, decoded again from shared bytes: for tasks that outlive the request.
pub(crate) fn decoded(body: &Bytes) -> Result<Envelope<'_>, GatewayError> {
    envelope::decode(body).map_err(GatewayError::from)
}
