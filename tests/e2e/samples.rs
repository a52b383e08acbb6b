//! The samples, as a newcomer applies them.

use crate::cluster::{kubectl, kubectl_with};
use crate::stage::{Stage, node};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a sample may take from `kubectl apply` until all of it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

const INSPECTOR: &str = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples");

/// The samples that need nothing from outside.
fn ready_samples() -> Vec<PathBuf> {
    let list = std::fs::read_to_string(Path::new(SAMPLES).join("ready.txt")).unwrap();
    let names = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.map(|name| Path::new(SAMPLES).join(name)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_are_ready_within_a_minute_and_serve_real_clients() {
    let samples = ready_samples();
    assert!(samples.len() > 1, "{samples:?}");
    for sample in samples {
        let stages = stages(&sample).await;
        let start = Instant::now();
        let file = sample.to_str().unwrap();
        match stages.as_slice() {
            // It says itself where its objects are.
            [_, _, ..] => kubectl(&["apply", "--filename", file]),
            stages => kubectl(&["apply", "--namespace", &stages[0].namespace, "--filename", file]),
        };
        for stage in &stages {
            for kind in ["MCPBackend", "MCPGateway", "MCPRoute"] {
                for name in stage.names(kind).await {
                    stage.until(kind, &name, "Ready=True Ready").await;
                }
            }
        }
        let took = start.elapsed();
        eprintln!("{}: ready after {:.1} s", sample.file_name().unwrap().display(), took.as_secs_f64());
        assert!(took < READY_WITHIN, "{}: {took:?}", sample.display());
        let hostnames = hostnames(&stages).await;
        for stage in &stages {
            for gateway in stage.names("MCPGateway").await {
                let address = stage.service(&gateway).await;
                for era in ["legacy", "modern"].into_iter().filter(|_| hostnames.is_empty()) {
                    call_whoami(&format!("http://{address}/mcp"), era);
                }
                for hostname in &hostnames {
                    list_by_name(hostname, address);
                }
            }
        }
        for stage in stages {
            stage.end().await;
        }
    }
}

/// The namespaces that a sample names, or one of the test's own.
async fn stages(sample: &Path) -> Vec<Stage> {
    let text = std::fs::read_to_string(sample).unwrap();
    let is_namespace = |document: &&str| document.lines().any(|line| line == "kind: Namespace");
    let name = |document: &str| document.lines().find_map(|line| line.strip_prefix("  name: ").map(str::to_owned));
    let named: Vec<String> = text.split("\n---\n").filter(is_namespace).filter_map(name).collect();
    if named.is_empty() {
        return vec![Stage::new("sample").await];
    }
    let mut stages = Vec::new();
    for namespace in named {
        stages.push(Stage::of(&namespace).await);
    }
    stages
}

/// Hostnames that routes ask for.
async fn hostnames(stages: &[Stage]) -> Vec<String> {
    let mut found = Vec::new();
    for stage in stages {
        for name in stage.names("MCPRoute").await {
            let route = stage.get("MCPRoute", &name).await.unwrap();
            let hostnames = route["spec"]["hostnames"].as_array().into_iter().flatten();
            found.extend(hostnames.map(|hostname| hostname.as_str().unwrap().to_owned()));
        }
    }
    found
}

/// The inspector takes no address for a name; curl does.
fn list_by_name(hostname: &str, address: SocketAddr) {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--max-time", "30"])
        .args(["--connect-to", &format!("{hostname}:80:{address}"), &format!("http://{hostname}/mcp")])
        .args(["-H", "content-type: application/json", "-H", "accept: application/json, text/event-stream"])
        .args(["-H", "mcp-protocol-version: 2026-07-28", "-H", "mcp-method: tools/list", "-d", body])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("whoami"), "{hostname}: {output:?}");
}

/// The inspector initialises, lists and calls, as a person does with it.
fn call_whoami(url: &str, era: &str) {
    let inspect = |arguments: &[&str]| -> Value {
        let common = ["--cli", url, "--transport", "http", "--protocol-era", era];
        let output = node(Path::new(INSPECTOR), &[&common, arguments].concat());
        serde_json::from_slice(&output).expect("the inspector prints JSON")
    };
    let list = inspect(&["--method", "tools/list"]);
    let names: Vec<&str> = list["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    let callable: Vec<&&str> = names.iter().filter(|name| name.ends_with("whoami")).collect();
    assert!(!callable.is_empty(), "{names:?}");
    for name in callable {
        let answer = inspect(&["--method", "tools/call", "--tool-name", name]);
        assert!(answer["content"][0]["text"].as_str().unwrap().contains("(pid "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_samples_are_taken_by_the_api_server() {
    let stage = Stage::new("sample").await;
    let ready = ready_samples();
    let mut others: Vec<PathBuf> = std::fs::read_dir(SAMPLES).unwrap().map(|entry| entry.unwrap().path()).collect();
    others.retain(|path| path.extension().is_some_and(|kind| kind == "yaml") && !ready.contains(path));
    assert!(!others.is_empty());
    for sample in others {
        // Objects in namespaces of their own need them, even for a trial.
        let text = std::fs::read_to_string(&sample).unwrap();
        let namespaced: Vec<&str> =
            text.lines().map(|line| if line.starts_with("  namespace:") { "" } else { line }).collect();
        kubectl_with(
            &["apply", "--dry-run=server", "--namespace", &stage.namespace, "--filename", "-"],
            &namespaced.join("\n"),
        );
    }
    stage.end().await;
}
