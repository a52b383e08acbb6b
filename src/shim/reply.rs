//! HTTP answers: one JSON document, or an event stream that ends with the response.

use super::ShimError;
use super::link;
use super::message::{self, Message, PROCESS_FAILED};
use super::outlet::{Inlet, Said};
use super::routes::Refusal;
use super::session::Call;
use crate::gateway::mcp::sse_write;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use std::any::Any;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The header that names a session.
pub(super) const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");

/// Whatever must live exactly as long as the answer.
pub(super) type Hold = Box<dyn Any + Send>;

pub(super) type Reply = Response<ReplyBody>;

/// The body of an answer.
pub(super) enum ReplyBody {
    /// All of it; taken when sent.
    Whole(Option<Bytes>),
    /// Server-sent events.
    Events {
        /// What goes before the inlet's messages.
        first: VecDeque<Bytes>,
        inlet: Inlet,
        ended: bool,
        _hold: Hold,
    },
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events { first, inlet, ended, .. } => {
                if let Some(message) = first.pop_front() {
                    return Poll::Ready(Some(Ok(Frame::data(sse_write::event(None, None, &message)))));
                }
                if *ended {
                    return Poll::Ready(None);
                }
                inlet.poll_next(context).map(|said| {
                    let (Said::More(message) | Said::Last(message)) = match said? {
                        said @ Said::More(_) => said,
                        said @ Said::Last(_) => {
                            *ended = true;
                            said
                        }
                    };
                    Some(Ok(Frame::data(sse_write::event(None, None, &message))))
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Events { first, ended, .. } => *ended && first.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Events { .. } => SizeHint::default(),
        }
    }
}

pub(super) fn with_type(status: StatusCode, content_type: &'static str, body: ReplyBody) -> Reply {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// One JSON document.
pub(super) fn json(status: StatusCode, body: Bytes) -> Reply {
    with_type(status, "application/json", ReplyBody::Whole(Some(body)))
}

/// A line for people and probes.
pub(super) fn text(status: StatusCode, line: &str) -> Reply {
    with_type(status, "text/plain; charset=utf-8", ReplyBody::Whole(Some(format!("{line}\n").into())))
}

/// No body.
pub(super) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(ReplyBody::Whole(None));
    *reply.status_mut() = status;
    reply
}

/// An event stream that begins with `first` and goes on with what comes in.
pub(super) fn events(first: impl IntoIterator<Item = Bytes>, inlet: Inlet, hold: Hold) -> Reply {
    let body = ReplyBody::Events { first: first.into_iter().collect(), inlet, ended: false, _hold: hold };
    let mut reply = with_type(StatusCode::OK, "text/event-stream", body);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}

/// Answers with what the child says first: its response as JSON under `status`, or, if something else comes before, an event
/// stream that ends with the response.
pub(super) async fn relay(id: Option<&str>, call: Call, status: impl FnOnce(&Message) -> StatusCode) -> Reply {
    let Call { mut inlet, hold } = call;
    match inlet.next().await {
        Some(Said::More(first)) => events([first], inlet, hold),
        Some(Said::Last(answer)) => {
            let status = Message::decode(answer.clone()).map_or(StatusCode::OK, |answer| status(&answer));
            json(status, answer)
        }
        None => json(StatusCode::OK, link::cut_off(id)),
    }
}

/// A mistake of the client, as a JSON-RPC error.
pub(super) fn refuse(status: StatusCode, id: Option<&str>, code: i32, text: &str) -> Reply {
    let mut reply = json(status, message::error(id, code, text, None));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    }
    reply
}

/// No session of this id, or its child is gone: the client begins a new one.
pub(super) fn session_not_found(id: Option<&str>) -> Reply {
    refuse(StatusCode::NOT_FOUND, id, -32600, "no such session: initialize again")
}

/// The server cannot take the request; nothing has reached it.
pub(super) fn unavailable(id: Option<&str>, error: &ShimError) -> Reply {
    let data = Some(r#"{"kind":"process_failed","retry":"safe"}"#);
    let mut reply = json(StatusCode::SERVICE_UNAVAILABLE, message::error(id, PROCESS_FAILED, &error.to_string(), data));
    if let ShimError::Crashing { pause, .. } = error {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from(pause.as_secs() + 1));
    }
    reply
}

impl From<Refusal> for ShimError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Dead | Refusal::StreamTaken => Self::Gone,
            Refusal::Full => Self::TooManyRequests,
        }
    }
}
