//! The values of the chart, with their defaults: `values.yaml`, `values.schema.json` and the table of the chart's README are made of these
//! types and their comments.

// The comments are read in YAML, as plain text.
#![expect(clippy::doc_markdown)]

use k8s_openapi::api::core::v1::{Affinity, EnvVar, Toleration, TopologySpreadConstraint};
use mcp_gateway_operator::operator::DEFAULT_GATEWAY_IMAGE;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An image's name without tag and digest, with a registry or without.
const REPOSITORY: &str = r"^[a-z0-9]+([._:/-]+[a-z0-9]+)*$";
const TAG: &str = r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$";
const DIGEST: &str = r"^(sha256:[0-9a-f]{64})?$";
const DNS_LABEL: &str = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$";
const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
const OPTIONAL_DNS_SUBDOMAIN: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$";
const KIND: &str = "^[A-Z][A-Za-z0-9]*$";
const CIDR: &str = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$";
const PROMETHEUS_DURATION: &str = r"^[0-9]+(ms|s|m|h)$";
const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|[MGTPE]i?)?$";
/// A level, or a filter such as `info,mcp_gateway_operator=debug`. Nothing that YAML or a shell takes for something else.
const LOG_LEVEL: &str = r"^[A-Za-z0-9_:=,]+$";

/// Values of the chart mcp-gateway-operator.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Values {
    /// The operator's image.
    image: Image,
    /// The data plane's image, where an MCPGateway names none; it has the shim of stdio servers, too.
    gateway_image: GatewayImage,
    /// Secrets with which the operator's image is pulled. Those of gateways and servers are named in their pod templates.
    image_pull_secrets: Vec<PullSecret>,
    /// Replicas of the operator: one leads, another takes over when it is gone.
    #[schemars(range(min = 0, max = 10))]
    replicas: u32,
    /// Namespaces to look after, with Roles in each of them and no ClusterRole at all; they must exist. Empty: the whole cluster.
    #[schemars(length(max = 100), inner(regex(pattern = DNS_LABEL)))]
    watch_namespaces: Vec<String>,
    /// Kinds of other operators that a serverRef may name: the operator may list and watch them. Empty: none.
    #[schemars(length(max = 16))]
    server_kinds: Vec<ServerKind>,
    #[serde(rename = "gatewayAPI")]
    gateway_api: GatewayApi,
    /// What to log: error, warn, info, debug, trace, or a filter of them, like info,mcp_gateway_operator=debug.
    #[schemars(regex(pattern = LOG_LEVEL), length(max = 256))]
    log_level: String,
    crds: Crds,
    rbac: Rbac,
    service_account: ServiceAccount,
    /// What the operator's container needs, and the most that it may take.
    resources: Resources,
    /// PriorityClass of the operator's pods. Gateways serve without the operator, so it need not be critical.
    #[schemars(regex(pattern = OPTIONAL_DNS_SUBDOMAIN), length(max = 253))]
    priority_class_name: String,
    /// Labels of the nodes that the operator may run on.
    #[schemars(schema_with = "texts")]
    node_selector: BTreeMap<String, String>,
    /// Taints of nodes that the operator tolerates, as in core/v1.
    #[schemars(schema_with = "list_of::<Toleration>")]
    tolerations: Vec<Toleration>,
    /// Affinity of the operator's pods, as in core/v1.
    #[schemars(schema_with = "object::<Affinity>")]
    affinity: Affinity,
    /// How the operator's pods are spread, as in core/v1. Empty: over nodes and zones, where there are several.
    #[schemars(schema_with = "list_of::<TopologySpreadConstraint>")]
    topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Annotations to add to the operator's pods.
    #[schemars(schema_with = "texts")]
    pod_annotations: BTreeMap<String, String>,
    /// Labels to add to the operator's pods. Those that begin with app.kubernetes.io/ are the chart's.
    #[schemars(schema_with = "pod_labels")]
    pod_labels: BTreeMap<String, String>,
    /// Variables to add to the operator's container, as in core/v1.
    #[schemars(schema_with = "list_of::<EnvVar>")]
    env: Vec<EnvVar>,
    pod_disruption_budget: PodDisruptionBudget,
    network_policy: NetworkPolicy,
    metrics: Metrics,
    /// Values of the charts around this one, which takes none of them.
    global: Map<String, Value>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            image: Image::default(),
            gateway_image: GatewayImage::default(),
            image_pull_secrets: Vec::new(),
            replicas: 2,
            watch_namespaces: Vec::new(),
            server_kinds: vec![ServerKind {
                group: "mcp.x-k8s.io".to_owned(),
                kind: "MCPServer".to_owned(),
                resource: "mcpservers".to_owned(),
            }],
            gateway_api: GatewayApi::default(),
            log_level: "info".to_owned(),
            crds: Crds::default(),
            rbac: Rbac::default(),
            service_account: ServiceAccount::default(),
            resources: Resources::default(),
            priority_class_name: String::new(),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: Affinity::default(),
            topology_spread_constraints: Vec::new(),
            pod_annotations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            env: Vec::new(),
            pod_disruption_budget: PodDisruptionBudget::default(),
            network_policy: NetworkPolicy::default(),
            metrics: Metrics::default(),
            global: Map::new(),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Image {
    /// Registry and name.
    #[schemars(regex(pattern = REPOSITORY), length(max = 255))]
    repository: String,
    /// Tag. Empty: the version of the chart.
    #[schemars(regex(pattern = TAG))]
    tag: String,
    /// Digest, like sha256:…; it goes before the tag. Empty: none.
    #[schemars(regex(pattern = DIGEST))]
    digest: String,
    /// When nodes pull it.
    pull_policy: PullPolicy,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            repository: DEFAULT_GATEWAY_IMAGE
                .replace("/mcp-gateway:", "/mcp-operator:")
                .split(':')
                .next()
                .unwrap()
                .to_owned(),
            tag: String::new(),
            digest: String::new(),
            pull_policy: PullPolicy::IfNotPresent,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[expect(dead_code, reason = "others are for those who write values")]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct GatewayImage {
    /// Registry and name.
    #[schemars(regex(pattern = REPOSITORY), length(max = 255))]
    repository: String,
    /// Tag. Empty: the version of the chart.
    #[schemars(regex(pattern = TAG))]
    tag: String,
    /// Digest, like sha256:…; it goes before the tag. Empty: none.
    #[schemars(regex(pattern = DIGEST))]
    digest: String,
}

impl Default for GatewayImage {
    fn default() -> Self {
        let repository = DEFAULT_GATEWAY_IMAGE.split(':').next().unwrap().to_owned();
        Self { repository, tag: String::new(), digest: String::new() }
    }
}

#[derive(Serialize, JsonSchema)]
struct PullSecret {
    /// Name of a Secret in the release's namespace.
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(max = 253))]
    name: String,
}

