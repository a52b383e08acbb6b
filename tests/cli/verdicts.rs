//! Every row of `tests/cel/`: accepted or refused, and where and why.

use mcp_gateway_operator::api::API_VERSION;
use mcp_gateway_operator::cli::manifests;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Verdict {
    row: String,
    accept: bool,
    #[serde(default)]
    field: String,
    #[serde(default)]
    message: String,
    spec: Value,
}

fn rows(kind: &str) -> Vec<Verdict> {
    let path = format!("{}/tests/cel/{kind}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn check(kind: &str) -> usize {
    let rows = rows(kind);
    let mut wrong = Vec::new();
    for Verdict { row, accept, field, message, spec } in &rows {
        let object = json!({ "apiVersion": API_VERSION, "kind": kind, "metadata": { "name": "a" }, "spec": spec });
        let mistakes = manifests::check("row", &serde_saphyr::to_string(&object).unwrap()).mistakes;
        let told: Vec<String> =
            mistakes.iter().map(|mistake| format!("{}: {}", mistake.field, mistake.message)).collect();
        let is_right = if *accept {
            mistakes.is_empty()
        } else {
            assert!(!field.is_empty(), "{kind}, {row}: a refused row names its field");
            mistakes.len() == 1 && mistakes[0].field == *field && mistakes[0].message.contains(message)
        };
        if !is_right {
            wrong.push(format!("{kind}, {row}: {told:?}"));
        }
        assert!(mistakes.iter().all(|mistake| mistake.line > 0), "{kind}, {row}: {mistakes:?}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    rows.len()
}

#[test]
fn gateways() {
    assert!(check("MCPGateway") >= 30);
}

#[test]
fn backends() {
    assert!(check("MCPBackend") >= 30);
}

#[test]
fn routes() {
    assert!(check("MCPRoute") >= 20);
}

#[test]
fn auth_policies() {
    assert!(check("MCPAuthPolicy") >= 8);
}
