//! A namespace with an operator that looks after it, a kubelet that runs its gateways, and MCP servers behind them.

use crate::cluster::{ControlPlane, PATIENCE};
use crate::kubelet::Kubelet;
use crate::operator::Operator;
pub use crate::support::objects::{CLIENT_PORT, Objects, backend, gateway, open, route};
use crate::support::upstream::McpServer;
use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
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
    objects: Objects,
    pub kubelet: Kubelet,
    pub operator: Option<Operator>,
}

impl Deref for Stage {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.objects
    }
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
        let objects = Objects { namespace, client, patience: LOSES_PATIENCE, failure: Box::new(|| cluster.failure()) };
        Self { cluster, objects, kubelet, operator: None }
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
