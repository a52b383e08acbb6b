//! The schema of `NetworkPolicyEgressRule` of networking/v1: the derived one has no bounds.

use super::schema::rule;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A list of rules.
pub(super) fn rules(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "properties": {
                "to": list("Where to. Default: anywhere.", 32, &peer()),
                "ports": list("The ports. Default: all.", 32, &port()),
            },
        },
    })
}

fn peer() -> Value {
    json!({
        "type": "object",
        "x-kubernetes-validations": [rule(
            "has(self.ipBlock) != (has(self.podSelector) || has(self.namespaceSelector))",
            "egress[].to[] takes either ipBlock or selectors: keep one of them",
        )],
        "properties": {
            "podSelector": selector("pods, in the backend's namespace unless namespaceSelector is there too"),
            "namespaceSelector": selector("namespaces"),
            "ipBlock": {
                "type": "object",
                "required": ["cidr"],
                "description": "A range of addresses.",
                "properties": {
                    "cidr": { "type": "string", "maxLength": 64, "description": "The range, like 192.0.2.0/24." },
                    "except": list("Ranges within it that are not meant.", 64, &text(64)),
                },
            },
        },
    })
}

fn selector(of: &str) -> Value {
    json!({
        "type": "object",
        "description": format!("Labels of {of}; an empty selector means all."),
        "x-kubernetes-map-type": "atomic",
        "properties": {
            "matchLabels": {
                "type": "object",
                "maxProperties": 64,
                "description": "Labels with the exact value they must have.",
                "additionalProperties": text(63),
            },
            "matchExpressions": list("Requirements on labels.", 16, &requirement()),
        },
    })
}

fn requirement() -> Value {
    json!({
        "type": "object",
        "required": ["key", "operator"],
        "properties": {
            "key": { "type": "string", "maxLength": 317, "description": "The label's key." },
            "operator": {
                "type": "string",
                "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                "description": "How the label relates to the values.",
            },
            "values": list("The values, for In and NotIn.", 32, &text(63)),
        },
    })
}

fn port() -> Value {
    json!({
        "type": "object",
        "x-kubernetes-validations": [rule(
            "!has(self.endPort) || has(self.port)",
            "egress[].ports[].endPort goes with port: set both or neither",
        )],
        "properties": {
            "protocol": { "type": "string", "enum": ["TCP", "UDP", "SCTP"], "description": "The protocol. Default: TCP." },
            "port": {
                "x-kubernetes-int-or-string": true,
                "maxLength": 63,
                "description": "The port's number, or its name in the pods. Default: all.",
            },
            "endPort": {
                "type": "integer",
                "minimum": 1,
                "maximum": 65535,
                "description": "The last port of a range that begins with port.",
            },
        },
    })
}

fn list(description: &str, most: u32, items: &Value) -> Value {
    json!({
        "type": "array",
        "maxItems": most,
        "x-kubernetes-list-type": "atomic",
        "description": description,
        "items": items,
    })
}

fn text(most: u32) -> Value {
    json!({ "type": "string", "maxLength": most })
}
