//! How a backend's endpoints are watched, ejected and bounded. Parts of an [`McpBackend`](super::McpBackend).

use super::duration::Duration;
use super::schema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How endpoints are asked whether they live, besides the calls that they answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    schema::between("spec.health", "interval", "1s", "1h"),
    schema::between("spec.health", "timeout", "100ms", "1m"),
    schema::between("spec.health", "staleAfter", "2s", "24h"),
    schema::rule(
        "duration(self.staleAfter) >= duration(self.interval) + duration(self.interval)",
        "spec.health.staleAfter (default 1m) must be at least twice interval (default 10s), or endpoints that are well count as unknown between two checks: raise staleAfter or lower interval",
    ),
]))]
pub struct HealthCheck {
    /// Between two checks of one endpoint, from 1s to 1h; each wait is up to a quarter shorter or longer, and the first checks
    /// follow each other faster. Default: 10s.
    pub interval: Duration,
    /// How long one check may take, from 100ms to 1m. Default: 3s.
    pub timeout: Duration,
    /// Failed checks in a row that make an endpoint unhealthy: it takes no calls while others can. Default: 3.
    #[schemars(range(min = 1, max = 100))]
    pub unhealthy_threshold: u32,
    /// Good checks in a row that make an unhealthy endpoint healthy. Default: 2.
    #[schemars(range(min = 1, max = 100))]
    pub healthy_threshold: u32,
    /// Auto: ping where the server speaks a revision before 2026-07-28, server/discover where not; Ping: ping; Discover:
    /// server/discover. Default: Auto.
    pub method: HealthCheckMethod,
    /// After this long without a sign of life nothing is known of an endpoint any more; at least twice interval, and at most
    /// 24h. Default: 1m.
    pub stale_after: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(3),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            method: HealthCheckMethod::Auto,
            stale_after: Duration::from_secs(60),
        }
    }
}

/// What an endpoint is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HealthCheckMethod {
    /// What its era has.
    #[default]
    Auto,
    /// `ping`.
    Ping,
    /// `server/discover`.
    Discover,
}

/// When an endpoint is ejected for what its calls came to, and when it may return: with one probe, after its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    schema::between("spec.outlierDetection", "baseEjectionTime", "100ms", "1h"),
    schema::between("spec.outlierDetection", "maxEjectionTime", "100ms", "24h"),
    schema::between("spec.outlierDetection", "slowStart", "0s", "1h"),
    schema::rule(
        "duration(self.baseEjectionTime) <= duration(self.maxEjectionTime)",
        "spec.outlierDetection.baseEjectionTime (default 30s) must not be above maxEjectionTime (default 5m): lower the first or raise the second",
    ),
]))]
pub struct OutlierDetection {
    /// Failed calls in a row that eject an endpoint; 0: they do not. Default: 5.
    #[schemars(range(min = 0, max = 1000))]
    pub consecutive_failures: u32,
    /// The share of failed calls that ejects an endpoint.
    pub failure_rate: FailureRate,
    /// How long the first ejection lasts, from 100ms to 1h; each one that follows soon lasts twice as long. Default: 30s.
    pub base_ejection_time: Duration,
    /// How long an ejection lasts at the most, up to 24h. Default: 5m.
    pub max_ejection_time: Duration,
    /// How many of the endpoints may be ejected at a time, in percent; above 0 it is always one at least, and 0 ejects none.
    /// Default: 50.
    #[schemars(range(min = 0, max = 100))]
    pub max_ejection_percent: u32,
    /// For this long after its return an endpoint's share of the calls grows to the full one, up to 1h; 0s: it has it at once.
    /// Default: 10s.
    pub slow_start: Duration,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: FailureRate::default(),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_percent: 50,
            slow_start: Duration::from_secs(10),
        }
    }
}

/// A share of failed calls over a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    schema::between("spec.outlierDetection.failureRate", "window", "1s", "1h"),
]))]
pub struct FailureRate {
    /// The failed calls that eject an endpoint, in percent of those in the window; 0: the rate ejects nobody. Default: 85.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u32,
    /// With fewer calls in the window nothing is concluded. Default: 50.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub minimum_requests: u32,
    /// The length of a window, from 1s to 1h. Default: 10s.
    pub window: Duration,
}

impl Default for FailureRate {
    fn default() -> Self {
        Self { percent: 85, minimum_requests: 50, window: Duration::from_secs(10) }
    }
}

/// How much of a backend one gateway pod may use at a time. Calls beyond it go to other backends of the tier, then to the next tier,
/// and fail at once where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CircuitBreaker {
    /// Open connections. Default: 1024.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,
    /// Calls that wait for a connection. Default: 1024.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_pending_requests: u32,
    /// Calls in flight. Default: 1024.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_requests: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { max_connections: 1024, max_pending_requests: 1024, max_requests: 1024 }
    }
}
