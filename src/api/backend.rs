//! `MCPBackend`: a child MCP server, and how to reach or run it.

use super::common::{AllowedRoutes, SecretKeySelector, Transport, mcp_path};
use super::duration::Duration;
use super::egress;
use super::gateway_settings::NetworkPolicyMode;
use super::health::{CircuitBreaker, HealthCheck, OutlierDetection};
use super::patterns::{DATA_KEY, DNS_SUBDOMAIN, HEADER_TEXT, HTTP_TOKEN, KIND, URL_PATH};
use super::pod::{EnvFromSource, EnvVar, PodTemplate, Resources, Volume, VolumeMount};
use super::schema;
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

custom_resource! {
    kube(
        kind = "MCPBackend",
        root = "McpBackend",
        plural = "mcpbackends",
        shortname = "mcpbe",
        status = "McpBackendStatus",
        doc = "A child MCP server, and how to reach or run it.",
        scale(
            spec_replicas_path = ".spec.replicas",
            status_replicas_path = ".status.replicas",
            label_selector_path = ".status.selector"
        ),
        printcolumn(
            name = "Ready", type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].status",
            description = "Whether calls can be sent to it"
        ),
        printcolumn(
            name = "Verified", type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Verified\")].status",
            description = "Whether an MCP handshake happened"
        ),
        printcolumn(name = "Server", type_ = "string", json_path = ".status.serverInfo.name"),
        printcolumn(name = "Tools", type_ = "integer", json_path = ".status.tools"),
        printcolumn(name = "Endpoints", type_ = "integer", json_path = ".status.endpoints.ready"),
        printcolumn(name = "Version", type_ = "string", json_path = ".status.serverInfo.version", priority = 1),
        printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary", priority = 1),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
    )
    /// What an `MCPBackend` should be: exactly one of `stdio`, `http`, `service`, `remote` and `serverRef` says where the
    /// server is.
    #[x_kube(
        validation = Rule::new(
            "[has(self.stdio), has(self.http), has(self.service), has(self.remote), has(self.serverRef)].filter(x, x).size() == 1"
        ).message(
            "spec takes exactly one of stdio, http, service, remote and serverRef: keep the one that says where the MCP server is"
        ),
        validation = Rule::new("!has(self.replicas) || has(self.stdio) || has(self.http)").message(
            "spec.replicas goes with stdio or http: the operator does not run the other servers; remove it"
        ),
        validation = Rule::new("!has(self.podTemplate) || has(self.stdio) || has(self.http)").message(
            "spec.podTemplate goes with stdio or http: the operator makes no pods for the other servers; remove it"
        ),
        validation = Rule::new("!has(self.networkPolicy) || has(self.stdio) || has(self.http)").message(
            "spec.networkPolicy goes with stdio or http: the operator makes no pods for the other servers; remove it"
        ),
        validation = Rule::new("!has(self.stdio) || self.auth.type == 'None'").message(
            "spec.auth does not apply to stdio: a child process takes its credentials from stdio.env[].valueFrom; remove auth"
        ),
        validation = Rule::new(
            "self.health.method != 'Discover' || !((has(self.http) && self.http.transport == 'SSE') || (has(self.service) && self.service.transport == 'SSE') || (has(self.remote) && self.remote.transport == 'SSE'))"
        ).message(
            "spec.health.method Discover asks for server/discover, which a server of transport SSE does not have: use Auto or Ping"
        )
    )]
    pub struct McpBackendSpec {
        /// A program that speaks MCP on its standard input and output; the operator runs it in pods.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub stdio: Option<StdioServer>,
        /// An image that serves MCP over HTTP; the operator runs it in pods.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub http: Option<HttpServer>,
        /// A Service of the cluster that serves MCP over HTTP.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub service: Option<ServiceServer>,
        /// A server outside the cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub remote: Option<RemoteServer>,
        /// An object of another operator that runs an MCP server; its status says where.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub server_ref: Option<ServerRef>,
        /// How many pods to run, for stdio and http. Default: 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0, max = 1000))]
        pub replicas: Option<u32>,
        /// How its endpoints are asked whether they live, besides the calls that they answer.
        #[serde(default)]
        pub health: HealthCheck,
        /// When an endpoint is ejected for what its calls came to, and when it may return.
        #[serde(default)]
        pub outlier_detection: OutlierDetection,
        /// How much of it one gateway pod may use at a time.
        #[serde(default)]
        pub circuit_breaker: CircuitBreaker,
        /// What the gateway shows to the server. Default: nothing.
        #[serde(default)]
        pub auth: BackendAuth,
        /// Whose routes may name this backend. A route from another namespace gets to use its credentials.
        /// Default: those of the backend's own namespace.
        #[serde(default)]
        pub allowed_routes: AllowedRoutes,
        /// Where the pods may connect to, for stdio and http. Default: to DNS and to public addresses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub network_policy: Option<BackendNetworkPolicy>,
        /// Changes to the generated pods, for stdio and http: labels, annotations and fields of their spec, merged as
        /// kubectl apply merges. It may not set a service account, share the node's namespaces or files, or weaken the
        /// restricted Pod Security Standard.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pod_template: Option<PodTemplate>,
    }
}

