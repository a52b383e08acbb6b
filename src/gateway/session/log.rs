//! A stream of server-sent events that outlives the connection it is read over.
//!
//! One writer (the relay of a call, or everything a session's servers say unasked) and at most one reader (the response
//! body of the moment). Events keep numbers, so that a client that lost its connection goes on after the last one it saw
//! (`Last-Event-ID`). Memory is bounded: a writer waits for a slow reader, and without a reader the oldest events go.

use crate::gateway::mcp::sse_write;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes that may wait for a reader (1 MiB): four times the largest message that is held whole.
const UNREAD_BYTES: usize = 4 * crate::gateway::HOLD_BYTES;

/// Bytes kept after they were read, for a client that lost its connection before they arrived (256 KiB).
const RESUME_BYTES: usize = crate::gateway::HOLD_BYTES;

/// Events kept in all, read or not: a bound on what tiny events can cost.
const MAX_EVENTS: usize = 1024;

/// Events of one stream, kept for reading and for reading again.
pub(crate) struct EventLog {
    /// Names the stream within its session; the first half of its event ids. Absent for a stream that nobody can resume.
    number: Option<u64>,
    state: Mutex<State>,
}

struct State {
    entries: VecDeque<Entry>,
    /// Bytes in `entries`.
    bytes: usize,
    /// Bytes in `entries` from `cursor` on.
    unread: usize,
    /// Number of the next event to be written; numbers start at 1, and 0 is the priming event.
    next: u64,
    /// Position in `entries` of the next event to be read.
    cursor: usize,
    /// Counts readers: only the newest one reads.
    reader: u64,
    attached: bool,
    finished: bool,
    /// Whether a piece of a large event was never read.
    pieces_lost: bool,
    read_waker: Option<Waker>,
    write_waker: Option<Waker>,
    /// Where new events go once the stream goes on at another replica.
    departed: Option<mpsc::Sender<Bytes>>,
}

/// A stream as it travels to another replica.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogState {
    number: u64,
    next: u64,
    /// How many of the events were read.
    read: usize,
    finished: bool,
    /// Numbers and frames.
    events: Vec<(u64, String)>,
}

struct Entry {
    number: u64,
    frame: Bytes,
    /// A piece of an event too large to keep: it is read once or never.
    once: bool,
}

impl EventLog {
    /// A stream that can be resumed by its number.
    pub(crate) fn new(number: u64) -> Arc<Self> {
        Self::create(Some(number))
    }

    /// A stream whose events carry no ids: it ends with its connection.
    pub(crate) fn anonymous() -> Arc<Self> {
        Self::create(None)
    }

    fn create(number: Option<u64>) -> Arc<Self> {
        Arc::new(Self {
            number,
            state: Mutex::new(State {
                entries: VecDeque::new(),
                bytes: 0,
                unread: 0,
                next: 1,
                cursor: 0,
                reader: 0,
                attached: false,
                finished: false,
                pieces_lost: false,
                read_waker: None,
                write_waker: None,
                departed: None,
            }),
        })
    }

    /// The stream as it is, for another replica; `None` for one that nobody can resume.
    pub(crate) fn state(&self) -> Option<LogState> {
        let state = self.state.lock();
        self.number.map(|number| state.export(number))
    }

    /// The stream goes on at another replica: it has no reader here any more, and what is still written to it goes to the
    /// returned end.
    pub(crate) fn depart(&self) -> Option<(LogState, mpsc::Receiver<Bytes>)> {
        let number = self.number?;
        self.detach();
        let mut state = self.state.lock();
        let (sender, late) = mpsc::channel(MAX_EVENTS);
        state.departed = Some(sender);
        Some((state.export(number), late))
    }

    /// The stream stays: nobody took it. What was written meanwhile is made up for.
    pub(crate) fn stay(&self, mut late: mpsc::Receiver<Bytes>) {
        self.state.lock().departed = None;
        while let Ok(message) = late.try_recv() {
            self.offer(&message);
        }
    }

