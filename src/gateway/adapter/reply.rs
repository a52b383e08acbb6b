//! A server's answer on its way to the client, before the client's transport gives it its form.

use crate::gateway::HOLD_BYTES;
use crate::gateway::downstream::relay::response_timeout;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::{self, Kind as MessageKind};
use crate::gateway::mcp::splice::same_id;
use crate::gateway::upstream::{Answer, Event, EventStream, JsonBody};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http_body::Body as _;
use std::future::poll_fn;
use std::pin::Pin;
use tokio::time::{Instant, timeout_at};

/// An answer, as far as it is known.
pub(crate) enum Reply {
    /// A whole JSON-RPC answer.
    Message(Bytes),
    /// An answer too large to hold: its first pieces and the rest.
    Large(Vec<Bytes>, JsonBody),
    /// A stream that ends with the answer.
    Events(EventStream),
    /// The server refused the request over HTTP, with a JSON-RPC error to show for it.
    Refused {
        /// The server's HTTP status.
        status: u16,
        /// The JSON-RPC error, whole.
        message: Bytes,
    },
}

impl Reply {
    /// Holds an answer to the request `id` (JSON text) as far as it may be held, and checks what can be checked.
    pub(crate) async fn hold(answer: Answer, id: &str, deadline: Instant) -> Result<Self, GatewayError> {
        match answer {
            Answer::Json(body) => hold_json(body, id, deadline).await,
            Answer::Events(stream) => Ok(Self::Events(stream)),
            Answer::Rejected { status, body } => match check(&body, id) {
                Ok(()) => Ok(Self::Refused { status, message: body }),
                // Not an answer to this request: what counts is that it was refused.
                Err(_) => {
                    Err(GatewayError::new(Kind::HttpStatus, format!("the server answered with HTTP status {status}")))
                }
            },
            Answer::Accepted => Err(bad_answer("the server accepted the request and will not answer it")),
        }
    }

    /// The whole answer in one piece of at most `limit` bytes, within a time. What the server says before it goes to `aside`.
    pub(crate) async fn into_whole_by(
        self,
        deadline: Instant,
        id: &str,
        limit: u64,
        aside: &(dyn Fn(Bytes) + Send + Sync),
    ) -> Result<Bytes, GatewayError> {
        match self {
            // It is there, whatever the time.
            Self::Message(message) | Self::Refused { message, .. } => Ok(message),
            other => timeout_at(deadline, other.into_whole(id, limit, aside)).await.map_err(|_| response_timeout())?,
        }
    }

    async fn into_whole(
        self,
        id: &str,
        limit: u64,
        aside: &(dyn Fn(Bytes) + Send + Sync),
    ) -> Result<Bytes, GatewayError> {
        match self {
            Self::Message(message) | Self::Refused { message, .. } => Ok(message),
            Self::Large(held, mut rest) => {
                let mut pieces = Pieces::new(limit);
                held.iter().try_for_each(|piece| pieces.add(piece))?;
                while let Some(frame) = poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await {
                    if let Ok(data) = frame?.into_data() {
                        pieces.add(&data)?;
                    }
                }
                pieces.answer(id)
            }
            Self::Events(mut stream) => loop {
                match stream.next().await {
                    Some(Ok(Event::Message(message))) if check(&message, id).is_ok() => return Ok(message),
                    Some(Ok(Event::Message(message))) => aside(message),
                    Some(Ok(Event::Paused(_))) => {}
                    Some(Ok(Event::Part { bytes, last })) => {
                        let mut pieces = Pieces::new(limit);
                        pieces.add(&bytes)?;
                        let mut ended = last;
                        while !ended {
                            match stream.next().await {
                                Some(Ok(Event::Part { bytes, last })) => {
                                    pieces.add(&bytes)?;
                                    ended = last;
                                }
                                Some(Err(error)) => return Err(error),
                                _ => return Err(unanswered()),
                            }
                        }
                        return pieces.answer(id);
                    }
                    Some(Err(error)) => return Err(error),
                    None => return Err(unanswered()),
                }
            },
        }
    }
}

async fn hold_json(mut body: JsonBody, id: &str, deadline: Instant) -> Result<Reply, GatewayError> {
    let mut held: Vec<Bytes> = Vec::with_capacity(1);
    let mut bytes = 0;
    while bytes <= HOLD_BYTES {
        let mut next = poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        // Most answers have come whole by now: no timer for them.
        let frame = match (&mut next).now_or_never() {
            Some(frame) => frame,
            None => timeout_at(deadline, next).await.map_err(|_| response_timeout())?,
        };
        match frame {
            Some(frame) => {
                if let Ok(data) = frame?.into_data() {
                    bytes += data.len();
                    held.push(data);
                }
            }
            None => return whole(held, id),
        }
    }
    Ok(Reply::Large(held, body))
}

fn whole(mut held: Vec<Bytes>, id: &str) -> Result<Reply, GatewayError> {
    if held.len() == 1
        && let Some(message) = held.pop()
    {
        check(&message, id)?;
        return Ok(Reply::Message(message));
    }
    if held.is_empty() {
        return Err(bad_answer("the server's answer is empty"));
    }
    let message = concat(&held);
    check(&message, id)?;
    Ok(Reply::Message(message))
}

fn concat(pieces: &[Bytes]) -> Bytes {
    let mut message = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in pieces {
        message.extend_from_slice(piece);
    }
    message.freeze()
}

/// Whether `message` is a JSON-RPC answer to the request `id`.
pub(crate) fn check(message: &[u8], id: &str) -> Result<(), GatewayError> {
    let envelope =
        envelope::decode(message).map_err(|error| bad_answer(format!("the server's answer is malformed: {error}")))?;
    match envelope.kind() {
        MessageKind::Response { error } if envelope.id().map_or(error, |found| same_id(found, id)) => Ok(()),
        MessageKind::Response { .. } => Err(bad_answer("the server answered another request")),
        _ => Err(bad_answer("the server did not answer with a JSON-RPC response")),
    }
}

/// Whether a whole answer is a result rather than an error.
pub(crate) fn is_result(message: &[u8]) -> bool {
    envelope::decode(message).is_ok_and(|envelope| envelope.kind() == MessageKind::Response { error: false })
}

/// An answer that is none.
pub(crate) fn bad_answer(message: impl Into<std::borrow::Cow<'static, str>>) -> GatewayError {
    GatewayError::new(Kind::BadAnswer, message)
}

/// A stream ended too early.
pub(crate) fn unanswered() -> GatewayError {
    bad_answer("the server ended its answer's stream before the answer")
}

/// A large answer being put together, for those that must be read as a whole.
struct Pieces {
    bytes: BytesMut,
    limit: u64,
}

impl Pieces {
    fn new(limit: u64) -> Self {
        Self { bytes: BytesMut::new(), limit }
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), GatewayError> {
        if (self.bytes.len() + piece.len()) as u64 > self.limit {
            let message = format!("the server's answer is larger than the gateway takes here ({} bytes)", self.limit);
            return Err(GatewayError::new(Kind::AnswerTooLarge, message));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn answer(self, id: &str) -> Result<Bytes, GatewayError> {
        check(&self.bytes, id)?;
        Ok(self.bytes.freeze())
    }
}