/// A program that speaks MCP on its standard input and output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.pool) || self.isolation != 'Shared'").message(
        "spec.stdio.pool goes with isolation PerSession or PerRequest: with Shared there is one process; remove pool or change isolation"
    ),
    validation = Rule::new("!has(self.volumes) || !self.volumes.exists(volume, volume.name in ['shim', 'token', 'home', 'tmp'])").message(
        "spec.stdio.volumes[].name may not be shim, token, home or tmp: these are the operator's own volumes; choose another name"
    )
)]
pub struct StdioServer {
    /// The image that has the program. Not used by `mcp-gateway run`, which starts local processes.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The program and its first arguments. Required: Kubernetes does not tell an image's entry point.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub command: Vec<String>,
    /// More arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps whose keys become environment variables; `env` wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub env_from: Vec<EnvFromSource>,
    /// What a pod may use, and what is set aside for it. Not used by `mcp-gateway run`. Default: neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Volumes of the pods: as in core/v1, but for what would reach the node or carry a service account's token.
    /// Not used by `mcp-gateway run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub volumes: Vec<Volume>,
    /// Where the server sees them. At /home/mcp, which is HOME, or at /tmp a volume takes the place of the empty
    /// one that is there. Not used by `mcp-gateway run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["mountPath".into()]))]
    pub volume_mounts: Vec<VolumeMount>,
    /// The working directory. Default: the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub working_dir: Option<String>,
    /// Who shares a process: Shared: everyone; PerSession: each client session has its own; PerRequest: each request has
    /// its own. Default: PerSession.
    #[serde(default)]
    pub isolation: Isolation,
    /// Bounds on the processes of one pod, for PerSession and PerRequest. Default: one warm, eight at most, 10m idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<ProcessPool>,
}

/// Who shares a stdio server's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Isolation {
    /// Everyone shares one process.
    Shared,
    /// Each client session has its own process.
    #[default]
    PerSession,
    /// Each request has its own process.
    PerRequest,
}

/// Bounds on a stdio server's processes, in one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [schema::rule(
    "self.min <= self.max",
    "spec.stdio.pool.min (default 1) must not be above max (default 8): raise max or lower min"
)]))]
pub struct ProcessPool {
    /// Processes kept ready and unused. Default: 1.
    #[schemars(range(min = 0, max = 256))]
    pub min: u32,
    /// The most processes. Default: 8.
    #[schemars(range(min = 1, max = 256))]
    pub max: u32,
    /// How long an unused process lives. Default: 10m.
    pub idle_timeout: Duration,
}

impl Default for ProcessPool {
    fn default() -> Self {
        Self { min: 1, max: 8, idle_timeout: Duration::from_secs(600) }
    }
}

/// An image that serves MCP over HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpServer {
    /// The image.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,
    /// The TCP port it listens on.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The path of its MCP endpoint, or of its event stream with transport SSE. Default: /mcp.
    #[serde(default = "mcp_path")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = URL_PATH))]
    pub path: String,
    /// StreamableHTTP, or SSE for servers of 2024-11-05. Default: StreamableHTTP.
    #[serde(default)]
    pub transport: Transport,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub command: Vec<String>,
    /// Replaces the image's arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(max = 4096)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Secrets and ConfigMaps whose keys become environment variables; `env` wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub env_from: Vec<EnvFromSource>,
    /// What a pod may use, and what is set aside for it. Not used by `mcp-gateway run`. Default: neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Volumes of the pods: as in core/v1, but for what would reach the node or carry a service account's token.
    /// Not used by `mcp-gateway run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub volumes: Vec<Volume>,
    /// Where the server sees them. Not used by `mcp-gateway run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["mountPath".into()]))]
    pub volume_mounts: Vec<VolumeMount>,
}

/// Where a backend's pods may connect to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.mode == 'Restricted' || !has(self.egress) || self.egress.size() == 0").message(
        "spec.networkPolicy.egress goes with mode Restricted: with Open the pods may connect to anything; remove egress or change mode"
    )
)]
pub struct BackendNetworkPolicy {
    /// Restricted: to DNS, to public addresses and to what egress names, each by a NetworkPolicy. Open: to anything. Default:
    /// Restricted. Into the pods connect only the gateways that call them, in either case.
    #[serde(default)]
    pub mode: NetworkPolicyMode,
    /// What else they may connect to, as in a NetworkPolicy: inside the cluster, at private or link-local addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "egress::rules")]
    pub egress: Vec<NetworkPolicyEgressRule>,
}

