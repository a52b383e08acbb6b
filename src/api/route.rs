//! `MCPRoute`: one virtual MCP server, made of other servers.

use super::common::{TimeoutOverrides, mcp_path};
use super::failover::{Failover, Filter, LoadBalancing};
use super::patterns::{DNS_LABEL, DNS_SUBDOMAIN, HOSTNAME, HTTP_TOKEN, MCP_METHOD, TOOL_NAME, URL_PATH};
use super::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

custom_resource! {
    kube(
        kind = "MCPRoute",
        root = "McpRoute",
        plural = "mcproutes",
        shortname = "mcprt",
        status = "McpRouteStatus",
        doc = "One virtual MCP server: what clients see at one path, made of the offers of many servers.",
        printcolumn(
            name = "Ready", type_ = "string",
            json_path = ".status.parents[0].conditions[?(@.type==\"Ready\")].status",
            description = "Whether clients are served now"
        ),
        printcolumn(
            name = "Programmed", type_ = "string",
            json_path = ".status.parents[0].conditions[?(@.type==\"Programmed\")].status",
            description = "Whether every ready pod of the gateway runs it"
        ),
        printcolumn(
            name = "Primary", type_ = "string",
            json_path = ".status.parents[0].conditions[?(@.type==\"PrimaryActive\")].status",
            description = "Whether every server is served by its first tier; False: it failed over"
        ),
        printcolumn(name = "Gateway", type_ = "string", json_path = ".spec.parentRefs[0].name"),
        printcolumn(name = "Path", type_ = "string", json_path = ".spec.matches[0].path.value", priority = 1),
        printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary", priority = 1),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
    )
    /// What an `MCPRoute` should be.
    #[x_kube(
        validation = Rule::new(
            "self.parentRefs.all(p, self.parentRefs.exists_one(o, o.name == p.name && (has(o.__namespace__) ? o.__namespace__ : '') == (has(p.__namespace__) ? p.__namespace__ : '') && (has(o.sectionName) ? o.sectionName : '') == (has(p.sectionName) ? p.sectionName : '')))"
        ).message("spec.parentRefs: the same gateway and sectionName appear twice: remove one")
    )]
    pub struct McpRouteSpec {
        /// Gateways to attach to, or single listeners of them; at least one.
        #[schemars(length(min = 1, max = 16))]
        #[x_kube(merge_strategy = ListMerge::Atomic)]
        pub parent_refs: Vec<ParentRef>,
        /// Hosts to answer for: names, or `*.` and a name. Default: whatever the listener answers for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 16), inner(length(min = 1, max = 253), regex(pattern = HOSTNAME)))]
        #[x_kube(merge_strategy = ListMerge::Set)]
        pub hostnames: Vec<String>,
        /// Facts about the connection that choose this route; any one suffices. Default: the exact path /mcp.
        #[serde(default = "HttpMatch::mcp")]
        #[schemars(length(min = 1, max = 8))]
        #[x_kube(merge_strategy = ListMerge::Atomic)]
        pub matches: Vec<HttpMatch>,
        /// The servers whose offers, together, are what clients see; at least one. On a clash of names the earlier keeps it.
        #[schemars(length(min = 1, max = 64))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
        pub servers: Vec<RouteServer>,
        /// How long to wait for upstreams. Default: what the gateway says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub timeouts: Option<TimeoutOverrides>,
    }
}

/// A gateway, or one listener of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParentRef {
    /// The MCPGateway's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The MCPGateway's namespace. Default: the route's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
    /// One listener of the gateway, by name. Default: every listener that allows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub section_name: Option<String>,
}

/// Facts about a connection; all present ones must hold. A tool's name is none of them: `initialize` has no tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpMatch {
    /// The request's path. Default: exactly /mcp.
    #[serde(default)]
    pub path: PathMatch,
    /// Headers with the exact value they must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<HeaderMatch>,
    /// Query parameters with the exact value they must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub query_params: Vec<QueryParamMatch>,
}

impl HttpMatch {
    fn mcp() -> Vec<Self> {
        vec![Self::default()]
    }
}

/// A path to match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!self.value.contains('//') && !self.value.contains('/./') && !self.value.contains('/../') && !self.value.endsWith('/.') && !self.value.endsWith('/..')").message(
        "spec.matches[].path.value must be a normal path: remove empty, . and .. elements"
    )
)]
pub struct PathMatch {
    /// Exact: the whole path; PathPrefix: whole leading elements. Default: Exact.
    #[serde(default, rename = "type")]
    pub type_: PathMatchType,
    /// The path, with its leading slash. Default: /mcp.
    #[serde(default = "mcp_path")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = URL_PATH))]
    pub value: String,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { type_: PathMatchType::Exact, value: mcp_path() }
    }
}

/// How a path is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PathMatchType {
    /// The whole path.
    #[default]
    Exact,
    /// Whole leading path elements: `/a` matches `/a` and `/a/b`, never `/ab`.
    PathPrefix,
}

