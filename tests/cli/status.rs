//! `kubectl mcp status`, against an API server that is one in name only.

use super::{kubectl_mcp, text};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use tempfile::NamedTempFile;

/// A kubeconfig for an API server at this port of ours, whose context has the namespace `team`.
fn kubeconfig(port: u16) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "team"}}],
        "users": [{"name": "a", "user": {"token": "s3cret"}}],
    });
    file.write_all(config.to_string().as_bytes()).unwrap();
    file
}

fn listen() -> (TcpListener, NamedTempFile) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = kubeconfig(listener.local_addr().unwrap().port());
    (listener, config)
}

/// Answers lists in one namespace; all are empty but that of gateways, which has one that nobody looked at.
fn answer(mut stream: &TcpStream, namespace: &str) {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let Some(request) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let gateway = json!({
        "apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "MCPGateway",
        "metadata": {"name": "tools", "namespace": namespace, "generation": 1},
        "spec": {"listeners": [{"name": "http", "port": 8080, "protocol": "HTTP"}]},
    });
    let place = format!("/apis/gateway.mcp-operator.dev/v1alpha1/namespaces/{namespace}/mcp");
    let items = match request.split_once(&place) {
        Some(("GET ", rest)) if rest.starts_with("gateways?") => json!([gateway]),
        Some(("GET ", _)) => json!([]),
        _ => panic!("{request}"),
    };
    let list =
        json!({"apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "List", "metadata": {}, "items": items});
    let body = list.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
    write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
}

#[test]
fn a_server_that_is_not_there_is_told_in_one_line() {
    let (listener, config) = listen();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let output = kubectl_mcp(&["status", "--kubeconfig", config.path().to_str().unwrap()], "");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    let told = text(&output.stderr);
    assert!(
        told.starts_with(&format!("error: the API server at http://127.0.0.1:{port} cannot be reached: ")),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(!told.contains("s3cret"), "{told}");
}

#[test]
fn without_a_kubeconfig_the_way_out_is_told() {
    let output = kubectl_mcp(&["status", "--kubeconfig", "/nonexistent/config"], "");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "error: there is no kubeconfig at /nonexistent/config: name one with --kubeconfig or $KUBECONFIG\n"
    );
}

#[test]
fn what_is_in_the_cluster_is_told_and_fails_only_when_asked_to() {
    let (listener, config) = listen();
    let path = config.path().to_str().unwrap();
    // Each command lists four kinds.
    let serve = |namespace: &'static str| {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || (0..4).for_each(|_| answer(&listener.accept().unwrap().0, namespace)))
    };
    let served = serve("team");
    let output = kubectl_mcp(&["status", "--kubeconfig", path], "");
    served.join().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let told = text(&output.stdout);
    assert!(told.starts_with("GATEWAY ") && told.contains("\nmcpgateway/tools "), "{told}");

    let served = serve("other");
    let output = kubectl_mcp(&["status", "--kubeconfig", path, "-n", "other", "-o", "json", "--fail"], "");
    served.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["gateways"][0]["state"], "waiting");
    assert_eq!(told["problems"][0]["reason"], "NotLookedAt");

    let served = serve("team");
    let output = kubectl_mcp(&["status", "--kubeconfig", path, "tols"], "");
    served.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: there is no MCPGateway tols in namespace team\n");
}