    /// A stream that another replica began.
    pub(crate) fn restore(exported: LogState) -> Arc<Self> {
        let log = Self::new(exported.number);
        let mut state = log.state.lock();
        for (number, frame) in exported.events {
            state.append(Entry { number, frame: frame.into(), once: false });
        }
        for _ in 0..exported.read.min(state.entries.len()) {
            let cursor = state.cursor;
            state.unread -= state.entries.get(cursor).map_or(0, |entry| entry.frame.len());
            state.cursor += 1;
        }
        state.next = exported.next;
        state.finished = exported.finished;
        state.trim();
        drop(state);
        log
    }

    pub(crate) fn number(&self) -> Option<u64> {
        self.number
    }

    /// Writes a message as an event, at once. Without room the oldest event goes.
    pub(crate) fn offer(&self, message: &[u8]) {
        let mut state = self.state.lock();
        if state.finished {
            return;
        }
        if let Some(departed) = &state.departed {
            if departed.try_send(Bytes::copy_from_slice(message)).is_err() {
                tracing::warn!("an event is lost: the replica that has its stream now does not take it");
            }
            return;
        }
        let number = state.next;
        state.next += 1;
        let frame = sse_write::event(self.event_id(number).as_deref(), Some("message"), message);
        state.append(Entry { number, frame, once: false });
        state.trim();
        wake(state.read_waker.take());
    }

    /// Writes a message as an event, once there is room for it.
    pub(crate) async fn write(&self, message: &[u8]) {
        self.room().await;
        self.offer(message);
    }

    /// Writes a frame that is not an event of its own: a piece of a large one, a `retry` hint. It cannot be read again.
    pub(crate) async fn write_once(&self, frame: Bytes) {
        self.room().await;
        let mut state = self.state.lock();
        // Pieces of one large event are worth nothing to a reader that has not seen the ones before.
        if state.finished || !state.attached {
            state.pieces_lost = true;
            return;
        }
        let number = state.next;
        state.append(Entry { number, frame, once: true });
        wake(state.read_waker.take());
    }

    /// No event follows: the reader ends after the last one.
    pub(crate) fn finish(&self) {
        let mut state = self.state.lock();
        state.finished = true;
        state.departed = None;
        wake(state.read_waker.take());
        wake(state.write_waker.take());
    }

    /// Waits until the pieces written so far are read, and tells whether all of them were.
    pub(crate) async fn pieces_read(&self) -> bool {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.finished || !state.attached || state.cursor == state.entries.len() {
                return Poll::Ready(!state.pieces_lost);
            }
            state.write_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.state.lock().finished
    }

    pub(crate) fn has_reader(&self) -> bool {
        self.state.lock().attached
    }

    /// Ends the present reader, after what is written so far, and keeps the stream for the next one.
    pub(crate) async fn pause(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if !state.attached || state.cursor == state.entries.len() {
                return Poll::Ready(());
            }
            state.write_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
        self.detach();
    }

    /// Ends the present reader at once.
    pub(crate) fn detach(&self) {
        let mut state = self.state.lock();
        state.reader += 1;
        state.attached = false;
        wake(state.read_waker.take());
        wake(state.write_waker.take());
    }

    /// Takes over reading, from the oldest event that nobody has read.
    pub(crate) fn read(self: &Arc<Self>) -> LogReader {
        let mut state = self.state.lock();
        let reader = state.attach();
        LogReader { log: Arc::clone(self), reader }
    }

    /// Takes over reading after the event `number`, or `None` when events after it are gone.
    pub(crate) fn read_after(self: &Arc<Self>, number: u64) -> Option<LogReader> {
        let mut state = self.state.lock();
        if number >= state.next {
            return None;
        }
        let position = state.entries.partition_point(|entry| entry.number <= number);
        let complete = match state.entries.get(position) {
            Some(entry) => entry.number == number + 1 && !entry.once,
            None => number + 1 == state.next,
        };
        if !complete {
            return None;
        }
        state.cursor = position;
        state.unread = state.entries.iter().skip(position).map(|entry| entry.frame.len()).sum();
        let reader = state.attach();
        drop(state);
        Some(LogReader { log: Arc::clone(self), reader })
    }

