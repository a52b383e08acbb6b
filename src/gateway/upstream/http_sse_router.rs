//! Whom the messages on a session's one stream belong to.

use super::super::error::{GatewayError, Kind, Retry};
use super::super::mcp::envelope::{self, Envelope, Kind as MessageKind};
use super::super::mcp::peek::peek;
use super::super::mcp::sse::Item;
use super::{Event, SessionSink, failure};
use crate::ir::ids::ObjectId;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc::{self, Receiver, Sender};

/// Events that wait for one call's reader. Beyond it the stream waits, and so the server.
const QUEUE: usize = 16;
/// Calls in flight on one session: what one stream can carry before its order is all there is to see.
const MAX_CALLS: usize = 256;
/// The largest message that is put together to see whose it is, in bytes (16 MiB). Only needed when it is larger than the
/// hold limit, several calls are in flight, and it does not begin with its id.
const MAX_ASSEMBLED: usize = 16 * 1024 * 1024;

type Outcome = Result<Event, GatewayError>;

/// The calls of a session that wait for their answers.
#[derive(Default)]
pub(super) struct Calls {
    waiting: Mutex<HashMap<String, Waiting>>,
    /// The session answers nothing more.
    pub(super) lost: AtomicBool,
}

struct Waiting {
    events: Sender<Outcome>,
    progress_token: Option<String>,
}

impl Calls {
    /// Takes a place for the request in `body`.
    pub(super) fn register(
        &self,
        backend: &ObjectId,
        body: &[u8],
    ) -> Result<(String, Receiver<Outcome>), GatewayError> {
        let envelope = envelope::decode(body)?;
        let key = envelope
            .id()
            .map(canonical)
            .ok_or_else(|| GatewayError::new(Kind::Internal, "a call without an id cannot be answered"))?;
        let progress_token = envelope.meta().and_then(|meta| meta.get("progressToken")).map(|it| canonical(it.text()));
        let (events, queue) = mpsc::channel(QUEUE);
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_CALLS {
            return Err(GatewayError::new(
                Kind::TooManyStreams,
                format!("{MAX_CALLS} calls are in flight on one HTTP+SSE session of backend {backend}"),
            ));
        }
        waiting.insert(key.clone(), Waiting { events, progress_token });
        Ok((key, queue))
    }

    /// Gives a place up.
    pub(super) fn forget(&self, key: &str) {
        self.waiting.lock().remove(key);
    }

    /// Whom a message belongs to; an answered call gives its place up. `None`: to no call.
    fn owner(&self, envelope: &Envelope<'_>) -> Option<Sender<Outcome>> {
        let mut waiting = self.waiting.lock();
        if let MessageKind::Response { .. } = envelope.kind() {
            return waiting.remove(&canonical(envelope.id()?)).map(|call| call.events);
        }
        if envelope.method() == "notifications/progress"
            && let Some(token) = envelope.params().and_then(|params| params.get("progressToken"))
        {
            let token = canonical(token.text());
            if let Some(call) = waiting.values().find(|call| call.progress_token.as_ref() == Some(&token)) {
                return Some(call.events.clone());
            }
        }
        only(&waiting)
    }

    fn only(&self) -> Option<Sender<Outcome>> {
        only(&self.waiting.lock())
    }

    fn by_id(&self, id: &str) -> Option<Sender<Outcome>> {
        self.waiting.lock().get(&canonical(id)).map(|call| call.events.clone())
    }
}

/// With one call in flight, what the server says is about it.
fn only(waiting: &HashMap<String, Waiting>) -> Option<Sender<Outcome>> {
    let mut calls = waiting.values();
    calls.next().filter(|_| calls.len() == 0).map(|call| call.events.clone())
}

/// One spelling for a JSON string or number: servers may escape otherwise than they were asked.
fn canonical(text: &str) -> String {
    serde_json::from_str::<serde_json::Value>(text).map_or_else(|_| text.to_owned(), |value| value.to_string())
}

/// Hands the stream's messages to those they belong to.
pub(super) struct Router {
    pub(super) backend: ObjectId,
    pub(super) calls: Arc<Calls>,
    pub(super) sink: Arc<dyn SessionSink>,
    pub(super) large: Large,
}

