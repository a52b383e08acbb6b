//! The body of an answer, together with the connection it comes over.

use super::super::error::{GatewayError, Kind};
use super::super::metrics::AttemptTimer;
use super::failure;
use super::pool::Lease;
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::body::{Body as _, Incoming};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body being read. At its end the connection goes back to the pool; dropped before, the connection is closed.
pub(super) struct Body(Option<(Incoming, Lease)>);

impl Body {
    pub(super) fn new(incoming: Incoming, lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.give_back();
            return Self(None);
        }
        Self(Some((incoming, lease)))
    }

    /// The next piece; `None` is the end.
    pub(super) fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, GatewayError>>> {
        let Some((incoming, lease)) = &mut self.0 else { return Poll::Ready(None) };
        match lease.connection().poll_body(incoming, cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(data))) => {
                // A body of known length has ended with its last byte; waiting to be told would keep the connection longer.
                if incoming.is_end_stream() {
                    self.give_back();
                }
                Poll::Ready(Some(Ok(data)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = failure::broken(lease.backend(), &error);
                self.0 = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => {
                self.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn give_back(&mut self) {
        if let Some((_ended, lease)) = self.0.take() {
            lease.give_back();
        }
    }

    /// Whether all of it has been read.
    pub(super) fn is_ended(&self) -> bool {
        self.0.is_none()
    }

    /// Nothing more is wanted: the connection is kept if the body ends at once or soon.
    pub(super) fn finish(self) {
        if let Some((incoming, lease)) = self.0 {
            lease.give_back_ending(incoming);
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(incoming, _)| incoming.size_hint())
    }

    /// Reads to the end, at most `max` bytes.
    pub(super) async fn collect(mut self, max: usize) -> Result<Bytes, GatewayError> {
        let too_large = |max: usize| GatewayError::new(Kind::AnswerTooLarge, format!("the answer exceeds {max} bytes"));
        if self.size_hint().lower() > max as u64 {
            return Err(too_large(max));
        }
        let Some(first) = poll_fn(|cx| self.poll_data(cx)).await.transpose()? else { return Ok(Bytes::new()) };
        if first.len() > max {
            return Err(too_large(max));
        }
        if self.0.is_none() {
            return Ok(first);
        }
        let mut all = BytesMut::from(first);
        while let Some(data) = poll_fn(|cx| self.poll_data(cx)).await.transpose()? {
            if all.len() + data.len() > max {
                return Err(too_large(max));
            }
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    }
}

/// A JSON answer: one JSON-RPC message, as bytes as they come.
///
/// Dropped before its end, the connection is closed, which a modern server takes as the call's cancellation.
pub struct JsonBody {
    body: Body,
    timer: Option<AttemptTimer>,
}

impl JsonBody {
    pub(super) fn new(body: Body) -> Self {
        Self { body, timer: None }
    }

    /// Times the attempt until the message's end.
    pub(super) fn timed(mut self, timer: AttemptTimer) -> Self {
        self.timer = Some(timer);
        self.note_end();
        self
    }

    /// Reads the whole message, at most `max` bytes.
    pub async fn collect(self, max: usize) -> Result<Bytes, GatewayError> {
        let collected = self.body.collect(max).await;
        if let Some(mut timer) = self.timer {
            match &collected {
                Ok(whole) => {
                    timer.saw(whole);
                    timer.ok();
                }
                Err(error) => timer.failed(error.kind),
            }
        }
        collected
    }

    fn note_end(&mut self) {
        if self.body.is_ended()
            && let Some(timer) = self.timer.take()
        {
            timer.ok();
        }
    }
}

impl http_body::Body for JsonBody {
    type Data = Bytes;
    type Error = GatewayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let data = ready!(self.body.poll_data(cx));
        match &data {
            Some(Ok(piece)) => self.timer.iter_mut().for_each(|timer| timer.saw(piece)),
            Some(Err(error)) => self.timer.take().into_iter().for_each(|timer| timer.failed(error.kind)),
            None => {}
        }
        self.note_end();
        Poll::Ready(data.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
