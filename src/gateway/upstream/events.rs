//! A streamed answer: server-sent events from the wire, resumed where the server allows it, or handed over by a session's
//! one stream.

use super::super::error::{GatewayError, Kind};
use super::super::mcp::envelope::{self, Kind as MessageKind};
use super::super::mcp::sse::{Decoder, Item};
use super::super::metrics::AttemptTimer;
use super::body::Body;
use super::http_sse::Registration;
use super::streamable::Streamable;
use super::{Event, failure};
use crate::gateway::HOLD_BYTES;
use crate::ir::ids::ObjectId;
use bytes::Bytes;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// The wait before a stream is resumed when the server names none: what the SDKs' clients wait.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);
/// The longest wait taken from a server: beyond it a call would only seem to be alive.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Streams in a row that may end, or fail to open, without a single event.
const MAX_FRUITLESS: u32 = 5;

/// A streamed answer. Take events until the answer was among them.
///
/// Dropped after the answer, the connection is kept for other calls; dropped before, it is closed, which a modern server
/// takes as the call's cancellation.
pub struct EventStream(Source);

enum Source {
    Http(Box<HttpEvents>),
    Queue(Registration),
}

impl EventStream {
    /// Reads a body. With a session, a stream that the server closes before the answer is resumed.
    pub(super) fn from_body(backend: &ObjectId, body: Body, session: Option<Arc<Streamable>>) -> Self {
        Self(Source::Http(Box::new(HttpEvents {
            backend: backend.clone(),
            state: State::Open(body),
            decoder: Decoder::new(HOLD_BYTES),
            session,
            resume_from: None,
            retry: DEFAULT_RETRY,
            fruitless: 0,
            last: Last::default(),
            timer: None,
        })))
    }

    /// Takes what a session's one stream hands over for this call.
    pub(super) fn from_queue(queue: Registration) -> Self {
        Self(Source::Queue(queue))
    }

    /// Times the attempt until its answer.
    pub(super) fn timed(mut self, timer: AttemptTimer) -> Self {
        match &mut self.0 {
            Source::Http(events) => events.timer = Some(timer),
            Source::Queue(queue) => queue.timer = Some(timer),
        }
        self
    }

    /// The next event; `None` when the stream has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Result<Event, GatewayError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next event, as [`next`](Self::next).
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, GatewayError>>> {
        match &mut self.0 {
            Source::Http(events) => events.poll_next(cx),
            Source::Queue(queue) => queue.poll_next(cx),
        }
    }
}

/// Whether a message is an answer to a request. Of an answer's stream, the last such message ends it.
pub(super) fn is_answer(message: &[u8]) -> bool {
    envelope::decode(message).is_ok_and(|envelope| matches!(envelope.kind(), MessageKind::Response { .. }))
}

struct HttpEvents {
    backend: ObjectId,
    state: State,
    decoder: Decoder,
    /// Present when the stream may be resumed.
    session: Option<Arc<Streamable>>,
    /// The last event id of the streams before this one.
    resume_from: Option<Box<str>>,
    retry: Duration,
    fruitless: u32,
    last: Last,
    timer: Option<AttemptTimer>,
}

enum State {
    Open(Body),
    Waiting(Pin<Box<Sleep>>),
    Resuming(Pin<Box<dyn Future<Output = Result<Body, GatewayError>> + Send>>),
    Ended,
}

/// What was handed out last.
#[derive(Default)]
enum Last {
    #[default]
    Nothing,
    Message(Bytes),
    /// A piece with more to come.
    Partial,
    /// The last piece of a message too large to be anything but an answer.
    Large,
}

