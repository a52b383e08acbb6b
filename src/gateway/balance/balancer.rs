//! One server of a route: its tiers, which of them takes calls, and what its calls may cost.

use super::budget::Budget;
use super::repetition::Safety;
use super::time::Moment;
use super::transition::TierChange;
use super::view::{Tiers, View};
use super::walk::Walk;
use crate::ir::snapshot::{Failover, LoadBalancing};
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Chooses among the endpoints of one server.
#[derive(Debug)]
pub struct Balancer {
    tiers: Tiers,
    pub(super) policy: LoadBalancing,
    pub(super) failover: Failover,
    pub(super) budget: Budget,
    view: ArcSwap<View>,
    /// Held while a new view is made, by one for all.
    renewing: Mutex<()>,
    active: AtomicUsize,
}

impl Balancer {
    /// A server that begins with its first tier.
    pub fn new(tiers: Tiers, policy: LoadBalancing, failover: Failover, now: Moment) -> Self {
        Self {
            view: ArcSwap::from_pointee(View::new(&tiers, policy)),
            tiers,
            policy,
            budget: Budget::new(failover.retry_budget.clone(), now),
            failover,
            renewing: Mutex::new(()),
            active: AtomicUsize::new(0),
        }
    }

    /// Begins a call. `key` is the hash of what makes a client the same one, for consistent hashing.
    pub fn begin(&self, safety: Safety, key: Option<u64>) -> Walk<'_> {
        self.budget.deposit();
        Walk::new(self, safety, key)
    }

    /// The position of the tier that takes calls, as of the last call or [`Self::settle`].
    pub fn active_tier(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// Looks which tier takes calls by now: a tier is left once nothing in it can take any, and a higher one takes them again when one of its
    /// endpoints could for `recoverAfter` without interruption. Where nothing below can take any either, a higher one does so sooner.
    pub fn settle(&self, now: Moment) -> Option<TierChange> {
        self.settle_in(&self.view(), now)
    }

    pub(super) fn settle_in(&self, view: &View, now: Moment) -> Option<TierChange> {
        let from = self.active_tier();
        let is_usable = |tier: &usize| view.tiers[*tier].slots.iter().any(super::view::Slot::is_usable);
        let is_recovered = |tier: &usize| {
            let mut slots = view.tiers[*tier].slots.iter();
            slots.any(|slot| slot.endpoint.was_usable_for(self.failover.recover_after_ms, now))
        };
        let to = (0..from)
            .find(is_recovered)
            .or_else(|| (from..view.tiers.len()).find(is_usable))
            .or_else(|| (0..from).find(is_usable))
            .filter(|to| *to != from)?;
        // Whoever was faster has told of it.
        self.active.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).ok()?;
        Some(TierChange { from, to })
    }

    /// The endpoints as they are now.
    pub(super) fn view(&self) -> Guard<Arc<View>> {
        let view = self.view.load();
        if view.is_of(&self.tiers) {
            return view;
        }
        let _turn = self.renewing.lock();
        if !self.view.load().is_of(&self.tiers) {
            self.view.store(Arc::new(View::new(&self.tiers, self.policy)));
        }
        self.view.load()
    }
}

#[cfg(test)]
#[path = "balancer_tests.rs"]
mod tests;
