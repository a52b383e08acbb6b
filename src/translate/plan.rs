//! What translation decides: a snapshot per gateway, what to deploy, and the conditions of every object.

use crate::api::conditions::Finding;
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::infra::{BackendInfra, GatewayInfra};
use crate::ir::snapshot::{Endpoint, Snapshot};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The whole outcome. The same inputs always give the same plan.
///
/// Conditions have no time yet: [`Finding::into_condition`] adds it. Statuses hold what objects alone can tell. What needs a report from running pods (`Programmed`, `Ready`,
/// `Available`, `Verified`, addresses, health) the publisher adds; until a report arrives it says `Unknown`, reason
/// `Pending`, and for a gateway without a snapshot `Programmed=False`, reason `Invalid`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// By `MCPGateway`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gateways: BTreeMap<ObjectId, GatewayPlan>,
    /// By `MCPBackend`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backends: BTreeMap<ObjectId, BackendPlan>,
    /// By `MCPRoute`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub routes: BTreeMap<ObjectId, RoutePlan>,
    /// By `MCPAuthPolicy`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub auth_policies: BTreeMap<ObjectId, PolicyPlan>,
}

/// What to run for one gateway, and what to say about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayPlan {
    /// What it serves; absent when the gateway itself is not acceptable.
    pub snapshot: Option<Snapshot>,
    /// What to deploy for it; absent when the gateway itself is not acceptable (what is deployed then stays), and on a laptop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infra: Option<GatewayInfra>,
    /// Ready addresses of backends in the snapshot, as far as they are known: told to the gateway apart from the snapshot, which
    /// does not change with every pod.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<ObjectId, BTreeSet<Endpoint>>,
    /// The credentials that go with the snapshot: exactly the keys it names.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub secrets: BTreeSet<SecretKey>,
    /// How many routes it accepts, each counted once however many listeners it has.
    pub attached_routes: usize,
    /// Of the gateway as a whole.
    pub conditions: Vec<Finding>,
    /// Of each listener, in the order of the spec.
    pub listeners: Vec<ListenerPlan>,
}

/// What to say about one listener.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerPlan {
    /// The listener's name.
    pub name: String,
    /// How many routes it accepts there.
    pub attached_routes: usize,
    /// Its conditions.
    pub conditions: Vec<Finding>,
}

/// What to say about one backend.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendPlan {
    /// What to deploy for it; absent when it runs in no pods of ours, and on a laptop, and when the backend is not acceptable
    /// (what is deployed then stays).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infra: Option<BackendInfra>,
    /// Its conditions.
    pub conditions: Vec<Finding>,
    /// Gateways whose snapshot holds it: whose reports speak of it. Empty: `Verified=Unknown`, reason `NotAttached`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub gateways: BTreeSet<ObjectId>,
}

/// What to say about one route.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutePlan {
    /// One entry for each of `spec.parentRefs`, in their order.
    pub parents: Vec<ParentPlan>,
}

/// What to say about one parent of a route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentPlan {
    /// The gateway that the parentRef names, whether it exists or not.
    pub gateway: ObjectId,
    /// The listener that the parentRef names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
    /// Its conditions.
    pub conditions: Vec<Finding>,
}

/// What to say about one policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPlan {
    /// Its conditions.
    pub conditions: Vec<Finding>,
}