#[derive(Serialize, JsonSchema)]
struct ServerKind {
    /// API group.
    #[schemars(regex(pattern = DNS_SUBDOMAIN), length(max = 253))]
    group: String,
    /// Kind.
    #[schemars(regex(pattern = KIND), length(max = 63))]
    kind: String,
    /// The kind's plural, as roles name it.
    #[schemars(regex(pattern = DNS_LABEL))]
    resource: String,
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct GatewayApi {
    /// Whether gateways may be exposed by an HTTPRoute of Gateway API, where a cluster has it: the operator may write HTTPRoutes.
    enabled: bool,
}

impl Default for GatewayApi {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct Crds {
    /// Install the custom resource definitions, and upgrade them with the chart.
    install: bool,
    /// Keep them when the chart is uninstalled: with a definition goes every object of its kind.
    keep: bool,
}

impl Default for Crds {
    fn default() -> Self {
        Self { install: true, keep: true }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct Rbac {
    /// Create the roles that the operator needs, and bind them.
    create: bool,
    /// Let those who may view, edit or administer a namespace do so with the four kinds. For the whole cluster only.
    aggregate: bool,
}

impl Default for Rbac {
    fn default() -> Self {
        Self { create: true, aggregate: true }
    }
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(default)]
struct ServiceAccount {
    /// Annotations of the operator's account.
    #[schemars(schema_with = "texts")]
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct Resources {
    /// What is set aside for it.
    #[schemars(schema_with = "quantities")]
    requests: BTreeMap<String, String>,
    /// The most it may take. CPU is not limited: that would slow it down while nobody else needs it.
    #[schemars(schema_with = "quantities")]
    limits: BTreeMap<String, String>,
}

impl Default for Resources {
    fn default() -> Self {
        let amounts = |amounts: &[(&str, &str)]| {
            amounts.iter().map(|&(name, amount)| (name.to_owned(), amount.to_owned())).collect::<BTreeMap<_, _>>()
        };
        Self { requests: amounts(&[("cpu", "50m"), ("memory", "64Mi")]), limits: amounts(&[("memory", "512Mi")]) }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct PodDisruptionBudget {
    /// Keep replicas from being evicted all at once, where there are two or more.
    enabled: bool,
    /// Replicas that may be gone for a while: a number or a percentage.
    #[schemars(schema_with = "number_or_percentage")]
    max_unavailable: u32,
}

impl Default for PodDisruptionBudget {
    fn default() -> Self {
        Self { enabled: true, max_unavailable: 1 }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct NetworkPolicy {
    /// Restrict who connects to the operator, and where it connects to.
    enabled: bool,
    api_server: ApiServer,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { enabled: true, api_server: ApiServer::default() }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct ApiServer {
    /// Addresses of the API server, as CIDRs: its Service's and its own. Empty: anywhere.
    #[schemars(length(max = 64), inner(regex(pattern = CIDR)))]
    cidrs: Vec<String>,
    /// Ports of the API server: its Service's and its own.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 65535)))]
    ports: Vec<u16>,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self { cidrs: Vec::new(), ports: vec![443, 6443] }
    }
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Metrics {
    /// Namespaces whose pods may scrape the metrics of the operator and of the gateways, like that of your Prometheus.
    #[schemars(length(max = 16), inner(regex(pattern = DNS_LABEL)))]
    scraper_namespaces: Vec<String>,
    service_monitor: ServiceMonitor,
    pod_monitor: PodMonitor,
    prometheus_rule: PrometheusRule,
    dashboard: Dashboard,
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct ServiceMonitor {
    /// Have the Prometheus operator scrape this operator.
    enabled: bool,
    /// How often.
    #[schemars(regex(pattern = PROMETHEUS_DURATION))]
    interval: String,
    /// Labels to add, by which your Prometheus selects it.
    #[schemars(schema_with = "texts")]
    labels: BTreeMap<String, String>,
}

impl Default for ServiceMonitor {
    fn default() -> Self {
        Self { enabled: false, interval: "30s".to_owned(), labels: BTreeMap::new() }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct PodMonitor {
    /// Have the Prometheus operator scrape every gateway that this operator looks after.
    enabled: bool,
    /// How often.
    #[schemars(regex(pattern = PROMETHEUS_DURATION))]
    interval: String,
    /// Labels to add, by which your Prometheus selects it.
    #[schemars(schema_with = "texts")]
    labels: BTreeMap<String, String>,
}

impl Default for PodMonitor {
    fn default() -> Self {
        Self { enabled: false, interval: "30s".to_owned(), labels: BTreeMap::new() }
    }
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(default)]
struct PrometheusRule {
    /// Give the Prometheus operator the alerts of docs/operations.md.
    enabled: bool,
    /// Labels to add, by which your Prometheus selects it.
    #[schemars(schema_with = "texts")]
    labels: BTreeMap<String, String>,
}

#[derive(Serialize, JsonSchema)]
#[serde(default)]
struct Dashboard {
    /// Make a ConfigMap with a Grafana dashboard.
    enabled: bool,
    /// Labels by which Grafana's sidecar finds it.
    #[schemars(schema_with = "texts")]
    labels: BTreeMap<String, String>,
}

impl Default for Dashboard {
    fn default() -> Self {
        Self { enabled: false, labels: BTreeMap::from([("grafana_dashboard".to_owned(), "1".to_owned())]) }
    }
}

fn texts(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "additionalProperties": {"type": "string"}})
}

fn pod_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "patternProperties": {"^app\\.kubernetes\\.io/": false},
        "additionalProperties": {"type": "string", "maxLength": 63},
    })
}

/// YAML reads `1` as a number, and both are quantities.
fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "additionalProperties": {"type": ["string", "number"], "pattern": QUANTITY, "minimum": 0},
    })
}

fn number_or_percentage(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["integer", "string"], "pattern": "^(100|[1-9]?[0-9])%$", "minimum": 0})
}

fn list_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let items = object::<T>(generator);
    json_schema!({"type": "array", "maxItems": 64, "items": items})
}

/// A type of Kubernetes, without its comments, which are long and elsewhere.
fn object<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator).to_value();
    without_descriptions(&mut schema);
    Schema::try_from(schema).unwrap()
}

fn without_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            // A property may have this name, too.
            if keywords.get("description").is_some_and(Value::is_string) {
                keywords.remove("description");
            }
            keywords.values_mut().for_each(without_descriptions);
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(without_descriptions),
        _ => {}
    }
}
