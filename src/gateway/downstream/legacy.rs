//! Streamable HTTP for clients up to 2025-11-25: sessions, answers as JSON or as events, the GET stream, resumption.

use super::body::{InFlight, JsonRelay, LogBody, ResponseBody};
use super::multiplex::answer_on;
use super::relay::{LegacyCall, relay_to_log};
use super::service::{Inbound, accepts_both, decoded, is_modern, refused};
use super::{respond, sse_transport};
use crate::gateway::adapter::legacy::{Handled, LegacyRequest, notification, response};
use crate::gateway::adapter::reply::Reply;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::{DecodeError, Envelope, Kind as MessageKind, decode_batch};
use crate::gateway::mcp::headers::{LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID};
use crate::gateway::mcp::message;
use crate::gateway::mcp::splice::{Edits, json_string};
use crate::gateway::mcp::version::{self, Era, Version};
use crate::gateway::metrics::MethodClass;
use crate::gateway::peers::SessionKey;
use crate::gateway::peers::forward::Parcel;
use crate::gateway::peers::place::{Place, ask_former, begin_elsewhere, is_repeatable, place, unless_former};
use crate::gateway::session::hello::pack;
use crate::gateway::session::live::{Hello, Session};
use crate::gateway::session::log::EventLog;
use crate::gateway::session::seal::Claims;
use crate::gateway::state::{Gateway, RouteState, Running, edited};
use crate::gateway::trace::Link;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Response, StatusCode};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Messages in one batch: as many as a session may have calls in flight by default.
const MAX_BATCH: usize = 64;

/// How long a client is asked to wait before it reconnects: as long as a restarted pod takes at least.
const RETRY: Duration = Duration::from_secs(1);

/// Clients from this revision on expect a priming event and resume streams that a server pauses.
const RESUMES_SINCE: Version = Version::V2025_11_25;

/// Answers one message.
pub(crate) async fn post(inbound: &Inbound<'_>, body: &Bytes, envelope: &Envelope<'_>) -> Response<ResponseBody> {
    if let Some(sealed) = sse_transport::session_parameter(inbound) {
        return sse_transport::post(inbound, &sealed, body, envelope).await;
    }
    let answer = match accepts_both(inbound.headers()) {
        Err(error) => Err(error),
        Ok(()) if envelope.method() == "initialize" => initialize(inbound, body, envelope).await,
        Ok(()) => in_session(inbound, body, envelope).await,
    };
    answer.unwrap_or_else(|error| refused(inbound, Era::Legacy, Some(envelope), &error))
}

/// Answers a batch: each request's answer is an event of one stream.
pub(crate) async fn post_batch(inbound: &Inbound<'_>, body: &Bytes) -> Response<ResponseBody> {
    let answer = match accepts_both(inbound.headers()) {
        Ok(()) => batch(inbound, body).await,
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| refused(inbound, Era::Legacy, None, &error))
}

async fn batch(inbound: &Inbound<'_>, body: &Bytes) -> Result<Response<ResponseBody>, GatewayError> {
    // What is in it may be anything.
    let session = match session(&Parcel { inbound, body, id: None, repeatable: false }).await? {
        Place::Here(session) => session,
        Place::Answered(response) => return Ok(*response),
    };
    if !session.hello().version.has_batches() {
        return Err(DecodeError::Batch.into());
    }
    let messages: Vec<Bytes> = decode_batch(body, MAX_BATCH)?.into_iter().map(|span| body.slice(span)).collect();
    let asks =
        messages.iter().any(|message| decoded(message).is_ok_and(|envelope| envelope.kind() == MessageKind::Request));
    if !asks {
        for message in &messages {
            answer_on(inbound.route, &session, None, message, session.unsolicited()).await;
        }
        return Ok(respond::accepted());
    }
    let log = session.open_stream();
    let reader = log.read();
    let (route, origin) = (Arc::clone(inbound.route), inbound.origin());
    tokio::spawn(async move {
        let answer = |message| answer_on(&route, &session, origin.as_ref(), message, &log);
        let answers: Vec<_> = messages.iter().map(answer).collect();
        join_all(answers).await;
        session.finish_stream(&log);
    });
    Ok(respond::events(ResponseBody::Log(LogBody::new(None, reader, inbound.gateway.metrics.open_stream()))))
}

