//! The interchangeable backends of one server: priority tiers, weights, and the next attempt when one fails.

use super::super::error::{GatewayError, Kind, Retry};
use super::super::trace::Link;
use super::backend::Attempt;
use super::select::{Selector, Tried};
use super::session::Released;
use super::{Answer, ModernCall, SessionSink, Upstream, UpstreamSession};
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{Failover, Server, Timeouts};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// The longest wait between two attempts: with doubling, a large `attempts` must not park a request for minutes.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// The tiers of one server of a route, with the upstreams behind them.
pub struct Group {
    server: String,
    tiers: Vec<Vec<Arc<Upstream>>>,
    selector: Selector,
    failover: Failover,
    turn: AtomicUsize,
}

/// One tier of a server.
pub(crate) struct TierMembers<'a> {
    members: &'a [Arc<Upstream>],
    weights: &'a [u32],
}

impl TierMembers<'_> {
    /// Whether one of its backends takes calls, as far as is known.
    pub(crate) fn is_usable(&self) -> bool {
        self.usable().next().is_some()
    }

    /// Whether one of these has answered.
    pub(crate) fn is_tried(&self) -> bool {
        self.usable().any(|backend| backend.knowledge().known().verified.is_some())
    }

    fn usable(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let with_share = self.members.iter().zip(self.weights).filter(|(_, weight)| **weight > 0);
        with_share.map(|(backend, _)| backend).filter(|backend| backend.is_callable())
    }
}

impl Group {
    /// Joins a server's tiers with the upstreams of its generation. A backend without an upstream is left out.
    pub fn new(server: &Server, upstreams: &BTreeMap<ObjectId, Arc<Upstream>>) -> Self {
        let (mut tiers, mut weights) = (Vec::new(), Vec::new());
        for tier in &server.tiers {
            let found = tier
                .backends
                .iter()
                .filter_map(|backend| Some((Arc::clone(upstreams.get(&backend.backend)?), backend.weight)));
            let (members, shares): (Vec<_>, Vec<_>) = found.unzip();
            tiers.push(members);
            weights.push(shares);
        }
        Self {
            server: server.name.clone(),
            tiers,
            selector: Selector::new(weights),
            failover: server.failover.clone(),
            turn: AtomicUsize::new(0),
        }
    }

    /// Whether a session is with one of these backends as they are now.
    pub fn contains(&self, session: &UpstreamSession) -> bool {
        self.backends().any(|upstream| upstream.owns(session))
    }

    /// Every upstream, first tier first.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.tiers.iter().flatten()
    }

    /// The tiers, the first one to be tried first.
    pub(crate) fn tiers(&self) -> impl Iterator<Item = TierMembers<'_>> {
        self.tiers
            .iter()
            .enumerate()
            .map(|(tier, members)| TierMembers { members, weights: self.selector.weights(tier) })
    }

    /// Whether this group has the very same backends in the same tiers: what was learnt of them is still true.
    pub fn same_backends(&self, other: &Self) -> bool {
        self.tiers.len() == other.tiers.len()
            && self.tiers.iter().zip(&other.tiers).all(|(ours, theirs)| {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(our, their)| Arc::ptr_eq(our, their))
            })
    }

    /// Opens a legacy session on the first backend that takes one. With our shims, that is the same pod for a client's session
    /// from whichever replica, as long as the pods stay: the process that serves the session is there.
    pub(crate) async fn open_session(
        &self,
        initialize_params: &[u8],
        sink: Arc<dyn SessionSink>,
        timeouts: &Timeouts,
        trace: Option<&Arc<Link>>,
    ) -> Result<Arc<UpstreamSession>, GatewayError> {
        let mut attempts = Attempts::new(self, trace);
        if let Some(turn) = sink.session_key().filter(|_| self.backends().any(|backend| backend.is_shim())).map(turn_of)
        {
            attempts.turn = turn;
        }
        while let Some((upstream, attempt)) = attempts.next().await {
            match upstream.open_session_at(attempt, initialize_params, Arc::clone(&sink), timeouts).await {
                Ok(session) => return Ok(session),
                Err(error) => attempts.failed(upstream, error)?,
            }
        }
        Err(attempts.exhausted())
    }

    /// Goes on with a legacy session that another replica opened on one of these backends.
    pub(crate) fn resume_session(
        &self,
        released: &Released,
        sink: Arc<dyn SessionSink>,
        timeouts: &Timeouts,
    ) -> Option<Arc<UpstreamSession>> {
        let upstream = self.backends().find(|upstream| *upstream.id() == released.backend)?;
        upstream.resume_session(released, sink, timeouts)
    }

    /// Sends one modern call, and says which upstream answered it.
    pub async fn call(&self, call: &ModernCall, timeouts: &Timeouts) -> Result<(Arc<Upstream>, Answer), GatewayError> {
        let mut attempts = Attempts::new(self, call.trace.as_ref());
        while let Some((upstream, attempt)) = attempts.next().await {
            match upstream.call_at(attempt, call, timeouts).await {
                Ok(answer) => return Ok((Arc::clone(upstream), answer)),
                Err(error) => attempts.failed(upstream, error)?,
            }
        }
        Err(attempts.exhausted())
    }

    /// Sends one modern call to the only backend that can take it: it continues something that one began.
    pub async fn call_on(
        &self,
        backend: &ObjectId,
        call: &ModernCall,
        timeouts: &Timeouts,
    ) -> Result<(Arc<Upstream>, Answer), GatewayError> {
        let Some(upstream) = self.backends().find(|upstream| upstream.id() == backend) else {
            let message = format!("backend {backend} is no longer part of server {:?}", self.server);
            return Err(GatewayError::new(Kind::NoBackend, message));
        };
        upstream.call(call, timeouts).await.map(|answer| (Arc::clone(upstream), answer))
    }
}

