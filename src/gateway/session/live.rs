//! One client's session: what it said at `initialize`, its servers' sessions, its streams and what is in flight.

use super::binding::Binding;
use super::log::{EventLog, LogReader, LogState, parse_event_id};
use super::questions::{Question, Questions};
use crate::gateway::catalog::ListKind;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::message;
use crate::gateway::mcp::version::{Era, Version};
use crate::gateway::state::{Gateway, RouteState};
use crate::gateway::trace::InSession;
use crate::ir::ids::ObjectId;
use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Finished streams kept for a client that lost its connection just before the end: with what each keeps, about 1 MiB.
const FINISHED_STREAMS: usize = 4;

/// Tasks whose server is remembered (legacy tasks carry no server in their ids).
const TASKS: usize = 1024;

/// Subscriptions that are remembered.
const SUBSCRIPTIONS: usize = 1024;

/// Numbers left for the streams that a replica opens after it has handed a session over.
const STREAMS_APART: u64 = 1 << 20;

/// What a client said of itself at `initialize`, and what was agreed.
#[derive(Clone, Debug)]
pub(crate) struct Hello {
    /// The client's own `params`, as JSON text: each server reads them as if it were asked directly.
    pub(crate) params: Bytes,
    /// The agreed revision.
    pub(crate) version: Version,
    /// Names the catalogue: clients with equal capabilities see equal lists.
    pub(crate) catalog_key: u64,
}

/// What a session remembers, as it travels to another replica.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Memory {
    tasks: Vec<(Box<str>, String)>,
    log_level: Option<String>,
    subscriptions: Vec<(String, String)>,
    questions: Vec<(Box<str>, Question)>,
    next_stream: u64,
    /// Streams of calls that have ended, for a client that lost its connection just before.
    finished: Vec<LogState>,
}

/// A live session.
pub(crate) struct Session {
    id: Box<str>,
    route: ObjectId,
    hello: Hello,
    started: Instant,
    /// Milliseconds from `started` to the last use.
    last_used: AtomicU64,
    bindings: Mutex<Vec<Arc<Binding>>>,
    /// What servers say unasked; the GET stream reads it.
    unsolicited: Arc<EventLog>,
    streams: Mutex<Streams>,
    pub(crate) questions: Questions,
    calls: Mutex<Vec<InFlight>>,
    tasks: Mutex<Tasks>,
    /// The client's last `logging/setLevel`, as its params: servers that are opened later hear it, too.
    log_level: Mutex<Option<String>>,
    /// Resources the client subscribed to, with their servers: servers that are opened again hear of them.
    subscriptions: Mutex<Vec<(String, String)>>,
    closed: AtomicBool,
    /// Whether the session is on its way to another replica; requests wait for the outcome.
    moving: watch::Sender<bool>,
    /// The replica that had it before, while that one may still work on calls.
    former: Mutex<Option<SocketAddr>>,
    gateway: Weak<Gateway>,
}

#[derive(Default)]
struct Streams {
    next: u64,
    open: HashMap<u64, Arc<EventLog>>,
    finished: VecDeque<u64>,
}

#[derive(Default)]
struct Tasks {
    servers: HashMap<Box<str>, String>,
    order: VecDeque<Box<str>>,
}

struct InFlight {
    id: Box<str>,
    server: String,
    cancelled: CancellationToken,
}

impl Session {
    pub(crate) fn new(
        id: String,
        route: ObjectId,
        hello: Hello,
        gateway: Weak<Gateway>,
        unsolicited: Arc<EventLog>,
    ) -> Arc<Self> {
        // Streams of calls are numbered after the one of what servers say unasked.
        let next = unsolicited.number().unwrap_or_default() + 1;
        Arc::new(Self {
            id: id.into(),
            route,
            hello,
            started: Instant::now(),
            last_used: AtomicU64::new(0),
            bindings: Mutex::default(),
            unsolicited,
            gateway,
            streams: Mutex::new(Streams { next, ..Streams::default() }),
            questions: Questions::default(),
            calls: Mutex::default(),
            tasks: Mutex::default(),
            log_level: Mutex::default(),
            subscriptions: Mutex::default(),
            closed: AtomicBool::new(false),
            moving: watch::Sender::new(false),
            former: Mutex::default(),
        })
    }

    /// As its requests' spans name it.
    pub(crate) fn for_trace(&self) -> InSession<'_> {
        InSession { id: &self.id, version: self.hello.version.as_str() }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn route(&self) -> &ObjectId {
        &self.route
    }

    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Notes that the client was here.
    pub(crate) fn touch(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_used.store(elapsed, Ordering::Relaxed);
    }

