//! One call's way over the endpoints: whom to try next, and whether to.

use super::attempt::{Attempt, Offer};
use super::balancer::Balancer;
use super::ejection::EjectionState;
use super::endpoint::Endpoint;
use super::policy::{self, Chance};
use super::repetition::{self, Decision, Failure, Safety};
use super::time::Moment;
use super::transition::TierChange;
use super::view::{Slot, View};
use std::sync::Arc;

/// Why a call has no endpoint to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No tier has an endpoint with a weight.
    #[error("there is no endpoint")]
    NoEndpoint,
    /// As many attempts as are configured were made.
    #[error("all attempts were made")]
    Attempts,
    /// Endpoints could take it, but their backends have as many calls in flight as they may.
    #[error("as many requests are in flight as may be (maxRequests)")]
    Overloaded,
    /// All endpoints are ejected or unhealthy, and those that may be tried all the same were.
    #[error("all endpoints are ejected or unhealthy")]
    AllEjected {
        /// When the first of them may be probed; `None` where only health checks can tell.
        until: Option<Moment>,
    },
}

/// One call, over all its attempts.
#[derive(Debug)]
pub struct Walk<'a> {
    balancer: &'a Balancer,
    safety: Safety,
    key: Option<u64>,
    tried: Tried,
    /// The tier of the last attempt.
    tier: Option<usize>,
    tier_change: Option<TierChange>,
}

/// Whom a call was sent to. The first needs no allocation, and most calls have no second.
#[derive(Debug, Default)]
struct Tried {
    first: Option<Arc<Endpoint>>,
    more: Vec<Arc<Endpoint>>,
}

impl Tried {
    fn push(&mut self, endpoint: &Arc<Endpoint>) {
        match self.first {
            None => self.first = Some(Arc::clone(endpoint)),
            Some(_) => self.more.push(Arc::clone(endpoint)),
        }
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    fn times(&self, endpoint: &Arc<Endpoint>) -> usize {
        self.first.iter().chain(&self.more).filter(|tried| Arc::ptr_eq(tried, endpoint)).count()
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(balancer: &'a Balancer, safety: Safety, key: Option<u64>) -> Self {
        Self { balancer, safety, key, tried: Tried::default(), tier: None, tier_change: None }
    }

    /// How many attempts were made.
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.tried.len()).unwrap_or(u32::MAX)
    }

    /// The change of the active tier that this call made, once.
    pub fn tier_change(&mut self) -> Option<TierChange> {
        self.tier_change.take()
    }

    /// Whether the call is made again after its last attempt failed, and after what wait.
    pub fn after(&self, failure: Failure, now: Moment, deadline: Moment, random: u64) -> Decision {
        let Balancer { failover, budget, .. } = self.balancer;
        repetition::decide(failover, budget, (failure, self.safety), self.attempts(), (now, deadline), random)
    }

    /// Chooses an endpoint for the next attempt. In this order:
    ///
    /// 1. the probe of an ejected endpoint whose time is over, for a first attempt that may be repeated;
    /// 2. an endpoint that takes calls, was tried the fewest times, and is in the active tier or as near below it as can be. A tier is left
    ///    also when the attempts that remain are needed to try each lower tier once;
    /// 3. the like in the tiers above, where nothing else is left;
    /// 4. with no such endpoint in any tier, an ejected or unhealthy one, marked as the last resort.
    pub fn next(&mut self, now: Moment, random: u64) -> Result<Attempt, Refusal> {
        let attempts = self.balancer.failover.attempts.max(1) as usize;
        let remaining = attempts.checked_sub(self.tried.len()).filter(|left| *left > 0).ok_or(Refusal::Attempts)?;
        let view = self.balancer.view();
        self.tier_change = self.balancer.settle_in(&view, now).or(self.tier_change);
        // Not above the active tier, although a probe may have been: what is there besides has not recovered yet.
        let active = self.balancer.active_tier();
        let start = self.tier.map_or(active, |last| last.max(active));
        let is_probing = self.tried.len() == 0 && remaining > 1 && self.safety.is_repeatable(&self.balancer.failover);
        let probe = if is_probing { probe(&view, start, now) } else { None };
        let chance = Chance { now, random, key: self.key };
        let attempt = match probe.or_else(|| self.usable(&view, start, remaining, chance)) {
            Some(attempt) => attempt,
            None => self.last_resort(&view, now)?,
        };
        self.tried.push(attempt.endpoint());
        self.tier = Some(attempt.tier());
        Ok(attempt)
    }

