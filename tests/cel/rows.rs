//! Reads the tables of this directory.

// Two test binaries use what they need of this.
#![allow(dead_code, unreachable_pub)]

use serde::Deserialize;
use serde_json::{Value, json};

/// The kinds that have a table.
pub const KINDS: [&str; 4] = ["MCPGateway", "MCPBackend", "MCPRoute", "MCPAuthPolicy"];

/// A spec, and what is to be said about it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// What it is about, unique in its table.
    #[serde(rename = "row")]
    pub title: String,
    /// Whether the API server takes it.
    pub accept: bool,
    /// The field that a refusal names.
    #[serde(default)]
    pub field: String,
    /// A part of what `lint` says.
    #[serde(default)]
    pub message: String,
    spec: Value,
    /// What to change in the spec for it to be taken, as a JSON merge patch (RFC 7396): the way out that a rule's message
    /// tells. Every row that breaks a rule has one.
    #[serde(default)]
    fix: Option<Value>,
}

impl Row {
    /// A whole object with this spec.
    pub fn object(&self, kind: &str) -> Value {
        object(kind, &self.spec)
    }

    /// The object with its fix.
    pub fn fixed(&self, kind: &str) -> Option<Value> {
        let mut spec = self.spec.clone();
        merge(&mut spec, self.fix.as_ref()?);
        Some(object(kind, &spec))
    }
}

fn object(kind: &str, spec: &Value) -> Value {
    let api_version = mcp_gateway_operator::api::API_VERSION;
    json!({ "apiVersion": api_version, "kind": kind, "metadata": { "name": "a" }, "spec": spec })
}

fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (name, change) in changes {
        match change {
            Value::Null => _ = value.as_object_mut().unwrap().remove(name),
            change => merge(&mut value[name], change),
        }
    }
}

/// The rows of a kind's table.
pub fn rows(kind: &str) -> Vec<Row> {
    let path = format!("{}/tests/cel/{kind}.yaml", env!("CARGO_MANIFEST_DIR"));
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
