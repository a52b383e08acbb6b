//! How a backend's endpoints are watched, bounded and chosen among, and how a failed attempt is followed by another.
//!
//! What is absent from a snapshot has its default, and what has its default is left out: a gateway of before these fields reads a
//! snapshot that does not use them.

use serde::{Deserialize, Serialize};

/// Whether a field can be left out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How endpoints are asked whether they live, besides the calls they answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// Between two checks of one endpoint, in ms; each wait is jittered.
    pub interval_ms: u64,
    /// How long one check may take, in ms.
    pub timeout_ms: u64,
    /// Failed checks in a row that make an endpoint unhealthy; at least 1.
    pub unhealthy_threshold: u32,
    /// Good checks in a row that make an unhealthy endpoint healthy; at least 1.
    pub healthy_threshold: u32,
    /// What is asked.
    pub method: HealthCheckMethod,
    /// After this long without a sign of life nothing is known of an endpoint any more, in ms.
    pub stale_after_ms: u64,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval_ms: 10_000,
            timeout_ms: 3_000,
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            method: HealthCheckMethod::Auto,
            stale_after_ms: 60_000,
        }
    }
}

/// What an endpoint is asked. Never a bare GET, and nothing that it did not advertise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HealthCheckMethod {
    /// `ping` of a legacy server, `server/discover` of a modern one.
    #[default]
    Auto,
    /// `ping`.
    Ping,
    /// `server/discover`.
    Discover,
}

/// When an endpoint is ejected for what its calls came to, and when it may return.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct OutlierDetection {
    /// Failed calls in a row that eject an endpoint; 0: they do not.
    pub consecutive_failures: u32,
    /// The share of failed calls that ejects an endpoint.
    pub failure_rate: FailureRate,
    /// How long the first ejection lasts, in ms; each one that follows without a good time between lasts twice as long.
    pub base_ejection_ms: u64,
    /// How long an ejection lasts at the most, in ms.
    pub max_ejection_ms: u64,
    /// How many of a backend's endpoints may be ejected at a time; above 0 it is always one at least.
    pub max_ejection_percent: u32,
    /// After its return, an endpoint's share grows to the full one for this long, in ms; 0: it has it at once. Envoy has it off, but
    /// a server that has just started again is what comes back here, and its caches are cold.
    pub slow_start_ms: u64,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: FailureRate::default(),
            base_ejection_ms: 30_000,
            max_ejection_ms: 300_000,
            max_ejection_percent: 50,
            slow_start_ms: 10_000,
        }
    }
}

/// A share of failed calls over a window. The defaults are Envoy's (`failure_percentage_threshold`,
/// `failure_percentage_request_volume`, `interval`): high, and only with enough calls to mean something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FailureRate {
    /// In percent of the calls in the window; 0: the rate ejects nobody.
    pub percent: u32,
    /// With fewer calls in the window nothing is concluded.
    pub minimum_requests: u32,
    /// The length of a window, in ms.
    pub window_ms: u64,
}

impl Default for FailureRate {
    fn default() -> Self {
        Self { percent: 85, minimum_requests: 50, window_ms: 10_000 }
    }
}

/// Limits of one backend in one gateway replica, in Envoy's meaning. The defaults are Envoy's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// Open connections.
    pub max_connections: u32,
    /// Calls that wait for a connection.
    pub max_pending_requests: u32,
    /// Calls in flight.
    pub max_requests: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { max_connections: 1_024, max_pending_requests: 1_024, max_requests: 1_024 }
    }
}

/// How an endpoint is chosen inside a tier. In every policy, a weight of 0 takes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "policy", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum LoadBalancing {
    /// One endpoint after the other, evenly.
    RoundRobin,
    /// One endpoint after the other, exactly by weight.
    Weighted,
    /// The less busy of two that are drawn by weight.
    #[default]
    LeastRequest,
    /// The one of two that is likely to answer sooner: by a moving average of its latency that follows peaks at once.
    #[serde(rename = "PeakEWMA")]
    PeakEwma,
    /// By weight among those that have shown a sign of life lately; without one, among all.
    HealthBased,
    /// The same endpoint for the same client, for as long as it is there.
    ConsistentHash {
        /// What makes it the same client.
        by: HashBy,
    },
}

/// What is the same in calls that go to the same endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HashBy {
    /// The client's session.
    Session,
    /// Who the client is.
    Principal,
}