    /// The id of the event `number` of this stream.
    fn event_id(&self, number: u64) -> Option<String> {
        self.number.map(|stream| format!("{stream}-{number}"))
    }

    /// The event that opens a stream for clients that reconnect (2025-11-25): an id, and no data.
    pub(crate) fn priming(&self, retry: Duration) -> Bytes {
        sse_write::priming(&self.event_id(0).unwrap_or_default(), Some(retry))
    }

    async fn room(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.finished || !state.attached || state.unread < UNREAD_BYTES {
                return Poll::Ready(());
            }
            state.write_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Reads an id of the form `stream-event`.
pub(crate) fn parse_event_id(id: &str) -> Option<(u64, u64)> {
    let (stream, event) = id.split_once('-')?;
    Some((stream.parse().ok()?, event.parse().ok()?))
}

impl State {
    fn append(&mut self, entry: Entry) {
        self.bytes += entry.frame.len();
        self.unread += entry.frame.len();
        self.entries.push_back(entry);
    }

    /// Lets go of what was read long ago, and, when nobody reads, of what is too much to keep.
    fn trim(&mut self) {
        let read = |state: &Self| state.bytes - state.unread;
        while self.cursor > 0 && (read(self) > RESUME_BYTES || self.entries.len() > MAX_EVENTS) {
            self.drop_oldest();
        }
        while !self.attached && self.entries.len() > 1 && (self.bytes > UNREAD_BYTES || self.entries.len() > MAX_EVENTS)
        {
            self.drop_oldest();
        }
        // A live reader that takes nothing while tiny events pour in loses the oldest, too.
        while self.entries.len() > 2 * MAX_EVENTS {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.bytes -= entry.frame.len();
        if self.cursor > 0 {
            self.cursor -= 1;
        } else {
            self.unread -= entry.frame.len();
        }
    }

    fn export(&self, number: u64) -> LogState {
        let events: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| !entry.once)
            .map(|entry| (entry.number, String::from_utf8_lossy(&entry.frame).into_owned()))
            .collect();
        let read = self.entries.iter().take(self.cursor).filter(|entry| !entry.once).count();
        LogState { number, next: self.next, read, finished: self.finished, events }
    }

    fn attach(&mut self) -> u64 {
        self.reader += 1;
        self.attached = true;
        wake(self.read_waker.take());
        self.reader
    }
}

/// The one that reads a log now: a response body.
pub(crate) struct LogReader {
    log: Arc<EventLog>,
    reader: u64,
}

impl LogReader {
    /// The next frame; `None` at the stream's end, or when another reader took over.
    pub(crate) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.log.state.lock();
        if state.reader != self.reader {
            return Poll::Ready(None);
        }
        let cursor = state.cursor;
        if let Some(entry) = state.entries.get(cursor) {
            let (frame, once) = (entry.frame.clone(), entry.once);
            state.unread -= frame.len();
            if once {
                state.entries.remove(cursor);
                state.bytes -= frame.len();
            } else {
                state.cursor += 1;
            }
            state.trim();
            wake(state.write_waker.take());
            return Poll::Ready(Some(frame));
        }
        if state.finished {
            return Poll::Ready(None);
        }
        state.read_waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        if state.reader == self.reader {
            state.attached = false;
            // Pieces that nobody will read must not stand in the way of whole events.
            let cursor = state.cursor;
            let dropped: usize =
                state.entries.iter().skip(cursor).filter(|entry| entry.once).map(|entry| entry.frame.len()).sum();
            state.entries.retain(|entry| !entry.once);
            state.pieces_lost |= dropped > 0;
            state.bytes -= dropped;
            state.unread -= dropped;
            state.trim();
            wake(state.write_waker.take());
        }
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
