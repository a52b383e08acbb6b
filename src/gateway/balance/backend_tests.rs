use super::*;
use crate::gateway::balance::attempt::{Attempt, Offer};
use crate::ir::snapshot::FailureRate;

const fn at(ms: u64) -> Moment {
    Moment::from_ms(ms)
}

fn backend(outlier: OutlierDetection, endpoints: &[&str]) -> Arc<Backend> {
    let backend = Backend::new("b", HealthCheck::default(), outlier, &CircuitBreaker::default());
    assert_eq!(backend.set_endpoints(endpoints.iter().copied(), at(0)), []);
    Arc::new(backend)
}

fn attempt(backend: &Arc<Backend>, index: usize, probe: Option<Moment>, now: u64) -> Attempt {
    let whom = (backend, &backend.endpoints()[index]);
    Attempt::new(whom, 0, (Offer::Usable, probe), at(now), backend.requests.acquire().unwrap())
}

/// Fails calls until something is told.
fn fail(backend: &Arc<Backend>, index: usize, calls: u32, now: u64) -> Vec<Transition> {
    (0..calls).flat_map(|_| attempt(backend, index, None, now).failed(at(now))).collect()
}

fn told(transitions: &[Transition]) -> Vec<(State, State, Cause, u64)> {
    transitions.iter().map(|told| (told.from, told.to, told.cause, told.for_ms)).collect()
}

const EJECTED: (State, State, Cause, u64) = (State::Closed, State::Open, Cause::ConsecutiveFailures(5), 30_000);

#[test]
fn failures_in_a_row_eject_and_a_success_between_starts_over() {
    let backend = backend(OutlierDetection::default(), &["a"]);
    assert_eq!(fail(&backend, 0, 4, 0), []);
    assert_eq!(attempt(&backend, 0, None, 0).answered(Duration::ZERO, at(0)), []);
    assert_eq!(fail(&backend, 0, 4, 0), []);
    assert_eq!(told(&fail(&backend, 0, 1, 0)), [EJECTED]);
    assert!(!backend.endpoints()[0].is_usable());
    assert_eq!(fail(&backend, 0, 9, 0), [], "those that were under way change nothing more");
}

#[test]
fn a_share_of_failures_ejects_once_there_are_enough_calls() {
    let failure_rate = FailureRate { percent: 50, minimum_requests: 6, window_ms: 1_000 };
    let outlier = OutlierDetection { consecutive_failures: 0, failure_rate, ..OutlierDetection::default() };
    let backend = backend(outlier, &["a"]);
    let mut changes = Vec::new();
    for _ in 0..3 {
        assert_eq!(changes, []);
        assert_eq!(attempt(&backend, 0, None, 0).answered(Duration::ZERO, at(0)), []);
        changes = fail(&backend, 0, 1, 0);
    }
    assert_eq!(told(&changes), [(State::Closed, State::Open, Cause::FailureRate(50), 30_000)]);
}

#[test]
fn as_many_are_ejected_as_may_be_and_always_one() {
    for (endpoints, percent, most) in [(1, 50, 1), (3, 50, 1), (4, 50, 2), (5, 1, 1), (3, 100, 3), (3, 0, 0)] {
        let names = ["a", "b", "c", "d", "e"];
        let outlier = OutlierDetection { max_ejection_percent: percent, ..OutlierDetection::default() };
        let backend = backend(outlier, &names[..endpoints]);
        let ejected = (0..endpoints).flat_map(|index| fail(&backend, index, 5, 0)).count();
        assert_eq!(ejected, most, "{percent} % of {endpoints}");
    }
}

#[test]
fn one_of_fewer_endpoints_returns_where_they_would_be_too_many() {
    let backend = backend(OutlierDetection::default(), &["a", "b", "c", "d"]);
    assert_eq!(fail(&backend, 0, 5, 0).len() + fail(&backend, 1, 5, 10).len(), 2);
    let changes = backend.set_endpoints(["a", "b"], at(20));
    assert_eq!(told(&changes), [(State::Open, State::Closed, Cause::EndpointsRemoved, 0)]);
    assert_eq!(&*changes[0].endpoint, "a", "its time would have ended first");
}

#[test]
fn each_failed_probe_doubles_up_to_the_longest_and_a_success_returns_it() {
    let backend = backend(OutlierDetection::default(), &["a"]);
    let _ = fail(&backend, 0, 5, 0);
    let endpoint = Arc::clone(&backend.endpoints()[0]);
    let mut now = 30_000;
    for for_ms in [60_000, 120_000, 240_000, 300_000, 300_000] {
        let probe = endpoint.ejection.take_probe(at(now), false);
        assert!(probe.is_some(), "its time is over");
        let failed = attempt(&backend, 0, probe, now).failed(at(now));
        assert_eq!(told(&failed), [(State::HalfOpen, State::Open, Cause::ProbeFailed, for_ms)]);
        now += for_ms;
    }
    let probe = endpoint.ejection.take_probe(at(now), false);
    let answered = attempt(&backend, 0, probe, now).answered(Duration::ZERO, at(now));
    assert_eq!(told(&answered), [(State::HalfOpen, State::Closed, Cause::Answered, 0)]);
    // It fails again soon: the count goes on. After a good time it begins anew.
    assert_eq!(fail(&backend, 0, 5, now + 1)[0].for_ms, 300_000);
    let probe = endpoint.ejection.take_probe(at(now + 400_000), false);
    let _ = attempt(&backend, 0, probe, now + 400_000).answered(Duration::ZERO, at(now + 400_000));
    assert_eq!(fail(&backend, 0, 5, now + 700_001)[0].for_ms, 30_000);
}

