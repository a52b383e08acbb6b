//! The legacy handshake, whatever transport carries it.

use super::super::error::{GatewayError, Kind};
use super::super::mcp::{envelope, message};
use super::answer::MAX_QUOTE;
use super::events::is_answer;
use super::{Answer, Event, SessionSink, failure};
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Timeouts;
use bytes::Bytes;
use http::HeaderValue;
use std::time::Duration;
use tokio::time::timeout;

/// The id of the gateway's own `initialize`. Nothing else is in flight then.
pub(super) const INITIALIZE_ID: &str = "0";
/// The largest result of `initialize` that is taken, in bytes (1 MiB): instructions are prose.
const MAX_RESULT_BYTES: usize = 1024 * 1024;
/// JSON-RPC codes with which servers of the modern era refuse `initialize`.
const UNSUPPORTED_VERSION: i64 = -32_022;
const METHOD_NOT_FOUND: i64 = -32_601;

/// What a server said to `initialize`.
pub(super) struct Initialized {
    /// The raw result object.
    pub(super) result: Bytes,
    /// The negotiated revision.
    pub(super) version: String,
}

impl Initialized {
    /// The revision as every further request names it.
    pub(super) fn version_header(&self, backend: &ObjectId) -> Result<HeaderValue, GatewayError> {
        HeaderValue::from_str(&self.version)
            .map_err(|_| failure::bad_answer(backend, "negotiated a protocol version that is not one"))
    }
}

/// The request, with the client's own parameters.
pub(super) fn request(params: &[u8]) -> Result<Bytes, GatewayError> {
    let params = std::str::from_utf8(params)
        .map_err(|_| GatewayError::new(Kind::InvalidParams, "the parameters of initialize are not UTF-8"))?;
    Ok(message::request(INITIALIZE_ID, "initialize", Some(params)))
}

/// The notification that ends the handshake.
pub(super) fn initialized() -> Bytes {
    message::notification("notifications/initialized", None)
}

/// Waits for the answer and reads it. What the server says before it goes to `sink`.
pub(super) async fn read(
    backend: &ObjectId,
    answer: Answer,
    sink: &dyn SessionSink,
    timeouts: &Timeouts,
) -> Result<Initialized, GatewayError> {
    let limit = Duration::from_millis(timeouts.response_ms);
    let message =
        timeout(limit, whole(backend, "initialize", answer, sink, MAX_RESULT_BYTES)).await.map_err(|_elapsed| {
            let message = format!("backend {backend} did not finish its handshake within {} ms", limit.as_millis());
            GatewayError::new(Kind::ResponseTimeout, message)
        })??;
    parse(backend, &message)
}

/// The whole message that answers a request of the gateway's own, of at most `max` bytes. What the server says before it goes
/// to `sink`.
pub(super) async fn whole(
    backend: &ObjectId,
    method: &str,
    answer: Answer,
    sink: &dyn SessionSink,
    max: usize,
) -> Result<Bytes, GatewayError> {
    let mut stream = match answer {
        Answer::Json(body) => return body.collect(max).await,
        Answer::Rejected { body, .. } => return Ok(body),
        Answer::Accepted => return Err(failure::bad_answer(backend, &format!("does not answer {method}"))),
        Answer::Events(stream) => stream,
    };
    let mut pieces = Vec::new();
    while let Some(event) = stream.next().await {
        match event? {
            Event::Message(message) if is_answer(&message) => return Ok(message),
            Event::Message(message) => sink.deliver(message),
            Event::Part { bytes, .. } if pieces.len() + bytes.len() > max => {
                return Err(GatewayError::new(
                    Kind::AnswerTooLarge,
                    format!("backend {backend} answered {method} with more than {max} bytes"),
                ));
            }
            Event::Part { bytes, last } => {
                pieces.extend_from_slice(&bytes);
                if last {
                    return Ok(pieces.into());
                }
            }
            Event::Paused(_) => {}
        }
    }
    Err(failure::bad_answer(backend, &format!("ended the stream before it answered {method}")))
}

fn parse(backend: &ObjectId, message: &Bytes) -> Result<Initialized, GatewayError> {
    let malformed = || failure::bad_answer(backend, "answered initialize with something that is not JSON-RPC");
    let envelope = envelope::decode(message).map_err(|_| malformed())?;
    if let Some(error) = envelope.error() {
        let code = error.get("code").and_then(|code| code.text().parse::<i64>().ok());
        let words: String = error.get_str("message").unwrap_or_default().chars().take(MAX_QUOTE).collect();
        let (kind, what) = match code {
            Some(UNSUPPORTED_VERSION | METHOD_NOT_FOUND) => (Kind::EraUnavailable, "does not serve legacy sessions"),
            _ => (Kind::BadAnswer, "refuses to initialize a session"),
        };
        return Err(GatewayError::new(kind, format!("backend {backend} {what}: {words}")));
    }
    let result = envelope.result().ok_or_else(malformed)?;
    let version = result
        .get_str("protocolVersion")
        .ok_or_else(|| failure::bad_answer(backend, "answered initialize without a protocol version"))?
        .into_owned();
    Ok(Initialized { version, result: message.slice(result.span()) })
}