/// How failed attempts are followed by others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Failover {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// Wait before the second attempt, in ms, jittered; doubles from there.
    pub backoff_ms: u64,
    /// The causes after which a call is repeated, if it may be.
    #[serde(default = "default_retry_on", skip_serializing_if = "is_default_retry_on")]
    pub retry_on: Vec<RetryCause>,
    /// How long one attempt may take to the first byte of its answer, in ms; absent: the request's timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_try_timeout_ms: Option<u64>,
    /// Repeat tools too that do not say that this is safe.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retry_unsafe_tools: bool,
    /// A higher tier takes calls again once it was usable for this long without interruption, in ms.
    #[serde(default = "default_recover_after_ms", skip_serializing_if = "is_default_recover_after_ms")]
    pub recover_after_ms: u64,
    /// What clients see where the tiers do not offer the same.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catalog: TierCatalog,
    /// How many repetitions there may be beside the calls themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retry_budget: RetryBudget,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            attempts: 3,
            backoff_ms: 100,
            retry_on: default_retry_on(),
            per_try_timeout_ms: None,
            retry_unsafe_tools: false,
            recover_after_ms: default_recover_after_ms(),
            catalog: TierCatalog::default(),
            retry_budget: RetryBudget::default(),
        }
    }
}

fn default_retry_on() -> Vec<RetryCause> {
    vec![RetryCause::ConnectFailure, RetryCause::Unavailable, RetryCause::Timeout, RetryCause::Reset]
}

fn is_default_retry_on(causes: &[RetryCause]) -> bool {
    *causes == *default_retry_on()
}

const fn default_recover_after_ms() -> u64 {
    60_000
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
const fn is_default_recover_after_ms(value: &u64) -> bool {
    *value == default_recover_after_ms()
}

/// Why an attempt failed, as far as it matters to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RetryCause {
    /// No connection came about.
    ConnectFailure,
    /// The endpoint said that it cannot (5xx, 429), or answered with what is no MCP.
    Unavailable,
    /// No answer within the attempt's time.
    Timeout,
    /// The connection broke.
    Reset,
    /// The answer was a JSON-RPC error with this code.
    #[serde(rename = "jsonRpcCode")]
    JsonRpcCode(i64),
}

/// What a server with several tiers offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TierCatalog {
    /// What every tier offers in the same way, so that any tier can take any call.
    #[default]
    Intersection,
    /// What any tier offers; a call goes only to tiers that have its tool.
    Union,
}

/// What a tool call is answered with when no tier can take it, marked as degraded in its `_meta`: at least one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fallback {
    /// First of all what the same client last got for the same call, if the call's tool says `readOnlyHint`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// This text, where nothing else is there to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Bounds repetitions, so that they cannot keep down a server that is about to recover: a bucket into which each call puts a part of a
/// repetition. The defaults are linkerd's and finagle's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryBudget {
    /// Repetitions for every hundred calls.
    pub percent: u32,
    /// Repetitions a second that are there besides, for servers that are seldom called.
    pub min_per_second: u32,
    /// What is saved is at most `min_per_second` for this long, in ms.
    pub ttl_ms: u64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 10, ttl_ms: 10_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failover_of_before_has_the_defaults_and_is_written_as_before() {
        let old = r#"{"attempts":3,"backoffMs":100}"#;
        let read: Failover = serde_json::from_str(old).unwrap();
        assert_eq!(read, Failover::default());
        assert_eq!(serde_json::to_string(&read).unwrap(), old);
    }

    #[test]
    fn what_differs_from_the_defaults_is_written_and_read_again() {
        let failover = Failover {
            retry_on: vec![RetryCause::Reset, RetryCause::JsonRpcCode(-32_603)],
            per_try_timeout_ms: Some(1_000),
            retry_unsafe_tools: true,
            recover_after_ms: 1,
            catalog: TierCatalog::Union,
            retry_budget: RetryBudget { percent: 1, ..RetryBudget::default() },
            ..Failover::default()
        };
        let written = serde_json::to_string(&failover).unwrap();
        assert!(written.contains(r#""retryOn":["Reset",{"jsonRpcCode":-32603}]"#), "{written}");
        assert_eq!(serde_json::from_str::<Failover>(&written).unwrap(), failover);
    }

    #[test]
    fn each_policy_has_its_name() {
        let by_session = LoadBalancing::ConsistentHash { by: HashBy::Session };
        for (policy, written) in [
            (LoadBalancing::PeakEwma, r#"{"policy":"PeakEWMA"}"#),
            (LoadBalancing::LeastRequest, r#"{"policy":"LeastRequest"}"#),
            (by_session, r#"{"policy":"ConsistentHash","by":"Session"}"#),
        ] {
            assert_eq!(serde_json::to_string(&policy).unwrap(), written);
            assert_eq!(serde_json::from_str::<LoadBalancing>(written).unwrap(), policy);
        }
    }

    #[test]
    fn an_unknown_field_is_refused() {
        assert!(serde_json::from_str::<OutlierDetection>(r#"{"baseEjectionTime":1}"#).is_err());
        assert!(serde_json::from_str::<HealthCheck>(r#"{"intervalMs":1}"#).is_ok());
    }
}