impl HttpEvents {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, GatewayError>>> {
        loop {
            match self.next_decoded() {
                Ok(None) => {}
                Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Err(error) => return self.fail(error),
            }
            match &mut self.state {
                State::Open(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(chunk)) => self.decoder.push(chunk),
                    Some(Err(error)) => return self.interrupted(Some(error)),
                    None => return self.interrupted(None),
                },
                State::Waiting(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    self.state = self.resume();
                }
                State::Resuming(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(body) => {
                        self.decoder = Decoder::new(HOLD_BYTES);
                        self.state = State::Open(body);
                    }
                    Err(error) if error.kind == Kind::SessionLost => return self.fail(error),
                    Err(error) => return self.interrupted(Some(error)),
                },
                State::Ended => return Poll::Ready(None),
            }
        }
    }

    /// The next event among the bytes that have come.
    fn next_decoded(&mut self) -> Result<Option<Event>, GatewayError> {
        loop {
            let item = self.decoder.next_item().map_err(|error| {
                failure::bad_answer(&self.backend, &format!("sent a malformed event stream: {error}"))
            })?;
            match item {
                None => return Ok(None),
                Some(Item::Retry(wait)) => self.retry = wait.min(MAX_RETRY),
                Some(Item::Part { bytes, last, .. }) => {
                    self.fruitless = 0;
                    self.last = if last { Last::Large } else { Last::Partial };
                    return Ok(Some(Event::Part { bytes, last }));
                }
                Some(Item::Event(event)) => {
                    self.fruitless = 0;
                    // An event without data only sets the id to resume from; other names are not of this protocol.
                    if !event.data.is_empty() && event.name.is_none_or(|name| &*name == "message") {
                        self.last = Last::Message(event.data.clone());
                        return Ok(Some(Event::Message(event.data)));
                    }
                }
            }
        }
    }

    /// The stream ended. That is its end if the answer came; else it is resumed, if that is possible.
    fn interrupted(&mut self, error: Option<GatewayError>) -> Poll<Option<Result<Event, GatewayError>>> {
        if self.is_answered() {
            self.end(None);
            return Poll::Ready(None);
        }
        if let Some(id) = self.decoder.last_event_id() {
            self.resume_from = Some(id.into());
        }
        let resumable = self.session.is_some() && self.resume_from.is_some() && !matches!(self.last, Last::Partial);
        if resumable && self.fruitless < MAX_FRUITLESS {
            let wait = (self.retry * (1 << self.fruitless)).min(MAX_RETRY.max(self.retry));
            self.fruitless += 1;
            self.state = State::Waiting(Box::pin(sleep(wait)));
            return Poll::Ready(Some(Ok(Event::Paused(wait))));
        }
        if let Some(error) = error {
            return self.fail(error);
        }
        self.end(Some(Kind::ConnectionReset));
        Poll::Ready(None)
    }

    fn resume(&self) -> State {
        match (&self.session, &self.resume_from) {
            (Some(session), Some(id)) => {
                let (session, id) = (Arc::clone(session), id.clone());
                State::Resuming(Box::pin(async move { session.resume(&id).await }))
            }
            _ => State::Ended,
        }
    }

    fn fail(&mut self, error: GatewayError) -> Poll<Option<Result<Event, GatewayError>>> {
        self.end(Some(error.kind));
        Poll::Ready(Some(Err(error)))
    }

    fn end(&mut self, failure: Option<Kind>) {
        self.state = State::Ended;
        if let Some(mut timer) = self.timer.take() {
            if let Last::Message(answer) = &self.last {
                timer.saw(answer);
            }
            match failure {
                None => timer.ok(),
                Some(kind) => timer.failed(kind),
            }
        }
    }

    fn is_answered(&self) -> bool {
        match &self.last {
            Last::Message(message) => is_answer(message),
            Last::Large => true,
            Last::Nothing | Last::Partial => false,
        }
    }
}

impl Drop for HttpEvents {
    fn drop(&mut self) {
        if let State::Open(_) = self.state
            && self.is_answered()
        {
            if let State::Open(body) = std::mem::replace(&mut self.state, State::Ended) {
                body.finish();
            }
            self.end(None);
        }
    }
}
