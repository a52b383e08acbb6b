//! One HTTP/1.1 connection, driven by whoever holds it.
//!
//! hyper splits a connection into a sender and a driver, and the usual thing is to spawn the driver. Here the holder of the
//! connection polls the driver itself, within its own task: no task switch on the way out, none on the way back, and
//! dropping the holder closes the connection, which is how a client's departure reaches the server. An idle connection is
//! driven by no one; taking it out of the pool polls it once, which notices that the server has closed it.

use super::pool::Permit;
use super::stream::Stream;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::coop;
use tokio::time::Instant;

/// Status line and headers of an answer, in bytes (64 KiB): what the SDKs' servers stay far below.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Read buffer of one connection, in bytes (96 KiB): room for a whole head, and how much of a large answer one read may bring.
/// An idle connection keeps what it grew to, so this is also what hundreds of them may cost.
const MAX_BUFFER_BYTES: usize = 96 * 1024;
/// Bytes that are skipped while waiting for the end of an answer that nobody reads any more (4 KiB): an end of a chunked
/// body, SSE comments. A server that sends more is not worth waiting for.
const MAX_SKIPPED_BYTES: usize = 4 * 1024;

/// What is sent: the gateway's requests are whole before they leave.
pub(super) type Outgoing = Request<Full<Bytes>>;

/// An open connection. It serves one exchange at a time.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    closed: bool,
    /// The rest of an answer that is not read any more but has to end before the connection is free.
    remainder: Option<(Incoming, usize)>,
    /// When an idle connection is no longer worth keeping.
    pub(super) expires: Instant,
    /// How long the server keeps an idle connection, when it says so (`Keep-Alive: timeout=`).
    keep_alive: Option<Duration>,
    /// Which of the addresses behind a name it goes to.
    pub(super) server: Option<SocketAddr>,
    /// Counts against the backend's bound while the connection serves calls.
    pub(super) permit: Option<Permit>,
}

/// A request that did not get an answer.
pub(super) enum Unanswered {
    /// The connection was found closed before anything was written; the request comes back whole.
    Unsent(Box<Outgoing>),
    /// It failed when something may have been written.
    Failed(Broken),
}

/// Why a connection gave nothing more.
#[derive(Debug)]
pub(super) enum Broken {
    /// As hyper says.
    Http(hyper::Error),
    /// It ended without a word.
    Ended,
}

impl Connection {
    /// Starts HTTP on an open stream.
    pub(super) async fn new(stream: Stream, permit: Option<Permit>) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_header_size(MAX_HEAD_BYTES).max_buf_size(MAX_BUFFER_BYTES);
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
        let expires = Instant::now();
        Ok(Self { sender, driver, closed: false, remainder: None, expires, keep_alive: None, server: None, permit })
    }

    /// Does the I/O that can be done now, and registers the task for more.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.closed {
            // An error reaches whoever waits for the head or the body; there it is handled.
            self.closed = Pin::new(&mut self.driver).poll(cx).is_ready();
        }
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(&mut self, request: Outgoing) -> Result<Response<Incoming>, Unanswered> {
        // The answer becomes ready while the driver is polled, in this same task: it needs no wake-up of its own, and must
        // not be held back by the scheduler's budget, whose wake-up would be lost.
        let mut answer = pin!(coop::unconstrained(self.sender.try_send_request(request)));
        let (driver, closed) = (&mut self.driver, &mut self.closed);
        let answered = poll_fn(|cx| {
            if !*closed {
                *closed = Pin::new(&mut *driver).poll(cx).is_ready();
            }
            match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                // hyper answers every request before its driver ends; this would be its mistake, and must not hang.
                Poll::Pending if *closed => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
            }
        })
        .await;
        match answered {
            Some(Ok(answer)) => {
                self.keep_alive = keep_alive(&answer);
                Ok(answer)
            }
            Some(Err(mut error)) => match error.take_message() {
                Some(request) => Err(Unanswered::Unsent(Box::new(request))),
                None => Err(Unanswered::Failed(Broken::Http(error.into_error()))),
            },
            None => Err(Unanswered::Failed(Broken::Ended)),
        }
    }

    /// Reads on in the body of the current answer; `None` is its end. Trailers are skipped.
    pub(super) fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let mut frame = poll_quietly(body);
            if frame.is_pending() {
                self.drive(cx);
                frame = poll_quietly(body);
            }
            match frame {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(Broken::Http(error)))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending if self.closed => return Poll::Ready(Some(Err(Broken::Ended))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Whether the connection can take a request now. Polls it, and so notices that the server has closed it.
    pub(super) fn poll_free(&mut self, cx: &mut Context<'_>) -> Readiness {
        while let Some((mut body, skipped)) = self.remainder.take() {
            match self.poll_body(&mut body, cx) {
                Poll::Ready(None) => {}
                Poll::Ready(Some(Ok(data))) if skipped + data.len() <= MAX_SKIPPED_BYTES => {
                    self.remainder = Some((body, skipped + data.len()));
                }
                Poll::Ready(Some(_)) => return Readiness::Useless,
                Poll::Pending => {
                    self.remainder = Some((body, skipped));
                    return Readiness::Ending;
                }
            }
        }
        self.drive(cx);
        if !self.closed && self.sender.is_ready() { Readiness::Free } else { Readiness::Useless }
    }

    /// Leaves the rest of an answer behind, to be skipped when it comes.
    pub(super) fn leave(&mut self, body: Incoming) {
        self.remainder = Some((body, 0));
    }

    /// How long this connection may idle, at most `limit`.
    pub(super) fn idle_limit(&self, limit: Duration) -> Duration {
        self.keep_alive.map_or(limit, |server| server.min(limit))
    }
}

/// What a connection can be used for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The next request.
    Free,
    /// Nothing yet: the last answer has not quite ended.
    Ending,
    /// Nothing any more.
    Useless,
}

/// Polls the body without asking for a wake-up: only [`Connection::drive`] fills it, and that registers the task.
fn poll_quietly(body: &mut Incoming) -> Poll<Option<Result<hyper::body::Frame<Bytes>, hyper::Error>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// The server's own idle timeout less a second, so that this side closes first: Node's default is 5 s.
fn keep_alive(answer: &Response<Incoming>) -> Option<Duration> {
    let value = answer.headers().get("keep-alive")?.to_str().ok()?;
    let seconds = value.split(',').find_map(|part| part.trim().strip_prefix("timeout="))?;
    Some(Duration::from_secs(seconds.parse::<u64>().ok()?.saturating_sub(1)))
}
