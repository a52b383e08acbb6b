//! The stream on which a Streamable HTTP server speaks unasked, kept open for as long as its session lives.

use super::super::error::{GatewayError, Kind};
use super::super::mcp::sse::{Decoder, Item};
use super::SessionSink;
use super::body::Body;
use super::failure;
use super::streamable::Streamable;
use crate::gateway::HOLD_BYTES;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The first wait before the stream is opened again.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait. Servers that are back are found within it.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A stream that lived this long was a good one: the next wait is the shortest again.
const GOOD_STREAM: Duration = Duration::from_secs(30);

/// Hears what a server says of its own accord, until told to stop.
pub(super) struct Ear {
    session: Arc<Streamable>,
    sink: Arc<dyn SessionSink>,
    /// Messages beyond this many bytes are dropped.
    max_message: usize,
    listening: Mutex<Option<Listening>>,
}

struct Listening {
    stop: CancellationToken,
    /// Yields the last event's id.
    task: JoinHandle<Option<String>>,
}

impl Ear {
    /// Listens from now on, or from the event after `last_event_id`.
    pub(super) fn open(
        session: Arc<Streamable>,
        sink: Arc<dyn SessionSink>,
        max_message: usize,
        last_event_id: Option<String>,
    ) -> Self {
        let ear = Self { session, sink, max_message, listening: Mutex::default() };
        ear.listen(last_event_id);
        ear
    }

    /// Listens, after having stopped.
    pub(super) fn listen(&self, last_event_id: Option<String>) {
        let stop = CancellationToken::new();
        let (session, sink) = (Arc::clone(&self.session), Arc::clone(&self.sink));
        let listener = Listener { session, sink, max_message: self.max_message, last_event_id, retry: None };
        let task = tokio::spawn(listen(listener, stop.clone()));
        *self.listening.lock() = Some(Listening { stop, task });
    }

    /// Stops, so that another may listen, and says which event was the last.
    pub(super) async fn stop(&self) -> Option<String> {
        let Listening { stop, task } = self.listening.lock().take()?;
        stop.cancel();
        task.await.ok().flatten()
    }

    /// Stops for good.
    pub(super) fn close(&self) {
        if let Some(listening) = self.listening.lock().take() {
            listening.stop.cancel();
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.close();
    }
}

async fn listen(mut listener: Listener, stop: CancellationToken) -> Option<String> {
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = listener.run() => {}
    }
    listener.last_event_id
}

struct Listener {
    session: Arc<Streamable>,
    sink: Arc<dyn SessionSink>,
    /// Messages beyond this many bytes are dropped.
    max_message: usize,
    last_event_id: Option<String>,
    retry: Option<Duration>,
}

impl Listener {
    fn backend(&self) -> &crate::ir::ids::ObjectId {
        self.session.endpoint.backend()
    }

    /// Hands what the server says to the sink until the session is lost or the server turns out to have no such stream.
    async fn run(&mut self) {
        let mut backoff = MIN_BACKOFF;
        loop {
            let opened = Instant::now();
            match self.session.listen(self.last_event_id.as_deref()).await {
                Ok(Some(body)) => self.read(body).await,
                Ok(None) => return,
                Err(error) if error.kind == Kind::SessionLost => return self.sink.lost(error),
                Err(error) => tracing::debug!(backend = %self.backend(), %error, "the server's stream did not open"),
            }
            if opened.elapsed() >= GOOD_STREAM {
                backoff = MIN_BACKOFF;
            }
            // Servers may name their own wait; the backoff still grows when that does not help.
            sleep(jittered(self.retry.take().unwrap_or(backoff).max(MIN_BACKOFF).min(MAX_BACKOFF))).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn read(&mut self, mut body: Body) {
        let mut decoder = Decoder::new(HOLD_BYTES);
        if let Err(error) = self.read_events(&mut body, &mut decoder).await {
            tracing::debug!(backend = %self.backend(), %error, "the server's stream broke");
        }
    }

    async fn read_events(&mut self, body: &mut Body, decoder: &mut Decoder) -> Result<(), GatewayError> {
        let mut large = BytesMut::new();
        while let Some(chunk) = poll_fn(|cx| body.poll_data(cx)).await.transpose()? {
            decoder.push(chunk);
            while let Some(item) = decoder.next_item().map_err(|error| {
                failure::bad_answer(self.session.endpoint.backend(), &format!("sent a malformed event stream: {error}"))
            })? {
                self.take(item, &mut large);
            }
            // Whoever goes on, here or elsewhere, goes on after what was handed on.
            if let Some(id) = decoder.last_event_id()
                && self.last_event_id.as_deref() != Some(id)
            {
                self.last_event_id = Some(id.to_owned());
            }
        }
        Ok(())
    }

    fn take(&mut self, item: Item, large: &mut BytesMut) {
        match item {
            Item::Event(event) => {
                if !event.data.is_empty() && event.name.is_none_or(|name| &*name == "message") {
                    self.sink.deliver(event.data);
                }
            }
            Item::Part { bytes, last, .. } => {
                // One byte more than allowed marks the message as too large, however much of it is still to come.
                let room = (self.max_message + 1).saturating_sub(large.len());
                large.extend_from_slice(&bytes[..bytes.len().min(room)]);
                if last {
                    self.take_large(large.split().freeze());
                }
            }
            Item::Retry(wait) => self.retry = Some(wait),
        }
    }

    fn take_large(&self, message: Bytes) {
        if message.len() <= self.max_message {
            self.sink.deliver(message);
        } else {
            tracing::warn!(
                backend = %self.backend(),
                limit = self.max_message,
                "dropped a message from the server's own stream: it is larger than the limit"
            );
        }
    }
}

/// Between three quarters and five quarters of `wait`: many sessions lose one server at the same moment, and must not come
/// back at the same moment.
pub(super) fn jittered(wait: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    wait.mul_f64(0.75 + 0.5 * f64::from(random) / f64::from(u32::MAX))
}
