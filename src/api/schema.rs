//! Pieces of schema that a derive cannot say.

use super::patterns::{DNS_LABEL, QUANTITY};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// A CEL rule, for types whose schema is derived without `KubeSchema`: that one knows no container-wide `serde(default)`.
pub(super) fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

/// A CEL rule for a duration directly below `parent`: its name there, and the least and the most it may be.
pub(super) fn between(parent: &str, field: &str, least: &str, most: &str) -> Value {
    rule(
        &format!("duration(self.{field}) >= duration('{least}') && duration(self.{field}) <= duration('{most}')"),
        &format!("{parent}.{field} must be from {least} to {most}: remove it for its default"),
    )
}

/// A label or annotation map: at most 64 entries. Values are bounded as Kubernetes bounds label values.
pub(super) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": { "type": "string", "maxLength": 63 },
    })
}

/// Amounts of resources by their names. A number does as well as a text, as everywhere in Kubernetes.
pub(super) fn quantities(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": { "x-kubernetes-int-or-string": true, "maxLength": 32, "pattern": QUANTITY },
    })
}

/// One volume. What it may not be is declared, so that CEL sees it.
pub(super) fn volume(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "required": ["name"],
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "name": {
                "type": "string",
                "minLength": 1,
                "maxLength": 63,
                "pattern": DNS_LABEL,
                "description": "The volume's name, for volumeMounts.",
            },
            "hostPath": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "Refused." },
        },
        "x-kubernetes-validations": [rule(
            "!has(self.hostPath)",
            "volumes[].hostPath may not be set: pods share nothing with the node; use another kind of volume",
        )],
    })
}

/// `metav1.Condition` with the bounds that Kubernetes gives it; the derived schema has none.
pub(super) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 8,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {
                    "type": "string",
                    "maxLength": 316,
                    "description": "What the condition is about, for example Accepted.",
                },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"], "description": "Whether it holds." },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                    "description": "Why, in one CamelCase word, for programs.",
                },
                "message": { "type": "string", "maxLength": 32768, "description": "Why, for people: what to do about it." },
                "lastTransitionTime": {
                    "type": "string",
                    "format": "date-time",
                    "description": "When the status last changed.",
                },
                "observedGeneration": {
                    "type": "integer",
                    "format": "int64",
                    "minimum": 0,
                    "description": "The metadata.generation this was computed from.",
                },
            },
        },
    })
}

/// An overlay for a pod template. Kept as it is written: the real schema alone is larger than all of ours, and the API
/// server checks it when the pod's owner is applied. Only what a tenant may never say is declared, so that CEL sees it.
pub(super) fn pod_template(_: &mut SchemaGenerator) -> Schema {
    let refused = |field: &str, why: &str| {
        rule(&format!("!has(self.{field})"), &format!("podTemplate.spec.{field} may not be set: {why}; remove it"))
    };
    let own = "pods run under an account of the operator's making";
    let host = "pods never share the node's namespaces";
    let account = json!({ "type": "string", "maxLength": 253, "description": "Refused." });
    let flag = json!({ "type": "boolean", "description": "Refused." });
    json_schema!({
        "type": "object",
        "properties": {
            "metadata": {
                "type": "object",
                "description": "Labels and annotations to add to the pods.",
                "properties": {
                    "labels": {
                        "type": "object",
                        "maxProperties": 64,
                        "description": "Labels to add.",
                        "additionalProperties": { "type": "string", "maxLength": 63 },
                    },
                    "annotations": {
                        "type": "object",
                        "maxProperties": 64,
                        "description": "Annotations to add.",
                        "additionalProperties": { "type": "string", "maxLength": 16384 },
                    },
                },
            },
            "spec": {
                "type": "object",
                "description": "Fields of a pod's spec, merged over the generated one as kubectl apply merges.",
                "x-kubernetes-preserve-unknown-fields": true,
                "properties": {
                    "serviceAccountName": account,
                    "serviceAccount": account,
                    "hostNetwork": flag,
                    "hostPID": flag,
                    "hostIPC": flag,
                },
                "x-kubernetes-validations": [
                    refused("serviceAccountName", own),
                    refused("serviceAccount", own),
                    refused("hostNetwork", host),
                    refused("hostPID", host),
                    refused("hostIPC", host),
                ],
            },
        },
    })
}
