//! Passing a server's event stream on to the client.
//!
//! To a legacy client through a log that outlives the connection ([`relay_to_log`]); to a modern client straight through
//! ([`EventRelay`]), where a lost connection is the call's end.

use super::body::{Deadline, InFlight, KeepAlive};
use crate::gateway::adapter::legacy::From;
use crate::gateway::adapter::modern::AnswerEdits;
use crate::gateway::adapter::reply::{bad_answer, unanswered};
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::{self, Kind as MessageKind};
use crate::gateway::mcp::peek::peek;
use crate::gateway::mcp::splice::same_id;
use crate::gateway::mcp::sse_write::EventWriter;
use crate::gateway::mcp::{message, sse_write};
use crate::gateway::metrics::RequestTimer;
use crate::gateway::session::inbound::{self, Admitted};
use crate::gateway::session::log::EventLog;
use crate::gateway::upstream::{Event, EventStream, JsonBody};
use bytes::Bytes;
use http_body::Body as _;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// How often a deadline that passed while the client is being asked something is looked at again.
const ASKED_AGAIN: Duration = Duration::from_secs(1);

/// A server took too long for its whole answer.
pub(crate) fn response_timeout() -> GatewayError {
    GatewayError::new(Kind::ResponseTimeout, "the server did not finish its answer in time")
}

/// A call of a legacy client whose answer streams.
pub(crate) struct LegacyCall {
    /// The request's id, as JSON text.
    pub(crate) id: String,
    pub(crate) from: From,
    /// Whether this client resumes streams that the server pauses (2025-11-25).
    pub(crate) resumes: bool,
    pub(crate) timer: Option<RequestTimer>,
}

/// Passes a stream on until the call's answer, which is always written: the server's, or the error that stands for it.
pub(crate) async fn relay_to_log(mut call: LegacyCall, mut stream: EventStream, log: &Arc<EventLog>) {
    let outcome = relay(&mut call, &mut stream, log).await;
    let timer = call.timer.take();
    match outcome {
        Ok(()) => {
            if let Some(timer) = timer {
                timer.ok();
            }
        }
        // The client took the call back: it expects nothing more, and the dropped timer counts it so.
        Err(error) if error.kind == Kind::Cancelled => {}
        Err(error) => {
            log.write(&message::error(Some(&call.id), &error)).await;
            if let Some(timer) = timer {
                timer.failed(error.kind);
            }
        }
    }
}

async fn relay(call: &mut LegacyCall, stream: &mut EventStream, log: &Arc<EventLog>) -> Result<(), GatewayError> {
    let budget = call.from.deadline.saturating_duration_since(Instant::now());
    let mut deadline = call.from.deadline;
    let mut asked = false;
    loop {
        let event = tokio::select! {
            biased;
            event = stream.next() => event,
            () = call.from.call.cancelled().cancelled() => return Err(inbound::cancelled()),
            () = tokio::time::sleep_until(deadline) => {
                // Time in which a person thinks does not count; after the answer the server has its whole time again.
                if call.from.call.session().questions.any_open() {
                    asked = true;
                    deadline = Instant::now() + ASKED_AGAIN;
                } else if std::mem::take(&mut asked) {
                    deadline = Instant::now() + budget;
                } else {
                    return Err(response_timeout());
                }
                continue;
            }
        };
        match event {
            Some(Ok(Event::Message(message))) => {
                if pass(call, &message, log).await? {
                    return Ok(());
                }
            }
            Some(Ok(Event::Part { bytes, last })) => {
                return pass_large(call, stream, log, bytes, last).await;
            }
            Some(Ok(Event::Paused(wait))) => {
                if call.resumes {
                    log.write_once(sse_write::retry(wait)).await;
                    log.pause().await;
                }
            }
            Some(Err(error)) => return Err(error),
            None => return Err(unanswered()),
        }
    }
}

/// Passes one message on; true when it was the answer.
async fn pass(call: &mut LegacyCall, message: &Bytes, log: &Arc<EventLog>) -> Result<bool, GatewayError> {
    let envelope =
        envelope::decode(message).map_err(|error| bad_answer(format!("the server's answer is malformed: {error}")))?;
    if matches!(envelope.kind(), MessageKind::Response { .. }) {
        let ours = envelope.id().is_some_and(|id| same_id(id, &call.id));
        if ours {
            log.write(message).await;
            if let Some(timer) = call.timer.take() {
                timer.answered(message);
            }
        }
        return Ok(ours);
    }
    let (session, server) = (call.from.call.session(), &call.from.server);
    match inbound::admit(session, server, message, &envelope) {
        Admitted::Forward(message) => log.write(&message).await,
        Admitted::AfterRefresh(kind, message) => inbound::refresh_then_offer(session, server, kind, message, log),
        Admitted::Done => {}
    }
    Ok(false)
}

