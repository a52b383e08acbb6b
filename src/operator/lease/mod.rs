//! Leader election by a Lease, with a fence: whoever does not lead cannot write.
//!
//! A leader renews its lease well before it ends. Every renewal moves a deadline, measured on the monotonic clock from before the
//! renewal was sent; a lease lasts longer than that, so that nobody else leads before the deadline is past. The
//! deadline is looked at where bytes go out ([`fence`]), not only where a decision is made: a leader that was stopped
//! and goes on finds its connections shut. What is left is the one system call between the look and the write.

mod election;
mod fence;

pub(super) use election::{Election, Lost};
pub(super) use fence::fenced;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A lease that nobody renewed for this long is free.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// A leader leads for this long after a renewal. What it sends at the very end must have arrived before the lease is over.
pub(super) const LEADS: Duration = Duration::from_secs(10);

/// How often a leader renews: it may fail twice.
pub(super) const RENEW: Duration = Duration::from_secs(3);

/// The longest that one call about the lease may take: a leader has time for a second one before its time is over.
const CALL: Duration = Duration::from_secs(4);

/// How often those who do not lead look, and how soon a failure is repeated.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// Whether this replica leads now.
pub(super) struct Leadership {
    /// What the deadline counts from.
    start: Instant,
    /// Milliseconds after `start`, until which this replica leads; 0: it does not.
    deadline: AtomicU64,
    leads: watch::Sender<bool>,
}

impl Default for Leadership {
    fn default() -> Self {
        Self { start: Instant::now(), deadline: AtomicU64::new(0), leads: watch::Sender::new(false) }
    }
}

impl Leadership {
    /// Whether this replica leads at this moment. Cheap: a clock and an atomic.
    pub(super) fn leads(&self) -> bool {
        self.now() < self.deadline.load(Ordering::Acquire)
    }

    /// Returns once this replica leads.
    pub(super) async fn acquired(&self) {
        // The sender is ours, so it is there.
        let _ = self.leads.subscribe().wait_for(|leads| *leads).await;
    }

    /// A renewal that was sent at this moment has arrived.
    fn extend(&self, sent: Instant) {
        let until = sent.duration_since(self.start) + LEADS;
        self.deadline.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
        self.leads.send_replace(true);
    }

    fn end(&self) {
        self.deadline.store(0, Ordering::Release);
        self.leads.send_replace(false);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
