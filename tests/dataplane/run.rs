//! `mcp-gateway run` and `validate`: manifests on a laptop.

use crate::support::http::get;
use crate::support::mcp::{LegacyClient, ModernClient};
use crate::support::process::{GATEWAY, Process, run_to_end};
use crate::support::upstream::McpServer;
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

const MANIFESTS: &str = "apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: gw}
spec: {listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: search}
spec: {service: {name: search, port: 80}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPRoute
metadata: {name: tools}
spec: {parentRefs: [{name: gw}], servers: [{name: search, backendRefs: [{name: search}]}]}
";

fn start(arguments: &[&str]) -> Process {
    let mut command = Command::new(GATEWAY);
    command.arg("run").args(arguments).args(["--port", "0", "--admin", "127.0.0.1:0"]).env_remove("RUST_LOG");
    Process::start(&mut command)
}

/// The address in a printed or logged line.
fn address(line: &str, marker: &str) -> Option<SocketAddr> {
    let rest = line.split_once(marker)?.1;
    rest.split(['/', '"', ' ']).next()?.parse().ok()
}

async fn url(process: &Process) -> SocketAddr {
    process.printed("the URL is printed", |line| address(line, "  http://")).await
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

#[tokio::test]
async fn manifests_are_served_changed_and_left() {
    let server = McpServer::start("search").await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.yaml");
    write(&file, MANIFESTS);
    let backend = format!("search=http://{}/mcp", server.address);
    let mut process = start(&[file.to_str().unwrap(), "--backend", &backend]);
    let gateway = url(&process).await;
    let mut client = LegacyClient::connect(gateway, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);

    // A mistake keeps what is served, a correction takes effect, on the same port and for the same client.
    write(&file, &MANIFESTS.replace("servers:", "server:"));
    process.logged("the mistake is told", |line| line.contains("server").then(|| line.contains("refused"))).await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
    write(&file, &MANIFESTS.replace("{name: search, backendRefs", "{name: search, prefix: s_, backendRefs"));
    process.logged("the change is applied", |line| line.contains("generation applied").then_some(())).await;
    assert_eq!(client.tools().await, ["s_echo", "s_wait"]);

    process.signal(Signal::INT);
    assert!(process.ended().await.success());
}

#[tokio::test]
async fn the_printed_snippet_and_command_work() {
    let server = McpServer::start("search").await;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.yaml");
    write(&file, MANIFESTS);
    let backend = format!("search=http://{}/mcp", server.address);
    let process = start(&[file.to_str().unwrap(), "--backend", &backend]);
    let gateway = url(&process).await;
    let snippet =
        process.printed("the snippet is printed", |line| line.contains("\"url\"").then(|| line.to_owned())).await;
    assert!(snippet.contains(&format!("http://{gateway}/mcp")), "{snippet}");
    process.printed("a command is printed", |line| line.starts_with("curl ").then_some(())).await;
    let mut client = ModernClient::connect(gateway, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
}

#[tokio::test]
async fn an_mcp_json_is_served_as_it_is() {
    let (one, two) = (McpServer::start("one").await, McpServer::start("two").await);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".mcp.json");
    let entry =
        |server: &McpServer| serde_json::json!({"type": "http", "url": format!("http://{}/mcp", server.address)});
    write(&file, &serde_json::json!({"mcpServers": {"one": entry(&one), "two": entry(&two)}}).to_string());
    let process = start(&[file.to_str().unwrap()]);
    let mut client = LegacyClient::connect(url(&process).await, "/mcp").await;
    assert_eq!(client.tools().await, ["one_echo", "one_wait", "two_echo", "two_wait"]);
}

#[tokio::test]
async fn secrets_come_by_flag_and_are_never_shown() {
    let server = McpServer::start("search").await;
    let home = tempfile::tempdir().unwrap();
    let (file, secret) = (home.path().join("a.yaml"), home.path().join("token"));
    let auth = "auth: {type: Header, header: {prefix: 'Bearer ', valueFrom: {secretKeyRef: {name: s, key: token}}}}";
    let url_spec = format!("remote: {{url: 'http://{}/mcp'}}, {auth}", server.address);
    write(&file, &MANIFESTS.replace("service: {name: search, port: 80}", &url_spec));
    write(&secret, "hunter2");
    let flag = format!("s.token=@{}", secret.display());
    let process = start(&[file.to_str().unwrap(), "--secret", &flag, "--log-level", "trace"]);
    let mut client = LegacyClient::connect(url(&process).await, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
    assert_eq!(server.received()[0].header("authorization"), Some("Bearer hunter2"));
    let admin = process.logged("the admin port listens", |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let is_it = line["fields"]["listener"] == "admin";
        if is_it { line["fields"]["address"].as_str()?.parse::<SocketAddr>().ok() } else { None }
    });
    let admin = admin.await;
    for page in ["/config", "/status", "/metrics"] {
        let text = get(admin, page).await.text();
        assert!(!text.contains("hunter2"), "{page}: {text}");
    }
    assert!(!process.log().join("\n").contains("hunter2"));
}

#[tokio::test]
async fn mistakes_are_told_a_line_each() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("a.yaml");
    let path = file.to_str().unwrap();
    for (text, flags, messages) in [
        (MANIFESTS.to_owned(), &[][..], &["--backend search=URL"][..]),
        (MANIFESTS.to_owned(), &["--backend", "serach=http://localhost:1"], &["--backend serach"]),
        (MANIFESTS.to_owned(), &["--backend", "search=http://localhost:1/", "--bind", "0.0.0.0"], &["MCPAuthPolicy"]),
        (
            MANIFESTS.replace("port: 8080", "prot: 8080").replace("parentRefs", "parentRef"),
            &[],
            &["a.yaml:4:", "prot", "a.yaml:14:", "parentRef"],
        ),
        ("a: [".to_owned(), &[], &["a.yaml:1"]),
        (String::new(), &[], &["define no MCPGateway"]),
    ] {
        write(&file, &text);
        for command in ["run", "validate"] {
            let arguments = [&[command, path], flags].concat();
            let output = run_to_end(&arguments).await;
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{told}");
            assert!(told.lines().all(|line| line.starts_with("error: ")), "{told}");
            assert!(messages.iter().all(|message| told.contains(message)), "{told}");
        }
    }
    let good = run_to_end(&["validate", path, "--backend", "search=http://localhost:1/mcp"]).await;
    assert_eq!(good.status.code(), Some(1), "the file is empty by now");
    write(&file, MANIFESTS);
    let good = run_to_end(&["validate", path, "--backend", "search=http://localhost:1/mcp"]).await;
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
}

#[tokio::test]
async fn a_wrong_flag_is_exit_code_2() {
    for (flag, value, message) in [
        ("--secret", "a.b=hunter2", "is no secret"),
        ("--secret", "a.b=$NO_SUCH_VARIABLE_HERE", "is not set"),
        ("--backend", "search", "write NAME=URL"),
    ] {
        let output = run_to_end(&["run", "a.yaml", flag, value]).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{told}");
        assert!(told.contains(message), "{told}");
    }
}
