//! Each way to break a child: the condition says which it is and what to do, and goes once that is done.

use crate::stage::{DEMO, MISBEHAVING, Stage, by_reference};
use crate::support::objects::{gateway, open, route};
use serde_json::{Value, json};

const GROUP: &str = "gateway.mcp-operator.dev/v1alpha1";

/// Breaks a child in one way, reads what is said of it, mends it, and sees it heal.
async fn breaks(prefix: &str, broken: Value, told: &str, parts: &[&str], mended: Value) {
    let stage = Stage::new(prefix).await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.apply(&child(&broken)).await;
    stage.apply(&route("child", "tools", &["child"])).await;
    // What leads to it may be told first; all of the message is there in the end.
    let said = stage
        .until_some(&format!("{told} with {parts:?}"), async || {
            let message = stage.until("MCPBackend", "child", told).await;
            if !parts.iter().all(|part| message.contains(part)) {
                eprintln!("{prefix}: {told}: {message}");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                return None;
            }
            Some(message)
        })
        .await;
    eprintln!("{prefix}: {told}: {said}");
    // A route says the same, for whoever looks there first.
    let of_route = stage.get("MCPRoute", "child").await.unwrap();
    assert_ne!(of_route["status"]["summary"], Value::Null);

    stage.replace_spec("MCPBackend", "child", mended).await;
    stage.until("MCPBackend", "child", "Ready=True Ready").await;
    stage.until("MCPRoute", "child", "Ready=True Ready").await;
    stage.end().await;
}

fn child(spec: &Value) -> Value {
    json!({"apiVersion": GROUP, "kind": "MCPBackend", "metadata": {"name": "child"}, "spec": spec})
}

fn stdio(image: &str, command: &[&str]) -> Value {
    json!({"stdio": {"image": image, "command": command}})
}

fn http(args: &[&str], more: Value) -> Value {
    let mut server = json!({"image": MISBEHAVING, "port": 8000, "args": ([&["--http", "[::]:8000"], args].concat())});
    server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"http": server})
}

fn good() -> Value {
    stdio(DEMO, &["demo-mcp-server"])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_image() {
    let image = "ghcr.io/mcp-gateway-operator/no-such-image:0.1.0";
    breaks(
        "image",
        stdio(image, &["demo-mcp-server"]),
        "Ready=False ImagePullFailed",
        &[image, "imagePullSecrets"],
        good(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command() {
    breaks(
        "command",
        stdio(DEMO, &["no-such-command"]),
        "Ready=False ContainersCrashing",
        &["\"no-such-command\" was not found", "kubectl logs"],
        good(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop() {
    breaks(
        "crash",
        stdio(MISBEHAVING, &["misbehaving-server", "--exit", "3"]),
        "Ready=False ContainersCrashing",
        &["ending at once with code 3", "kubectl logs"],
        good(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_speaks_no_mcp() {
    let spec = stdio(MISBEHAVING, &["misbehaving-server", "--no-mcp"]);
    breaks("prose", spec, "Ready=False ContainersCrashing", &["handshake"], good()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_path() {
    let broken = http(&["--path", "/elsewhere"], json!({}));
    let mended = http(&["--path", "/elsewhere"], json!({"path": "/elsewhere"}));
    breaks("path", broken, "Verified=False Unavailable", &["404", "path"], mended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_server_without_mcp() {
    let mended = http(&[], json!({}));
    breaks("web", http(&["--no-mcp"], json!({})), "Verified=False Unavailable", &["the MCP handshake fails"], mended)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_where_none_is_expected() {
    breaks("tls", http(&["--self-signed"], json!({})), "Verified=False Unavailable", &["TLS"], http(&[], json!({})))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for() {
    let stage = Stage::new("authority").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.server_of_another_operator("theirs", MISBEHAVING, &["--http", "[::]:8000", "--self-signed"]).await;
    stage.says_where("theirs", "https").await;
    stage.apply(&by_reference("theirs")).await;
    stage.apply(&route("theirs", "tools", &["theirs"])).await;
    let said = stage.until("MCPBackend", "theirs", "Verified=False Unavailable").await;
    assert!(said.contains("TLS") && said.contains("certificate"), "{said}");

    stage.server_of_another_operator("theirs", MISBEHAVING, &["--http", "[::]:8000"]).await;
    stage.says_where("theirs", "http").await;
    stage.until("MCPRoute", "theirs", "Ready=True Ready").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_where_nobody_listens() {
    let broken = http(&[], json!({"port": 8001}));
    breaks("port", broken, "Ready=False PodsStarting", &["not ready"], http(&[], json!({}))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_memory() {
    // It takes what it was told as soon as it is called; here before its first answer.
    let mut broken = stdio(MISBEHAVING, &["misbehaving-server", "--allocate", "256"]);
    broken["stdio"]["resources"] = json!({"limits": {"memory": "64Mi"}});
    let mut mended = stdio(MISBEHAVING, &["misbehaving-server", "--allocate", "256"]);
    mended["stdio"]["resources"] = json!({"limits": {"memory": "512Mi"}});
    breaks("memory", broken, "Ready=False ContainersCrashing", &["OOMKilled", "memory"], mended).await;
}
