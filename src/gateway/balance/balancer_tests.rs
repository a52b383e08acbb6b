use super::*;
use crate::gateway::balance::walk::Refusal;
use crate::gateway::balance::{Attempt, Backend, Offer};
use crate::ir::snapshot::{CircuitBreaker, HealthCheck, OutlierDetection};

const fn at(ms: u64) -> Moment {
    Moment::from_ms(ms)
}

/// Endpoints of a backend with this weight; the names say whose they are.
type Backends<'a> = &'a [(u32, &'a [&'a str])];

fn balancer(tiers: &[Backends<'_>], attempts: u32) -> Balancer {
    limited(tiers, attempts, CircuitBreaker::default().max_requests)
}

fn limited(tiers: &[Backends<'_>], attempts: u32, max_requests: u32) -> Balancer {
    let backend = |(weight, endpoints): &(u32, &[&str])| {
        let outlier =
            OutlierDetection { consecutive_failures: 1, max_ejection_percent: 100, ..OutlierDetection::default() };
        let limits = CircuitBreaker { max_requests, ..CircuitBreaker::default() };
        let backend = Backend::new("b", HealthCheck::default(), outlier, &limits);
        assert_eq!(backend.set_endpoints(endpoints.iter().copied(), at(0)), []);
        (Arc::new(backend), *weight)
    };
    let tiers = tiers.iter().map(|tier| tier.iter().map(backend).collect()).collect();
    Balancer::new(tiers, LoadBalancing::Weighted, Failover { attempts, ..Failover::default() }, at(0))
}

/// All endpoints that one call is offered, when each attempt ends as `end` says.
fn walked(balancer: &Balancer, safety: Safety, now: u64, end: impl Fn(Attempt)) -> (Vec<(String, Offer)>, Refusal) {
    let (mut walk, mut offers) = (balancer.begin(safety, None), Vec::new());
    loop {
        match walk.next(at(now), 0) {
            Ok(attempt) => {
                offers.push((attempt.endpoint().name().to_string(), attempt.offer()));
                end(attempt);
            }
            Err(refusal) => return (offers, refusal),
        }
    }
}

fn failed(now: u64) -> impl Fn(Attempt) {
    move |attempt| drop(attempt.failed(at(now)))
}

/// What is offered while attempts end without a lesson for anyone.
fn order(tiers: &[Backends<'_>], attempts: u32) -> String {
    let (offers, refusal) = walked(&balancer(tiers, attempts), Safety::Unsafe, 0, drop);
    assert_eq!(refusal, Refusal::Attempts);
    offers.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn each_endpoint_is_tried_once_before_any_is_tried_again() {
    assert_eq!(order(&[&[(1, &["a", "b"]), (1, &["c"])], &[(1, &["d"])]], 4), "cabd");
    assert_eq!(order(&[&[(1, &["a"])]], 3), "aaa");
    assert_eq!(order(&[&[(1, &["a"]), (0, &["x"])], &[(1, &["b"])]], 3).replace('x', "!"), "abb");
}

#[test]
fn attempts_are_saved_for_every_lower_tier() {
    let tiers: &[Backends<'_>] = &[&[(1, &["a", "A"])], &[(1, &["b", "B"])], &[(1, &["c", "C"])]];
    assert_eq!(order(tiers, 4), "aAbc");
    assert_eq!(order(tiers, 3), "abc");
    assert_eq!(order(tiers, 2), "ab");
    assert_eq!(order(tiers, 1), "a");
}

#[test]
fn a_tier_without_endpoints_is_passed_over() {
    assert_eq!(order(&[&[(1, &[])], &[(1, &["b"])]], 1), "b");
    let (offers, refusal) = walked(&balancer(&[&[(1, &[])], &[(0, &["x"])]], 3), Safety::Repeatable, 0, drop);
    assert_eq!((offers, refusal), (Vec::new(), Refusal::NoEndpoint));
}

#[test]
fn what_is_ejected_is_offered_last_and_then_the_error_is_fast() {
    let balancer = balancer(&[&[(1, &["a"])], &[(1, &["b"])]], 9);
    let (offers, refusal) = walked(&balancer, Safety::Unsafe, 0, failed(0));
    let usable = ["a", "b"].map(|name| (name.to_owned(), Offer::Usable));
    assert_eq!(offers, usable);
    assert_eq!(refusal, Refusal::AllEjected { until: Some(at(30_000)) });
    // The next call finds both ejected, and tries each as the last resort.
    let (offers, refusal) = walked(&balancer, Safety::Unsafe, 10, failed(10));
    assert_eq!(offers, ["a", "b"].map(|name| (name.to_owned(), Offer::LastResort)));
    assert_eq!(refusal, Refusal::AllEjected { until: Some(at(30_000)) });
    // While one call tries it, no other does.
    let mut walk = balancer.begin(Safety::Unsafe, None);
    let _first = (walk.next(at(20), 0).unwrap(), walk.next(at(20), 0).unwrap());
    let (offers, _) = walked(&balancer, Safety::Unsafe, 20, failed(20));
    assert_eq!(offers, []);
}

#[test]
fn a_probe_goes_to_a_call_that_can_be_repeated_and_to_one() {
    let balancer = balancer(&[&[(1, &["a"])], &[(1, &["b"])]], 3);
    balancer.begin(Safety::Unsafe, None).next(at(0), 0).unwrap().failed(at(0));
    let first = |safety, now| {
        let attempt = balancer.begin(safety, None).next(at(now), 0).unwrap();
        (attempt.endpoint().name().to_string(), attempt.offer(), attempt)
    };
    let (name, offer, _) = first(Safety::Repeatable, 29_999);
    assert_eq!((&*name, offer), ("b", Offer::Usable));
    let (name, offer, _) = first(Safety::Unsafe, 30_000);
    assert_eq!((&*name, offer), ("b", Offer::Usable));
    let (name, offer, probe) = first(Safety::Repeatable, 30_000);
    assert_eq!((&*name, offer), ("a", Offer::Probe));
    let (name, offer, _) = first(Safety::Repeatable, 30_000);
    assert_eq!((&*name, offer), ("b", Offer::Usable));
    assert_eq!(probe.answered(std::time::Duration::ZERO, at(30_001)).len(), 1);
}

#[test]
fn the_higher_tier_returns_after_it_was_well_for_long_enough_and_not_for_less() {
    let balancer = balancer(&[&[(1, &["a"])], &[(1, &["b"])]], 3);
    let primary = Arc::clone(&balancer.tiers[0][0].0);
    let endpoint = Arc::clone(&primary.endpoints()[0]);
    let check = |success, now| drop(primary.checked(&endpoint, success, at(now)));
    let mut changes = Vec::new();
    // It alternates for ten minutes: a second of failures, then one of successes.
    for second in 0..600 {
        for part in 0..3 {
            check(second % 2 == 1, second * 1_000 + part * 300);
        }
        changes.extend(balancer.settle(at(second * 1_000 + 900)));
    }
    assert_eq!(changes, [TierChange { from: 0, to: 1 }]);
    assert_eq!(balancer.settle(at(599_300 + 59_999)), None, "well since 599,300");
    assert_eq!(balancer.settle(at(599_300 + 60_000)), Some(TierChange { from: 1, to: 0 }));
}

#[test]
fn a_higher_tier_is_used_early_where_nothing_else_is_left() {
    let balancer = balancer(&[&[(1, &["a"])], &[(1, &["b"])]], 3);
    let backends = [&balancer.tiers[0][0].0, &balancer.tiers[1][0].0];
    let check = |tier: usize, success| {
        let backend = backends[tier];
        (0..3).for_each(|_| drop(backend.checked(&backend.endpoints()[0], success, at(0))));
    };
    check(0, false);
    assert_eq!(balancer.settle(at(0)), Some(TierChange { from: 0, to: 1 }));
    check(0, true);
    assert_eq!(balancer.settle(at(0)), None);
    // The retry of a call may go up already.
    let (offers, _) = walked(&balancer, Safety::Unsafe, 0, drop);
    assert_eq!(offers[..2], ["b", "a"].map(|name| (name.to_owned(), Offer::Usable)));
    check(1, false);
    assert_eq!(balancer.settle(at(0)), Some(TierChange { from: 1, to: 0 }));
}

#[test]
fn after_a_failed_probe_the_active_tier_is_next() {
    let balancer = balancer(&[&[(1, &["a", "A"])], &[(1, &["b"])]], 3);
    let backend = &balancer.tiers[0][0].0;
    let backup = &balancer.tiers[1][0].0;
    // All are ejected. The second tier returns, and then one of the first, which has yet to prove itself.
    let (offers, _) = walked(&balancer, Safety::Unsafe, 0, failed(0));
    assert_eq!((offers.len(), balancer.active_tier()), (3, 1));
    assert_eq!(backup.checked(&backup.endpoints()[0], true, at(30_000)).len(), 2);
    assert_eq!(backend.checked(&backend.endpoints()[1], true, at(30_000)).len(), 2);
    let (offers, _) = walked(&balancer, Safety::Repeatable, 30_001, failed(30_001));
    let expected = [("a", Offer::Probe), ("b", Offer::Usable), ("A", Offer::Usable)];
    assert_eq!(offers, expected.map(|(name, offer)| (name.to_owned(), offer)));
}

#[test]
fn a_full_backend_is_passed_over_and_is_no_failure() {
    let balancer = limited(&[&[(1, &["a"])], &[(1, &["b"])]], 3, 1);
    let mut walks = [(); 3].map(|()| balancer.begin(Safety::Unsafe, None));
    let [first, second, third] = &mut walks;
    let held = (first.next(at(0), 0).unwrap(), second.next(at(0), 0).unwrap());
    assert_eq!((&**held.0.endpoint().name(), &**held.1.endpoint().name()), ("a", "b"));
    assert_eq!(third.next(at(0), 0).unwrap_err(), Refusal::Overloaded);
    assert_eq!(balancer.active_tier(), 0);
    drop(held);
    assert!(third.next(at(0), 0).is_ok());
}

#[test]
fn new_endpoints_are_seen_at_once() {
    let balancer = balancer(&[&[(1, &["a"])]], 1);
    balancer.tiers[0][0].0.set_endpoints(["b"], at(5));
    let (offers, _) = walked(&balancer, Safety::Unsafe, 5, drop);
    assert_eq!(offers, [("b".to_owned(), Offer::Usable)]);
}
