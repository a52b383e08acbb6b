//! Unknown fields of a manifest, found as the API server finds them: by the kind's own schema.
//!
//! The types themselves stay tolerant, so that an older build can still read what a newer one wrote; a person's typing
//! mistake must not pass unseen all the same.

use crate::api::crd;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;
use std::fmt;
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
    let metadata: Map<String, Value> = METADATA.iter().map(|key| ((*key).to_owned(), json!({}))).collect();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("apiVersion".to_owned(), json!({}));
        properties.insert("kind".to_owned(), json!({}));
        properties.insert("metadata".to_owned(), json!({ "properties": metadata }));
    }
    schema
}

/// The shape of a document: its keys and where they stand, without its values.
pub(super) enum Node {
    Map(Vec<(Spanned<String>, Self)>),
    List(Vec<Self>),
    Scalar,
}

/// A field that the schema does not know.
pub(super) struct Unknown {
    pub(super) path: String,
    pub(super) at: Location,
    /// For people: what it may be instead.
    pub(super) message: String,
}

/// All fields of `root` that `schema` does not know.
pub(super) fn unknown_fields(root: &Node, schema: &Value) -> Vec<Unknown> {
    let mut found = Vec::new();
    walk(root, schema, "", &mut found);
    found
}

/// Where the field `path` (`spec.listeners[0].port`) stands, or the nearest thing around it that has a place: a key, or
/// the first key of a list's entry.
pub(super) fn place(root: &Node, path: &str) -> Option<Location> {
    let mut node = root;
    let mut rest = path;
    let mut found = None;
    while !rest.is_empty() {
        match node {
            Node::Map(entries) => {
                rest = rest.strip_prefix('.').unwrap_or(rest);
                // A key may hold dots itself, as labels do: the longest that fits is meant.
                let fits = |key: &str| {
                    rest.strip_prefix(key).is_some_and(|tail| tail.is_empty() || tail.starts_with(['.', '[']))
                };
                let named = entries.iter().filter(|(key, _)| fits(&key.value)).max_by_key(|(key, _)| key.value.len());
                let Some((key, value)) = named else { break };
                found = Some(key.referenced);
                rest = &rest[key.value.len()..];
                node = value;
            }
            Node::List(items) => {
                let index = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                let Some((index, tail)) = index else { break };
                let Some(item) = index.parse().ok().and_then(|index: usize| items.get(index)) else { break };
                if let Node::Map(entries) = item
                    && let Some((first, _)) = entries.first()
                {
                    found = Some(first.referenced);
                }
                rest = tail;
                node = item;
            }
            Node::Scalar => break,
        }
    }
    found
}

fn walk(node: &Node, schema: &Value, path: &str, found: &mut Vec<Unknown>) {
    match node {
        Node::Scalar => {}
        Node::List(items) => {
            let item_schema = &schema["items"];
            for (index, item) in items.iter().enumerate() {
                walk(item, item_schema, &format!("{path}[{index}]"), found);
            }
        }
        Node::Map(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                match field(schema, &key.value) {
                    Field::Known(schema) => walk(value, schema, &path, found),
                    Field::Free => {}
                    Field::Unknown(known) => {
                        found.push(Unknown { message: advice(&key.value, &known), path, at: key.referenced });
                    }
                }
            }
        }
    }
}

enum Field<'a> {
    /// Described by this schema.
    Known(&'a Value),
    /// Below a map or an overlay, where any key goes.
    Free,
    /// Not among these.
    Unknown(Vec<&'a str>),
}

fn field<'a>(schema: &'a Value, key: &str) -> Field<'a> {
    let properties = schema["properties"].as_object();
    if let Some(known) = properties.and_then(|properties| properties.get(key)) {
        return Field::Known(known);
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true || schema.get("additionalProperties").is_some() {
        return Field::Free;
    }
    match properties {
        Some(properties) => Field::Unknown(properties.keys().map(String::as_str).collect()),
        // Nothing is said of an object here: the typed reading will tell whether one may stand here.
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

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = items.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}
