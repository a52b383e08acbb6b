//! A namespace in which the installed operator works, and what clients reach there.

use crate::chart;
use crate::cluster;
use crate::support::objects::{CLIENT_PORT, Objects, install_stand_in};
use kube::Client;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

/// How long a test waits for something that must happen: pods start, images of interpreters load, and the machine is busy with
/// other tests' pods. Far beyond that, so that only a defect ends there.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// Images that the suite brings along; see `tests/images/`.
pub const DEMO: &str = concat!("ghcr.io/mcp-gateway-operator/demo-mcp-server:", env!("CARGO_PKG_VERSION"));

pub const MISBEHAVING: &str = concat!("ghcr.io/mcp-gateway-operator/misbehaving-server:", env!("CARGO_PKG_VERSION"));
pub const EVERYTHING: &str = "mcp-tests.example/everything:1";
pub const COLLECTOR: &str = "mcp-tests.example/collector:1";
pub const PYTHON: &str = "mcp-tests.example/python:1";

pub struct Stage {
    objects: Objects,
}

impl Deref for Stage {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.objects
    }
}

impl Stage {
    /// A new namespace, with the chart installed.
    pub async fn new(prefix: &str) -> Self {
        chart::installed();
        Self::without_chart(prefix).await
    }

    /// A new namespace.
    pub async fn without_chart(prefix: &str) -> Self {
        let client = cluster::client().await;
        let namespace = cluster::namespace(&client, prefix).await;
        Self::over(client, namespace)
    }

    /// A namespace that somebody else makes, with the chart installed.
    pub async fn of(namespace: &str) -> Self {
        chart::installed();
        Self::over(cluster::client().await, namespace.to_owned())
    }

    fn over(client: Client, namespace: String) -> Self {
        Self { objects: Objects { namespace, client, patience: PATIENCE, failure: Box::new(|| None) } }
    }

    /// Where clients find a gateway: its Service.
    pub async fn service(&self, gateway: &str) -> SocketAddr {
        self.service_port(gateway, CLIENT_PORT).await
    }

    /// Where clients find a port of a gateway's Service.
    pub async fn service_port(&self, gateway: &str, port: u16) -> SocketAddr {
        let service = self.get("v1/Service", &format!("mcpgw-{gateway}")).await.expect("a gateway has a Service");
        let address = SocketAddr::new(service["spec"]["clusterIP"].as_str().unwrap().parse().unwrap(), port);
        self.leads_somewhere(address).await;
        address
    }

    /// Waits until the node leads there: it learns of Services and of ready pods a moment after the operator does.
    pub async fn leads_somewhere(&self, address: SocketAddr) {
        self.until_some(&format!("{address} leads somewhere"), async || {
            tokio::net::TcpStream::connect(address).await.ok().map(|_| ())
        })
        .await;
    }

    /// The pods that a label selects, those that leave excepted.
    pub async fn pods(&self, selector: &str) -> Vec<Value> {
        let params = kube::api::ListParams::default().labels(selector);
        let pods = self.api("v1", "Pod").list(&params).await.unwrap();
        let pods = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.map(|pod| serde_json::to_value(pod).unwrap()).collect()
    }

    /// The pods of a gateway.
    pub async fn gateway_pods(&self, gateway: &str) -> Vec<Value> {
        self.pods(&format!("gateway.mcp-operator.dev/gateway={gateway}")).await
    }

    /// Where a pod is found.
    pub fn address(pod: &Value) -> IpAddr {
        pod["status"]["podIP"].as_str().unwrap_or_else(|| panic!("no address: {pod}")).parse().unwrap()
    }

    /// Runs a server that is not ours, as another operator would: with a Service, on port 8000.
    pub async fn server_of_another_operator(&self, name: &str, image: &str, args: &[&str]) {
        let container = json!({
            "name": "server", "image": image, "args": args,
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        });
        self.deploy(name, container, json!([]), 8000).await;
    }

    /// The test says, as the other operator would, where that server is. The kind of its objects is there from now on.
    pub async fn says_where(&self, name: &str, scheme: &str) {
        install_stand_in(&self.client, "MCPServer", "mcp.x-k8s.io", "v1alpha1", "mcpservers").await;
        self.until_some("the kind is served", async || {
            self.client.list_api_group_resources("mcp.x-k8s.io/v1alpha1").await.ok().map(|_| ())
        })
        .await;
        let url = format!("{scheme}://{name}.{}.svc:8000/mcp", self.namespace);
        self.apply(&json!({
            "apiVersion": "mcp.x-k8s.io/v1alpha1", "kind": "MCPServer", "metadata": {"name": name},
            "status": {"address": {"url": url}},
        }))
        .await;
    }

    /// Runs a container under the restricted Pod Security Standard, with a Service for one port.
    pub async fn deploy(&self, name: &str, container: Value, volumes: Value, port: u16) {
        self.apply(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "automountServiceAccountToken": false,
                        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                        "containers": [container],
                        "volumes": volumes,
                    },
                },
            },
        }))
        .await;
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": name}, "ports": [{"port": port}]},
        }))
        .await;
    }

    /// The namespace is over with the test; what it holds goes in the background, also to make room for others' pods.
    pub async fn end(self) {
        cluster::forget(&self.client, &self.namespace).await;
    }
}

/// Programs from npm, installed once by `tests/tools/install.sh`.
static CLIENTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/install.sh");
    let output = Command::new(script).stderr(Stdio::inherit()).output().expect("the script runs");
    assert!(output.status.success(), "{script} failed: see above");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
});

/// Runs a client on Node.js, which must succeed, and gives what it prints.
pub fn node(program: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(CLIENTS.join("bin/node"))
        .arg(CLIENTS.join(program))
        .args(arguments)
        .env("MCP_TEST_TOOLS", &*CLIENTS)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{} {arguments:?}: {}\n{}\n{}",
        program.display(),
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output.stdout
}

/// Runs one of the clients of the interoperation tests.
pub fn script(name: &str, arguments: &[&str]) {
    node(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/clients").join(name), arguments);
}

/// A server of another operator, by its object.
pub fn by_reference(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "MCPBackend", "metadata": {"name": name},
        "spec": {"serverRef": {"group": "mcp.x-k8s.io", "kind": "MCPServer", "name": name}},
    })
}

/// A demo server as a child on standard input and output.
pub fn demo(name: &str) -> Value {
    json!({
        "apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "MCPBackend", "metadata": {"name": name},
        "spec": {"stdio": {"image": DEMO, "command": ["demo-mcp-server"], "args": ["--name", name]}},
    })
}