/// The attempts of one request: one upstream after another, for as long as nothing was sent and attempts are left.
/// The turn of a session: any number, as long as it is always the same.
fn turn_of(key: &str) -> usize {
    Sha256::digest(key).iter().take(size_of::<usize>()).fold(0, |turn, byte| turn << 8 | usize::from(*byte))
}

struct Attempts<'a> {
    group: &'a Group,
    turn: usize,
    backoff: Duration,
    tried: Tried,
    last: Option<GatewayError>,
    /// The place in a trace of what they are made for.
    trace: Option<&'a Arc<Link>>,
}

impl<'a> Attempts<'a> {
    fn new(group: &'a Group, trace: Option<&'a Arc<Link>>) -> Self {
        Self {
            group,
            trace,
            turn: group.turn.fetch_add(1, Ordering::Relaxed),
            backoff: Duration::from_millis(group.failover.backoff_ms),
            tried: Tried::default(),
            last: None,
        }
    }

    /// The upstream to try next, after the wait that follows a failure, and whose turn it is among its endpoints: every
    /// attempt is one turn further, so that the endpoints of one backend follow each other.
    async fn next(&mut self) -> Option<(&'a Arc<Upstream>, Attempt<'a>)> {
        let attempts = self.group.failover.attempts.max(1) as usize;
        let tiers = &self.group.tiers;
        let endpoints = |tier: usize, backend: usize| tiers[tier][backend].endpoints();
        let (tier, backend) = self.group.selector.next(&mut self.tried, attempts, endpoints)?;
        let upstream = &tiers[tier][backend];
        if self.last.is_some() {
            sleep(self.backoff).await;
            upstream.metrics().retries.inc();
            self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
        }
        let (turn, number) =
            (self.turn.wrapping_add(self.tried.len()), u32::try_from(self.tried.len()).unwrap_or(u32::MAX));
        Some((upstream, Attempt { turn, number, trace: self.trace }))
    }

    /// Takes note of a failure; one that must not be repeated is the end.
    fn failed(&mut self, upstream: &Upstream, error: GatewayError) -> Result<(), GatewayError> {
        if error.retry != Retry::Safe {
            return Err(error);
        }
        tracing::debug!(server = %self.group.server, backend = %upstream.id(), %error, "attempt failed");
        self.last = Some(error);
        Ok(())
    }

    fn exhausted(self) -> GatewayError {
        let (server, attempts) = (&self.group.server, self.tried.len());
        match self.last {
            None => GatewayError::new(Kind::NoBackend, format!("server {server:?} has no backend to call")),
            // With nothing else tried, the cause itself says it best.
            Some(only) if attempts == 1 => only,
            Some(last) => {
                let message = format!(
                    "no backend of server {server:?} took the request in {attempts} attempts; the last: {last}"
                );
                GatewayError::new(Kind::NoBackend, message)
            }
        }
    }
}
