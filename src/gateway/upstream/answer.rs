//! What a server answers to one POST.

use super::super::error::{GatewayError, Kind, Retry, UPSTREAM_ERROR};
use super::body::{Body, JsonBody};
use super::events::EventStream;
use super::failure;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Timeouts;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap};
use http::response::Parts;
use std::time::Duration;
use tokio::time::timeout;

/// The largest body of a refusal that is read, in bytes (64 KiB).
const MAX_REJECTION_BYTES: usize = 64 * 1024;
/// How much of a server's own words goes into an error message, in characters.
pub(super) const MAX_QUOTE: usize = 200;

/// What a server answered to one message.
pub enum Answer {
    /// One JSON-RPC message.
    Json(JsonBody),
    /// A stream of messages, the last of which is the answer.
    Events(EventStream),
    /// A refusal with a JSON-RPC error of the server's own.
    Rejected {
        /// The HTTP status, 400 to 499.
        status: u16,
        /// The JSON-RPC error, at most 64 KiB.
        body: Bytes,
    },
    /// Taken, with nothing to say (202).
    Accepted,
}

/// The parts of a JSON-RPC error that are looked at here.
#[derive(serde::Deserialize)]
struct RpcErrorMessage<'a> {
    #[serde(borrow)]
    error: RpcError<'a>,
}

#[derive(serde::Deserialize)]
struct RpcError<'a> {
    code: i64,
    #[serde(borrow)]
    message: std::borrow::Cow<'a, str>,
}

/// Makes an answer of an HTTP response. `events` wraps the body of an event stream.
pub(super) async fn read(
    backend: &ObjectId,
    head: &Parts,
    body: Body,
    timeouts: &Timeouts,
    in_session: bool,
    events: impl FnOnce(Body) -> EventStream,
) -> Result<Answer, GatewayError> {
    let status = head.status.as_u16();
    match status {
        202 | 204 => {
            body.finish();
            Ok(Answer::Accepted)
        }
        200..=299 => match Media::of(&head.headers) {
            Media::Json => Ok(Answer::Json(JsonBody::new(body))),
            Media::Events => Ok(Answer::Events(events(body))),
            // Some servers take a notification with an empty 200.
            Media::Absent if body.is_ended() => Ok(Answer::Accepted),
            Media::Other | Media::Absent => {
                Err(failure::bad_answer(backend, "answered with neither JSON nor an event stream"))
            }
        },
        404 if in_session => {
            body.finish();
            Err(session_lost(backend))
        }
        401 | 403 => {
            body.finish();
            Err(unauthorized(backend, status))
        }
        400..=499 | 503 if Media::of(&head.headers) == Media::Json => {
            let limit = Duration::from_millis(timeouts.request_ms);
            let body = timeout(limit, body.collect(MAX_REJECTION_BYTES))
                .await
                .map_err(|_elapsed| failure::request_timeout(backend, limit))??;
            match serde_json::from_slice::<RpcErrorMessage<'_>>(&body) {
                Err(_not_an_error) => Err(http_status(backend, status)),
                Ok(message) if in_session && status == 400 && names_session(&message.error) => {
                    Err(session_lost(backend))
                }
                // Our own shim says so before anything reached the child.
                Ok(message) if status == 503 && message.error.code == i64::from(UPSTREAM_ERROR) => {
                    Err(process_failed(backend, &message.error.message))
                }
                Ok(_) if status == 503 => Err(http_status(backend, status)),
                Ok(_) => Ok(Answer::Rejected { status, body }),
            }
        }
        _ => Err(http_status(backend, status)),
    }
}

/// What kind of body an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Json,
    Events,
    Other,
    Absent,
}

impl Media {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else { return Self::Absent };
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if essence.eq_ignore_ascii_case(b"application/json") {
            Self::Json
        } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
            Self::Events
        } else {
            Self::Other
        }
    }
}

/// Servers built after the TypeScript SDK's early examples (server-everything among them) know 404 for an unknown session
/// no more than the revision 2024-11-05 did: they answer 400 with a code of their own and say it in words.
fn names_session(error: &RpcError<'_>) -> bool {
    (-32_019..=-32_000).contains(&error.code) && error.message.to_ascii_lowercase().contains("session")
}

fn process_failed(backend: &ObjectId, words: &str) -> GatewayError {
    let words: String = words.chars().take(MAX_QUOTE).collect();
    GatewayError::new(Kind::ProcessFailed, format!("backend {backend}: {words}")).with_retry(Retry::Safe)
}

pub(super) fn session_lost(backend: &ObjectId) -> GatewayError {
    GatewayError::new(Kind::SessionLost, format!("backend {backend} has ended the session"))
}

pub(super) fn http_status(backend: &ObjectId, status: u16) -> GatewayError {
    let hint = match status {
        300..=399 => "; redirects are not followed",
        404 | 405 => "; its path may be another one",
        _ => "",
    };
    GatewayError::new(Kind::HttpStatus, format!("backend {backend} answered with HTTP status {status}{hint}"))
}

pub(super) fn unauthorized(backend: &ObjectId, status: u16) -> GatewayError {
    let message = format!("backend {backend} does not accept the gateway's credentials (HTTP {status})");
    GatewayError::new(Kind::Unauthorized, message)
}