/// A Service of the cluster that serves MCP over HTTP, in the backend's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceServer {
    /// The Service's name, in the backend's namespace.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The Service's port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// The path of its MCP endpoint, or of its event stream with transport SSE. Default: /mcp.
    #[serde(default = "mcp_path")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = URL_PATH))]
    pub path: String,
    /// StreamableHTTP, or SSE for servers of 2024-11-05. Default: StreamableHTTP.
    #[serde(default)]
    pub transport: Transport,
}

/// A server outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tls) || self.url.startsWith('https://')").message(
        "spec.remote.tls goes with an https URL: change url to https:// or remove tls"
    )
)]
pub struct RemoteServer {
    /// The URL of its MCP endpoint, or of its event stream with transport SSE: http or https, without user or fragment.
    /// Addresses inside the cluster, private and link-local ones are refused when they are dialled.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r#"self.matches('^https?://[!-"$-.0->A-~]+(/[!-"$-~]*|[?][!-"$-~]*)?$')"#).message(
        "spec.remote.url must be an http:// or https:// URL in printable ASCII, without user, password, fragment or spaces; credentials go to spec.auth"
    ))]
    pub url: String,
    /// StreamableHTTP, or SSE for servers of 2024-11-05. Default: StreamableHTTP.
    #[serde(default)]
    pub transport: Transport,
    /// How to verify its certificate. Default: by the public roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RemoteTls>,
}

/// How to verify a remote server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteTls {
    /// A bundle of certificates, PEM, to trust instead of the public roots.
    pub ca_certificate_ref: CaCertificateRef,
}

/// A bundle of certificates, PEM, in a Secret of the backend's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaCertificateRef {
    /// The Secret's name, in the backend's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The key inside the Secret's data. Default: ca.crt.
    #[serde(default = "ca_crt")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

fn ca_crt() -> String {
    "ca.crt".to_owned()
}

/// An object of another operator that runs an MCP server, in the backend's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerRef {
    /// The object's API group, for example mcp.x-k8s.io.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub group: String,
    /// The object's kind, for example MCPServer.
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND))]
    pub kind: String,
    /// The object's name, in the backend's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
}

/// What the gateway shows to a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Header') == has(self.header)").message(
        "spec.auth.header goes with type: Header, and type: Header needs it: set both or neither"
    )
)]
pub struct BackendAuth {
    /// None: nothing; Header: one header with a value from a Secret. Default: None.
    #[serde(default, rename = "type")]
    pub type_: BackendAuthType,
    /// The header; with type Header only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<HeaderAuth>,
}

/// Ways to authenticate to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackendAuthType {
    /// Nothing is shown.
    #[default]
    None,
    /// One header with a value from a Secret.
    Header,
}

/// A header with a value from a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!(self.name.lowerAscii() in ['host', 'connection', 'content-length', 'content-type', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'accept', 'mcp-session-id', 'mcp-protocol-version', 'mcp-method', 'mcp-name', 'last-event-id'])"
    ).message(
        "spec.auth.header.name is a header that the gateway itself sets: use Authorization or a header of the server's own"
    )
)]
pub struct HeaderAuth {
    /// The header's name. Default: Authorization.
    #[serde(default = "authorization")]
    #[schemars(length(min = 1, max = 256), regex(pattern = HTTP_TOKEN))]
    pub name: String,
    /// Put before the value, for example "Bearer ". Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = HEADER_TEXT))]
    pub prefix: Option<String>,
    /// Where the value is.
    pub value_from: HeaderValueSource,
}

fn authorization() -> String {
    "Authorization".to_owned()
}

/// Where a header's value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderValueSource {
    /// A key of a Secret in the backend's namespace.
    pub secret_key_ref: SecretKeySelector,
}

/// What an `MCPBackend` is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpBackendStatus {
    /// What the server says about itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_info: Option<ServerInfo>,
    /// Protocol revisions it speaks, as far as is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 32)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub protocol_versions: Vec<String>,
    /// How many tools it lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tools: Option<u32>,
    /// Its addresses, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<EndpointCounts>,
    /// Pods there are now, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<u32>,
    /// Selects the pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// The state in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub summary: Option<String>,
    /// Accepted, ResolvedRefs, Available, Verified, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What a server says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerInfo {
    /// Its name.
    #[schemars(length(max = 256))]
    pub name: String,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub version: Option<String>,
}

/// A backend's addresses, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointCounts {
    /// Those that take calls; the fewest if gateway pods differ.
    #[schemars(range(min = 0))]
    pub ready: u32,
    /// All of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total: Option<u32>,
    /// Those that are ejected for what their calls came to; the most if gateway pods differ. Absent until a pod reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub ejected: Option<u32>,
}
