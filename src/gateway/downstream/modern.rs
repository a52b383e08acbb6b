//! Streamable HTTP for clients from 2026-07-28 on: every request stands alone.

use super::body::{InFlight, JsonRelay, ResponseBody};
use super::relay::EventRelay;
use super::service::{Inbound, refused};
use super::{listen, respond};
use crate::gateway::adapter::modern::{Handled, ModernRequest};
use crate::gateway::adapter::reply::Reply;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::{Envelope, Kind as MessageKind};
use crate::gateway::mcp::modern::validate_modern;
use crate::gateway::mcp::version::Era;
use crate::gateway::metrics::MethodClass;
use bytes::Bytes;
use http::Response;

/// Answers one message.
pub(crate) async fn post(inbound: &Inbound<'_>, body: &Bytes, envelope: &Envelope<'_>) -> Response<ResponseBody> {
    match envelope.kind() {
        MessageKind::Request => request(inbound, body, envelope).await,
        // Over HTTP a modern client sends none that mean anything: leaving is its way to cancel.
        MessageKind::Notification => respond::accepted(),
        MessageKind::Response { .. } => {
            let error =
                GatewayError::new(Kind::InvalidRequest, "clients send no JSON-RPC responses from 2026-07-28 on");
            refused(inbound, Era::Modern, None, &error)
        }
    }
}

async fn request(inbound: &Inbound<'_>, body: &Bytes, envelope: &Envelope<'_>) -> Response<ResponseBody> {
    let versions = &inbound.running.versions;
    let id = envelope.id().unwrap_or("null");
    let span = inbound.origin().map(|origin| origin.begin(envelope, None));
    let mut timer = inbound.route.metrics.start(MethodClass::of(envelope.method())).traced(span);
    let facts = match validate_modern(inbound.headers(), envelope, versions) {
        Ok(facts) => {
            timer.speaks(facts.version.as_str());
            facts
        }
        Err(error) => {
            timer.failed(error.kind);
            return respond::error(Era::Modern, Some(id), &error);
        }
    };
    let request = ModernRequest {
        route: inbound.route,
        headers: inbound.headers(),
        body,
        envelope,
        facts: &facts,
        id,
        versions,
        timer: &timer,
    };
    if envelope.method() == "subscriptions/listen" {
        return match listen::open(inbound, &request).await {
            Ok(response) => {
                timer.ok();
                response
            }
            Err(error) => {
                timer.failed(error.kind);
                respond::error(Era::Modern, Some(id), &error)
            }
        };
    }
    let Handled { reply, edits, deadline } = match request.handle().await {
        Ok(handled) => handled,
        Err(error) => {
            timer.failed(error.kind);
            return respond::error(Era::Modern, Some(id), &error);
        }
    };
    match reply {
        Reply::Message(message) => {
            timer.answered(&message);
            respond::json(message)
        }
        // The server's own status means something to a modern client.
        Reply::Refused { status, message } => {
            timer.answered(&message);
            respond::json_with_status(status, message)
        }
        Reply::Large(held, rest) => {
            let in_flight = InFlight { timer: Some(timer), ..InFlight::default() };
            respond::json_body(ResponseBody::Json(JsonRelay::new(held, rest, deadline, in_flight)))
        }
        Reply::Events(stream) => {
            let open = inbound.gateway.metrics.open_stream();
            let in_flight = InFlight { timer: Some(timer), _stream: Some(open), ..InFlight::default() };
            respond::events(ResponseBody::Events(Box::new(EventRelay::new(stream, id, edits, deadline, in_flight))))
        }
    }
}
