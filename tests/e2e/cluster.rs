//! The cluster of `KUBECONFIG`, and the programs that people use with one.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Where kubectl and helm are: `scripts/cluster-tools.sh` builds them where nobody has.
static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster-tools.sh");
    let output = Command::new(script).arg("node").stderr(Stdio::inherit()).output().expect("the script runs");
    assert!(output.status.success(), "{script} failed: see above");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
});

fn kubeconfig() -> PathBuf {
    std::env::var_os("KUBECONFIG")
        .map_or_else(|| panic!("KUBECONFIG is not set: run this by `make e2e`"), PathBuf::from)
}

/// A client that may do everything. It belongs to the runtime that asks for it.
pub async fn client() -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A new namespace whose pods must keep to the `restricted` Pod Security Standard.
pub async fn namespace(client: &Client, prefix: &str) -> String {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let metadata = ObjectMeta {
        generate_name: Some(format!("{prefix}-")),
        labels: Some(serde_json::from_value(labels).unwrap()),
        ..ObjectMeta::default()
    };
    let namespace = Namespace { metadata, ..Namespace::default() };
    let created = Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    created.metadata.name.unwrap()
}

/// Has a namespace deleted, without waiting for it.
pub async fn forget(client: &Client, namespace: &str) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.delete(namespace, &DeleteParams::default()).await.unwrap();
}

/// Runs kubectl, which must succeed, and gives what it prints.
pub fn kubectl(arguments: &[impl AsRef<OsStr>]) -> String {
    kubectl_with(arguments, "")
}

/// Runs kubectl with something to read.
pub fn kubectl_with(arguments: &[impl AsRef<OsStr>], input: &str) -> String {
    tell("kubectl", arguments, input).unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs helm, which must succeed.
pub fn helm(arguments: &[impl AsRef<OsStr>]) -> String {
    tell("helm", arguments, "").unwrap_or_else(|failure| panic!("{failure}"))
}

/// Runs a program against the cluster; the error is everything that it said.
pub fn tell(program: &str, arguments: &[impl AsRef<OsStr>], input: &str) -> Result<String, String> {
    let mut child = Command::new(TOOLS.join(program))
        .args(arguments)
        .env("KUBECONFIG", kubeconfig())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without having read all of it, and says why.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).collect();
    Err(format!("{program} {arguments:?}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr)))
}

/// Every object there is, as `namespace kind/name`, apart from Events and what Kubernetes itself keeps changing.
pub fn everything() -> BTreeSet<String> {
    let kinds = kubectl(&["api-resources", "--verbs=list", "--output=name"]);
    let kinds: Vec<&str> =
        kinds.lines().filter(|kind| !kind.starts_with("events") && !kind.contains("metrics.k8s.io")).collect();
    let columns = "custom-columns=:.metadata.namespace,:.kind,:.metadata.name";
    let listed = kubectl(&["get", &kinds.join(","), "--all-namespaces", "--ignore-not-found", "--output", columns]);
    let words = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let names = words.filter(|words| words.len() == 3).map(|words| {
        let (namespace, kind, name) = (words[0], words[1].to_lowercase(), words[2]);
        format!("{namespace} {kind}/{name}")
    });
    names.collect()
}

/// Applies definitions of others, as their projects publish them.
pub fn definitions_of(file: &str) {
    let file = TOOLS.join("crds").join(file);
    kubectl(&["apply", "--server-side", "--filename", file.to_str().unwrap()]);
    // kubectl gives up on one that has no conditions at all yet.
    let wait = ["wait", "--for=condition=Established", "--timeout=60s", "--filename", file.to_str().unwrap()];
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(failure) = tell("kubectl", &wait, "") {
        assert!(Instant::now() < deadline, "{failure}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Names of our custom resource definitions.
pub fn definitions() -> BTreeSet<String> {
    let all = kubectl(&["get", "customresourcedefinitions", "--output=name"]);
    let ours = all.lines().filter(|name| name.ends_with(".gateway.mcp-operator.dev"));
    ours.map(str::to_owned).collect()
}

/// The requests that the API server has answered, by its audit log (`audit.k8s.io/v1`, without bodies). Only a cluster of the tests' own
/// keeps one that can be read: `E2E_AUDIT_LOG` names it.
pub fn audit() -> Option<impl Iterator<Item = Value>> {
    let path = std::env::var_os("E2E_AUDIT_LOG")?;
    let log = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("E2E_AUDIT_LOG: {error}"));
    // The last line may be half written.
    let whole = log.rfind('\n').map_or(0, |end| end + 1);
    let events: Vec<Value> = log[..whole].lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Some(events.into_iter().filter(|event| event["stage"] == "ResponseComplete"))
}