/// Opens the session's stream of what servers say unasked, or goes on with a stream that broke.
pub(crate) async fn get(inbound: &Inbound<'_>) -> Response<ResponseBody> {
    let session = match session(&Parcel::without_body(inbound)).await {
        Ok(Place::Here(session)) => session,
        Ok(Place::Answered(response)) => return *response,
        Err(error) => return refused(inbound, Era::Legacy, None, &error),
    };
    let last_event = inbound.header(&LAST_EVENT_ID);
    let resumed = last_event.and_then(|id| session.resume(id));
    if last_event.is_some() && resumed.is_none() {
        // The stream of a call that ends where the session was before.
        if let Some(response) = ask_former(&Parcel::without_body(inbound), &session).await {
            return response;
        }
        if let Some(refusal) = unless_former(inbound) {
            return refusal;
        }
    }
    // An event that is no longer known: the stream goes on from now, as the client would get it without the header.
    let reader = resumed.unwrap_or_else(|| session.unsolicited().read());
    let first = resumes(&session).then(|| session.unsolicited().priming(RETRY));
    respond::events(ResponseBody::Log(LogBody::new(first, reader, inbound.gateway.metrics.open_stream())))
}

/// Ends the session.
pub(crate) async fn delete(inbound: &Inbound<'_>) -> Response<ResponseBody> {
    let modern = inbound.header(&PROTOCOL_VERSION).is_some_and(is_modern);
    if modern {
        return respond::method_not_allowed("POST");
    }
    match session(&Parcel::without_body(inbound)).await {
        Ok(Place::Here(session)) => {
            inbound.gateway.end_session(session.id());
            if let Some(peers) = inbound.gateway.peers() {
                peers.announce_end(SessionKey::of(session.id())).await;
            }
            respond::empty(StatusCode::NO_CONTENT)
        }
        Ok(Place::Answered(response)) => *response,
        Err(error) => refused(inbound, Era::Legacy, None, &error),
    }
}

async fn initialize(
    inbound: &Inbound<'_>,
    body: &Bytes,
    envelope: &Envelope<'_>,
) -> Result<Response<ResponseBody>, GatewayError> {
    let Some(id) = envelope.id() else {
        return Err(GatewayError::new(Kind::InvalidRequest, "initialize must be a request, with an id"));
    };
    let parcel = Parcel { inbound, body, id: Some(id), repeatable: true };
    if let Some(response) = Box::pin(begin_elsewhere(&parcel)).await {
        return Ok(response);
    }
    let span = inbound.origin().map(|origin| origin.begin(envelope, None));
    let timer = inbound.route.metrics.start(MethodClass::of("initialize")).traced(span);
    let beginning = Beginning { running: inbound.running, route: inbound.route, body, envelope, trace: timer.trace() };
    let begun = begin(inbound.gateway, &beginning, EventLog::new(0)).await;
    let (session, result) = match begun {
        Ok(begun) => begun,
        Err(error) => {
            timer.failed(error.kind);
            return Ok(respond::error(Era::Legacy, Some(id), &error));
        }
    };
    timer.ok();
    let mut answer = respond::json(message::result(id, &result));
    // A sealed id is base64url: always a header value.
    if let Ok(value) = HeaderValue::from_str(session.id()) {
        answer.headers_mut().insert(SESSION_ID, value);
    }
    Ok(answer)
}

/// A request for a session.
pub(crate) struct Beginning<'a> {
    pub(crate) running: &'a Arc<Running>,
    pub(crate) route: &'a Arc<RouteState>,
    pub(crate) body: &'a Bytes,
    pub(crate) envelope: &'a Envelope<'a>,
    /// Its place in a trace.
    pub(crate) trace: Option<&'a Arc<Link>>,
}

