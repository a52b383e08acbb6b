use super::*;
use crate::gateway::balance::attempt::{Attempt, Offer};
use crate::gateway::balance::backend::Backend;
use crate::gateway::balance::view::View;
use crate::ir::snapshot::{CircuitBreaker, HashBy, HealthCheck, OutlierDetection};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const BY_SESSION: LoadBalancing = LoadBalancing::ConsistentHash { by: HashBy::Session };

/// A tier of backends, each with its weight and its endpoints.
struct World {
    backends: Vec<(Arc<Backend>, u32)>,
    view: View,
}

fn world(backends: &[(u32, &[&str])]) -> World {
    world_of(backends, LoadBalancing::Weighted)
}

fn world_of(backends: &[(u32, &[&str])], policy: LoadBalancing) -> World {
    let backends: Vec<_> = backends
        .iter()
        .map(|(weight, endpoints)| {
            let (health, outlier) = (HealthCheck::default(), OutlierDetection::default());
            let backend = Backend::new("b", health, outlier, &CircuitBreaker::default());
            backend.set_endpoints(endpoints.iter().copied(), at(0));
            (Arc::new(backend), *weight)
        })
        .collect();
    World { view: View::new(&vec![backends.clone()], policy), backends }
}

const fn at(ms: u64) -> Moment {
    Moment::from_ms(ms)
}

impl World {
    fn choose(&self, policy: LoadBalancing, now: u64, random: u64, key: Option<u64>) -> &Slot {
        choose(policy, &self.view.tiers[0], Chance { now: at(now), random, key }, Slot::is_usable).unwrap()
    }

    /// How often each endpoint is chosen of `calls` times, when calls take no time.
    fn counts(&self, policy: LoadBalancing, calls: u64, now: u64) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for call in 0..calls {
            let chosen = self.choose(policy, now, mix(call), None);
            *counts.entry(chosen.endpoint.name().to_string()).or_default() += 1;
        }
        counts
    }

    fn attempt(&self, backend: usize, endpoint: usize) -> Attempt {
        let backend = &self.backends[backend].0;
        let whom = (backend, &backend.endpoints()[endpoint]);
        Attempt::new(whom, 0, (Offer::Usable, None), at(0), backend.requests.acquire().unwrap())
    }
}