/// A header with the exact value it must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeaderMatch {
    /// The header's name, in any case.
    #[schemars(length(min = 1, max = 256), regex(pattern = HTTP_TOKEN))]
    pub name: String,
    /// The exact value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A query parameter with the exact value it must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueryParamMatch {
    /// The parameter's name.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The exact value.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// One member of the fan-out, behind which interchangeable backends stand in tiers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "self.backendRefs.all(b, self.backendRefs.exists_one(o, o.name == b.name && (has(o.__namespace__) ? o.__namespace__ : '') == (has(b.__namespace__) ? b.__namespace__ : '')))"
    ).message("spec.servers[].backendRefs: the same backend appears twice: keep one entry, with the weight and priority it should have"),
    validation = Rule::new("self.backendRefs.exists(b, b.weight > 0)").message(
        "spec.servers[].backendRefs: every weight is 0, so nothing would be served: give one backend a weight above 0"
    ),
    validation = Rule::new("self.loadBalancing.policy != 'RoundRobin' || self.backendRefs.all(b, b.weight <= 1)").message(
        "spec.servers[].backendRefs[].weight above 1 does not count with loadBalancing.policy RoundRobin: remove the weights or choose Weighted"
    ),
    validation = Rule::new("!has(self.filters) || self.filters.filter(f, f.type == 'Fallback').size() <= 1").message(
        "spec.servers[].filters has more than one of type Fallback: keep one; one with StaleCache may have a text, too"
    )
)]
pub struct RouteServer {
    /// Unique within the route.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// Put before every tool and prompt name of this server. Default: names pass through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = TOOL_NAME))]
    pub prefix: Option<String>,
    /// Which calls it takes; any one match suffices. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub matches: Vec<CallMatch>,
    /// Interchangeable backends; at least one.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub backend_refs: Vec<BackendRef>,
    /// How an endpoint is chosen inside a tier.
    #[serde(default)]
    pub load_balancing: LoadBalancing,
    /// How failed attempts are followed by others.
    #[serde(default)]
    pub failover: Failover,
    /// How long to wait for this server. Default: what the route says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutOverrides>,
    /// What else is done to its calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub filters: Vec<Filter>,
    /// Whether a client's initialize fails when this server cannot be reached. Default: false.
    #[serde(default)]
    pub required: bool,
    /// Which of its tools are offered, and under what names. Default: all, as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<ToolPolicy>,
}

/// Facts about a call; all present ones must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.methods) && self.methods.size() > 0) || (has(self.tools) && self.tools.size() > 0)").message(
        "spec.servers[].matches[] says nothing: give methods or tools, or remove the entry"
    )
)]
pub struct CallMatch {
    /// MCP methods as written, for example tools/call. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 64), regex(pattern = MCP_METHOD)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub methods: Vec<String>,
    /// Globs (*, ?) over tool names as clients see them. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub tools: Vec<String>,
}

/// A backend, its tier and its share of the tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendRef {
    /// The MCPBackend's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The MCPBackend's namespace; it must allow the route. Default: the route's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
    /// The tier: lower is tried first. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 15))]
    pub priority: u32,
    /// The share of new calls and sessions, relative to the tier's sum; 0: none. Default: 1.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// Which tools of a server are offered. Globs and names are the server's own, before prefix and rename.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolPolicy {
    /// Globs (*, ?) of tools to offer. Default: every tool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub include: Vec<String>,
    /// Globs (*, ?) of tools to hide; wins over `include`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub exclude: Vec<String>,
    /// Changes to single tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub overrides: Vec<ToolOverride>,
}

/// A change to one tool as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.rename) || has(self.description)").message(
        "spec.servers[].tools.overrides[] changes nothing: set rename or description, or remove the entry"
    )
)]
pub struct ToolOverride {
    /// The server's own name of the tool.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// Another name; the prefix still goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128), regex(pattern = TOOL_NAME))]
    pub rename: Option<String>,
    /// Another description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub description: Option<String>,
}

/// What an `MCPRoute` is, at each gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpRouteStatus {
    /// The state in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub summary: Option<String>,
    /// One entry per parentRef.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub parents: Vec<RouteParentStatus>,
}

/// What a route is at one gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    /// The parentRef of the spec that this is about.
    pub parent_ref: ParentRef,
    /// Who wrote this entry.
    #[schemars(length(min = 1, max = 253))]
    pub controller_name: String,
    /// Accepted, ResolvedRefs, Programmed, Ready, PrimaryActive, CatalogComplete.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The members of the fan-out, as the gateway's pods report them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub servers: Vec<RouteServerStatus>,
}

/// What a member of the fan-out is, as the gateway's pods report it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RouteServerStatus {
    /// Its name in the route.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The priority that serves now; the highest number if pods differ, absent if some pod has nothing to call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub active_priority: Option<u32>,
    /// Backends that can be called; the fewest if pods differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub healthy: Option<u32>,
    /// Backends in all tiers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub total: Option<u32>,
    /// Tools offered to clients; absent until a client was there to list for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub tools: Option<u32>,
    /// Names that an earlier server keeps; some of them, if there are many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 256)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub conflicts: Vec<String>,
    /// How many pods report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub reporting: Option<u32>,
}
