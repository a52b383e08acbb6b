//! `MCPGateway`: an endpoint that clients connect to, and the pods that serve it.

use super::common::{AllowedRoutes, LocalObjectRef};
use super::gateway_settings::{Drain, Limits, NetworkPolicy, Protocol, Sessions, Timeouts};
use super::patterns::{DNS_LABEL, DNS_SUBDOMAIN, HOSTNAME};
use super::pod::PodTemplate;
use super::schema;
use super::telemetry::Telemetry;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

custom_resource! {
    kube(
        kind = "MCPGateway",
        root = "McpGateway",
        plural = "mcpgateways",
        shortname = "mcpgw",
        status = "McpGatewayStatus",
        doc = "An endpoint that MCP clients connect to, and the pods that serve it.",
        scale(
            spec_replicas_path = ".spec.replicas",
            status_replicas_path = ".status.replicas",
            label_selector_path = ".status.selector"
        ),
        printcolumn(
            name = "Ready", type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Ready\")].status",
            description = "Whether it serves clients now"
        ),
        printcolumn(
            name = "Programmed", type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Programmed\")].status",
            description = "Whether every ready pod runs the current generation"
        ),
        printcolumn(name = "Address", type_ = "string", json_path = ".status.addresses[0].value"),
        printcolumn(name = "Routes", type_ = "integer", json_path = ".status.attachedRoutes"),
        printcolumn(name = "Replicas", type_ = "integer", json_path = ".status.replicas"),
        printcolumn(name = "Generation", type_ = "string", json_path = ".status.generation", priority = 1),
        printcolumn(name = "Summary", type_ = "string", json_path = ".status.summary", priority = 1),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
    )
    /// What an `MCPGateway` should be.
    #[x_kube(
        validation = Rule::new("!(has(self.replicas) && has(self.autoscaling))").message(
            "spec.replicas and spec.autoscaling exclude each other: remove replicas to let the autoscaler choose, or remove autoscaling"
        ),
        validation = Rule::new(
            "self.listeners.all(l, self.listeners.exists_one(o, o.port == l.port && (has(o.hostname) ? o.hostname : '') == (has(l.hostname) ? l.hostname : '')))"
        ).message("spec.listeners: two listeners have the same port and hostname: change one of them"),
        validation = Rule::new("self.listeners.all(l, self.listeners.all(o, o.port != l.port || o.protocol == l.protocol))").message(
            "spec.listeners: two listeners share a port with different protocols: give each protocol its own port"
        )
    )]
    pub struct McpGatewaySpec {
        /// The data plane's image. Default: the one of the operator's own version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(min = 1, max = 512))]
        pub image: Option<String>,
        /// How many pods to run. Default, without autoscaling: 2. Excludes `autoscaling`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0, max = 1000))]
        pub replicas: Option<u32>,
        /// Lets a HorizontalPodAutoscaler choose how many pods to run. Excludes `replicas`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub autoscaling: Option<Autoscaling>,
        /// Where to accept connections; at least one.
        #[schemars(length(min = 1, max = 16))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
        pub listeners: Vec<Listener>,
        /// How clients reach the gateway. Default: a ClusterIP Service.
        #[serde(default)]
        pub expose: Expose,
        /// What clients may speak. Default: everything.
        #[serde(default)]
        pub protocol: Protocol,
        /// Lifetime of client sessions.
        #[serde(default)]
        pub sessions: Sessions,
        /// How long to wait for upstreams, where a route does not say.
        #[serde(default)]
        pub timeouts: Timeouts,
        /// How a pod leaves. Its termination grace period is the sum of both durations and 5s.
        #[serde(default)]
        pub drain: Drain,
        /// Bounds on what one client or one upstream may cost.
        #[serde(default)]
        pub limits: Limits,
        /// What to tell of its work, beyond metrics and logs.
        #[serde(default)]
        pub telemetry: Telemetry,
        /// Which connections the pods may make and take.
        #[serde(default)]
        pub network_policy: NetworkPolicy,
        /// Changes to the generated pods: labels, annotations and fields of their spec, merged as kubectl apply merges. It
        /// may not set a service account, share the node's namespaces or files, or weaken the restricted Pod Security Standard.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub pod_template: Option<PodTemplate>,
    }
}

