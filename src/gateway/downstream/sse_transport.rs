//! HTTP+SSE, the transport of 2024-11-05: a GET opens the one stream, POSTs bring messages, every answer is an event.
//!
//! It lives at the route's own path: a GET without a session opens the stream, whose first event names the address for POSTs.
//! The session ends with its stream.

use super::body::{LogBody, ResponseBody};
use super::legacy::{Beginning, begin, sealed_id};
use super::multiplex::answer_on;
use super::respond;
use super::service::{Inbound, decoded, refused};
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::Envelope;
use crate::gateway::mcp::version::{Era, Version};
use crate::gateway::mcp::{message, sse_write};
use crate::gateway::metrics::MethodClass;
use crate::gateway::peers::forward::Parcel;
use crate::gateway::peers::place::place_stream;
use crate::gateway::session::inbound::session_gone;
use crate::gateway::session::live::Session;
use crate::gateway::session::log::EventLog;
use crate::gateway::state::Gateway;
use crate::ir::ids::ObjectId;
use bytes::Bytes;
use dashmap::DashMap;
use http::Response;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The query parameter that names the stream in the address for POSTs.
const PARAMETER: &str = "sessionId";

/// How often a stream that is to end is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Open streams, by the ids in their addresses.
pub(crate) type Channels = DashMap<Box<str>, Arc<Channel>>;

/// An open stream and, once the client has initialized, its session.
pub(crate) struct Channel {
    route: ObjectId,
    log: Arc<EventLog>,
    session: OnceLock<Arc<Session>>,
}

impl Channel {
    /// Ends the stream, after what is written so far and the answers to calls in flight.
    pub(crate) fn close_when_idle(self: Arc<Self>) {
        tokio::spawn(async move {
            while self.session.get().is_some_and(|session| session.has_calls()) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            self.log.finish();
        });
    }
}

/// Opens a stream.
pub(crate) fn open(inbound: &Inbound<'_>) -> Response<ResponseBody> {
    match try_open(inbound) {
        Ok(response) => response,
        Err(error) => refused(inbound, Era::Legacy, None, &error),
    }
}

fn try_open(inbound: &Inbound<'_>) -> Result<Response<ResponseBody>, GatewayError> {
    let gateway = inbound.gateway;
    if gateway.channels.len() >= inbound.running.snapshot.limits.sessions as usize {
        return Err(GatewayError::new(
            Kind::TooManySessions,
            "the gateway has no room for another session; try again later",
        ));
    }
    let id = sealed_id(gateway, inbound.running, &scope(inbound.route.id()), Version::V2024_11_05, Box::default())?;
    let log = EventLog::anonymous();
    let channel =
        Arc::new(Channel { route: inbound.route.id().clone(), log: Arc::clone(&log), session: OnceLock::new() });
    gateway.channels.insert(id.as_str().into(), channel);
    let uri = &inbound.parts.uri;
    let query = uri.query().map_or_else(String::new, |query| format!("{query}&"));
    let address = format!("{}?{query}{PARAMETER}={id}", uri.path());
    let first = sse_write::event(None, Some("endpoint"), address.as_bytes());
    let closed = CancellationToken::new();
    let body =
        LogBody::new(Some(first), log.read(), gateway.metrics.open_stream()).with_guard(closed.clone().drop_guard());
    tokio::spawn(close_when_read(Arc::clone(gateway), id, closed));
    Ok(respond::events(ResponseBody::Log(body)))
}

async fn close_when_read(gateway: Arc<Gateway>, id: String, closed: CancellationToken) {
    closed.cancelled().await;
    if let Some((_, channel)) = gateway.channels.remove(id.as_str())
        && let Some(session) = channel.session.get()
    {
        gateway.end_session(session.id());
    }
}

/// What the ids of a route's streams are sealed for: they are no session ids.
pub(crate) fn scope(route: &ObjectId) -> String {
    format!("{route} over events")
}

/// The stream that a POST names in its address.
pub(crate) fn session_parameter(inbound: &Inbound<'_>) -> Option<String> {
    let query = inbound.parts.uri.query()?;
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(name, _)| name == PARAMETER)
        .map(|(_, value)| value.into_owned())
}

/// Takes a message; its answer goes to the stream, which another replica may have.
pub(crate) async fn post(
    inbound: &Inbound<'_>,
    id: &str,
    body: &Bytes,
    envelope: &Envelope<'_>,
) -> Response<ResponseBody> {
    let channel = inbound.gateway.channels.get(id).map(|entry| Arc::clone(entry.value()));
    let answer = match channel {
        Some(channel) => take(inbound, &channel, body, envelope).map(|()| respond::accepted()),
        None => place_stream(&Parcel { inbound, body, id: None, repeatable: false }, id).await,
    };
    answer.unwrap_or_else(|error| refused(inbound, Era::Legacy, Some(envelope), &error))
}

fn take(
    inbound: &Inbound<'_>,
    channel: &Arc<Channel>,
    body: &Bytes,
    envelope: &Envelope<'_>,
) -> Result<(), GatewayError> {
    let channel = Arc::clone(channel);
    if channel.route != *inbound.route.id() {
        return Err(session_gone());
    }
    let (route, body, origin) = (Arc::clone(inbound.route), body.clone(), inbound.origin());
    if let Some(session) = channel.session.get() {
        session.touch();
        let session = Arc::clone(session);
        tokio::spawn(async move { answer_on(&route, &session, origin.as_ref(), &body, &channel.log).await });
        return Ok(());
    }
    if envelope.method() != "initialize" {
        return Err(GatewayError::new(Kind::SessionRequired, "send initialize first"));
    }
    let (gateway, running) = (Arc::clone(inbound.gateway), Arc::clone(inbound.running));
    tokio::spawn(async move {
        let Ok(envelope) = decoded(&body) else { return };
        let id = envelope.id().unwrap_or("null");
        let span = origin.map(|origin| origin.begin(&envelope, None));
        let timer = route.metrics.start(MethodClass::of("initialize")).traced(span);
        let (body, envelope, trace) = (&body, &envelope, timer.trace());
        let beginning = Beginning { running: &running, route: &route, body, envelope, trace };
        match begin(&gateway, &beginning, Arc::clone(&channel.log)).await {
            Ok((session, result)) => {
                if channel.session.set(Arc::clone(&session)).is_err() || channel.log.is_finished() {
                    gateway.end_session(session.id());
                }
                channel.log.write(&message::result(id, &result)).await;
                timer.ok();
            }
            Err(error) => {
                channel.log.write(&message::error(Some(id), &error)).await;
                timer.failed(error.kind);
            }
        }
    });
    Ok(())
}
