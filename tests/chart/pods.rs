//! The pods of the chart.

use crate::helm::{CASES, all_objects, items, objects, of_kind, text};
use serde_json::{Value, json};
use std::process::Command;

#[test]
fn pods_are_restricted() {
    let objects = all_objects();
    let templates =
        of_kind(&objects, "Deployment").into_iter().map(|deployment| &deployment["spec"]["template"]["spec"]);
    let specs: Vec<&Value> = templates.chain(of_kind(&objects, "Pod").into_iter().map(|pod| &pod["spec"])).collect();
    assert_eq!(specs.len(), 2 * (1 + CASES.len()));
    for spec in specs {
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for field in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
            assert_eq!(spec.get(field), None, "{field}");
        }
        for container in items(spec, "/containers") {
            let expected = json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            });
            assert_eq!(container["securityContext"], expected);
        }
    }
}

#[test]
fn the_label_that_gateways_let_in_is_on_the_operators_pods_only() {
    for case in std::iter::once(None).chain(CASES.map(Some)) {
        let objects = objects(case);
        for deployment in of_kind(&objects, "Deployment") {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            assert_eq!(labels["app.kubernetes.io/name"], "mcp-operator");
            let selector = json!({"app.kubernetes.io/name": "mcp-operator"});
            assert_eq!(deployment["spec"]["selector"]["matchLabels"], selector, "a selector can never change");
        }
        for pod in of_kind(&objects, "Pod") {
            assert_eq!(text(pod, "/metadata/labels/app.kubernetes.io~1name"), "mcp-operator-test");
        }
    }
}

/// The program says that it knows no API server, and not that it knows no such flag.
#[test]
fn the_programs_take_their_arguments() {
    for case in std::iter::once(None).chain(CASES.map(Some)) {
        let objects = objects(case);
        let deployments = of_kind(&objects, "Deployment").into_iter().map(|object| &object["spec"]["template"]["spec"]);
        for spec in deployments.chain(of_kind(&objects, "Pod").into_iter().map(|object| &object["spec"])) {
            let container = &spec["containers"][0];
            assert_eq!(container["command"], json!(["mcp-operator"]));
            let arguments: Vec<&str> = items(container, "/args").map(|argument| argument.as_str().unwrap()).collect();
            let output =
                Command::new(env!("CARGO_BIN_EXE_mcp-operator")).args(&arguments).env_clear().output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("no API server is known"), "{arguments:?}: {said}");
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        }
    }
}

#[test]
fn images_go_by_digest_before_tag_before_version() {
    let image = |case: Option<&str>| {
        let objects = objects(case);
        let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
        let gateway =
            items(container, "/args").find_map(|argument| argument.as_str()?.strip_prefix("--gateway-image="));
        [text(container, "/image").to_owned(), gateway.unwrap().to_owned()]
    };
    let version = env!("CARGO_PKG_VERSION");
    let ours = ["operator", "gateway"].map(|name| format!("ghcr.io/mcp-gateway-operator/mcp-{name}:{version}"));
    assert_eq!(image(None), ours);
    let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mirror = "registry.example.com:5000/mirror";
    assert_eq!(
        image(Some("everything")),
        [format!("{mirror}/mcp-operator:1.2.3"), format!("{mirror}/mcp-gateway@{digest}")]
    );
}

#[test]
fn nothing_of_the_test_stays() {
    let objects = objects(None);
    for pod in of_kind(&objects, "Pod") {
        let policy = text(pod, "/metadata/annotations/helm.sh~1hook-delete-policy");
        assert_eq!(policy, "before-hook-creation,hook-succeeded,hook-failed");
    }
}