/// Passes a message on in pieces: only an answer may be so large.
async fn pass_large(
    call: &LegacyCall,
    stream: &mut EventStream,
    log: &Arc<EventLog>,
    first: Bytes,
    mut last: bool,
) -> Result<(), GatewayError> {
    if peek(&first).method.is_some() {
        return Err(bad_answer("the server sent a request or notification of more than 256 KiB"));
    }
    let (mut writer, head) = EventWriter::begin(None, Some("message"));
    log.write_once(head).await;
    log.write_once(writer.piece(first)).await;
    while !last {
        let failure = match tokio::time::timeout_at(call.from.deadline, stream.next()).await {
            Ok(Some(Ok(Event::Part { bytes, last: end }))) => {
                log.write_once(writer.piece(bytes)).await;
                last = end;
                continue;
            }
            Ok(Some(Err(error))) => error,
            Ok(_) => unanswered(),
            Err(_) => response_timeout(),
        };
        // The head is out: all that can be done is to end this event, unreadable, and say why in the next.
        log.write_once(writer.end()).await;
        return Err(failure);
    }
    log.write_once(writer.end()).await;
    if log.pieces_read().await { Ok(()) } else { Err(lost_in_pieces()) }
}

/// The client's connection broke within an answer too large to be kept for another one.
fn lost_in_pieces() -> GatewayError {
    GatewayError::new(
        Kind::AnswerTooLarge,
        "the connection broke during an answer too large to be sent again (256 KiB)",
    )
}

/// Writes a large JSON answer as one event.
pub(crate) async fn write_large(
    held: Vec<Bytes>,
    mut rest: JsonBody,
    deadline: Instant,
    log: &Arc<EventLog>,
) -> Result<(), GatewayError> {
    let (mut writer, begin) = EventWriter::begin(None, Some("message"));
    log.write_once(begin).await;
    for piece in held {
        log.write_once(writer.piece(piece)).await;
    }
    loop {
        let frame = tokio::time::timeout_at(deadline, poll_fn(|context| Pin::new(&mut rest).poll_frame(context))).await;
        let failure = match frame {
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    log.write_once(writer.piece(data)).await;
                }
                continue;
            }
            Ok(None) => None,
            Ok(Some(Err(error))) => Some(error),
            Err(_) => Some(response_timeout()),
        };
        log.write_once(writer.end()).await;
        return failure.map_or(Ok(()), Err);
    }
}

/// A modern server's stream as a response body.
pub(crate) struct EventRelay {
    stream: EventStream,
    id: String,
    edits: AnswerEdits,
    deadline: Deadline,
    keep_alive: KeepAlive,
    ready: VecDeque<Bytes>,
    /// The answer, when it is too large to be looked at as a whole.
    large: Option<EventWriter>,
    ended: bool,
    in_flight: InFlight,
}

impl EventRelay {
    pub(crate) fn new(
        stream: EventStream,
        id: &str,
        edits: AnswerEdits,
        deadline: Instant,
        in_flight: InFlight,
    ) -> Self {
        Self {
            stream,
            id: id.to_owned(),
            edits,
            deadline: Deadline::new(deadline),
            keep_alive: KeepAlive::default(),
            ready: VecDeque::new(),
            large: None,
            ended: false,
            in_flight,
        }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(frame) = self.ready.pop_front() {
                self.keep_alive.reset();
                return Poll::Ready(Some(frame));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match self.stream.poll_next(context) {
                Poll::Ready(event) => self.take(event),
                Poll::Pending => {
                    if self.deadline.poll(context).is_ready() {
                        self.fail(&response_timeout());
                        continue;
                    }
                    return Poll::Ready(Some(ready!(self.keep_alive.poll(context))));
                }
            }
        }
    }

    fn take(&mut self, event: Option<Result<Event, GatewayError>>) {
        match event {
            Some(Ok(Event::Message(message))) => self.message(&message),
            Some(Ok(Event::Part { bytes, last })) => self.part(bytes, last),
            // Modern streams cannot be resumed; the upstream does not pause them.
            Some(Ok(Event::Paused(_))) => {}
            Some(Err(error)) => self.fail(&error),
            None => self.fail(&unanswered()),
        }
    }

    fn message(&mut self, message: &Bytes) {
        let edited = envelope::decode(message)
            .map_err(|error| bad_answer(format!("the server's answer is malformed: {error}")))
            .and_then(|envelope| {
                let answer = matches!(envelope.kind(), MessageKind::Response { .. });
                Ok((answer, self.edits.apply(message, &envelope)?))
            });
        match edited {
            Ok((answer, message)) => {
                self.ready.push_back(sse_write::event(None, Some("message"), &message));
                if answer {
                    self.ended = true;
                    self.in_flight.answered(&message);
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    fn part(&mut self, bytes: Bytes, last: bool) {
        let mut event = self.large.take().unwrap_or_else(|| {
            let (event, head) = EventWriter::begin(None, Some("message"));
            self.ready.push_back(head);
            event
        });
        self.ready.push_back(event.piece(bytes));
        if last {
            self.ready.push_back(event.end());
            self.ended = true;
            self.in_flight.ok();
        } else {
            self.large = Some(event);
        }
    }

    fn fail(&mut self, error: &GatewayError) {
        if let Some(event) = self.large.take() {
            self.ready.push_back(event.end());
        }
        self.ready.push_back(sse_write::event(None, Some("message"), &message::error(Some(&self.id), error)));
        self.ended = true;
        self.in_flight.failed(error.kind);
    }
}