#[test]
fn a_probe_before_its_time_lengthens_nothing_and_one_that_is_dropped_comes_back() {
    let backend = backend(OutlierDetection::default(), &["a"]);
    let _ = fail(&backend, 0, 5, 0);
    let endpoint = Arc::clone(&backend.endpoints()[0]);
    let early = endpoint.ejection.take_probe(at(10_000), true);
    let failed = attempt(&backend, 0, early, 10_000).failed(at(10_000));
    assert_eq!(told(&failed), [(State::HalfOpen, State::Open, Cause::ProbeFailed, 20_000)]);
    let probe = endpoint.ejection.take_probe(at(30_000), false);
    drop(attempt(&backend, 0, probe, 30_000));
    assert_eq!(endpoint.ejection(), EjectionState::Open { until: at(30_000) });
    assert_eq!((endpoint.in_flight(), backend.requests.used()), (0, 0));
}

#[test]
fn only_the_probe_itself_returns_an_endpoint() {
    let backend = backend(OutlierDetection::default(), &["a"]);
    let slow = attempt(&backend, 0, None, 0);
    let _ = fail(&backend, 0, 5, 0);
    let endpoint = Arc::clone(&backend.endpoints()[0]);
    let _probe = attempt(&backend, 0, endpoint.ejection.take_probe(at(30_000), false), 30_000);
    assert_eq!(slow.answered(Duration::ZERO, at(30_001)), []);
    assert!(matches!(endpoint.ejection(), EjectionState::HalfOpen { .. }));
}

#[test]
fn each_limit_of_the_circuit_breaker_is_held_for_itself() {
    let limits = CircuitBreaker { max_connections: 1, max_pending_requests: 2, max_requests: 3 };
    let backend = Backend::new("b", HealthCheck::default(), OutlierDetection::default(), &limits);
    let held = |permit: &dyn Fn() -> Option<Permit>| std::iter::from_fn(permit).take(9).collect::<Vec<_>>();
    let all = [held(&|| backend.connection()), held(&|| backend.pending()), held(&|| backend.requests.acquire())];
    assert_eq!(all.each_ref().map(Vec::len), [1, 2, 3]);
    drop(all);
    assert!(backend.connection().is_some() && backend.pending().is_some());
}

#[test]
fn a_connection_lets_the_probe_be_made_at_once() {
    let backend = backend(OutlierDetection::default(), &["a"]);
    let _ = fail(&backend, 0, 5, 0);
    let endpoint = Arc::clone(&backend.endpoints()[0]);
    assert_eq!(endpoint.ejection.take_probe(at(100), false), None);
    assert!(backend.connected(&endpoint, at(100)));
    assert!(endpoint.ejection.take_probe(at(100), false).is_some());
}

#[test]
fn checks_need_their_thresholds_in_a_row() {
    use State::{Healthy, Unhealthy, Unknown};
    let backend = backend(OutlierDetection::default(), &["a"]);
    let endpoint = Arc::clone(&backend.endpoints()[0]);
    let mut seen = Vec::new();
    for success in [true, false, false, true, false, false, false, false, true, false, true, true, true] {
        seen.push(told(&backend.checked(&endpoint, success, at(0))).first().map(|(from, to, ..)| (*from, *to)));
    }
    let mut expected = vec![None; 13];
    expected[0] = Some((Unknown, Healthy));
    expected[6] = Some((Healthy, Unhealthy));
    expected[11] = Some((Unhealthy, Healthy));
    assert_eq!(seen, expected);
}

#[test]
fn a_call_that_is_answered_is_a_sign_of_life() {
    let backend = backend(OutlierDetection::default(), &["a"]);
    let endpoint = Arc::clone(&backend.endpoints()[0]);
    assert_eq!(endpoint.health(at(0), 60_000), State::Unknown);
    let _ = attempt(&backend, 0, None, 0).answered(Duration::ZERO, at(1_000));
    assert_eq!(endpoint.health(at(61_000), 60_000), State::Healthy);
    assert_eq!(endpoint.health(at(61_001), 60_000), State::Unknown, "stale");
    for _ in 0..3 {
        let _ = backend.checked(&endpoint, false, at(2_000));
    }
    assert_eq!(endpoint.health(at(2_000), 60_000), State::Unhealthy);
    let answered = attempt(&backend, 0, None, 0).answered(Duration::ZERO, at(3_000));
    assert_eq!(told(&answered), [(State::Unhealthy, State::Healthy, Cause::Answered, 0)]);
}

#[test]
fn a_check_returns_an_endpoint_once_its_probe_is_due_and_not_before() {
    let backend = backend(OutlierDetection::default(), &["a"]);
    let _ = fail(&backend, 0, 5, 0);
    let endpoint = Arc::clone(&backend.endpoints()[0]);
    let first = backend.checked(&endpoint, true, at(29_999));
    assert_eq!(told(&first), [(State::Unknown, State::Healthy, Cause::ChecksSucceeded, 0)]);
    let due = backend.checked(&endpoint, true, at(30_000));
    assert_eq!(told(&due), [(State::Open, State::Closed, Cause::ChecksSucceeded, 0)]);
}
