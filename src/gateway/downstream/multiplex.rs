//! Many answers on one stream: JSON-RPC batches (2025-03-26), and every answer of the transport of 2024-11-05.

use super::relay::{LegacyCall, relay_to_log, write_large};
use super::service::decoded;
use crate::gateway::adapter::legacy::{Handled, LegacyRequest, notification, response};
use crate::gateway::adapter::reply::Reply;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::{Envelope, Kind as MessageKind};
use crate::gateway::mcp::message;
use crate::gateway::metrics::MethodClass;
use crate::gateway::session::live::Session;
use crate::gateway::session::log::EventLog;
use crate::gateway::state::RouteState;
use crate::gateway::trace::Origin;
use bytes::Bytes;
use std::sync::Arc;
use tokio::time::Instant;

/// Handles one message of a legacy client; a request's answer is written to `log`.
pub(crate) async fn answer_on(
    route: &Arc<RouteState>,
    session: &Arc<Session>,
    origin: Option<&Origin>,
    body: &Bytes,
    log: &Arc<EventLog>,
) {
    let outcome = match decoded(body) {
        Ok(envelope) => answer(route, session, origin, body, &envelope, log)
            .await
            .map_err(|error| (envelope.id().map(str::to_owned), error)),
        Err(error) => Err((None, error)),
    };
    if let Err((id, error)) = outcome
        && error.kind != Kind::Cancelled
    {
        log.write(&message::error(id.as_deref(), &error)).await;
    }
}

async fn answer(
    route: &Arc<RouteState>,
    session: &Arc<Session>,
    origin: Option<&Origin>,
    body: &Bytes,
    envelope: &Envelope<'_>,
    log: &Arc<EventLog>,
) -> Result<(), GatewayError> {
    let (MessageKind::Request, Some(id)) = (envelope.kind(), envelope.id()) else {
        if matches!(envelope.kind(), MessageKind::Response { .. }) {
            response(session, body, envelope).await?;
            return Ok(());
        }
        notification(session, route, body, envelope).await;
        return Ok(());
    };
    let span = origin.map(|origin| origin.begin(envelope, Some(&session.for_trace())));
    let timer = route.metrics.start(MethodClass::of(envelope.method())).traced(span);
    let request = LegacyRequest { session, route, body, envelope, id, timer: &timer };
    let Handled { reply, from } = match request.handle().await {
        Ok(handled) => handled,
        Err(error) => {
            if error.kind != Kind::Cancelled {
                timer.failed(error.kind);
            }
            return Err(error);
        }
    };
    match (reply, from) {
        (Reply::Message(message) | Reply::Refused { message, .. }, _) => {
            log.write(&message).await;
            timer.answered(&message);
        }
        (Reply::Large(held, rest), from) => {
            let deadline = from.as_ref().map_or_else(Instant::now, |from| from.deadline);
            write_large(held, rest, deadline, log).await?;
            timer.ok();
        }
        (Reply::Events(stream), Some(from)) => {
            // Nothing is resumed on a shared stream: what a server pauses, the gateway waits for.
            let call = LegacyCall { id: id.to_owned(), from, resumes: false, timer: Some(timer) };
            relay_to_log(call, stream, log).await;
        }
        (Reply::Events(_), None) => {}
    }
    Ok(())
}
