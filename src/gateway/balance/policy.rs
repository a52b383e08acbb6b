//! The policies by which an endpoint is chosen inside a tier. None of them takes a lock or allocates.

use super::endpoint::Endpoint;
use super::hash::mix;
use super::time::Moment;
use super::transition::State;
use super::view::{Slot, TierView};
use crate::ir::snapshot::LoadBalancing;
use std::sync::atomic::Ordering;

/// The time between two turns of an endpoint is this over its share. Passes may wrap: only their differences matter.
pub(super) const STRIDE: u64 = 1 << 52;

/// How often a choice is made anew because another thread took the same turn; then the turn is shared.
const CONTENDED: usize = 8;

/// The latency of an endpoint that was never measured, while it has not answered its first call, in µs: longer than calls take, so that
/// one that hangs gets one call at a time. finagle does so too.
const UNMEASURED_MICROS: u64 = 60_000_000;

/// What a choice depends on besides the endpoints.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    pub(super) now: Moment,
    /// Any number.
    pub(super) random: u64,
    /// The hash of what makes a client the same one.
    pub(super) key: Option<u64>,
}

/// Chooses one of the tier's eligible slots.
pub(super) fn choose(
    policy: LoadBalancing,
    tier: &TierView,
    chance: Chance,
    eligible: impl Fn(&Slot) -> bool + Copy,
) -> Option<&Slot> {
    if let [only] = &tier.slots[..] {
        return eligible(only).then_some(only);
    }
    let now = chance.now;
    let share = move |slot: &Slot| slot.share * slot.warmth(now);
    match policy {
        LoadBalancing::RoundRobin | LoadBalancing::Weighted => next_in_turn(tier, eligible, share),
        LoadBalancing::LeastRequest => {
            less_of_two(tier, chance.random, eligible, share, |slot| u64::from(slot.endpoint.in_flight()))
        }
        LoadBalancing::PeakEwma => {
            less_of_two(tier, chance.random, eligible, share, |slot| likely_wait(&slot.endpoint, now))
        }
        LoadBalancing::HealthBased => {
            let is_verified = move |slot: &Slot| {
                let stale_after_ms = slot.backend.health_check().stale_after_ms;
                eligible(slot) && slot.endpoint.health(now, stale_after_ms) == State::Healthy
            };
            next_in_turn(tier, is_verified, share).or_else(|| next_in_turn(tier, eligible, share))
        }
        LoadBalancing::ConsistentHash { .. } => highest_random(tier, chance.key.unwrap_or(chance.random), eligible),
    }
}

/// Turns by stride: each turn puts off an endpoint's next one by the inverse of its share, and the earliest is next. Over a round, turns
/// are exactly by share. Who was away has no turns to make up for.
fn next_in_turn(tier: &TierView, eligible: impl Fn(&Slot) -> bool, share: impl Fn(&Slot) -> u64) -> Option<&Slot> {
    let mut chosen = None;
    for _ in 0..CONTENDED {
        let turn = tier.turn.load(Ordering::Relaxed);
        let wait = |pass: u64| u64::try_from(pass.wrapping_sub(turn).cast_signed()).unwrap_or(0);
        let waits = tier.slots.iter().filter(|slot| eligible(slot)).map(|slot| {
            let pass = slot.pass.load(Ordering::Relaxed);
            (wait(pass), pass, slot)
        });
        let (wait, pass, slot) = waits.min_by_key(|(wait, ..)| *wait)?;
        chosen = Some(slot);
        let at = turn.wrapping_add(wait);
        let next = at.wrapping_add(stride(share(slot)));
        if slot.pass.compare_exchange(pass, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tier.turn.store(at, Ordering::Relaxed);
            break;
        }
    }
    chosen
}

/// For a share in thousandths.
fn stride(share: u64) -> u64 {
    let stride = u128::from(STRIDE) * 1_000 / u128::from(share.max(1));
    u64::try_from(stride).unwrap_or(u64::MAX).clamp(1, STRIDE)
}

/// Draws two endpoints by share, and takes the one that costs less for its share: of equals the first, so that idle endpoints are
/// used by share.
fn less_of_two(
    tier: &TierView,
    random: u64,
    eligible: impl Fn(&Slot) -> bool,
    share: impl Fn(&Slot) -> u64,
    cost: impl Fn(&Slot) -> u64,
) -> Option<&Slot> {
    let first = draw(tier, mix(random), &eligible, &share)?;
    let is_other = |slot: &Slot| eligible(slot) && !std::ptr::eq(slot, first);
    let Some(second) = draw(tier, mix(mix(random)), is_other, &share) else { return Some(first) };
    let weighed = |one: &Slot, other: &Slot| u128::from(cost(one)) * u128::from(share(other));
    Some(if weighed(second, first) < weighed(first, second) { second } else { first })
}

/// What the next call is likely to wait for, in µs: the calls before it and itself.
fn likely_wait(endpoint: &Endpoint, now: Moment) -> u64 {
    let in_flight = u64::from(endpoint.in_flight());
    let latency = match endpoint.latency_micros(now) {
        0 if in_flight > 0 => UNMEASURED_MICROS,
        latency => latency,
    };
    latency.saturating_mul(in_flight + 1)
}

/// Draws one endpoint by share.
fn draw(tier: &TierView, random: u64, eligible: impl Fn(&Slot) -> bool, share: impl Fn(&Slot) -> u64) -> Option<&Slot> {
    let candidates = || tier.slots.iter().filter(|slot| eligible(slot));
    let sum: u64 = candidates().map(&share).sum();
    let mut left = random.checked_rem(sum)?;
    let mut last = None;
    for slot in candidates() {
        last = Some(slot);
        match left.checked_sub(share(slot)) {
            Some(rest) => left = rest,
            None => break,
        }
    }
    last
}

/// Rendezvous hashing: each endpoint has a number for each client, scaled by its share, and the highest takes it. An endpoint that comes or
/// goes moves its own clients only. Slow start does not count: it would move clients twice.
fn highest_random(tier: &TierView, key: u64, eligible: impl Fn(&Slot) -> bool) -> Option<&Slot> {
    let score = |slot: &Slot| {
        let number = u32::try_from(mix(key ^ slot.endpoint.hash) >> 32).unwrap_or(u32::MAX);
        let uniform = (f64::from(number) + 0.5) / (f64::from(u32::MAX) + 1.0);
        f64::from(slot.weight) / f64::from(slot.siblings) / -uniform.ln()
    };
    tier.slots
        .iter()
        .filter(|slot| eligible(slot))
        .map(|slot| (score(slot), slot))
        .reduce(|best, next| if next.0 > best.0 { next } else { best })
        .map(|(_, slot)| slot)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
