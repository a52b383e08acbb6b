//! How backends are watched, chosen among and tried again, as the snapshot holds it.
//!
//! Bounds, and fields of one object that contradict each other, are the schema's matter: nothing reaches translation without it. What
//! only a gateway, a route and its policy decide together is found by [`at_gateway`].

use super::problem::Problem;
use super::settings;
use crate::api::Duration;
use crate::api::failover::{Failover, Fallback, FallbackType, Filter, HashBy, LoadBalancing, LoadBalancingPolicy};
use crate::api::failover::{RetryBudget, RetryCause, TierCatalog};
use crate::api::health::{CircuitBreaker, FailureRate, HealthCheck, HealthCheckMethod, OutlierDetection};
use crate::api::route::RouteServer;
use crate::ir::snapshot::{self, Access};
use std::collections::BTreeSet;

// Types of the API are destructured without `..`, so that a new field cannot be forgotten.

pub(super) fn health(health: &HealthCheck) -> snapshot::HealthCheck {
    let HealthCheck { interval, timeout, unhealthy_threshold, healthy_threshold, method, stale_after } = health;
    snapshot::HealthCheck {
        interval_ms: interval.as_millis(),
        timeout_ms: timeout.as_millis(),
        unhealthy_threshold: *unhealthy_threshold,
        healthy_threshold: *healthy_threshold,
        method: match method {
            HealthCheckMethod::Auto => snapshot::HealthCheckMethod::Auto,
            HealthCheckMethod::Ping => snapshot::HealthCheckMethod::Ping,
            HealthCheckMethod::Discover => snapshot::HealthCheckMethod::Discover,
        },
        stale_after_ms: stale_after.as_millis(),
    }
}

pub(super) fn outlier_detection(outlier: &OutlierDetection) -> snapshot::OutlierDetection {
    let OutlierDetection {
        consecutive_failures,
        failure_rate: FailureRate { percent, minimum_requests, window },
        base_ejection_time,
        max_ejection_time,
        max_ejection_percent,
        slow_start,
    } = outlier;
    snapshot::OutlierDetection {
        consecutive_failures: *consecutive_failures,
        failure_rate: snapshot::FailureRate {
            percent: *percent,
            minimum_requests: *minimum_requests,
            window_ms: window.as_millis(),
        },
        base_ejection_ms: base_ejection_time.as_millis(),
        max_ejection_ms: max_ejection_time.as_millis(),
        max_ejection_percent: *max_ejection_percent,
        slow_start_ms: slow_start.as_millis(),
    }
}

pub(super) fn circuit_breaker(breaker: &CircuitBreaker) -> snapshot::CircuitBreaker {
    let CircuitBreaker { max_connections, max_pending_requests, max_requests } = breaker;
    snapshot::CircuitBreaker {
        max_connections: *max_connections,
        max_pending_requests: *max_pending_requests,
        max_requests: *max_requests,
    }
}

pub(super) fn load_balancing(balancing: &LoadBalancing) -> snapshot::LoadBalancing {
    let LoadBalancing { policy, hash_by } = balancing;
    match policy {
        LoadBalancingPolicy::RoundRobin => snapshot::LoadBalancing::RoundRobin,
        LoadBalancingPolicy::Weighted => snapshot::LoadBalancing::Weighted,
        LoadBalancingPolicy::LeastRequest => snapshot::LoadBalancing::LeastRequest,
        LoadBalancingPolicy::PeakEwma => snapshot::LoadBalancing::PeakEwma,
        LoadBalancingPolicy::HealthBased => snapshot::LoadBalancing::HealthBased,
        LoadBalancingPolicy::ConsistentHash => snapshot::LoadBalancing::ConsistentHash {
            by: match hash_by.unwrap_or_default() {
                HashBy::Session => snapshot::HashBy::Session,
                HashBy::Principal => snapshot::HashBy::Principal,
            },
        },
    }
}

pub(super) fn failover(failover: &Failover) -> snapshot::Failover {
    let Failover {
        retry_on,
        retry_on_codes,
        attempts,
        per_try_timeout,
        backoff,
        retry_unsafe_tools,
        recover_after,
        catalog,
        budget: RetryBudget { percent, min_per_second, ttl },
    } = failover;
    snapshot::Failover {
        attempts: *attempts,
        backoff_ms: backoff.as_millis(),
        retry_on: retry_causes(retry_on, retry_on_codes),
        per_try_timeout_ms: per_try_timeout.map(Duration::as_millis),
        retry_unsafe_tools: *retry_unsafe_tools,
        recover_after_ms: recover_after.as_millis(),
        catalog: match catalog {
            TierCatalog::Intersection => snapshot::TierCatalog::Intersection,
            TierCatalog::Union => snapshot::TierCatalog::Union,
        },
        retry_budget: snapshot::RetryBudget {
            percent: *percent,
            min_per_second: *min_per_second,
            ttl_ms: ttl.as_millis(),
        },
    }
}

/// Both are sets, so their order says nothing: a snapshot has them in one.
fn retry_causes(causes: &[RetryCause], codes: &[i32]) -> Vec<snapshot::RetryCause> {
    let causes: BTreeSet<&RetryCause> = causes.iter().collect();
    let codes: BTreeSet<&i32> = codes.iter().collect();
    let causes = causes.into_iter().map(|cause| match cause {
        RetryCause::ConnectFailure => snapshot::RetryCause::ConnectFailure,
        RetryCause::Unavailable => snapshot::RetryCause::Unavailable,
        RetryCause::Timeout => snapshot::RetryCause::Timeout,
        RetryCause::Reset => snapshot::RetryCause::Reset,
    });
    causes.chain(codes.into_iter().map(|code| snapshot::RetryCause::JsonRpcCode((*code).into()))).collect()
}

