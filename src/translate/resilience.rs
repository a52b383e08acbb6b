//! How backends are watched, chosen among and tried again, as the snapshot holds it.
//!
//! Bounds, and fields of one object that contradict each other, are the schema's matter: nothing reaches translation without it. What
//! only a gateway, a route and its policy decide together is found by [`at_gateway`].

use super::problem::Problem;
use super::settings;
use crate::api::failover::{Failover, Fallback, FallbackType, Filter, HashBy, LoadBalancing, LoadBalancingPolicy};
use crate::api::failover::{RetryBudget, RetryCause, TierCatalog};
use crate::api::health::{CircuitBreaker, FailureRate, HealthCheck, HealthCheckMethod, OutlierDetection};
use crate::api::route::RouteServer;
use crate::ir::snapshot::{self, Access};

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
        per_try_timeout_ms: per_try_timeout.map(crate::api::Duration::as_millis),
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
    let sorted = |mut causes: Vec<RetryCause>| {
        causes.sort_unstable();
        causes.dedup();
        causes
    };
    let mut codes = codes.to_vec();
    codes.sort_unstable();
    codes.dedup();
    let causes = sorted(causes.to_vec()).into_iter().map(|cause| match cause {
        RetryCause::ConnectFailure => snapshot::RetryCause::ConnectFailure,
        RetryCause::Unavailable => snapshot::RetryCause::Unavailable,
        RetryCause::Timeout => snapshot::RetryCause::Timeout,
        RetryCause::Reset => snapshot::RetryCause::Reset,
    });
    causes.chain(codes.into_iter().map(|code| snapshot::RetryCause::JsonRpcCode(code.into()))).collect()
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
    let mut without = |field: &str, why: String| {
        let name = &spec.name;
        lost.push(Problem::invalid(format!("spec.servers[{name}].{field} is left out: {why}")));
    };
    if server.failover.per_try_timeout_ms.is_some_and(|per_try| per_try > timeouts.response_ms) {
        server.failover.per_try_timeout_ms = None;
        let response = crate::api::Duration::from_millis(timeouts.response_ms);
        without(
            "failover.perTryTimeout",
            format!("timeouts.response ends the whole call after {response}; lower the first or raise the second"),
        );
    }
    let by_principal = snapshot::LoadBalancing::ConsistentHash { by: snapshot::HashBy::Principal };
    if server.load_balancing == by_principal && *access == Access::Anonymous {
        server.load_balancing = snapshot::LoadBalancing::ConsistentHash { by: snapshot::HashBy::Session };
        without(
            "loadBalancing.hashBy",
            "clients of the route are anonymous, so calls are spread by Session; choose that or ask clients who they are"
                .to_owned(),
        );
    }
    server.timeouts = (timeouts != *of_route).then_some(timeouts);
    (server, lost)
}
