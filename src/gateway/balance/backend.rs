//! One backend's endpoints and limits, shared by all servers that use it: who is ejected, for how long, and who returns.
//!
//! Reading needs no lock. What changes an endpoint's state takes turns, since how many may be ejected is a matter of all of them;
//! a call that succeeds where nothing was wrong changes no state.

use super::ejection::EjectionState;
use super::endpoint::Endpoint;
use super::limit::{Limit, Permit};
use super::time::Moment;
use super::transition::{Cause, State, Transition};
use crate::ir::snapshot::{CircuitBreaker, HealthCheck, OutlierDetection};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The endpoints of one backend.
#[derive(Debug)]
pub struct Backend {
    name: Arc<str>,
    health: HealthCheck,
    pub(super) outlier: OutlierDetection,
    pub(super) requests: Arc<Limit>,
    pending: Arc<Limit>,
    connections: Arc<Limit>,
    /// Held while states change.
    endpoints: Mutex<Vec<Arc<Endpoint>>>,
    /// Grows whenever `endpoints` becomes another set.
    version: AtomicU64,
}

impl Backend {
    /// A backend that has no endpoints yet.
    pub fn new(name: &str, health: HealthCheck, outlier: OutlierDetection, limits: &CircuitBreaker) -> Self {
        Self {
            name: name.into(),
            health,
            outlier,
            requests: Limit::new(limits.max_requests),
            pending: Limit::new(limits.max_pending_requests),
            connections: Limit::new(limits.max_connections),
            endpoints: Mutex::default(),
            version: AtomicU64::new(0),
        }
    }

