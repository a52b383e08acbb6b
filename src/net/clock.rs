//! How long a connection may take for what it is doing: send its headers, or nothing at all.
//!
//! hyper's own timer cannot tell a client that trickles its headers from one that keeps an idle connection open, and sets a
//! timer per request. This one takes a timer per connection and a store per change of phase.

use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// How long a connection stays open between requests. Longer than the 60 s after which the usual proxies and load balancers
/// drop theirs, so that the side that sends requests is the one that closes.
const KEEP_ALIVE: Duration = Duration::from_secs(300);

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The headers of a request are coming, or the connection is new.
    Headers = 0,
    /// A request is being answered.
    Busy = 1,
    /// Between requests.
    Idle = 2,
}

/// The phase of a connection, and since when.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// Milliseconds since `start`, and the phase in the last two bits.
    since: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), since: AtomicU64::new(Phase::Headers as u64) })
    }

    fn enter(&self, phase: Phase) {
        // A connection does not live 500 million years.
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 2);
        self.since.store(millis << 2 | phase as u64, Ordering::Relaxed);
    }

    fn phase(&self) -> (Phase, Instant) {
        let since = self.since.load(Ordering::Relaxed);
        let phase = match since & 3 {
            0 => Phase::Headers,
            1 => Phase::Busy,
            _ => Phase::Idle,
        };
        (phase, self.start + Duration::from_millis(since >> 2))
    }

    /// When to look again, or `None` if the time is over.
    pub(crate) fn check(&self, headers_within: Duration) -> Option<Instant> {
        let now = Instant::now();
        let (phase, since) = self.phase();
        let deadline = match phase {
            Phase::Busy => return Some(now + headers_within),
            Phase::Headers => since + headers_within,
            Phase::Idle => since + KEEP_ALIVE,
        };
        // Headers may begin while the connection sleeps as an idle one.
        (deadline > now).then(|| deadline.min(now + headers_within))
    }

    /// A request's headers are complete.
    pub(crate) fn busy(&self) {
        self.enter(Phase::Busy);
    }
}

/// Tells the clock when the first bytes of a request come.
pub(crate) struct ClockedIo<T> {
    io: T,
    clock: Arc<Clock>,
}

impl<T> ClockedIo<T> {
    pub(crate) fn new(io: T, clock: Arc<Clock>) -> Self {
        Self { io, clock }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ClockedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before && self.clock.phase().0 == Phase::Idle {
            self.clock.enter(Phase::Headers);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for ClockedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Tells the clock when an answer is out.
pub(crate) struct ClockedBody<B> {
    body: B,
    clock: Arc<Clock>,
}

impl<B> ClockedBody<B> {
    pub(crate) fn new(body: B, clock: Arc<Clock>) -> Self {
        Self { body, clock }
    }
}

impl<B> Drop for ClockedBody<B> {
    fn drop(&mut self) {
        self.clock.enter(Phase::Idle);
    }
}

impl<B: Body + Unpin> Body for ClockedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn headers_have_their_time_and_answers_have_any() {
        let clock = Clock::new();
        assert_eq!(clock.check(LIMIT), Some(clock.start + LIMIT));
        tokio::time::advance(LIMIT).await;
        assert_eq!(clock.check(LIMIT), None);
        clock.busy();
        tokio::time::advance(LIMIT * 100).await;
        assert_eq!(clock.check(LIMIT), Some(Instant::now() + LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_stays_longer_and_new_headers_have_their_own_time() {
        let clock = Clock::new();
        drop(ClockedBody::new((), Arc::clone(&clock)));
        tokio::time::advance(KEEP_ALIVE / 2).await;
        assert!(clock.check(LIMIT).is_some());

        let mut io = ClockedIo::new(&b"POST /"[..], Arc::clone(&clock));
        tokio::io::AsyncReadExt::read_u8(&mut io).await.unwrap();
        tokio::time::advance(LIMIT / 2).await;
        tokio::io::AsyncReadExt::read_u8(&mut io).await.unwrap();
        assert!(clock.check(LIMIT).is_some(), "the time runs from the first byte");
        tokio::time::advance(LIMIT / 2).await;
        assert_eq!(clock.check(LIMIT), None, "and does not start again with each");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_in_the_end() {
        let clock = Clock::new();
        drop(ClockedBody::new((), Arc::clone(&clock)));
        tokio::time::advance(KEEP_ALIVE).await;
        assert_eq!(clock.check(LIMIT), None);
    }
}
