//! What is known of one endpoint, by whichever servers use it. All of it is read without a lock.

use super::ejection::{Ejection, EjectionState};
use super::hash::stable_hash;
use super::latency::PeakEwma;
use super::time::Moment;
use super::transition::State;
use super::window::Window;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One endpoint of a backend. Changes of its state go through its [`Backend`](super::Backend), one at a time.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) name: Arc<str>,
    /// Where it stands among the others for consistent hashing.
    pub(super) hash: u64,
    pub(super) ejection: Ejection,
    pub(super) latency: PeakEwma,
    pub(super) window: Window,
    pub(super) in_flight: AtomicU32,
    /// Calls that failed in a row.
    pub(super) failures: AtomicU32,
    /// Ejections without a good time between.
    pub(super) ejections: AtomicU32,
    /// Health checks in a row that had the same result, which is the other one than its state says.
    pub(super) checks: AtomicU32,
    /// Whether health checks found it unhealthy.
    pub(super) unhealthy: AtomicBool,
    /// When it last answered anything, and 1; 0: never.
    last_sign: AtomicU64,
    /// Since when calls can go to it.
    pub(super) usable_since: AtomicU64,
}

impl Endpoint {
    pub(super) fn new(name: Arc<str>, now: Moment) -> Self {
        Self {
            hash: stable_hash(name.as_bytes()),
            name,
            ejection: Ejection::default(),
            latency: PeakEwma::default(),
            window: Window::default(),
            in_flight: AtomicU32::new(0),
            failures: AtomicU32::new(0),
            ejections: AtomicU32::new(0),
            checks: AtomicU32::new(0),
            unhealthy: AtomicBool::new(false),
            last_sign: AtomicU64::new(0),
            usable_since: AtomicU64::new(now.as_ms()),
        }
    }

    /// Its name within the backend.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Calls that it has not answered yet.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether it is ejected.
    pub fn ejection(&self) -> EjectionState {
        self.ejection.state()
    }

    /// Whether calls go to it: it is neither ejected nor unhealthy.
    pub fn is_usable(&self) -> bool {
        self.ejection.is_closed() && !self.is_unhealthy()
    }

    /// How it is by health checks and signs of life: without one for `stale_after_ms`, nothing is known.
    pub fn health(&self, now: Moment, stale_after_ms: u64) -> State {
        if self.is_unhealthy() {
            return State::Unhealthy;
        }
        match self.last_sign.load(Ordering::Relaxed).checked_sub(1).map(Moment::from_ms) {
            Some(last) if now.since(last) <= stale_after_ms => State::Healthy,
            _ => State::Unknown,
        }
    }

    /// A moving average of its latency, in µs; 0: nothing was measured.
    pub fn latency_micros(&self, now: Moment) -> u64 {
        self.latency.micros(now)
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Ordering::Acquire)
    }

    pub(super) fn was_seen(&self) -> bool {
        self.last_sign.load(Ordering::Relaxed) > 0
    }

    pub(super) fn sign_of_life(&self, now: Moment) {
        self.last_sign.store(now.as_ms().saturating_add(1), Ordering::Relaxed);
    }

    /// Whether it took calls for this long without interruption.
    pub(super) fn was_usable_for(&self, ms: u64, now: Moment) -> bool {
        let since = Moment::from_ms(self.usable_since.load(Ordering::Acquire));
        self.is_usable() && now.since(since) >= ms
    }
}
