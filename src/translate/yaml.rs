//! A YAML document as a tree that knows where everything stands, and what JSON it is.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};
use std::fmt;

/// A value of a document.
pub(super) enum Node {
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
    List(Vec<Spanned<Self>>),
    /// Text, a number, true, false or null, as YAML reads what is written.
    Scalar(Value),
}

impl Node {
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(Value::Null))
    }

    /// The document as JSON, as it reaches a typed object in a cluster: kubectl sends a number without a fraction as a whole
    /// one, and the API server drops a field that it knows and that is null, so that its default applies.
    pub(super) fn to_json(&self, schema: &Value) -> Value {
        match self {
            Self::Scalar(value) => whole(value).unwrap_or_else(|| value.clone()),
            Self::List(items) => items.iter().map(|item| item.value.to_json(&schema["items"])).collect(),
            Self::Map(entries) => {
                // What Kubernetes itself reads may give null a meaning.
                let keeps_null = preserves_unknown(schema);
                let json = |(key, value): &(Spanned<String>, Spanned<Self>)| {
                    let declared = &schema["properties"][&key.value];
                    let below = match declared {
                        Value::Null if keeps_null => schema,
                        Value::Null => &schema["additionalProperties"],
                        declared => declared,
                    };
                    let is_kept = !value.value.is_null() || (keeps_null && declared.is_null());
                    is_kept.then(|| (key.value.clone(), value.value.to_json(below)))
                };
                entries.iter().filter_map(json).collect::<Map<_, _>>().into()
            }
        }
    }
}

fn whole(value: &Value) -> Option<Value> {
    let number = value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0)?;
    // Beyond this, neighbours are not told apart.
    let is_exact = number.abs() < 9_007_199_254_740_992.0;
    #[allow(clippy::cast_possible_truncation)] // whole, and within 53 bits
    is_exact.then(|| Value::from(number as i64))
}

/// Whether a schema lets fields pass that it does not know.
pub(super) fn preserves_unknown(schema: &Value) -> bool {
    schema["x-kubernetes-preserve-unknown-fields"] == true
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
                node = &value.value;
            }
            Node::List(items) => {
                let index = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                let Some((index, tail)) = index else { break };
                let Some(item) = index.parse().ok().and_then(|index: usize| items.get(index)) else { break };
                if let Node::Map(entries) = &item.value
                    && let Some((first, _)) = entries.first()
                {
                    found = Some(first.referenced);
                }
                rest = tail;
                node = &item.value;
            }
            Node::Scalar(_) => break,
        }
    }
    found
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
        Node::deserialize(deserializer)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Scalar(huge(value)))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Scalar(huge(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Scalar(Number::from_f64(value).map_or_else(|| huge(value), Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Scalar(value.into()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Node, E> {
        Ok(Node::Scalar(String::from_utf8_lossy(value).into()))
    }
}

/// A number that JSON or 64 bits cannot hold, as its text: no field takes one.
fn huge(number: impl fmt::Display) -> Value {
    number.to_string().into()
}
