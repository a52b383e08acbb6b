//! A namespace with an operator that looks after it, a kubelet that runs its gateways, and MCP servers behind them.

use crate::cluster::{ControlPlane, PATIENCE};
use crate::kubelet::Kubelet;
use crate::operator::Operator;
use crate::support::upstream::McpServer;
use k8s_openapi::api::core::v1::Event;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Servers have addresses from here on; pods have others.
static NEXT_SERVER: AtomicU8 = AtomicU8::new(1);

/// Somewhat before [`PATIENCE`], so that what there is instead can be told.
const LOSES_PATIENCE: Duration = PATIENCE.saturating_sub(Duration::from_secs(2));

/// The port of every server.
const SERVER_PORT: u16 = 3000;

pub struct Stage {
    pub cluster: &'static ControlPlane,
    pub namespace: String,
    client: Client,
    pub kubelet: Kubelet,
    pub operator: Option<Operator>,
}

impl Stage {
    /// A namespace of its own in the shared cluster, with an operator that sees nothing else.
    pub async fn new(prefix: &str) -> Self {
        let mut stage = Self::without_operator(ControlPlane::shared().await, prefix).await;
        let arguments = ["--watch-namespace", &stage.namespace, "--namespace", &stage.namespace];
        stage.operator = Some(Operator::start(stage.cluster.kubeconfig(), &arguments));
        stage
    }

    /// A namespace of its own in this cluster.
    pub async fn without_operator(cluster: &'static ControlPlane, prefix: &str) -> Self {
        let namespace = cluster.namespace(prefix).await;
        let client = cluster.client();
        let kubelet = Kubelet::start(&client, &namespace);
        Self { cluster, namespace, client, kubelet, operator: None }
    }

    /// The same for all namespaces, with the roles of the chart as it is.
    pub async fn cluster_operator_account(&self, name: &str) -> PathBuf {
        self.account(name, "deploy/install.yaml").await
    }

    /// The operator, as which a service account with the roles of the chart for single namespaces, and no others, acts.
    pub async fn operator_account(&self, name: &str) -> PathBuf {
        self.account(name, "tests/chart/cases/namespaced/out.yaml").await
    }

    /// Applies the account, the roles and the lease of a rendered chart, under this name and in this namespace.
    async fn account(&self, name: &str, chart: &str) -> PathBuf {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(chart)).unwrap();
        // One of the two that the chart is rendered for is there.
        let text = text.replace("mcp-system", &self.namespace).replace("team-a", &self.namespace);
        for document in text.split("---\n").filter(|document| !document.contains("namespace: team-b")) {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default();
            let document = document.replace("name: mcp-operator", &format!("name: {name}"));
            match kind {
                "ServiceAccount" | "Role" | "RoleBinding" => {
                    self.apply(&serde_saphyr::from_str(&document).unwrap()).await;
                }
                "ClusterRole" | "ClusterRoleBinding" => {
                    let manifest: Value = serde_saphyr::from_str(&document).unwrap();
                    let object: DynamicObject = serde_json::from_value(manifest).unwrap();
                    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", kind));
                    let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
                    api.create(&PostParams::default(), &object).await.unwrap();
                }
                _ => {}
            }
        }
        // Several accounts stand for one lease.
        self.apply(
            &json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "mcp-operator"}}),
        )
        .await;
        self.cluster.kubeconfig_for(&self.namespace, name).await
    }

    /// Creates the objects of a manifest, or changes them to it.
    pub async fn apply(&self, manifest: &Value) {
        let api = self.api(manifest["apiVersion"].as_str().unwrap(), manifest["kind"].as_str().unwrap());
        let params = PatchParams::apply("a-person").force();
        api.patch(manifest["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(manifest)).await.unwrap();
    }

    pub async fn patch(&self, kind: &str, name: &str, patch: Value) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn patch_status(&self, kind: &str, name: &str, patch: Value) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Puts another spec in the place of the whole of it.
    pub async fn replace_spec(&self, kind: &str, name: &str, spec: Value) {
        let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]);
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).unwrap());
        self.api(OURS, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// As `kubectl edit` does: lists are merged by their keys.
    pub async fn strategic(&self, kind: &str, name: &str, patch: Value) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// An object, if it is there; `kind` is one of ours, or `group/version/Kind`.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        let found = self.api(group, kind).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(found).unwrap())
    }

    /// Names of the objects of a kind, in alphabetical order.
    pub async fn names(&self, kind: &str) -> Vec<String> {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        let objects = self.api(group, kind).list(&ListParams::default()).await.unwrap();
        let mut names: Vec<String> = objects.into_iter().filter_map(|object| object.metadata.name).collect();
        names.sort();
        names
    }

    pub fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    /// Waits until a condition of an object of ours is so, and gives its message. `told` is `Type=Status Reason`.
    pub async fn until(&self, kind: &str, name: &str, told: &str) -> String {
        let mut last = Vec::new();
        let what = format!("{kind} {name}: {told}");
        let waiting = self.cluster.until(&what, async || {
            let object = self.get(kind, name).await?;
            let (found, all) = find(&object, told);
            last = all;
            found
        });
        let found = tokio::time::timeout(LOSES_PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("{kind} {name}: not {told}, but {last:#?}"))
    }

    /// Asks again and again until there is an answer.
    pub async fn until_some<T>(&self, what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
        self.cluster.until(what, ask).await
    }

    /// Waits until so many pods of a gateway serve what they should.
    pub async fn programmed(&self, gateway: &str, pods: usize) {
        self.until_some(&format!("{pods} pods of {gateway} serve what they should"), async || {
            let status = self.get("MCPGateway", gateway).await?["status"].clone();
            (status["programmedReplicas"] == pods).then_some(())
        })
        .await;
    }

    /// Reasons of the Events about an object of ours.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items;
        let about = events.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        about.filter_map(|event| event.reason).collect()
    }

    /// How often an Event about an object of ours was told: one that repeats is counted, not written again.
    pub async fn times_told(&self, name: &str, reason: &str) -> i32 {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items;
        let is_it = |event: &&Event| {
            event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
        };
        let times = |event: &Event| event.series.as_ref().and_then(|series| series.count).unwrap_or(1);
        events.iter().filter(is_it).map(times).sum()
    }

    /// An MCP server, and a Service of this name that leads to it.
    pub async fn server(&self, name: &str) -> McpServer {
        let number = NEXT_SERVER.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([10, 123, 255, number], SERVER_PORT));
        let server = McpServer::start_at(name, address).await;
        let ports = json!([{"port": 80, "targetPort": SERVER_PORT, "protocol": "TCP"}]);
        self.apply(
            &json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}}),
        )
        .await;
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [{"port": SERVER_PORT, "protocol": "TCP"}],
        });
        self.apply(&slice).await;
        server
    }

    /// Where clients find the gateway, at each of its running pods.
    pub fn addresses(&self, gateway: &str) -> Vec<SocketAddr> {
        let pods = self.kubelet.pods(&format!("mcpgw-{gateway}-"));
        pods.into_iter().map(|(_, address)| SocketAddr::new(address.parse().unwrap(), CLIENT_PORT)).collect()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.kubelet.logs(""));
        }
    }
}