    /// The endpoints as they are now.
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.endpoints.lock().clone()
    }

    /// Permits one more connection; `None` at `maxConnections`.
    pub fn connection(&self) -> Option<Permit> {
        self.connections.acquire()
    }

    /// Permits one more call to wait for a connection; `None` at `maxPendingRequests`.
    pub fn pending(&self) -> Option<Permit> {
        self.pending.acquire()
    }

    /// How the endpoints are asked whether they live.
    pub fn health_check(&self) -> &HealthCheck {
        &self.health
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Makes these the endpoints. Those that stay keep what is known of them.
    pub fn set_endpoints<'a>(&self, names: impl IntoIterator<Item = &'a str>, now: Moment) -> Vec<Transition> {
        let mut endpoints = self.endpoints.lock();
        let mut next: Vec<Arc<Endpoint>> = Vec::new();
        for name in names {
            if next.iter().any(|endpoint| &*endpoint.name == name) {
                continue;
            }
            let known = endpoints.iter().find(|endpoint| &*endpoint.name == name).cloned();
            next.push(known.unwrap_or_else(|| Arc::new(Endpoint::new(name.into(), now))));
        }
        *endpoints = next;
        self.version.fetch_add(1, Ordering::AcqRel);
        self.return_excess(&endpoints, now)
    }

    /// Where fewer endpoints may be ejected than are, those return first that would anyway.
    fn return_excess(&self, endpoints: &[Arc<Endpoint>], now: Moment) -> Vec<Transition> {
        let mut ejected: Vec<_> = endpoints
            .iter()
            .filter_map(|endpoint| match endpoint.ejection() {
                EjectionState::Open { until } => Some((until, State::Open, endpoint)),
                EjectionState::HalfOpen { until } => Some((until, State::HalfOpen, endpoint)),
                EjectionState::Closed { .. } => None,
            })
            .collect();
        ejected.sort_by_key(|(until, ..)| *until);
        let excess = ejected.len().saturating_sub(self.most_ejected(endpoints.len()));
        let returning = ejected.iter().take(excess);
        returning.map(|(_, from, endpoint)| self.close(endpoint, *from, Cause::EndpointsRemoved, now)).collect()
    }

    /// How many of `count` endpoints may be ejected at a time.
    fn most_ejected(&self, count: usize) -> usize {
        match self.outlier.max_ejection_percent as usize {
            0 => 0,
            percent => (count.saturating_mul(percent) / 100).max(1),
        }
    }

    /// A call to the endpoint was answered.
    pub(super) fn answered(
        &self,
        endpoint: &Endpoint,
        latency: Duration,
        is_probe: bool,
        now: Moment,
    ) -> Vec<Transition> {
        endpoint.latency.observe(latency, now);
        endpoint.window.count(now, self.outlier.failure_rate.window_ms, false);
        endpoint.sign_of_life(now);
        if endpoint.failures.load(Ordering::Relaxed) > 0 {
            endpoint.failures.store(0, Ordering::Relaxed);
        }
        if endpoint.checks.load(Ordering::Relaxed) == 0 && endpoint.is_usable() {
            return Vec::new();
        }
        let _turn = self.endpoints.lock();
        // What a call shows outranks what a check does.
        endpoint.checks.store(0, Ordering::Relaxed);
        let mut changes = Vec::new();
        changes.extend(self.heal(endpoint, Cause::Answered, now));
        // An answer to a call of before the ejection says nothing about the time since.
        if is_probe && matches!(endpoint.ejection(), EjectionState::HalfOpen { .. }) {
            changes.push(self.close(endpoint, State::HalfOpen, Cause::Answered, now));
        }
        changes
    }

    /// A call to the endpoint failed; `probe` is since when it was permitted as one.
    pub(super) fn failed(
        &self,
        endpoint: &Arc<Endpoint>,
        probe: Option<Moment>,
        began: Moment,
        now: Moment,
    ) -> Vec<Transition> {
        endpoint.latency.observe_failure(Duration::from_millis(now.since(began)), now);
        let in_a_row = endpoint.failures.fetch_add(1, Ordering::AcqRel) + 1;
        let counts = endpoint.window.count(now, self.outlier.failure_rate.window_ms, true);
        if let Some(permitted) = probe {
            return self.probe_failed(endpoint, permitted, began, now).into_iter().collect();
        }
        let rate = &self.outlier.failure_rate;
        let (calls, failures) = (u32::from(counts.calls), u32::from(counts.failures));
        let cause = if (1..=in_a_row).contains(&self.outlier.consecutive_failures) {
            Cause::ConsecutiveFailures(in_a_row)
        } else if rate.percent > 0
            && calls >= rate.minimum_requests
            && failures * 100 >= calls.saturating_mul(rate.percent)
        {
            Cause::FailureRate(failures * 100 / calls)
        } else {
            return Vec::new();
        };
        self.eject(endpoint, cause, now).into_iter().collect()
    }

    fn probe_failed(
        &self,
        endpoint: &Arc<Endpoint>,
        permitted: Moment,
        began: Moment,
        now: Moment,
    ) -> Option<Transition> {
        let _turn = self.endpoints.lock();
        if !matches!(endpoint.ejection(), EjectionState::HalfOpen { .. }) {
            return None;
        }
        let until = if permitted > began {
            // A last resort before its time tells nothing new, and must not lengthen what it interrupted.
            endpoint.ejection.open(permitted);
            permitted.max(now)
        } else {
            self.open(endpoint, now)
        };
        let for_ms = until.since(now);
        Some(self.transition(endpoint, State::HalfOpen, State::Open, Cause::ProbeFailed, for_ms))
    }

    /// Ejects an endpoint, if it is one of the backend's still, takes calls, and is not one too many.
    fn eject(&self, endpoint: &Arc<Endpoint>, cause: Cause, now: Moment) -> Option<Transition> {
        let endpoints = self.endpoints.lock();
        let EjectionState::Closed { since } = endpoint.ejection() else { return None };
        let ejected = endpoints.iter().filter(|other| !other.ejection.is_closed()).count();
        let is_member = endpoints.iter().any(|member| Arc::ptr_eq(member, endpoint));
        if !is_member || ejected >= self.most_ejected(endpoints.len()) {
            return None;
        }
        // It was good for as long as it could have been ejected: that is forgiven.
        if since.is_some_and(|since| now.since(since) > self.outlier.max_ejection_ms) {
            endpoint.ejections.store(0, Ordering::Relaxed);
        }
        let for_ms = self.open(endpoint, now).since(now);
        Some(self.transition(endpoint, State::Closed, State::Open, cause, for_ms))
    }

    /// Opens an ejection, twice as long as the one before it, and says until when.
    fn open(&self, endpoint: &Endpoint, now: Moment) -> Moment {
        let times = endpoint.ejections.fetch_add(1, Ordering::Relaxed).min(32);
        let longest = self.outlier.max_ejection_ms.max(self.outlier.base_ejection_ms);
        let until = now.after(self.outlier.base_ejection_ms.saturating_mul(1 << times).min(longest));
        endpoint.ejection.open(until);
        until
    }

    fn close(&self, endpoint: &Endpoint, from: State, cause: Cause, now: Moment) -> Transition {
        endpoint.failures.store(0, Ordering::Relaxed);
        endpoint.window.clear();
        endpoint.usable_since.store(now.as_ms(), Ordering::Release);
        endpoint.ejection.close(now);
        self.transition(endpoint, from, State::Closed, cause, 0)
    }

    /// A connection or a handshake came about: an ejected endpoint's probe may be made at once.
    pub fn connected(&self, endpoint: &Endpoint, now: Moment) -> bool {
        endpoint.sign_of_life(now);
        endpoint.ejection.permit(now)
    }

    /// A health check of an endpoint ended. One that succeeds when a probe is due stands for it, so that an endpoint returns without
    /// calls too.
    pub fn checked(&self, endpoint: &Endpoint, success: bool, now: Moment) -> Vec<Transition> {
        let _turn = self.endpoints.lock();
        let mut changes = Vec::new();
        if success {
            changes.extend(self.check_succeeded(endpoint, now));
            if endpoint.ejection.take_probe(now, false).is_some() {
                changes.push(self.close(endpoint, State::Open, Cause::ChecksSucceeded, now));
            }
        } else {
            changes.extend(self.check_failed(endpoint));
        }
        changes
    }

    fn check_succeeded(&self, endpoint: &Endpoint, now: Moment) -> Option<Transition> {
        let was_seen = endpoint.was_seen();
        endpoint.sign_of_life(now);
        if !endpoint.is_unhealthy() {
            endpoint.checks.store(0, Ordering::Relaxed);
            return (!was_seen)
                .then(|| self.transition(endpoint, State::Unknown, State::Healthy, Cause::ChecksSucceeded, 0));
        }
        let in_a_row = endpoint.checks.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row < self.health.healthy_threshold {
            return None;
        }
        endpoint.checks.store(0, Ordering::Relaxed);
        self.heal(endpoint, Cause::ChecksSucceeded, now)
    }

    fn heal(&self, endpoint: &Endpoint, cause: Cause, now: Moment) -> Option<Transition> {
        if !endpoint.is_unhealthy() {
            return None;
        }
        endpoint.usable_since.store(now.as_ms(), Ordering::Release);
        endpoint.unhealthy.store(false, Ordering::Release);
        Some(self.transition(endpoint, State::Unhealthy, State::Healthy, cause, 0))
    }

    fn check_failed(&self, endpoint: &Endpoint) -> Option<Transition> {
        if endpoint.is_unhealthy() {
            endpoint.checks.store(0, Ordering::Relaxed);
            return None;
        }
        let in_a_row = endpoint.checks.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row < self.health.unhealthy_threshold {
            return None;
        }
        endpoint.checks.store(0, Ordering::Relaxed);
        endpoint.unhealthy.store(true, Ordering::Release);
        let from = if endpoint.was_seen() { State::Healthy } else { State::Unknown };
        Some(self.transition(endpoint, from, State::Unhealthy, Cause::ChecksFailed, 0))
    }

    pub(super) fn transition(
        &self,
        endpoint: &Endpoint,
        from: State,
        to: State,
        cause: Cause,
        for_ms: u64,
    ) -> Transition {
        let (backend, endpoint) = (Arc::clone(&self.name), Arc::clone(&endpoint.name));
        Transition { backend, endpoint, from, to, cause, for_ms }
    }
}

#[cfg(test)]
#[path = "backend_tests.rs"]
mod tests;
