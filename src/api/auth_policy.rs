//! `MCPAuthPolicy`: who may use a gateway or a route.

use super::patterns::DNS_SUBDOMAIN;
use super::schema;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

custom_resource! {
    kube(
        kind = "MCPAuthPolicy",
        root = "McpAuthPolicy",
        plural = "mcpauthpolicies",
        shortname = "mcpauth",
        status = "McpAuthPolicyStatus",
        doc = "Who may use a gateway or a route. Without one, a route is refused.",
        printcolumn(
            name = "Accepted", type_ = "string",
            json_path = ".status.conditions[?(@.type==\"Accepted\")].status",
            description = "Whether it is in force"
        ),
        printcolumn(name = "Kind", type_ = "string", json_path = ".spec.targetRefs[0].kind"),
        printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRefs[0].name"),
        printcolumn(name = "Anonymous", type_ = "string", json_path = ".spec.anonymous"),
        printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
    )
    /// What an `MCPAuthPolicy` should be.
    #[x_kube(
        validation = Rule::new("!self.allowRouteOverride || self.targetRefs.exists(t, t.kind == 'MCPGateway')").message(
            "spec.allowRouteOverride goes with a target of kind MCPGateway: a route's policy has nothing below it; remove it"
        )
    )]
    pub struct McpAuthPolicySpec {
        /// Gateways and routes of the same namespace; at least one.
        #[schemars(length(min = 1, max = 16))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
        pub target_refs: Vec<PolicyTargetRef>,
        /// Whether clients may come without a credential: Deny or Allow. Default: Deny.
        #[serde(default)]
        pub anonymous: AnonymousAccess,
        /// Whether the policies of a gateway's routes go before this one; for gateways only. Default: false.
        #[serde(default)]
        pub allow_route_override: bool,
    }
}

/// What a policy is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyTargetRef {
    /// MCPGateway or MCPRoute.
    pub kind: PolicyTargetKind,
    /// The object's name, in the policy's namespace.
    #[schemars(length(min = 1, max = 253), regex(pattern = DNS_SUBDOMAIN))]
    pub name: String,
}

/// Kinds that a policy can be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum PolicyTargetKind {
    /// A gateway, and so all its routes.
    MCPGateway,
    /// One route.
    MCPRoute,
}

/// Whether clients may come without a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AnonymousAccess {
    /// No.
    #[default]
    Deny,
    /// Yes.
    Allow,
}

/// What an `MCPAuthPolicy` is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct McpAuthPolicyStatus {
    /// The state in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub summary: Option<String>,
    /// Accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