    fn usable(&self, view: &View, start: usize, remaining: usize, chance: Chance) -> Option<Attempt> {
        let is_open = |slot: &Slot| slot.is_usable() && slot.has_room();
        let times = |slot: &Slot| self.tried.times(&slot.endpoint);
        let fewest = slots(view).filter(|(_, slot)| is_open(slot)).map(|(_, slot)| times(slot)).min()?;
        let eligible = |slot: &Slot| is_open(slot) && times(slot) == fewest;
        let has_eligible = |tier: &usize| view.tiers[*tier].slots.iter().any(eligible);
        let lower = |tier: usize| (tier + 1..view.tiers.len()).filter(has_eligible).count();
        for tier in (start..view.tiers.len()).chain(0..start) {
            if self.tier == Some(tier) && remaining <= lower(tier) {
                continue;
            }
            let Some(slot) = policy::choose(self.balancer.policy, &view.tiers[tier], chance, eligible) else {
                continue;
            };
            // Another call may have taken the last one since: then the next tier is as good.
            if let Some(permit) = slot.backend.requests.acquire() {
                let whom = (&slot.backend, &slot.endpoint);
                return Some(Attempt::new(whom, tier, (Offer::Usable, None), chance.now, permit));
            }
        }
        None
    }

    fn last_resort(&self, view: &View, now: Moment) -> Result<Attempt, Refusal> {
        if slots(view).next().is_none() {
            return Err(Refusal::NoEndpoint);
        }
        if slots(view).any(|(_, slot)| slot.is_usable()) {
            return Err(Refusal::Overloaded);
        }
        let untried = slots(view).filter(|(_, slot)| self.tried.times(&slot.endpoint) == 0);
        for (tier, slot) in untried {
            let Some(permit) = slot.backend.requests.acquire() else { continue };
            // Of an ejected one, the last resort is its only probe, made before its time.
            let probe = slot.endpoint.ejection.take_probe(now, true);
            if probe.is_some() || slot.endpoint.ejection.is_closed() {
                let whom = (&slot.backend, &slot.endpoint);
                return Ok(Attempt::new(whom, tier, (Offer::LastResort, probe), now, permit));
            }
        }
        let times = slots(view).filter_map(|(_, slot)| match slot.endpoint.ejection() {
            EjectionState::Open { until } | EjectionState::HalfOpen { until } => Some(until),
            EjectionState::Closed { .. } => None,
        });
        Err(Refusal::AllEjected { until: times.min() })
    }
}

/// The probe of an endpoint down to the active tier, which is how the active one and those above it recover.
fn probe(view: &View, active: usize, now: Moment) -> Option<Attempt> {
    let mut slots = slots(view).take_while(|(tier, _)| *tier <= active);
    slots.find_map(|(tier, slot)| {
        if slot.endpoint.ejection.is_closed() || slot.endpoint.is_unhealthy() {
            return None;
        }
        let permit = slot.backend.requests.acquire()?;
        let probe = slot.endpoint.ejection.take_probe(now, false)?;
        Some(Attempt::new((&slot.backend, &slot.endpoint), tier, (Offer::Probe, Some(probe)), now, permit))
    })
}

/// All endpoints that have a weight, with their tiers, first tier first.
fn slots(view: &View) -> impl Iterator<Item = (usize, &Slot)> {
    view.tiers.iter().enumerate().flat_map(|(tier, view)| view.slots.iter().map(move |slot| (tier, slot)))
}