/// What stands at the end of the ladder; the first one, if the schema let two pass.
pub(super) fn fallback(filters: &[Filter]) -> Option<snapshot::Fallback> {
    let Fallback { type_, text } = filters.iter().find_map(|filter| filter.fallback.as_ref())?;
    match type_ {
        FallbackType::StaleCache => Some(snapshot::Fallback { stale: true, text: text.clone() }),
        FallbackType::Text => Some(snapshot::Fallback { stale: false, text: Some(text.clone()?) }),
    }
}

/// A server of a route as one gateway serves it, where the route has these timeouts and is open to those: with timeouts of its own where
/// they differ, and without what has no effect there, which is told.
pub(super) fn at_gateway(
    spec: &RouteServer,
    server: &snapshot::Server,
    of_route: &snapshot::Timeouts,
    access: &Access,
) -> (snapshot::Server, Vec<Problem>) {
    let mut server = server.clone();
    let timeouts = settings::overridden(of_route, spec.timeouts.as_ref());
    let mut lost = Vec::new();
    let mut leave_out = |field: &str, why: &str| {
        lost.push(Problem::invalid(format!("spec.servers[{}].{field} is left out: {why}", spec.name)));
    };
    if let Some(why) = attempt_outlasts_call(&server.failover, &timeouts) {
        leave_out("failover.perTryTimeout", &why);
        server.failover.per_try_timeout_ms = None;
    }
    if let Some(why) = hash_tells_nobody_apart(server.load_balancing, access) {
        leave_out("loadBalancing.hashBy", why);
        server.load_balancing = snapshot::LoadBalancing::ConsistentHash { by: snapshot::HashBy::Session };
    }
    server.timeouts = (timeouts != *of_route).then_some(timeouts);
    (server, lost)
}

fn attempt_outlasts_call(failover: &snapshot::Failover, timeouts: &snapshot::Timeouts) -> Option<String> {
    failover.per_try_timeout_ms.filter(|per_try| *per_try > timeouts.response_ms).map(|_| {
        let response = Duration::from_millis(timeouts.response_ms);
        format!("timeouts.response ends the whole call after {response}; lower the first or raise the second")
    })
}

fn hash_tells_nobody_apart(balancing: snapshot::LoadBalancing, access: &Access) -> Option<&'static str> {
    let by_principal = snapshot::LoadBalancing::ConsistentHash { by: snapshot::HashBy::Principal };
    (balancing == by_principal && *access == Access::Anonymous)
        .then_some("clients of the route are anonymous, so calls are spread by Session; choose that, or have clients say who they are")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::gateway_settings::Timeouts;

    #[test]
    fn what_is_left_out_of_a_manifest_and_of_a_snapshot_is_the_same() {
        assert_eq!(health(&HealthCheck::default()), snapshot::HealthCheck::default());
        assert_eq!(outlier_detection(&OutlierDetection::default()), snapshot::OutlierDetection::default());
        assert_eq!(circuit_breaker(&CircuitBreaker::default()), snapshot::CircuitBreaker::default());
        assert_eq!(load_balancing(&LoadBalancing::default()), snapshot::LoadBalancing::default());
        assert_eq!(failover(&Failover::default()), snapshot::Failover::default());
        let Timeouts { connect, request, response, progress_extends_request } = Timeouts::default();
        let timeouts = snapshot::Timeouts {
            connect_ms: connect.as_millis(),
            request_ms: request.as_millis(),
            response_ms: response.as_millis(),
            progress_extends_request,
        };
        assert_eq!(timeouts, snapshot::Timeouts::default());
    }

    #[test]
    fn causes_and_codes_come_once_and_in_one_order() {
        let (a, b) = (RetryCause::Unavailable, RetryCause::Reset);
        let expected = [
            snapshot::RetryCause::Unavailable,
            snapshot::RetryCause::Reset,
            snapshot::RetryCause::JsonRpcCode(-32_603),
            snapshot::RetryCause::JsonRpcCode(1),
        ];
        assert_eq!(retry_causes(&[b, a, b], &[1, -32_603, 1]), expected);
        assert_eq!(retry_causes(&[a, b], &[-32_603, 1]), expected);
    }

    #[test]
    fn clients_that_are_known_are_told_apart() {
        let by = |hash_by| LoadBalancing { policy: LoadBalancingPolicy::ConsistentHash, hash_by };
        let hashed = |by| snapshot::LoadBalancing::ConsistentHash { by };
        assert_eq!(load_balancing(&by(None)), hashed(snapshot::HashBy::Session));
        let principal = load_balancing(&by(Some(HashBy::Principal)));
        assert_eq!(principal, hashed(snapshot::HashBy::Principal));
        let known = Access::Unavailable { reason: "its policy is not there yet".to_owned() };
        assert_eq!(hash_tells_nobody_apart(principal, &known), None);
        assert!(hash_tells_nobody_apart(principal, &Access::Anonymous).is_some());
        assert_eq!(hash_tells_nobody_apart(load_balancing(&by(None)), &Access::Anonymous), None);
    }
}