/// Begins a session and yields it with the result of its `initialize`. What servers say unasked goes to `unsolicited`.
pub(crate) async fn begin(
    gateway: &Arc<Gateway>,
    beginning: &Beginning<'_>,
    unsolicited: Arc<EventLog>,
) -> Result<(Arc<Session>, String), GatewayError> {
    let Beginning { running, route, body, envelope, trace } = *beginning;
    let hello = hello(running, route, body, envelope)?;
    let version = hello.version;
    // What another replica needs to go on with the session, if there may be one.
    let said = envelope.params().filter(|_| gateway.peers().is_some()).map(|params| pack(&params));
    let id = sealed_id(gateway, running, &route.id().to_string(), version, said.unwrap_or_default())?;
    let session = Session::new(id, route.id().clone(), hello, gateway.weak(), unsolicited);
    let (session, _) = gateway.admit(session, running.snapshot.limits.sessions as usize)?;
    gateway.metrics.sessions.inc();
    let catalog = route.catalogs.get(Era::Legacy, session.hello().catalog_key);
    catalog.fill_from_session(&session, route, trace).await;
    if let Some(error) = catalog.required_missing(route) {
        gateway.end_session(session.id());
        return Err(error);
    }
    Ok((session, catalog.view().initialize_result(version, env!("CARGO_PKG_VERSION"))))
}

/// A new id for what this replica holds, sealed for `scope`.
pub(crate) fn sealed_id(
    gateway: &Gateway,
    running: &Running,
    scope: &str,
    version: Version,
    hello: Box<[u8]>,
) -> Result<String, GatewayError> {
    let claims = Claims {
        session: random_id()?,
        // Nobody has to show who they are yet: every client is the same one.
        principal_hash: 0,
        version,
        // Without others, every session is this one's.
        owner: gateway.peers().map(|peers| peers.me().to_string()).unwrap_or_default().into(),
        issued_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        hello,
    };
    running
        .keyring
        .seal(scope, &claims)
        .map_err(|error| GatewayError::new(Kind::Internal, format!("the session id could not be sealed: {error}")))
}

/// 128 random bits.
fn random_id() -> Result<[u8; 16], GatewayError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| GatewayError::new(Kind::Internal, "the system has no random numbers"))?;
    Ok(id)
}

/// Reads what a client says of itself and agrees on a revision: the client's if it is offered, else the newest legacy one.
fn hello(running: &Running, route: &RouteState, body: &Bytes, envelope: &Envelope<'_>) -> Result<Hello, GatewayError> {
    let params = envelope.params().ok_or_else(|| invalid("params must be an object"))?;
    let version = params.get("protocolVersion").ok_or_else(|| invalid("params.protocolVersion must be a string"))?;
    let asked = version.as_str().ok_or_else(|| invalid("params.protocolVersion must be a string"))?;
    let capabilities =
        params.get_object("capabilities").ok_or_else(|| invalid("params.capabilities must be an object"))?;
    let agreed = version::negotiate(&asked, &running.versions).ok_or_else(|| {
        GatewayError::new(Kind::UnsupportedVersion, "this gateway offers no revision that begins with initialize")
    })?;
    let span = params.span();
    let params_text = if agreed.as_str() == asked {
        body.slice(span)
    } else {
        let mut edits = Edits::new();
        edits.replace(version.span(), json_string(agreed.as_str()));
        let edited = edited(edits, body)?;
        let longer_by = edited.len().wrapping_sub(body.len());
        edited.slice(span.start..span.end.wrapping_add(longer_by))
    };
    Ok(Hello { params: params_text, version: agreed, catalog_key: route.catalogs.key(agreed, capabilities.text()) })
}

fn invalid(message: &'static str) -> GatewayError {
    GatewayError::new(Kind::InvalidParams, message)
}

/// Where the session is that a request belongs to; one that is here is noted as used. An id that opens but is not live, one
/// that does not open, and one of another route look alike to the client: 404, so that it initializes anew.
async fn session(parcel: &Parcel<'_>) -> Result<Place, GatewayError> {
    let inbound = parcel.inbound;
    let Some(sealed) = inbound.header(&SESSION_ID) else {
        return Err(GatewayError::new(
            Kind::SessionRequired,
            "the Mcp-Session-Id header is missing: send initialize first, or speak protocol 2026-07-28",
        ));
    };
    let place = place(parcel, sealed).await?;
    if matches!(place, Place::Here(_))
        && let Some(version) = inbound.header(&PROTOCOL_VERSION)
        && !inbound.running.versions.iter().any(|offered| offered.as_str() == version)
    {
        return Err(GatewayError::new(
            Kind::InvalidRequest,
            "the MCP-Protocol-Version header names no revision that this gateway offers",
        ));
    }
    Ok(place)
}