/// The port that gateways listen at for clients.
pub const CLIENT_PORT: u16 = 8080;

const OURS: &str = "gateway.mcp-operator.dev/v1alpha1";

/// A gateway with one listener, and this spec besides.
#[expect(clippy::needless_pass_by_value, reason = "specs are written where they are used")]
pub fn gateway(name: &str, more: Value) -> Value {
    let mut spec = json!({"listeners": [{"name": "http", "port": CLIENT_PORT, "protocol": "HTTP"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": OURS, "kind": "MCPGateway", "metadata": {"name": name}, "spec": spec})
}

/// A policy that lets everybody in.
pub fn open(name: &str) -> Value {
    json!({
        "apiVersion": OURS, "kind": "MCPAuthPolicy", "metadata": {"name": name},
        "spec": {"targetRefs": [{"kind": "MCPGateway", "name": name}], "anonymous": "Allow"},
    })
}

/// A backend at a Service of the test.
pub fn backend(name: &str, service: &str) -> Value {
    json!({
        "apiVersion": OURS, "kind": "MCPBackend", "metadata": {"name": name},
        "spec": {"service": {"name": service, "port": 80}},
    })
}

/// A route with one server, served by these backends in order of preference.
pub fn route(name: &str, gateway: &str, backends: &[&str]) -> Value {
    let refs: Vec<Value> =
        (0..).zip(backends).map(|(priority, name)| json!({"name": name, "priority": priority})).collect();
    json!({
        "apiVersion": OURS, "kind": "MCPRoute", "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": gateway}], "matches": [{"path": {"value": format!("/{name}")}}], "servers": [{"name": "tools", "backendRefs": refs}]},
    })
}

/// The message of a condition that is so, and all conditions there are.
fn find(object: &Value, told: &str) -> (Option<String>, Vec<String>) {
    let status = &object["status"];
    let at_parents = status["parents"].as_array().into_iter().flatten().map(|parent| &parent["conditions"]);
    let mut all = Vec::new();
    let mut found = None;
    for condition in std::iter::once(&status["conditions"]).chain(at_parents).filter_map(Value::as_array).flatten() {
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        let this = format!("{}={} {}", text("type"), text("status"), text("reason"));
        // Of this generation only.
        if this == told && condition["observedGeneration"] == object["metadata"]["generation"] {
            found = Some(text("message").to_owned());
        }
        all.push(format!("{this}: {}", text("message")));
    }
    (found, all)
}
