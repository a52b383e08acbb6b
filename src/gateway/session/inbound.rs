//! What servers say to a legacy client of their own accord: notices and questions.
//!
//! A question gets an id of the gateway's, so that equal ids of two servers stay apart. A changed list is read again
//! before the client hears of it, so that what it lists next is what the server announced.

use super::live::Session;
use super::log::EventLog;
use super::questions::Question;
use crate::gateway::catalog::ListKind;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::{self, Envelope, Kind as MessageKind};
use crate::gateway::mcp::message;
use crate::gateway::mcp::splice::Edits;
use crate::gateway::state::edited;
use crate::gateway::upstream::UpstreamSession;
use bytes::Bytes;
use std::sync::Arc;

/// What becomes of a server's message.
pub(crate) enum Admitted {
    /// The client gets this.
    Forward(Bytes),
    /// The client gets this once the list was read again.
    AfterRefresh(ListKind, Bytes),
    /// The gateway dealt with it.
    Done,
}

/// Decides on one request or notification of a server.
pub(crate) fn admit(client: &Arc<Session>, server: &str, message: &Bytes, envelope: &Envelope<'_>) -> Admitted {
    match envelope.kind() {
        MessageKind::Request => question(client, server, message, envelope),
        MessageKind::Notification => notice(client, server, message, envelope),
        // An answer to nothing: the call it belonged to is over.
        MessageKind::Response { .. } => Admitted::Done,
    }
}

/// Takes in a message that arrived outside of a call's answer, and writes what the client gets of it to `log`.
pub(crate) fn deliver(client: &Arc<Session>, server: &str, message: &Bytes, log: &Arc<EventLog>) {
    let envelope = match envelope::decode(message) {
        Ok(envelope) => envelope,
        Err(error) => return tracing::warn!(server, %error, "a server sent something that is not a message"),
    };
    match admit(client, server, message, &envelope) {
        Admitted::Forward(message) => log.offer(&message),
        Admitted::AfterRefresh(kind, message) => refresh_then_offer(client, server, kind, message, log),
        Admitted::Done => {}
    }
}

/// Reads a list again in the background, then tells the client on `log`, or on the GET stream if `log` has ended by then.
pub(crate) fn refresh_then_offer(
    client: &Arc<Session>,
    server: &str,
    kind: ListKind,
    message: Bytes,
    log: &Arc<EventLog>,
) {
    let (client, server, log) = (Arc::clone(client), server.to_owned(), Arc::clone(log));
    tokio::spawn(async move {
        client.refresh_list(&server, kind).await;
        let log = if log.is_finished() { client.unsolicited() } else { &log };
        log.offer(&message);
    });
}

/// The client's session ended while something was going on for it.
pub(crate) fn session_gone() -> GatewayError {
    GatewayError::new(Kind::SessionNotFound, "the session has ended; initialize a new one")
}

fn question(client: &Arc<Session>, server: &str, message: &Bytes, envelope: &Envelope<'_>) -> Admitted {
    let (Some(id), Some(span)) = (envelope.id(), envelope.id_span()) else { return Admitted::Done };
    if envelope.method() == "ping" {
        answer(client, server, message::result(id, "{}"));
        return Admitted::Done;
    }
    let progress_token = envelope.meta().and_then(|meta| meta.get("progressToken")).map(|token| token.text().into());
    let question = Question { server: server.to_owned(), id: id.into(), progress_token };
    let Some(ours) = client.questions.ask(question) else {
        let error = GatewayError::new(Kind::TooManyStreams, "too many requests wait for the client");
        answer(client, server, message::error(Some(id), &error));
        return Admitted::Done;
    };
    let mut edits = Edits::new();
    edits.replace(span, ours);
    forwarded(edits, message)
}

fn notice(client: &Arc<Session>, server: &str, message: &Bytes, envelope: &Envelope<'_>) -> Admitted {
    match envelope.method() {
        "notifications/tools/list_changed" => Admitted::AfterRefresh(ListKind::Tools, message.clone()),
        "notifications/prompts/list_changed" => Admitted::AfterRefresh(ListKind::Prompts, message.clone()),
        "notifications/resources/list_changed" => Admitted::AfterRefresh(ListKind::Resources, message.clone()),
        "notifications/cancelled" => withdrawal(client, server, message, envelope),
        _ => Admitted::Forward(message.clone()),
    }
}

/// A server takes back a question: the client knows it by another id.
fn withdrawal(client: &Arc<Session>, server: &str, message: &Bytes, envelope: &Envelope<'_>) -> Admitted {
    let Some(id) = envelope.params().and_then(|params| params.get("requestId")) else {
        return Admitted::Done;
    };
    let Some(ours) = client.questions.withdrawn(server, id.text()) else {
        return Admitted::Done;
    };
    let mut edits = Edits::new();
    edits.replace(id.span(), ours);
    forwarded(edits, message)
}

fn forwarded(edits: Edits<'_>, message: &Bytes) -> Admitted {
    match edited(edits, message) {
        Ok(message) => Admitted::Forward(message),
        Err(error) => {
            tracing::error!(%error, "a server's message is lost");
            Admitted::Done
        }
    }
}

/// Answers a server in the background, over whatever session it has by now.
fn answer(client: &Arc<Session>, server: &str, message: Bytes) {
    if let Some(session) = client.binding(server).peek() {
        tokio::spawn(async move { notify(&session, message).await });
    }
}

/// Sends a message that has no answer; a server that does not take it is logged.
pub(crate) async fn notify(session: &Arc<UpstreamSession>, message: Bytes) {
    if let Err(error) = session.notify(message).await {
        tracing::info!(backend = %session.backend(), %error, "a server did not take a notification");
    }
}

/// The client took its call back, or its session ended.
pub(crate) fn cancelled() -> GatewayError {
    GatewayError::new(Kind::Cancelled, "the call was cancelled")
}
