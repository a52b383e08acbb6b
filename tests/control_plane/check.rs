//! `mcp-operator check`: what `helm test` says of an operator.

use crate::cluster::ControlPlane;
use crate::operator::Operator;
use crate::stage::Stage;
use std::path::Path;
use std::process::{Command, Output};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_well_with_the_roles_of_the_chart() {
    let stage = Stage::without_operator(ControlPlane::shared().await, "well").await;
    let account = stage.operator_account("operator").await;
    let scope = ["--watch-namespace", &stage.namespace, "--namespace", &stage.namespace];
    let operator = Operator::start(&account, &[&scope[..], &["--identity", "the-one"]].concat());
    let address = stage.until_some("it says where it listens", async || operator.health()).await;

    let output = check(&account, &scope, &address, "60s").await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lease = format!("leader: lease {}/mcp-operator: the-one renews it", stage.namespace);
    let readiness = format!("readiness: http://{address}/readyz: 200 ready");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["definitions: all kinds are served", &readiness, &lease]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_is_wrong_is_said() {
    let stage = Stage::without_operator(ControlPlane::shared().await, "unwell").await;
    let account = stage.operator_account("operator").await;
    // It may look after its own namespace only, and nobody leads or listens.
    let scope = ["--watch-namespace", "default", "--namespace", &stage.namespace];
    let output = check(&account, &scope, "127.0.0.1:1", "3s").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[0].starts_with("error: definitions: MCPGateway: ") && lines[0].contains("forbidden"), "{said}");
    assert!(lines[1].starts_with("error: readiness: http://127.0.0.1:1/readyz: "), "{said}");
    let lease = format!("error: leader: lease {}/mcp-operator: nobody holds it", stage.namespace);
    assert_eq!(lines[2], lease);
}

async fn check(kubeconfig: &Path, scope: &[&str], address: &str, patience: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-operator"));
    command.args(["check", "--health", &format!("http://{address}/readyz"), "--timeout", patience]).args(scope);
    command.env_clear().env("KUBECONFIG", kubeconfig);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
