//! What one gateway serves: the versioned contract between translation and the data plane.
//!
//! A snapshot holds names of secrets and never their values. Everything in it is resolved: no reference is
//! left to look up, no default to supply, no selector to evaluate. Vectors are in the order in which the data
//! plane consults them, and translation makes that order independent of its input's.

mod resilience;
mod tracing;

pub use resilience::{
    CircuitBreaker, Failover, FailureRate, Fallback, HashBy, HealthCheck, HealthCheckMethod, LoadBalancing,
    OutlierDetection, RetryBudget, RetryCause, TierCatalog,
};
pub use tracing::{OtlpProtocol, Tracing};

use super::ids::{ObjectId, SecretKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format this build writes. A gateway reads this one and the one before it.
pub const SNAPSHOT_VERSION: u32 = 1;

/// The oldest format this build reads.
pub const OLDEST_SNAPSHOT_VERSION: u32 = 1;

/// All that a gateway serves, in one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// [`SNAPSHOT_VERSION`] of the writer.
    pub version: u32,
    /// The `MCPGateway` this was translated from.
    pub gateway: ObjectId,
    /// Where to accept connections, by name.
    pub listeners: Vec<Listener>,
    /// What to serve, oldest first: the most specific match takes a request, and of equal ones the first.
    pub routes: Vec<Route>,
    /// The child MCP servers that routes name, by id.
    pub backends: BTreeMap<ObjectId, Backend>,
    /// Protocol revisions and transports offered to clients.
    pub protocol: Protocol,
    /// Session lifetime.
    pub sessions: Sessions,
    /// Defaults for routes that set none.
    pub timeouts: Timeouts,
    /// How to leave.
    pub drain: Drain,
    /// Bounds on what one client or one upstream may cost.
    pub limits: Limits,
    /// Where spans go; absent: none are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

/// One port to accept on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Unique within the gateway.
    pub name: String,
    /// The TCP port.
    pub port: u16,
    /// The only host to answer for: exact, or `*.` and a suffix; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Present on an HTTPS listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
}

/// The certificates of an HTTPS listener; the first is the default, the others are chosen by server name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Certificate and key pairs, PEM.
    pub certificates: Vec<CertificateRef>,
}

/// Names the two halves of a certificate, PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CertificateRef {
    /// The chain, leaf first (`tls.crt`).
    pub chain: SecretKey,
    /// The private key (`tls.key`).
    pub key: SecretKey,
}

/// One virtual MCP server: what a client sees at one path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// The `MCPRoute`.
    pub id: ObjectId,
    /// Names of the listeners it is attached to.
    pub listeners: Vec<String>,
    /// Hosts it answers for, exact or `*.` and a suffix; empty: whatever the listener answers for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hostnames: Vec<String>,
    /// It is chosen when any of these matches; never empty.
    pub matches: Vec<HttpMatch>,
    /// What a client must show.
    pub access: Access,
    /// The servers whose offers, together, are this route's catalogue. On a clash the earlier one keeps the name.
    pub servers: Vec<Server>,
    /// Effective timeouts: the route's own over the gateway's.
    pub timeouts: Timeouts,
}

/// Facts about the connection that choose a route. All present ones must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpMatch {
    /// The request's path.
    pub path: PathMatch,
    /// Exact header values, names in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<NameValue>,
    /// Exact query parameter values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query_params: Vec<NameValue>,
}

/// How a path is compared. Paths start with `/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole leading path elements: `/a` matches `/a` and `/a/b`, never `/ab`.
    PathPrefix(String),
}

/// A name with the exact value it must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NameValue {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// Who may use a route. There is no default: translation decides, and it fails closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Access {
    /// Everyone, because a policy said so (or because this is a laptop's loopback).
    Anonymous,
    /// No one: the route's policy is unresolved, or what it cannot do without is missing. The data plane answers 503.
    Unavailable {
        /// Why, for the operator of the gateway; clients do not see it.
        reason: String,
    },
}

