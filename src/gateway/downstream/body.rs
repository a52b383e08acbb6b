//! Bodies of the gateway's answers.

use super::relay::EventRelay;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::sse_write;
use crate::gateway::metrics::{OpenStream, RequestTimer};
use crate::gateway::peers::forward::ForwardedBody;
use crate::gateway::session::live::CallGuard;
use crate::gateway::session::log::LogReader;
use crate::gateway::upstream::JsonBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::DropGuard;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Between two comments on a silent event stream: shorter than the idle timeouts of common load balancers (60 s) by far.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What follows an answer's headers. Each variant is polled in place: no task, no copy.
#[derive(Default)]
#[allow(private_interfaces)] // only this crate makes the streaming ones
pub enum ResponseBody {
    /// Nothing.
    #[default]
    Empty,
    /// Everything at once.
    Full(Bytes),
    /// A JSON answer from upstream.
    Json(JsonRelay),
    /// A session's event stream.
    Log(LogBody),
    /// A modern server's event stream, edited as it passes.
    Events(Box<EventRelay>),
    /// Another replica's answer.
    Forwarded(Box<ForwardedBody>),
    /// An answer to another replica's client, which this replica waits for before it ends.
    Held(Box<(Self, TaskTrackerToken)>),
}

impl ResponseBody {
    /// Keeps `token` until the answer has been sent, or its receiver has left.
    pub(crate) fn held_with(self, token: TaskTrackerToken) -> Self {
        Self::Held(Box::new((self, token)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        let body = self.get_mut();
        match body {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *body = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Json(relay) => relay.poll(context),
            Self::Log(log) => log.poll(context).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Events(relay) => relay.poll(context).map(|frame| frame.map(|bytes| Ok(Frame::data(bytes)))),
            Self::Forwarded(answer) => answer.poll(context),
            Self::Held(held) => Pin::new(&mut held.0).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Forwarded(answer) => answer.is_end_stream(),
            Self::Held(held) => held.0.is_end_stream(),
            other => matches!(other, Self::Empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Json(relay) => relay.size_hint(),
            Self::Forwarded(answer) => answer.size_hint(),
            Self::Held(held) => held.0.size_hint(),
            Self::Log(_) | Self::Events(_) => SizeHint::default(),
        }
    }
}

/// A JSON answer in pieces: what was held of it, then the rest as it comes.
pub(crate) struct JsonRelay {
    held: VecDeque<Bytes>,
    held_bytes: u64,
    rest: JsonBody,
    deadline: Deadline,
    /// The call is in flight for as long as its answer is.
    in_flight: InFlight,
}

/// What lasts as long as an answer does.
#[derive(Default)]
pub(crate) struct InFlight {
    /// The legacy call that is answered.
    pub(crate) call: Option<CallGuard>,
    /// Times the request to the end of its answer.
    pub(crate) timer: Option<RequestTimer>,
    /// Counts the stream, if it is one.
    pub(crate) _stream: Option<OpenStream>,
}

impl InFlight {
    /// The answer went out whole.
    pub(crate) fn ok(&mut self) {
        self.call = None;
        if let Some(timer) = self.timer.take() {
            timer.ok();
        }
    }

    /// This answer went out whole.
    pub(crate) fn answered(&mut self, answer: &[u8]) {
        self.call = None;
        if let Some(timer) = self.timer.take() {
            timer.answered(answer);
        }
    }

    /// The answer ended in an error.
    pub(crate) fn failed(&mut self, kind: Kind) {
        self.call = None;
        if let Some(timer) = self.timer.take() {
            timer.failed(kind);
        }
    }
}

impl JsonRelay {
    pub(crate) fn new(held: Vec<Bytes>, rest: JsonBody, deadline: Instant, in_flight: InFlight) -> Self {
        let held_bytes = held.iter().map(|frame| frame.len() as u64).sum();
        Self { held: held.into(), held_bytes, rest, deadline: Deadline::new(deadline), in_flight }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        if let Some(bytes) = self.held.pop_front() {
            self.held_bytes -= bytes.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        let frame = match Pin::new(&mut self.rest).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.deadline.poll(context));
                Some(Err(super::relay::response_timeout()))
            }
        };
        match &frame {
            None => self.in_flight.ok(),
            Some(Err(error)) => self.in_flight.failed(error.kind),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest.size_hint().exact() {
            Some(rest) => SizeHint::with_exact(self.held_bytes + rest),
            None => SizeHint::default(),
        }
    }
}

/// A session's event stream, with comments while it is silent.
pub(crate) struct LogBody {
    first: Option<Bytes>,
    reader: LogReader,
    keep_alive: KeepAlive,
    _open: OpenStream,
    /// Tells whoever writes the log that the client is gone.
    _guard: Option<DropGuard>,
}

impl LogBody {
    /// Reads `reader`, after `first` (a priming event, an endpoint event).
    pub(crate) fn new(first: Option<Bytes>, reader: LogReader, open: OpenStream) -> Self {
        Self { first, reader, keep_alive: KeepAlive::default(), _open: open, _guard: None }
    }

    /// Cancels a token when the body is dropped, be it read to its end or not.
    pub(crate) fn with_guard(self, guard: DropGuard) -> Self {
        Self { _guard: Some(guard), ..self }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        match self.reader.poll_frame(context) {
            Poll::Pending => self.keep_alive.poll(context).map(Some),
            Poll::Ready(frame) => {
                self.keep_alive.reset();
                Poll::Ready(frame)
            }
        }
    }
}

/// Yields a comment whenever a stream was silent for [`KEEP_ALIVE`].
#[derive(Default)]
pub(crate) struct KeepAlive {
    sleep: Option<Pin<Box<Sleep>>>,
    spoke: bool,
}

impl KeepAlive {
    /// The stream spoke: the silence starts anew. Costs nothing; the timer is moved when it fires.
    pub(crate) fn reset(&mut self) {
        self.spoke = true;
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(KEEP_ALIVE)));
        loop {
            ready!(sleep.as_mut().poll(context));
            sleep.as_mut().reset(Instant::now() + KEEP_ALIVE);
            if !std::mem::take(&mut self.spoke) {
                return Poll::Ready(sse_write::KEEP_ALIVE);
            }
        }
    }
}

/// A point in time, with a timer made only when somebody has to wait for it.
pub(crate) struct Deadline {
    at: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    pub(crate) fn new(at: Instant) -> Self {
        Self { at, sleep: None }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at))).as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::metrics::Metrics;
    use crate::gateway::session::log::EventLog;
    use http_body_util::BodyExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_is_kept_open_by_comments() {
        let log = EventLog::new(0);
        let mut body = ResponseBody::Log(LogBody::new(
            Some(Bytes::from_static(b"first")),
            log.read(),
            Metrics::new().unwrap().open_stream(),
        ));
        let mut next = async || body.frame().await.map(|frame| frame.unwrap().into_data().unwrap());
        assert_eq!(next().await.unwrap(), "first");
        let start = Instant::now();
        assert_eq!(next().await.unwrap(), sse_write::KEEP_ALIVE);
        assert_eq!(start.elapsed(), KEEP_ALIVE);
        log.finish();
        assert_eq!(next().await, None);
    }
}
