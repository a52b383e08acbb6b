//! What several kinds share: references, namespace selectors, timeouts.

use super::duration::Duration;
use super::patterns::{DATA_KEY, DNS_SUBDOMAIN};
use super::schema;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// From which namespaces something may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromNamespaces {
    /// The object's own namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Namespaces whose labels match the selector.
    Selector,
}

/// Whose routes may attach: the owner's consent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AllowedRoutes {
    /// The namespaces of the routes. Default: the object's own.
    #[serde(default)]
    pub namespaces: RouteNamespaces,
}

/// Namespaces whose routes may attach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.selector) == (self.from == 'Selector')").message(
        "allowedRoutes.namespaces.selector goes with from: Selector, and from: Selector needs it: set both or neither"
    )
)]
pub struct RouteNamespaces {
    /// Same: the object's own namespace; All: every namespace; Selector: those that `selector` matches. Default: Same.
    #[serde(default)]
    pub from: FromNamespaces,
    /// Labels that a namespace must have; with `from: Selector` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Labels to look for; all that is said must hold. An empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels with the exact value they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub match_labels: BTreeMap<String, String>,
    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Vec<LabelRequirement>,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)").message(
        "matchExpressions[].values goes with operator In or NotIn, and these need at least one: add values, or use Exists or DoesNotExist without them"
    )
)]
pub struct LabelRequirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How the label relates to the values.
    pub operator: LabelOperator,
    /// The values, for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub values: Vec<String>,
}

/// How a label relates to a requirement's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LabelOperator {
    /// The label's value is one of them.
    In,
    /// The label is absent, or its value is none of them.
    NotIn,
    /// The label is present.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl LabelSelector {
    /// Whether an object with these labels is selected, as Kubernetes decides it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

impl LabelRequirement {
    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|value| self.values.contains(value)),
            LabelOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// One key of a Secret in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeySelector {
    /// The Secret's name, in the object's own namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The key inside the Secret's data.
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// One key of a `ConfigMap` in the object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeySelector {
    /// The ConfigMap's name, in the object's own namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
    /// The key inside the ConfigMap's data.
    #[schemars(length(min = 1, max = 253), regex(pattern = DATA_KEY))]
    pub key: String,
}

/// An object by its name, in the referring object's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalObjectRef {
    /// The object's name, in the referring object's own namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
}

/// How long to wait for an upstream. What a server leaves out, its route says, and what that leaves out, its gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "(!has(self.connect) || duration(self.connect) > duration('0s')) && (!has(self.request) || duration(self.request) > duration('0s')) && (!has(self.response) || duration(self.response) > duration('0s'))"
    ).message("timeouts.connect, timeouts.request and timeouts.response must be above 0s: remove the field for its default")
)]
pub struct TimeoutOverrides {
    /// For a connection to an upstream, TLS included. Default: what is said above it, in the end by the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<Duration>,
    /// From a request to the first byte of its answer. Default: what is said above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// From a request to the end of its answer, without waits for the client's own answers. Default: what is said above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Duration>,
    /// Whether a progress notification about a call begins its request time anew. Default: what is said above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_extends_request: Option<bool>,
}

/// What carries MCP to an HTTP server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Transport {
    /// Streamable HTTP (2025-03-26 and later).
    #[default]
    StreamableHTTP,
    /// HTTP+SSE (2024-11-05).
    SSE,
}

pub(super) fn mcp_path() -> String {
    "/mcp".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn selectors_match_as_kubernetes_matches() {
        let requirement = |operator, values: &[&str]| LabelSelector {
            match_labels: BTreeMap::new(),
            match_expressions: vec![LabelRequirement {
                key: "tier".into(),
                operator,
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            }],
        };
        let gold = labels(&[("tier", "gold")]);
        let none = labels(&[]);
        assert!(LabelSelector::default().matches(&none));
        assert!(requirement(LabelOperator::In, &["gold"]).matches(&gold));
        assert!(!requirement(LabelOperator::In, &["gold"]).matches(&none));
        assert!(requirement(LabelOperator::NotIn, &["gold"]).matches(&none));
        assert!(!requirement(LabelOperator::NotIn, &["gold"]).matches(&gold));
        assert!(requirement(LabelOperator::Exists, &[]).matches(&gold));
        assert!(requirement(LabelOperator::DoesNotExist, &[]).matches(&none));
        let exact = LabelSelector { match_labels: gold.clone(), match_expressions: Vec::new() };
        assert!(exact.matches(&gold) && !exact.matches(&labels(&[("tier", "silver")])));
    }
}
