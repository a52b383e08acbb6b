//! Every row of `tests/cel/`: accepted or refused, and where and why.

#[path = "../cel/rows.rs"]
mod rows;

use mcp_gateway_operator::cli::manifests;
use mcp_gateway_operator::translate::manifests::ManifestError;
use rows::rows;
use serde_json::Value;
use std::collections::BTreeSet;

fn mistakes(object: &Value) -> Vec<ManifestError> {
    manifests::check("row", &serde_saphyr::to_string(object).unwrap()).mistakes
}

fn check(kind: &str) -> usize {
    let rows = rows(kind);
    let mut wrong = Vec::new();
    for row in &rows {
        let mistakes = mistakes(&row.object(kind));
        let told: Vec<String> =
            mistakes.iter().map(|mistake| format!("{}: {}", mistake.field, mistake.message)).collect();
        let is_right = if row.accept {
            mistakes.is_empty()
        } else {
            assert!(!row.field.is_empty(), "{kind}, {}: a refused row names its field", row.title);
            mistakes.len() == 1 && mistakes[0].field == row.field && mistakes[0].message.contains(&row.message)
        };
        if !is_right {
            wrong.push(format!("{kind}, {}: {told:?}", row.title));
        }
        assert!(mistakes.iter().all(|mistake| mistake.line > 0), "{kind}, {}: {mistakes:?}", row.title);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let names: BTreeSet<&str> = rows.iter().map(|row| row.title.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "{kind}: rows have names of their own");
    rows.len()
}

#[test]
fn gateways() {
    assert!(check("MCPGateway") >= 45);
}

#[test]
fn backends() {
    assert!(check("MCPBackend") >= 45);
}

#[test]
fn routes() {
    assert!(check("MCPRoute") >= 25);
}

#[test]
fn auth_policies() {
    assert!(check("MCPAuthPolicy") >= 8);
}

#[test]
fn what_is_fixed_as_the_message_says_is_accepted() {
    let mut count = 0;
    for kind in rows::KINDS {
        for row in rows(kind) {
            let Some(fixed) = row.fixed(kind) else { continue };
            let mistakes = mistakes(&fixed);
            assert!(mistakes.is_empty(), "{kind}, {}: {mistakes:?}", row.title);
            count += 1;
        }
    }
    assert!(count >= 40, "{count}");
}