/// Bounds and target of the autoscaler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.minReplicas <= self.maxReplicas").message(
        "spec.autoscaling.minReplicas (default 2) must not be above maxReplicas: raise maxReplicas or lower minReplicas"
    )
)]
pub struct Autoscaling {
    /// The fewest pods. Default: 2.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 1000))]
    pub min_replicas: u32,
    /// The most pods.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: u32,
    /// Average CPU use to aim at, in percent of the request. Default: 75.
    #[serde(default = "seventy_five", rename = "targetCPUUtilizationPercentage")]
    #[schemars(range(min = 1, max = 100))]
    pub target_cpu_utilization_percentage: u32,
}

fn two() -> u32 {
    2
}

fn seventy_five() -> u32 {
    75
}

/// One port to accept on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.protocol != 'HTTPS' || has(self.tls)").message(
        "spec.listeners[].tls is required with protocol HTTPS: name a kubernetes.io/tls Secret in tls.certificateRefs"
    ),
    validation = Rule::new("self.protocol != 'HTTP' || !has(self.tls)").message(
        "spec.listeners[].tls goes with protocol HTTPS: set protocol: HTTPS or remove tls"
    )
)]
pub struct Listener {
    /// Unique within the gateway; routes name it as `sectionName`.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// The TCP port that clients connect to, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// HTTP, or HTTPS with `tls`.
    pub protocol: ListenerProtocol,
    /// The only host to answer for: a name, or `*.` and a name. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = HOSTNAME))]
    pub hostname: Option<String>,
    /// Certificates; with protocol HTTPS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenerTls>,
    /// Whose routes may attach. Default: those of the gateway's own namespace.
    #[serde(default)]
    pub allowed_routes: AllowedRoutes,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ListenerProtocol {
    /// Plain HTTP/1.1.
    HTTP,
    /// HTTP/1.1 over TLS.
    HTTPS,
}

/// An HTTPS listener's certificates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerTls {
    /// Secrets of type kubernetes.io/tls in the gateway's namespace. The first is the default; the others are chosen by
    /// the client's server name. A renewed certificate is taken up without a restart.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub certificate_refs: Vec<LocalObjectRef>,
}

/// How clients reach a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'HTTPRoute') == has(self.httpRoute)").message(
        "spec.expose.httpRoute goes with type: HTTPRoute, and type: HTTPRoute needs it: set both or neither"
    ),
    validation = Rule::new("self.type == 'Ingress' || !has(self.ingress)").message(
        "spec.expose.ingress goes with type: Ingress: set type: Ingress or remove ingress"
    )
)]
pub struct Expose {
    /// ClusterIP, LoadBalancer or NodePort: a Service of that type. HTTPRoute: a ClusterIP Service behind a Gateway of
    /// Gateway API. Ingress: a ClusterIP Service behind an Ingress. Default: ClusterIP.
    #[serde(default, rename = "type")]
    pub type_: ExposeType,
    /// Required with type HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<ExposeHttpRoute>,
    /// For type Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<ExposeIngress>,
}

/// Ways to expose a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExposeType {
    /// Inside the cluster.
    #[default]
    ClusterIP,
    /// By the cloud's load balancer.
    LoadBalancer,
    /// By a port of every node.
    NodePort,
    /// Behind a Gateway of Gateway API.
    HTTPRoute,
    /// Behind an Ingress controller.
    Ingress,
}

/// The Gateway API side of an exposed gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExposeHttpRoute {
    /// Gateways (gateway.networking.k8s.io) to attach to.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub parent_refs: Vec<GatewayApiParentRef>,
}

/// A Gateway of Gateway API, or one of its listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayApiParentRef {
    /// The Gateway's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The Gateway's namespace. Default: this object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
    /// One listener of the Gateway. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub section_name: Option<String>,
}

/// The Ingress side of an exposed gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExposeIngress {
    /// The IngressClass. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub class_name: Option<String>,
}

/// What an `MCPGateway` is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpGatewayStatus {
    /// Pods there are now, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<u32>,
    /// Selects the pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Where clients reach it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub addresses: Vec<GatewayAddress>,
    /// The hash of the generation that the pods should run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub generation: Option<String>,
    /// Ready pods that report this generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub programmed_replicas: Option<u32>,
    /// Routes that are accepted on at least one listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub attached_routes: Option<u32>,
    /// The state in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub summary: Option<String>,
    /// Accepted, ResolvedRefs, Programmed, Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// One address of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GatewayAddress {
    /// Whether the value is a host name or an IP address.
    #[serde(rename = "type")]
    pub type_: AddressType,
    /// The address, without a port.
    #[schemars(length(min = 1, max = 253))]
    pub value: String,
}

/// Kinds of address, as in Gateway API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AddressType {
    /// A DNS name.
    Hostname,
    /// An IPv4 or IPv6 address.
    IPAddress,
}
