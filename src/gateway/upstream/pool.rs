//! The connections to one endpoint: those that idle, and how new ones are made.

use super::super::error::{GatewayError, Kind};
use super::connection::{Connection, Outgoing, Readiness, Unanswered};
use super::dial::Dialer;
use super::{body::Body, failure};
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{Endpoint, Timeouts};
use http::response::Parts;
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Connections of one backend that serve calls, idle ones included. One MCP server rarely bears more; with a bound, one
/// that hangs cannot take all of the gateway's sockets.
pub(super) const MAX_CONNECTIONS: u32 = 1024;
/// Idle connections kept per endpoint at most: as many calls as usually come at once, at about 10 KiB each.
const MAX_IDLE: usize = 128;
/// How long an idle connection is kept: less than the 2 minutes after which middleboxes begin to forget one.
const IDLE_LIMIT: Duration = Duration::from_secs(90);
/// Connections whose last answer has not quite ended, per endpoint.
const MAX_ENDING: usize = 32;
/// How long an answer's end may take after its last message; later, the connection is closed.
const ENDING_LIMIT: Duration = Duration::from_secs(5);
/// How often idle connections are looked at when nothing else does.
const SWEEP_EVERY: Duration = Duration::from_secs(15);

/// How many connections a backend has, and may have.
#[derive(Default)]
pub(super) struct Bound(AtomicU32);