async fn in_session(
    inbound: &Inbound<'_>,
    body: &Bytes,
    envelope: &Envelope<'_>,
) -> Result<Response<ResponseBody>, GatewayError> {
    // Answers to questions count once: a second one matches nothing.
    let repeatable = match envelope.kind() {
        MessageKind::Response { .. } => true,
        MessageKind::Request | MessageKind::Notification => is_repeatable(envelope.method()),
    };
    let id = envelope.id().filter(|_| envelope.kind() == MessageKind::Request);
    let parcel = Parcel { inbound, body, id, repeatable };
    let session = match session(&parcel).await? {
        Place::Here(session) => session,
        Place::Answered(response) => return Ok(*response),
    };
    match (envelope.kind(), envelope.id()) {
        (MessageKind::Request, Some(id)) => Ok(request(inbound, &session, body, envelope, id).await),
        (MessageKind::Response { .. }, _) => {
            let known = response(&session, body, envelope).await?;
            Ok(taken_note(&parcel, &session, known).await)
        }
        _ => {
            let known = notification(&session, inbound.route, body, envelope).await;
            Ok(taken_note(&parcel, &session, known).await)
        }
    }
}

/// The answer to a message that wants none. What is not `known` here may be about a call that ends where the session was before.
async fn taken_note(parcel: &Parcel<'_>, session: &Session, known: bool) -> Response<ResponseBody> {
    let elsewhere = if known { None } else { ask_former(parcel, session).await };
    elsewhere.unwrap_or_else(respond::accepted)
}

async fn request(
    inbound: &Inbound<'_>,
    session: &Arc<Session>,
    body: &Bytes,
    envelope: &Envelope<'_>,
    id: &str,
) -> Response<ResponseBody> {
    let route = inbound.route;
    let span = inbound.origin().map(|origin| origin.begin(envelope, Some(&session.for_trace())));
    let timer = route.metrics.start(MethodClass::of(envelope.method())).traced(span);
    let request = LegacyRequest { session, route, body, envelope, id, timer: &timer };
    let handled = match request.handle().await {
        Ok(handled) => handled,
        // The client took the call back and expects nothing: an empty stream ends its POST.
        Err(error) if error.kind == Kind::Cancelled => return respond::events(ResponseBody::Empty),
        Err(error) => {
            timer.failed(error.kind);
            return respond::error(Era::Legacy, Some(id), &error);
        }
    };
    let Handled { reply, from } = handled;
    match reply {
        // Over HTTP 200 whatever the server's own status: 4xx would mean something else to the client.
        Reply::Message(message) | Reply::Refused { message, .. } => {
            timer.answered(&message);
            respond::json(message)
        }
        Reply::Large(held, rest) => {
            let deadline = from.as_ref().map_or_else(Instant::now, |from| from.deadline);
            let in_flight = InFlight { call: from.map(|from| from.call), timer: Some(timer), _stream: None };
            respond::json_body(ResponseBody::Json(JsonRelay::new(held, rest, deadline, in_flight)))
        }
        Reply::Events(stream) => {
            let Some(from) = from else { return respond::events(ResponseBody::Empty) };
            let resumes = resumes(session);
            let log = session.open_stream();
            let first = resumes.then(|| log.priming(RETRY));
            let reader = log.read();
            let call = LegacyCall { id: id.to_owned(), from, resumes, timer: Some(timer) };
            // A task of its own, because a legacy client that loses its connection has not cancelled the call.
            let session = Arc::clone(session);
            tokio::spawn(async move {
                relay_to_log(call, stream, &log).await;
                session.finish_stream(&log);
            });
            respond::events(ResponseBody::Log(LogBody::new(first, reader, inbound.gateway.metrics.open_stream())))
        }
    }
}

fn resumes(session: &Session) -> bool {
    session.hello().version >= RESUMES_SINCE
}