fn counted(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// Each count is within five standard deviations of what its share makes likely.
fn assert_shares(counts: &BTreeMap<String, u64>, shares: &[(&str, u64)]) {
    let (calls, sum) = (counts.values().sum::<u64>(), shares.iter().map(|(_, share)| share).sum::<u64>());
    for (name, share) in shares {
        let expected = calls * share / sum;
        let variance = calls * share * (sum - share) / (sum * sum);
        let found = counts.get(*name).copied().unwrap_or(0);
        assert!(found.abs_diff(expected).pow(2) <= 25 * variance.max(1), "{name}: {found}, not {expected}: {counts:?}");
    }
}

#[test]
fn weighted_is_exact_over_a_round_and_spread_within_it() {
    let world = world(&[(5, &["a"]), (1, &["b"]), (1, &["c"])]);
    let turns: Vec<String> =
        (0..7).map(|_| world.choose(LoadBalancing::Weighted, 0, 0, None).endpoint.name().to_string()).collect();
    assert_eq!(turns.concat(), "aaabcaa");
    assert_eq!(world.counts(LoadBalancing::Weighted, 700, 0), counted(&[("a", 500), ("b", 100), ("c", 100)]));
}

#[test]
fn a_backend_s_weight_is_divided_among_its_endpoints() {
    let world = world(&[(3, &["a", "b", "c"]), (1, &["d"]), (0, &["e"])]);
    let each = counted(&[("a", 100), ("b", 100), ("c", 100), ("d", 100)]);
    assert_eq!(world.counts(LoadBalancing::Weighted, 400, 0), each);
    assert_eq!(world.counts(LoadBalancing::HealthBased, 400, 0), each);
}

#[test]
fn round_robin_is_even_whatever_the_weights() {
    let world = world_of(&[(9, &["a"]), (1, &["b", "c"])], LoadBalancing::RoundRobin);
    assert_eq!(world.counts(LoadBalancing::RoundRobin, 300, 0), counted(&[("a", 100), ("b", 100), ("c", 100)]));
}

#[test]
fn idle_endpoints_are_used_by_share() {
    let world = world(&[(6, &["a", "b"]), (1, &["c"])]);
    for policy in [LoadBalancing::LeastRequest, LoadBalancing::PeakEwma] {
        assert_shares(&world.counts(policy, 7_000, 0), &[("a", 3), ("b", 3), ("c", 1)]);
    }
}

#[test]
fn least_request_avoids_the_busier_of_two_for_its_weight() {
    let world = world(&[(1, &["a"]), (1, &["b"]), (4, &["c"])]);
    let _busy = [world.attempt(0, 0), world.attempt(2, 0), world.attempt(2, 0)];
    // One call is much for a and two are less for c: a loses against both, c against b.
    let counts = world.counts(LoadBalancing::LeastRequest, 6_000, 0);
    assert_eq!(counts.get("a"), None, "{counts:?}");
    // c is chosen when it is drawn with a: 4/6 × 1/2 + 1/6 × 4/5 of the time.
    assert_shares(&counts, &[("c", 7), ("b", 8)]);
}

#[test]
fn peak_ewma_prefers_the_faster_until_the_slow_one_s_past_fades() {
    let world = world(&[(1, &["fast"]), (1, &["slow"])]);
    let _ = world.attempt(0, 0).answered(Duration::from_millis(10), at(0));
    let _ = world.attempt(1, 0).answered(Duration::from_millis(100), at(0));
    assert_eq!(world.counts(LoadBalancing::PeakEwma, 100, 0), counted(&[("fast", 100)]));
    // Ten calls that wait cost more than a slow answer.
    let waiting: Vec<Attempt> = (0..10).map(|_| world.attempt(0, 0)).collect();
    assert_eq!(world.counts(LoadBalancing::PeakEwma, 100, 0), counted(&[("slow", 100)]));
    drop(waiting);
    let _ = world.attempt(0, 0).answered(Duration::from_millis(10), at(40_000));
    assert_eq!(world.counts(LoadBalancing::PeakEwma, 100, 40_000), counted(&[("slow", 100)]));
}

#[test]
fn peak_ewma_gives_one_call_to_what_was_never_measured_and_counts_the_wait_of_failures() {
    let world = world(&[(1, &["known"]), (1, &["new"])]);
    let _ = world.attempt(0, 0).answered(Duration::from_millis(10), at(0));
    assert_eq!(world.counts(LoadBalancing::PeakEwma, 100, 0), counted(&[("new", 100)]));
    let hanging = world.attempt(1, 0);
    assert_eq!(world.counts(LoadBalancing::PeakEwma, 100, 0), counted(&[("known", 100)]));
    let _ = hanging.failed(at(1_000));
    assert_eq!(world.counts(LoadBalancing::PeakEwma, 100, 1_000), counted(&[("known", 100)]));
}

#[test]
fn health_based_prefers_what_showed_life_lately() {
    let world = world(&[(1, &["a", "b"])]);
    let _ = world.attempt(0, 1).answered(Duration::ZERO, at(1_000));
    assert_eq!(world.counts(LoadBalancing::HealthBased, 100, 61_000), counted(&[("b", 100)]));
    assert_eq!(world.counts(LoadBalancing::HealthBased, 100, 61_001).len(), 2, "nobody has, so all are as good");
}

#[test]
fn a_returned_endpoint_s_share_grows_slowly() {
    let world = world(&[(1, &["a"]), (1, &["b"])]);
    for _ in 0..5 {
        let _ = world.attempt(0, 0).failed(at(0));
    }
    let returned = &world.backends[0].0;
    assert_eq!(returned.checked(&returned.endpoints()[0], true, at(30_000)).len(), 2);
    assert_eq!(world.view.tiers[0].slots[0].warmth(at(30_000)), 100);
    let counts = |now| world.counts(LoadBalancing::Weighted, 1_100, now).get("a").copied().unwrap_or(0);
    let (first, half, whole) = (counts(30_000), counts(35_000), counts(40_000));
    assert!(
        (99..=101).contains(&first) && (365..=368).contains(&half) && (549..=551).contains(&whole),
        "{first} {half} {whole}"
    );
}

fn owners(world: &World) -> Vec<String> {
    (0..10_000).map(|key| world.choose(BY_SESSION, 0, 0, Some(mix(key))).endpoint.name().to_string()).collect()
}

#[test]
fn hashing_shares_clients_by_weight_and_keeps_each_at_its_endpoint() {
    let world = world(&[(2, &["a", "b"]), (2, &["c"])]);
    let owners = owners(&world);
    let mut counts = BTreeMap::new();
    for owner in &owners {
        *counts.entry(owner.clone()).or_default() += 1;
    }
    assert_shares(&counts, &[("a", 1), ("b", 1), ("c", 2)]);
}

#[test]
fn an_endpoint_that_goes_or_comes_moves_only_its_own_clients() {
    let (three, two) =
        (owners(&world(&[(1, &["a"]), (1, &["b"]), (1, &["c"])])), owners(&world(&[(1, &["a"]), (1, &["b"])])));
    let moved = three.iter().zip(&two).filter(|(before, after)| before != after);
    assert!(moved.clone().all(|(before, _)| before == "c"));
    let count = moved.count();
    assert!((3_100..3_570).contains(&count), "a third, and not {count}");
}

proptest! {
    #[test]
    fn turns_follow_the_weights_in_every_round(weights in prop::collection::vec(1u32..50, 2..6), rounds in 1u64..4) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let backends: Vec<(u32, &[&str])> =
            weights.iter().enumerate().map(|(index, weight)| (*weight, &names[index..=index])).collect();
        let world = world(&backends);
        let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let expected: BTreeMap<String, u64> =
            names.iter().zip(&weights).map(|(name, weight)| ((*name).to_owned(), rounds * u64::from(*weight))).collect();
        prop_assert_eq!(world.counts(LoadBalancing::Weighted, rounds * sum, 0), expected);
    }

    #[test]
    fn no_policy_chooses_what_is_not_eligible(random: u64, key: u64, excluded in 0usize..3) {
        let world = world(&[(1, &["a"]), (2, &["b"]), (3, &["c"])]);
        let tier = &world.view.tiers[0];
        let eligible = |slot: &Slot| slot.endpoint.name() != tier.slots[excluded].endpoint.name();
        for policy in [
            LoadBalancing::RoundRobin, LoadBalancing::Weighted, LoadBalancing::LeastRequest, LoadBalancing::PeakEwma,
            LoadBalancing::HealthBased, BY_SESSION,
        ] {
            let chance = Chance { now: at(0), random, key: Some(key) };
            prop_assert!(choose(policy, tier, chance, eligible).is_some_and(eligible));
            prop_assert!(choose(policy, tier, chance, |_| false).is_none());
        }
    }
}