/// One member of a route's fan-out, behind which interchangeable backends stand in tiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Server {
    /// Unique within the route.
    pub name: String,
    /// Put before every tool and prompt name of this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Which calls it takes; empty: all. Any one match suffices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<CallMatch>,
    /// Which of its tools are offered, and under what names.
    #[serde(default)]
    pub tools: ToolPolicy,
    /// Backends by priority, lowest number first; never empty.
    pub tiers: Vec<Tier>,
    /// How often and how fast to try another endpoint.
    pub failover: Failover,
    /// How an endpoint is chosen inside a tier.
    #[serde(default, skip_serializing_if = "resilience::is_default")]
    pub load_balancing: LoadBalancing,
    /// Effective timeouts, where they are not the route's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    /// What a tool call is answered with when no tier can take it; absent: an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// Whether a client's `initialize` fails when this server cannot be reached.
    #[serde(default)]
    pub required: bool,
}

/// Facts about a call that a server of the fan-out takes. All present ones must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallMatch {
    /// MCP methods as written (`tools/call`); empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Globs over the names that clients see; empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
}

/// Which tools of a server are offered. Globs and names are the server's own, before prefix and rename.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolPolicy {
    /// Globs; empty: every tool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// Globs; wins over `include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Changes to single tools, by the server's own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<ToolOverride>,
}

/// A change to one tool as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolOverride {
    /// The server's own name of the tool.
    pub name: String,
    /// Another name; the prefix still goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<String>,
    /// Another description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Backends of equal priority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tier {
    /// Lower is tried first.
    pub priority: u32,
    /// Chosen among by weight; at least one weight is above 0.
    pub backends: Vec<WeightedBackend>,
}

/// A backend's share of its tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WeightedBackend {
    /// A key of [`Snapshot::backends`].
    pub backend: ObjectId,
    /// Relative to the tier's sum; 0 takes no new calls.
    pub weight: u32,
}

/// A child MCP server and how to reach it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backend {
    /// How to talk and where.
    pub target: Target,
    /// A header to add to every request, from a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<HeaderAuth>,
    /// How its endpoints are asked whether they live.
    #[serde(default, skip_serializing_if = "resilience::is_default")]
    pub health: HealthCheck,
    /// When an endpoint is ejected.
    #[serde(default, skip_serializing_if = "resilience::is_default")]
    pub outlier_detection: OutlierDetection,
    /// How much of it this gateway may use at a time.
    #[serde(default, skip_serializing_if = "resilience::is_default")]
    pub circuit_breaker: CircuitBreaker,
}

impl Backend {
    /// A backend that is watched and bounded as by default.
    pub fn new(target: Target, auth: Option<HeaderAuth>) -> Self {
        Self {
            target,
            auth,
            health: HealthCheck::default(),
            outlier_detection: OutlierDetection::default(),
            circuit_breaker: CircuitBreaker::default(),
        }
    }
}

/// How a backend is reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Target {
    /// MCP over HTTP.
    Http {
        /// Which of the two HTTP transports the server speaks.
        transport: Transport,
        /// Where; any one will do.
        endpoints: Vec<Endpoint>,
        /// The path of the MCP endpoint (of the event stream for SSE), with its query if there is one.
        path: String,
        /// Value of the `Host` header; absent: the endpoint's own host and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// Present for `https`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<UpstreamTls>,
        /// Which addresses may be dialled, checked on the resolved address.
        addresses: AddressPolicy,
        /// Whether it is our shim, in front of a stdio server: it is told whose session it opens, in words that only this gateway
        /// has, and goes on with the process that it has for that session already.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        shim: bool,
    },
    /// A child process of the gateway itself: laptop mode only, never in a cluster's snapshot.
    Process(Process),
}

/// The HTTP transports of MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// Streamable HTTP (2025-03-26 and later).
    StreamableHttp,
    /// HTTP+SSE (2024-11-05).
    Sse,
}

