//! How a gateway behaves: protocol, lifetimes, waits, bounds. Parts of an [`McpGateway`](super::McpGateway).

use super::duration::Duration;
use super::schema;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clients may speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.legacySSE == 'Disabled' || self.versions.exists(v, v == '2024-11-05')", ).message(
        "spec.protocol.legacySSE is the transport of revision 2024-11-05: add 2024-11-05 to versions or set legacySSE: Disabled"
    )
)]
pub struct Protocol {
    /// Protocol revisions offered. Default: all that are known.
    #[serde(default = "ProtocolVersion::all")]
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub versions: Vec<ProtocolVersion>,
    /// Whether the HTTP+SSE transport of 2024-11-05 is offered beside Streamable HTTP. Default: Enabled.
    #[serde(default, rename = "legacySSE")]
    pub legacy_sse: Toggle,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { versions: ProtocolVersion::all(), legacy_sse: Toggle::default() }
    }
}

/// A revision of MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum ProtocolVersion {
    /// HTTP+SSE.
    #[serde(rename = "2024-11-05")]
    V2024_11_05,
    /// The first with Streamable HTTP.
    #[serde(rename = "2025-03-26")]
    V2025_03_26,
    /// The first with elicitation and structured output.
    #[serde(rename = "2025-06-18")]
    V2025_06_18,
    /// The last with sessions.
    #[serde(rename = "2025-11-25")]
    V2025_11_25,
    /// The first without sessions.
    #[serde(rename = "2026-07-28")]
    V2026_07_28,
}

impl ProtocolVersion {
    /// Every known revision, oldest first.
    pub fn all() -> Vec<Self> {
        vec![Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28]
    }

    /// The revision as it is written on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Toggle {
    /// On.
    #[default]
    Enabled,
    /// Off.
    Disabled,
}

/// Lifetime of client sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("duration(self.idleTimeout) >= duration('10s')").message(
        "spec.sessions.idleTimeout must be at least 10s: a shorter one ends sessions between two calls"
    )
)]
pub struct Sessions {
    /// A session unused for this long ends. Default: 30m.
    #[serde(default = "half_an_hour")]
    pub idle_timeout: Duration,
}

fn half_an_hour() -> Duration {
    Duration::from_secs(30 * 60)
}

impl Default for Sessions {
    fn default() -> Self {
        Self { idle_timeout: half_an_hour() }
    }
}

/// How long to wait for an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "duration(self.connect) > duration('0s') && duration(self.request) > duration('0s') && duration(self.response) > duration('0s')",
    "spec.timeouts.connect, spec.timeouts.request and spec.timeouts.response must be above 0s: remove the field for its default"
)]))]
pub struct Timeouts {
    /// For a connection to an upstream, TLS included. Default: 5s.
    pub connect: Duration,
    /// From a request to the first byte of its answer. Default: 30s.
    pub request: Duration,
    /// From a request to the end of its answer, without waits for the client's own answers. Default: 1m.
    pub response: Duration,
    /// Whether a progress notification about a call begins its request time anew; response bounds it all the same. Default: false.
    pub progress_extends_request: bool,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            request: Duration::from_secs(30),
            response: Duration::from_secs(60),
            progress_extends_request: false,
        }
    }
}

/// How a pod leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "duration(self.minDuration) + duration(self.timeout) <= duration('1h')",
    "spec.drain.minDuration and spec.drain.timeout together must not be above 1h: nodes do not wait longer for a pod"
)]))]
pub struct Drain {
    /// Keep accepting for this long after SIGTERM, while load balancers take note. Default: 10s.
    pub min_duration: Duration,
    /// Then wait at most this long for what is in flight. Default: 1m.
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { min_duration: Duration::from_secs(10), timeout: Duration::from_secs(60) }
    }
}

/// Bounds on what one client or one upstream may cost. All are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "duration(self.clientReadTimeout) > duration('0s')",
    "spec.limits.clientReadTimeout must be above 0s: remove the field for its default"
)]))]
pub struct Limits {
    /// Body of one client request, in bytes. Default: 4194304 (4 MiB, what the SDKs accept).
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub request_body_bytes: u32,
    /// Headers of one client request, in bytes. Default: 65536.
    #[schemars(range(min = 8192, max = 1_048_576))]
    pub header_bytes: u32,
    /// Time for a client to send its headers, and again its body. Default: 15s.
    pub client_read_timeout: Duration,
    /// Open client connections of one pod. Default: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: u32,
    /// Live sessions of one pod. Default: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sessions: u32,
    /// Open streams and calls in flight of one session. Default: 64.
    #[schemars(range(min = 1, max = 10_000))]
    pub streams_per_session: u32,
    /// Items that one upstream may list per kind (tools, prompts, resources, templates), over all pages. Default: 10000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub list_items: u32,
    /// Bytes that one upstream may list per kind, over all pages. Default: 16777216 (16 MiB).
    #[schemars(range(min = 1024, max = 268_435_456))]
    pub list_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body_bytes: 4 * 1024 * 1024,
            header_bytes: 64 * 1024,
            client_read_timeout: Duration::from_secs(15),
            connections: 10_000,
            sessions: 10_000,
            streams_per_session: 64,
            list_items: 10_000,
            list_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Which connections a gateway's pods may make and take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicy {
    /// Restricted: clients in, and out what the routes need, each by a NetworkPolicy. Open: no NetworkPolicy.
    /// Default: Restricted.
    #[serde(default)]
    pub mode: NetworkPolicyMode,
}

/// Whether NetworkPolicies are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum NetworkPolicyMode {
    /// One NetworkPolicy per path that is needed.
    #[default]
    Restricted,
    /// None.
    Open,
}