    pub(crate) fn idle_for(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last_used.load(Ordering::Relaxed)))
    }

    /// Whether a call is in flight or a stream is being read.
    pub(crate) fn is_busy(&self) -> bool {
        self.unsolicited.has_reader() || self.has_calls()
    }

    /// Whether a call is in flight.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.lock().is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    // --- servers ---

    /// This session's tie to one server of its route.
    pub(crate) fn binding(self: &Arc<Self>, server: &str) -> Arc<Binding> {
        let mut bindings = self.bindings.lock();
        if let Some(binding) = bindings.iter().find(|binding| binding.server() == server) {
            return Arc::clone(binding);
        }
        let binding = Arc::new(Binding::new(server.to_owned(), Arc::downgrade(self)));
        bindings.push(Arc::clone(&binding));
        binding
    }

    pub(crate) fn bindings(&self) -> Vec<Arc<Binding>> {
        self.bindings.lock().clone()
    }

    /// Ends what is open towards servers that are no longer part of the route.
    pub(crate) fn leave_servers_not_in(&self, route: &RouteState) {
        let mut gone = Vec::new();
        self.bindings.lock().retain(|binding| {
            let kept = route.server(binding.server()).is_some();
            if !kept {
                gone.push(Arc::clone(binding));
            }
            kept
        });
        tokio::spawn(async move {
            for binding in gone {
                binding.close().await;
            }
        });
    }

    // --- streams ---

    /// What servers say unasked.
    pub(crate) fn unsolicited(&self) -> &Arc<EventLog> {
        &self.unsolicited
    }

    /// Opens a stream for one call's answer.
    pub(crate) fn open_stream(&self) -> Arc<EventLog> {
        let mut streams = self.streams.lock();
        let number = streams.next;
        streams.next += 1;
        let log = EventLog::new(number);
        streams.open.insert(number, Arc::clone(&log));
        log
    }

    /// A stream has had its last event: it can still be read for a while.
    pub(crate) fn finish_stream(&self, log: &EventLog) {
        log.finish();
        let mut streams = self.streams.lock();
        streams.finished.extend(log.number());
        if streams.finished.len() > FINISHED_STREAMS
            && let Some(oldest) = streams.finished.pop_front()
        {
            streams.open.remove(&oldest);
        }
    }

    /// Goes on reading after the event named by `Last-Event-ID`.
    pub(crate) fn resume(&self, event_id: &str) -> Option<LogReader> {
        let (stream, event) = parse_event_id(event_id)?;
        if self.unsolicited.number() == Some(stream) {
            return self.unsolicited.read_after(event);
        }
        let log = self.streams.lock().open.get(&stream).cloned()?;
        log.read_after(event)
    }

    // --- calls in flight ---

    /// Notes a call until the returned guard is dropped.
    pub(crate) fn begin_call(
        self: &Arc<Self>,
        id: &str,
        server: &str,
        limit: usize,
    ) -> Result<CallGuard, GatewayError> {
        let mut calls = self.calls.lock();
        if calls.len() >= limit {
            return Err(GatewayError::new(
                Kind::TooManyStreams,
                "this session has too many calls in flight; wait for one to end",
            ));
        }
        let cancelled = CancellationToken::new();
        calls.push(InFlight { id: id.into(), server: server.to_owned(), cancelled: cancelled.clone() });
        Ok(CallGuard { session: Arc::clone(self), id: id.into(), cancelled })
    }

    /// The client takes back its request `id` (JSON text): stops waiting for it, and names the server that works on it.
    pub(crate) fn cancel_call(&self, id: &str) -> Option<String> {
        let calls = self.calls.lock();
        let call = calls.iter().find(|call| *call.id == *id)?;
        call.cancelled.cancel();
        Some(call.server.clone())
    }

    /// Reads a server's list again, because it said that it changed.
    pub(crate) async fn refresh_list(self: &Arc<Self>, server: &str, kind: ListKind) {
        let Some(route) = self.gateway.upgrade().and_then(|gateway| gateway.route(&self.route)) else { return };
        let (Some(server), Some(session)) = (route.server(server), self.binding(server).peek()) else { return };
        let catalog = route.catalogs.get(Era::Legacy, self.hello.catalog_key);
        catalog.refresh_from_session(&route, server, kind, self, &session).await;
    }

    /// Tells the client that every list may have changed.
    pub(crate) fn announce_lists(&self) {
        for kind in [ListKind::Tools, ListKind::Prompts, ListKind::Resources] {
            self.unsolicited.offer(&message::notification(kind.changed_notification(), None));
        }
    }

    // --- what the client set ---

    pub(crate) fn set_log_level(&self, params: String) {
        *self.log_level.lock() = Some(params);
    }

    pub(crate) fn log_level(&self) -> Option<String> {
        self.log_level.lock().clone()
    }

    pub(crate) fn subscribe(&self, uri: &str, server: &str) {
        let mut subscriptions = self.subscriptions.lock();
        let known = subscriptions.iter().any(|(known, at)| known == uri && at == server);
        if !known && subscriptions.len() < SUBSCRIPTIONS {
            subscriptions.push((uri.to_owned(), server.to_owned()));
        }
    }

    pub(crate) fn unsubscribe(&self, uri: &str) {
        self.subscriptions.lock().retain(|(known, _)| known != uri);
    }

    pub(crate) fn subscriptions_at(&self, server: &str) -> Vec<String> {
        self.subscriptions.lock().iter().filter(|(_, at)| at == server).map(|(uri, _)| uri.clone()).collect()
    }

    // --- tasks of 2025-11-25 ---

    pub(crate) fn remember_task(&self, task: &str, server: &str) {
        let mut tasks = self.tasks.lock();
        if tasks.servers.insert(task.into(), server.to_owned()).is_none() {
            tasks.order.push_back(task.into());
        }
        if tasks.order.len() > TASKS
            && let Some(oldest) = tasks.order.pop_front()
        {
            tasks.servers.remove(&oldest);
        }
    }

    pub(crate) fn server_of_task(&self, task: &str) -> Option<String> {
        self.tasks.lock().servers.get(task).cloned()
    }

    // --- moving to another replica ---

    /// Whether the session is on its way to another replica.
    pub(crate) fn is_moving(&self) -> bool {
        *self.moving.borrow()
    }

    /// Holds new requests back, or lets them go on.
    pub(crate) fn set_moving(&self, moving: bool) {
        self.moving.send_replace(moving);
    }

    /// Waits until it is clear where the session is.
    pub(crate) async fn settled(&self) {
        // It ends with the session, which whoever waits holds.
        let _ = self.moving.subscribe().wait_for(|moving| !moving).await;
    }

    /// The replica that had the session before.
    pub(crate) fn former(&self) -> Option<SocketAddr> {
        *self.former.lock()
    }

    pub(crate) fn set_former(&self, former: Option<SocketAddr>) {
        *self.former.lock() = former;
    }

    /// What another replica needs beside the streams and the servers' sessions.
    pub(crate) fn memory(&self) -> Memory {
        let tasks = self.tasks.lock();
        let in_order = tasks.order.iter().filter_map(|task| Some((task.clone(), tasks.servers.get(task)?.clone())));
        let streams = self.streams.lock();
        let finished = streams.finished.iter().filter_map(|number| streams.open.get(number)?.state());
        Memory {
            tasks: in_order.collect(),
            log_level: self.log_level(),
            subscriptions: self.subscriptions.lock().clone(),
            questions: self.questions.all(),
            next_stream: streams.next,
            finished: finished.collect(),
        }
    }

    /// Takes over what another replica remembered, as far as it is about servers that `is_kept` names.
    pub(crate) fn remember(&self, memory: Memory, is_kept: impl Fn(&str) -> bool) {
        for (task, server) in memory.tasks {
            self.remember_task(&task, &server);
        }
        *self.log_level.lock() = memory.log_level;
        *self.subscriptions.lock() = memory.subscriptions;
        self.questions.take_over(memory.questions.into_iter().filter(|(_, question)| is_kept(&question.server)));
        let mut streams = self.streams.lock();
        // The other replica may still open some, for the calls that end there.
        streams.next = memory.next_stream + STREAMS_APART;
        for log in memory.finished.into_iter().map(EventLog::restore) {
            if let Some(number) = log.number() {
                streams.finished.push_back(number);
                streams.open.insert(number, log);
            }
        }
    }

    // --- the end ---

    /// Ends every stream and tells the servers. The session is out of the table already.
    pub(crate) fn close_in_background(self: Arc<Self>) {
        if !self.stop_streams() {
            return;
        }
        tokio::spawn(async move {
            for binding in self.bindings() {
                binding.close().await;
            }
        });
    }

    fn stop_streams(&self) -> bool {
        if self.closed.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.unsolicited.finish();
        for call in self.calls.lock().iter() {
            call.cancelled.cancel();
        }
        for (_, log) in self.streams.lock().open.drain() {
            log.finish();
        }
        true
    }
}

/// A call in flight; gone when this is.
pub(crate) struct CallGuard {
    session: Arc<Session>,
    id: Box<str>,
    cancelled: CancellationToken,
}

impl CallGuard {
    /// Completes when the client takes the call back or the session ends.
    pub(crate) fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut calls = self.session.calls.lock();
        if let Some(position) = calls.iter().position(|call| call.id == self.id) {
            calls.swap_remove(position);
        }
        drop(calls);
        self.session.touch();
    }
}
