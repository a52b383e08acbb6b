//! Unknown fields, missing fields and wrong types of a manifest, found as the API server finds them: by the kind's own
//! schema.
//!
//! The types themselves stay tolerant, so that an older build can still read what a newer one wrote; a person's typing
//! mistake must not pass unseen all the same.

use super::yaml::{Node, preserves_unknown};
use crate::api::crd;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};
use serde_saphyr::Location;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What `metadata` may hold; the kinds' own schemas leave it to the API server.
const METADATA: [&str; 14] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

/// The schema of a whole object of a kind: its own, and what the API server adds to every kind's.
pub(super) fn schema(kind: &str) -> &'static Value {
    // Deriving a schema costs more than reading a file.
    static SCHEMAS: LazyLock<BTreeMap<String, Value>> = LazyLock::new(|| {
        crd::all().iter().map(|definition| (definition.spec.names.kind.clone(), whole(definition))).collect()
    });
    SCHEMAS.get(kind).unwrap_or(&Value::Null)
}

fn whole(definition: &CustomResourceDefinition) -> Value {
    let mut schema = crd::schema(definition);
    let mut metadata: Map<String, Value> = METADATA.iter().map(|key| ((*key).to_owned(), json!({}))).collect();
    for name in ["name", "namespace", "generateName"] {
        metadata.insert(name.to_owned(), json!({ "type": "string" }));
    }
    for map in ["labels", "annotations"] {
        metadata.insert(map.to_owned(), json!({ "type": "object", "additionalProperties": { "type": "string" } }));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({}));
        properties.insert("kind".to_owned(), json!({}));
        properties.insert("metadata".to_owned(), json!({ "type": "object", "properties": metadata }));
    }
    schema
}

/// Something that the schema does not allow.
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) at: Location,
    /// For people: what it may be instead.
    pub(super) message: String,
}

/// All that `schema` does not allow of `root`.
pub(super) fn faults(root: &Node, schema: &Value) -> Vec<Fault> {
    let mut found = Vec::new();
    walk(root, Location::UNKNOWN, schema, "", &mut found);
    found
}

fn walk(node: &Node, at: Location, schema: &Value, path: &str, found: &mut Vec<Fault>) {
    if let Some(message) = mismatch(node, schema) {
        found.push(Fault { path: path.to_owned(), at, message });
        return;
    }
    match node {
        Node::Scalar(_) => {}
        Node::List(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(&item.value, item.referenced, &schema["items"], &format!("{path}[{index}]"), found);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = below(path, &key.value);
                match field(schema, &key.value) {
                    // As good as absent.
                    Field::Known(_) if value.value.is_null() => {}
                    Field::Known(schema) => walk(&value.value, value.referenced, schema, &path, found),
                    Field::Free => {}
                    Field::Unknown(known) => {
                        found.push(Fault { message: advice(&key.value, &known), path, at: key.referenced });
                    }
                }
            }
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !entries.iter().any(|(key, value)| key.value == name && !value.value.is_null()) {
                    found.push(Fault { path: below(path, name), at, message: "is required".to_owned() });
                }
            }
        }
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Why a value cannot be what `schema` says.
fn mismatch(node: &Node, schema: &Value) -> Option<String> {
    let expected = match (schema["type"].as_str()?, node) {
        ("string", Node::Scalar(Value::String(text))) => return not_among(text, schema),
        ("integer", Node::Scalar(Value::Number(number))) if number.as_f64().is_some_and(|n| n.fract() == 0.0) => {
            return None;
        }
        ("boolean", Node::Scalar(Value::Bool(_))) | ("array", Node::List(_)) | ("object", Node::Map(_)) => return None,
        ("string", Node::Scalar(Value::Number(_) | Value::Bool(_))) => "expected text: put it in quotes",
        ("string", _) => "expected text",
        ("integer", _) => "expected a whole number",
        ("boolean", Node::Scalar(Value::String(_))) => "expected true or false, without quotes",
        ("boolean", _) => "expected true or false",
        ("array", _) => "expected a list",
        (_, _) => "expected fields, each with its name",
    };
    Some(expected.to_owned())
}

/// Why a word is none of those that `schema` lists, if it lists any.
fn not_among(text: &str, schema: &Value) -> Option<String> {
    let words: Vec<&str> = schema["enum"].as_array()?.iter().filter_map(Value::as_str).collect();
    let is_known = words.contains(&text);
    (!is_known).then(|| format!("{text:?} is not one of {}", words.join(", ")))
}

enum Field<'a> {
    /// Described by this schema.
    Known(&'a Value),
    /// Below an overlay, where any key goes.
    Free,
    /// Not among these.
    Unknown(Vec<&'a str>),
}

fn field<'a>(schema: &'a Value, key: &str) -> Field<'a> {
    let properties = schema["properties"].as_object();
    if let Some(known) = properties.and_then(|properties| properties.get(key)) {
        return Field::Known(known);
    }
    if let Some(values) = schema.get("additionalProperties") {
        return Field::Known(values);
    }
    if preserves_unknown(schema) {
        return Field::Free;
    }
    match properties {
        Some(properties) => Field::Unknown(properties.keys().map(String::as_str).collect()),
        // Nothing is said of what is below.
        None => Field::Free,
    }
}

fn advice(key: &str, known: &[&str]) -> String {
    let nearest = known.iter().copied().map(|name| (distance(key, name), name)).min();
    match nearest {
        // Two letters swapped count twice, and still point at a word of four.
        Some((distance, name)) if distance * 2 <= name.len() => format!("unknown field; did you mean {name}?"),
        _ => {
            let mut known = known.to_vec();
            known.sort_unstable();
            format!("unknown field; there are {}", known.join(", "))
        }
    }
}

/// Levenshtein's distance, letter case ignored.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = line;
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let substitution = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = substitution.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}