impl Bound {
    /// Counts one more connection, if there may be one more.
    pub(super) fn take(self: &Arc<Self>) -> Option<Permit> {
        let below = |open: u32| (open < MAX_CONNECTIONS).then_some(open + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok()?;
        Some(Permit(Arc::clone(self)))
    }

    /// Connections counted now.
    pub(super) fn open(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One counted connection; dropping it counts one less.
pub(super) struct Permit(Arc<Bound>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a connection counts against the backend's bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// A call: it does.
    Call,
    /// A stream that lives as long as a session or a subscription: it does not, their number is bounded elsewhere.
    Stream,
}

/// In the head of an answer: which of the servers behind a name gave it.
#[derive(Clone, Copy)]
pub(super) struct Answering(pub(super) SocketAddr);

/// The connections to one endpoint.
pub(super) struct Pool {
    pub(super) backend: ObjectId,
    dialer: Dialer,
    bound: Arc<Bound>,
    max_idle: usize,
    idle: Mutex<Idle>,
}

#[derive(Default)]
#[expect(clippy::vec_box, reason = "a connection moves in and out of here at every call, and is large")]
struct Idle {
    /// Ready for the next request, most recently used last.
    free: Vec<Box<Connection>>,
    /// Their last answer has not quite ended; most recently used last.
    ending: VecDeque<Box<Connection>>,
    sweeping: bool,
    shut: bool,
}

/// A connection in use. Dropping it closes the connection; [`Lease::give_back`] keeps it.
pub(super) struct Lease {
    connection: Box<Connection>,
    pool: Arc<Pool>,
}

impl Pool {
    pub(super) fn new(backend: ObjectId, dialer: Dialer, bound: Arc<Bound>, endpoints: usize) -> Arc<Self> {
        // Idle connections of all endpoints together leave at least half of the bound for use.
        let max_idle = (MAX_CONNECTIONS as usize / 2 / endpoints.max(1)).clamp(1, MAX_IDLE);
        Arc::new(Self { backend, dialer, bound, max_idle, idle: Mutex::default() })
    }

    /// Sends one request and returns its answer from the head on.
    ///
    /// A connection that turns out to be closed before anything was written costs the caller nothing: another is dialled.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        request: Outgoing,
        timeouts: &Timeouts,
        purpose: Use,
    ) -> Result<(Parts, Body), GatewayError> {
        let (mut lease, mut reused) = match self.take_idle().await {
            Some(connection) => (self.lease(connection, purpose)?, true),
            None => (self.dial(timeouts, purpose).await?, false),
        };
        let limit = Duration::from_millis(timeouts.request_ms);
        let mut request = request;
        loop {
            let sent = timeout(limit, lease.connection.send(request)).await;
            return match sent {
                Ok(Ok(answer)) => {
                    let (mut head, incoming) = answer.into_parts();
                    if let Some(server) = lease.connection.server {
                        head.extensions.insert(Answering(server));
                    }
                    Ok((head, Body::new(incoming, lease)))
                }
                Ok(Err(Unanswered::Unsent(unsent))) if reused => {
                    lease = self.dial(timeouts, purpose).await?;
                    (reused, request) = (false, *unsent);
                    continue;
                }
                Ok(Err(Unanswered::Unsent(_))) => Err(failure::unsent(&self.backend)),
                Ok(Err(Unanswered::Failed(error))) => Err(failure::broken(&self.backend, &error)),
                Err(_elapsed) => Err(failure::request_timeout(&self.backend, limit)),
            };
        }
    }

    /// The most recently used idle connection that still works.
    async fn take_idle(&self) -> Option<Box<Connection>> {
        poll_fn(|cx| {
            let now = Instant::now();
            while let Some(mut connection) = self.pop_free() {
                if connection.expires > now && connection.poll_free(cx) == Readiness::Free {
                    return Poll::Ready(Some(connection));
                }
            }
            Poll::Ready(self.pop_ended(cx, now))
        })
        .await
    }

    /// Counts an idle connection by what it is used for from now on.
    fn lease(self: &Arc<Self>, mut connection: Box<Connection>, purpose: Use) -> Result<Lease, GatewayError> {
        connection.permit = match (purpose, connection.permit.take()) {
            (Use::Stream, _) => None,
            (Use::Call, Some(permit)) => Some(permit),
            (Use::Call, None) => Some(self.permit()?),
        };
        Ok(Lease { connection, pool: Arc::clone(self) })
    }

    fn pop_free(&self) -> Option<Box<Connection>> {
        self.idle.lock().free.pop()
    }

    /// A connection whose last answer has ended since it was put aside. Each is looked at once.
    fn pop_ended(&self, cx: &mut Context<'_>, now: Instant) -> Option<Box<Connection>> {
        let waiting = self.idle.lock().ending.len();
        for _ in 0..waiting {
            let mut connection = self.idle.lock().ending.pop_front()?;
            if connection.expires <= now {
                continue;
            }
            match connection.poll_free(cx) {
                Readiness::Free => return Some(connection),
                Readiness::Ending => self.idle.lock().ending.push_back(connection),
                Readiness::Useless => {}
            }
        }
        None
    }

    async fn dial(self: &Arc<Self>, timeouts: &Timeouts, purpose: Use) -> Result<Lease, GatewayError> {
        let permit = match purpose {
            Use::Stream => None,
            Use::Call => Some(self.permit()?),
        };
        let stream = self.dialer.dial(Duration::from_millis(timeouts.connect_ms)).await?;
        let server = if self.dialer.is_by_name() { stream.peer() } else { None };
        let mut connection = Connection::new(stream, permit).await.map_err(|_| failure::unsent(&self.backend))?;
        connection.server = server;
        Ok(Lease { connection: Box::new(connection), pool: Arc::clone(self) })
    }

    fn permit(&self) -> Result<Permit, GatewayError> {
        self.bound.take().ok_or_else(|| {
            GatewayError::new(
                Kind::NoBackend,
                format!("all {MAX_CONNECTIONS} connections to backend {} are in use", self.backend),
            )
        })
    }

    /// Keeps a connection whose exchange has ended, or is about to.
    fn keep(self: &Arc<Self>, mut connection: Box<Connection>) {
        // No one waits for an idle connection, so no one needs to be woken for it.
        let readiness = connection.poll_free(&mut Context::from_waker(Waker::noop()));
        let limit = match readiness {
            Readiness::Free => connection.idle_limit(IDLE_LIMIT),
            Readiness::Ending => ENDING_LIMIT,
            Readiness::Useless => return,
        };
        connection.expires = Instant::now() + limit;
        // Closed outside of the lock.
        let _surplus;
        let mut idle = self.idle.lock();
        if idle.shut {
            _surplus = Some(connection);
        } else if readiness == Readiness::Ending {
            _surplus = if idle.ending.len() < MAX_ENDING { None } else { idle.ending.pop_front() };
            idle.ending.push_back(connection);
        } else if idle.free.len() < self.max_idle {
            _surplus = None;
            idle.free.push(connection);
        } else {
            _surplus = Some(connection);
        }
        if !idle.sweeping && !idle.shut {
            idle.sweeping = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Connections to one of the addresses behind the name that these go to.
    pub(super) fn at(&self, address: SocketAddr) -> Option<Arc<Self>> {
        let (backend, bound) = (self.backend.clone(), Arc::clone(&self.bound));
        let dialer = self.dialer.at(address)?;
        Some(Arc::new(Self { backend, dialer, bound, max_idle: self.max_idle, idle: Mutex::default() }))
    }

    /// Whether one of several servers answers, each time another.
    pub(super) fn is_by_name(&self) -> bool {
        self.dialer.is_by_name()
    }

    /// Where the connections go; `None` when that is no address.
    pub(super) fn address(&self) -> Option<&Endpoint> {
        match &self.dialer {
            Dialer::Network(network) => Some(&network.endpoint),
            Dialer::Process(_) | Dialer::Peer(_) => None,
        }
    }

    /// Idle connections now.
    pub(super) fn idle(&self) -> usize {
        let idle = self.idle.lock();
        idle.free.len() + idle.ending.len()
    }

    /// Closes what idles, now and from now on. Exchanges under way end in their own time.
    pub(super) fn shut(&self) {
        let closing = {
            let mut idle = self.idle.lock();
            idle.shut = true;
            (std::mem::take(&mut idle.free), std::mem::take(&mut idle.ending))
        };
        drop(closing);
    }

    /// Closes expired connections and moves ended ones; whether any is left.
    fn sweep(&self) -> bool {
        let now = Instant::now();
        let mut closing = Vec::new();
        let mut idle = self.idle.lock();
        let Idle { free, ending, .. } = &mut *idle;
        closing.extend(free.extract_if(.., |connection| connection.expires <= now));
        let expired = ending.iter().take_while(|connection| connection.expires <= now).count();
        closing.extend(ending.drain(..expired));
        idle.sweeping = !(idle.free.is_empty() && idle.ending.is_empty());
        idle.sweeping
    }
}

/// Sweeps until nothing idles or the pool is gone.
async fn sweep(pool: std::sync::Weak<Pool>) {
    loop {
        sleep(SWEEP_EVERY).await;
        if !pool.upgrade().is_some_and(|pool| pool.sweep()) {
            return;
        }
    }
}

impl Lease {
    /// Reads on in an answer's body.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The backend this is a connection to.
    pub(super) fn backend(&self) -> &ObjectId {
        &self.pool.backend
    }

    /// The exchange has ended: keeps the connection for another.
    pub(super) fn give_back(self) {
        self.pool.keep(self.connection);
    }

    /// Nothing more is wanted of this answer, which is about to end: keeps the connection for when it has.
    pub(super) fn give_back_ending(mut self, rest: Incoming) {
        self.connection.leave(rest);
        self.give_back();
    }
}