/// One address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Endpoint {
    /// A DNS name or an IP address (IPv6 without brackets).
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// How to verify an upstream's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTls {
    /// The name to verify and to send as SNI; absent: the endpoint's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// A bundle, PEM, to trust instead of the platform's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<SecretKey>,
}

/// Which addresses a backend's names may resolve to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AddressPolicy {
    /// Any: the target was chosen by the cluster itself or by the person at the laptop.
    Any,
    /// Public addresses only: loopback, private, link-local (metadata services) and the like are refused.
    PublicOnly,
}

/// A command to run as a child process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Process {
    /// The program and its first arguments; never empty.
    pub command: Vec<String>,
    /// More arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment, on top of `PATH`, `HOME` and what else a program cannot do without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// The working directory; absent: the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Who shares a process with whom.
    pub isolation: Isolation,
    /// How many processes, and for how long.
    pub pool: ProcessPool,
}

/// One environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value, or where the value is.
    pub value: EnvValue,
}

/// The value of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EnvValue {
    /// The value itself.
    Literal(String),
    /// A key of the credentials.
    Secret(SecretKey),
}

/// Who shares a stdio server's process with whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Isolation {
    /// Everyone shares one process.
    Shared,
    /// Each client session has its own process.
    #[default]
    PerSession,
    /// Each request has its own process.
    PerRequest,
}

/// Bounds on a stdio server's processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProcessPool {
    /// Processes kept ready and unused.
    pub min: u32,
    /// Processes at the most.
    pub max: u32,
    /// How long an unused process lives, in ms.
    pub idle_timeout_ms: u64,
}

/// A header sent to a server, with its value from a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderAuth {
    /// The header's name, in lower case.
    pub header: String,
    /// Put before the secret value, for example `Bearer `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Where the value is.
    pub value: SecretKey,
}

/// What clients may speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Protocol {
    /// Revisions, oldest first; never empty.
    pub versions: Vec<String>,
    /// Whether the HTTP+SSE transport of 2024-11-05 is offered.
    pub legacy_sse: bool,
}

/// Lifetime of client sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sessions {
    /// A session unused for this long ends, in ms.
    pub idle_timeout_ms: u64,
}

/// How long to wait for an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Timeouts {
    /// For a connection, TLS included, in ms.
    pub connect_ms: u64,
    /// From the request to the first byte of its answer, in ms.
    pub request_ms: u64,
    /// From the request to the end of its answer, without waits for the client's own answers, in ms.
    pub response_ms: u64,
    /// Whether a progress notification about a call begins its request time anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub progress_extends_request: bool,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect_ms: 5_000, request_ms: 30_000, response_ms: 60_000, progress_extends_request: false }
    }
}

/// How a gateway leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// Keep accepting for this long after SIGTERM, while load balancers take note, in ms.
    pub min_duration_ms: u64,
    /// Then wait this long at the most for what is in flight, in ms.
    pub timeout_ms: u64,
}

/// Bounds on what one client or one upstream may cost. All are inclusive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Body of one client request, bytes.
    pub request_body_bytes: u64,
    /// Headers of one client request, bytes.
    pub header_bytes: u32,
    /// Time for a client to send its headers, and again its body, in ms.
    pub client_read_ms: u64,
    /// Open client connections.
    pub connections: u32,
    /// Live sessions; the longest idle one makes room only when it is past a minute idle, else the newcomer gets 503.
    pub sessions: u32,
    /// Open streams and calls in flight of one session.
    pub streams_per_session: u32,
    /// Items one upstream may list per kind (tools, prompts, …), over all pages.
    pub list_items: u32,
    /// Bytes one upstream may list per kind, over all pages.
    pub list_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 4 MiB is what the SDKs accept by default.
            request_body_bytes: 4 * 1024 * 1024,
            header_bytes: 64 * 1024,
            client_read_ms: 15_000,
            connections: 10_000,
            sessions: 10_000,
            streams_per_session: 64,
            list_items: 10_000,
            list_bytes: 16 * 1024 * 1024,
        }
    }
}
