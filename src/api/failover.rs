//! How a call finds a backend that answers it: the choice, the repetition and what stands at the end of the ladder. Parts of an
//! [`McpRoute`](super::McpRoute)'s servers.

use super::duration::Duration;
use super::schema;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an endpoint is chosen inside a tier. A backend of weight 0 takes nothing, whatever the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.hashBy) || self.policy == 'ConsistentHash'").message(
        "spec.servers[].loadBalancing.hashBy goes with policy ConsistentHash: remove it or change policy"
    )
)]
pub struct LoadBalancing {
    /// RoundRobin: one endpoint after the other, without weights; Weighted: one after the other, exactly by weight;
    /// LeastRequest: the less busy of two that are drawn by weight; PeakEWMA: the one of two that is likely to answer sooner;
    /// HealthBased: by weight among those that gave a sign of life lately; ConsistentHash: the same endpoint for the same
    /// client. Default: LeastRequest.
    #[serde(default)]
    pub policy: LoadBalancingPolicy,
    /// What makes it the same client, for ConsistentHash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_by: Option<HashBy>,
}

/// Ways to choose an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum LoadBalancingPolicy {
    /// One endpoint after the other.
    RoundRobin,
    /// One endpoint after the other, by weight.
    Weighted,
    /// The less busy of two.
    #[default]
    LeastRequest,
    /// The one of two that is likely to answer sooner.
    #[serde(rename = "PeakEWMA")]
    PeakEwma,
    /// By weight among those that gave a sign of life lately.
    HealthBased,
    /// The same endpoint for the same client.
    ConsistentHash,
}

/// What makes it the same client, for ConsistentHash. Session: its session, and clients without one are spread; Principal: who it is,
/// as the route's MCPAuthPolicy finds out. Default: Session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum HashBy {
    /// Its session.
    #[default]
    Session,
    /// Who it is.
    Principal,
}

/// How failed attempts are followed by others. A call is repeated only if nothing of it was sent, or its tool says readOnlyHint or
/// idempotentHint, or retryUnsafeTools is true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    schema::between("spec.servers[].failover", "backoff", "0s", "10s"),
    schema::between("spec.servers[].failover", "recoverAfter", "0s", "24h"),
    schema::rule(
        "!has(self.perTryTimeout) || (duration(self.perTryTimeout) > duration('0s') && duration(self.perTryTimeout) <= duration('1h'))",
        "spec.servers[].failover.perTryTimeout must be above 0s and at most 1h: remove it to give each attempt timeouts.request",
    ),
]))]
pub struct Failover {
    /// The causes after which a call is repeated, if it may be. ConnectFailure: no connection came about; Unavailable: 5xx, 429, or
    /// an answer that is no MCP; Timeout: no answer in the attempt's time; Reset: the connection broke. Default: all four.
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub retry_on: Vec<RetryCause>,
    /// Codes of JSON-RPC errors after which a call is repeated too, if it may be, for example -32603. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(range(min = -100_000, max = 100_000)), extend("x-kubernetes-list-type" = "set"))]
    pub retry_on_codes: Vec<i32>,
    /// Attempts in all, the first included. Default: 3.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// How long one attempt may take to the first byte of its answer, at most 1h. Default: timeouts.request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_try_timeout: Option<Duration>,
    /// Wait before the second attempt, at most 10s; it doubles from there up to 10s, and each is up to a half shorter by chance.
    /// Default: 100ms.
    pub backoff: Duration,
    /// Repeat calls of tools too that do not say that this is safe: such a call may then have its effect twice. Default: false.
    pub retry_unsafe_tools: bool,
    /// A higher tier takes calls again when it was usable for this long without interruption, at most 24h. Default: 1m.
    pub recover_after: Duration,
    /// What clients see where the tiers do not offer the same. Intersection: what every tier offers in the same way, so that any
    /// tier can take any call; Union: what any tier offers, and a call goes only to tiers that have its tool. Default: Intersection.
    pub catalog: TierCatalog,
    /// How many repetitions there may be beside the calls themselves.
    pub budget: RetryBudget,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            retry_on: vec![RetryCause::ConnectFailure, RetryCause::Unavailable, RetryCause::Timeout, RetryCause::Reset],
            retry_on_codes: Vec::new(),
            attempts: 3,
            per_try_timeout: None,
            backoff: Duration::from_millis(100),
            retry_unsafe_tools: false,
            recover_after: Duration::from_secs(60),
            catalog: TierCatalog::Intersection,
            budget: RetryBudget::default(),
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RetryCause {
    /// No connection came about.
    ConnectFailure,
    /// The endpoint said that it cannot, or answered with what is no MCP.
    Unavailable,
    /// No answer in the attempt's time.
    Timeout,
    /// The connection broke.
    Reset,
}

/// What a server with several tiers offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum TierCatalog {
    /// What every tier offers in the same way.
    #[default]
    Intersection,
    /// What any tier offers.
    Union,
}

/// Bounds repetitions in one gateway pod, so that they cannot keep down a server that is about to recover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [
    schema::between("spec.servers[].failover.budget", "ttl", "1s", "1m"),
]))]
pub struct RetryBudget {
    /// Repetitions for every hundred calls. Default: 20.
    #[schemars(range(min = 0, max = 100))]
    pub percent: u32,
    /// Repetitions a second that there may be besides, for servers that are seldom called. Default: 10.
    #[schemars(range(min = 0, max = 10_000))]
    pub min_per_second: u32,
    /// What is saved is at most minPerSecond for this long, from 1s to 1m. Default: 10s.
    pub ttl: Duration,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, min_per_second: 10, ttl: Duration::from_secs(10) }
    }
}

/// Something done to the calls of a server, by its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Fallback') == has(self.fallback)").message(
        "spec.servers[].filters[].fallback goes with type: Fallback, and type: Fallback needs it: set both or neither"
    )
)]
pub struct Filter {
    /// Fallback: what is answered when no tier can take a call.
    #[serde(rename = "type")]
    pub type_: FilterType,
    /// What is answered when no tier can take a call; with type Fallback only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// Kinds of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FilterType {
    /// The end of the ladder.
    Fallback,
}

/// What tools/call is answered with when no tier can take it, instead of an error. The result's _meta says that it is degraded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type != 'Text' || has(self.text)").message(
        "spec.servers[].filters[].fallback.text is required with type: Text: say what clients are told, or use StaleCache"
    )
)]
pub struct Fallback {
    /// StaleCache: what the same client last got for the same call, if its tool says readOnlyHint; Text: a fixed text.
    #[serde(rename = "type")]
    pub type_: FallbackType,
    /// The text: required with Text. With StaleCache it is told where nothing was kept; absent there: the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub text: Option<String>,
}

/// What stands at the end of the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum FallbackType {
    /// The last good answer.
    StaleCache,
    /// A fixed text.
    Text,
}