/// What becomes of a message that comes in pieces.
#[derive(Default)]
pub(super) enum Large {
    /// None is coming.
    #[default]
    Nothing,
    /// Its owner takes the pieces.
    Passing(Sender<Outcome>),
    /// Its owner is known when it is whole.
    Assembling(BytesMut),
    /// It is too large to put together.
    Skipping,
}

impl Router {
    pub(super) async fn route(&mut self, item: Item) {
        match item {
            Item::Event(event) => {
                if !event.data.is_empty() && event.name.is_none_or(|name| &*name == "message") {
                    self.message(event.data).await;
                }
            }
            Item::Part { bytes, last, .. } => self.piece(bytes, last).await,
            // A session of this revision ends with its stream; there is nothing to reconnect to.
            Item::Retry(_) => {}
        }
    }

    async fn message(&self, message: Bytes) {
        let owner = match envelope::decode(&message) {
            Ok(envelope) => match self.calls.owner(&envelope) {
                // The answer to a call that was given up.
                None if matches!(envelope.kind(), MessageKind::Response { .. }) => return,
                owner => owner,
            },
            Err(error) => {
                tracing::debug!(backend = %self.backend, %error, "skipped a malformed message on a session's stream");
                return;
            }
        };
        match owner {
            // A reader that has left takes no more; its call is over.
            Some(call) => drop(call.send(Ok(Event::Message(message))).await),
            None => self.sink.deliver(message),
        }
    }

    async fn piece(&mut self, bytes: Bytes, last: bool) {
        if matches!(self.large, Large::Nothing) {
            self.large = self.begin(&bytes);
        }
        match &mut self.large {
            Large::Passing(call) => drop(call.send(Ok(Event::Part { bytes, last })).await),
            Large::Assembling(whole) if whole.len() + bytes.len() <= MAX_ASSEMBLED => whole.extend_from_slice(&bytes),
            Large::Assembling(_) => self.large = Large::Skipping,
            Large::Nothing | Large::Skipping => {}
        }
        if last {
            match std::mem::take(&mut self.large) {
                Large::Assembling(whole) => self.assembled(whole.freeze()).await,
                Large::Skipping => self.skipped().await,
                Large::Nothing | Large::Passing(_) => {}
            }
        }
    }

    fn begin(&self, first: &[u8]) -> Large {
        let seen = peek(first);
        let owner = match &seen.id {
            Some(id) if seen.method.is_none() => {
                std::str::from_utf8(&first[id.clone()]).ok().and_then(|id| self.calls.by_id(id))
            }
            _ => self.calls.only(),
        };
        owner.map_or_else(|| Large::Assembling(BytesMut::new()), Large::Passing)
    }

    async fn assembled(&self, message: Bytes) {
        let Ok(envelope) = envelope::decode(&message) else { return };
        match self.calls.owner(&envelope) {
            Some(call) => drop(call.send(Ok(Event::Part { bytes: message, last: true })).await),
            None if matches!(envelope.kind(), MessageKind::Response { .. }) => {}
            None => self.sink.deliver(message),
        }
    }

    /// Whose answer was too large is not known: every call in flight may be the one that waits for it.
    async fn skipped(&self) {
        let error = GatewayError::new(
            Kind::AnswerTooLarge,
            format!("backend {} sent more than 16 MiB while several calls shared its stream", self.backend),
        );
        self.fail_all(&error).await;
    }

    /// The stream has ended, and the session with it.
    pub(super) async fn end(&self, error: &GatewayError) {
        self.calls.lost.store(true, Ordering::Relaxed);
        // The calls were sent: what became of them nobody knows.
        self.fail_all(&failure::reset(&self.backend).with_retry(Retry::IfIdempotent)).await;
        self.sink.lost(error.clone());
    }

    async fn fail_all(&self, error: &GatewayError) {
        let waiting = std::mem::take(&mut *self.calls.waiting.lock());
        for (_, call) in waiting {
            drop(call.events.send(Err(error.clone())).await);
        }
    }
}
