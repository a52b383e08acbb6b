//! What is seen of the cluster and of the pods in it, as far as statuses tell of it.

use crate::api::gateway::GatewayAddress;
use crate::operator::push::ChannelState;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is seen of one gateway.
#[derive(Clone, Debug, Default)]
pub(in crate::operator) struct SeenGateway {
    /// Its Deployment and its pods.
    pub workload: Workload,
    /// What its pods say, by the name of the pod. A pod that is absent was not looked at yet.
    pub channels: BTreeMap<String, ChannelState>,
    /// The hash of the generation that its pods should serve; absent until there is one.
    pub generation: Option<String>,
    /// Where clients reach it.
    pub addresses: Vec<GatewayAddress>,
}

/// What is seen of one backend.
#[derive(Clone, Debug, Default)]
pub(in crate::operator) struct SeenBackend {
    /// The Deployment and the pods of a `stdio` or `http` backend.
    pub workload: Option<Workload>,
    /// Ready addresses that the operator knows of; absent for `remote`, whose addresses only the gateways see.
    pub endpoints: Option<u32>,
}

/// A Deployment that the operator makes, and what became of it.
#[derive(Clone, Debug, Default)]
pub(in crate::operator) struct Workload {
    /// What became of applying it, and all that goes with it.
    pub apply: Apply,
    /// As it is in the cluster.
    pub deployment: Option<Arc<Deployment>>,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
}

/// What became of applying the objects of a gateway or a backend. A text is the whole message: which object, what is wrong
/// with it, and the way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::operator) enum Apply {
    /// Nothing yet.
    #[default]
    Pending,
    /// All are as they should be.
    Done,
    /// An annotation says to leave them alone.
    Paused,
    /// An object of the same name is somebody else's.
    Conflict(String),
    /// The pods are not valid, as `spec.podTemplate` makes them.
    PodTemplate(String),
    /// Another object is not valid.
    Invalid(String),
    /// A permission is missing, or a quota or an admission policy is in the way.
    Forbidden(String),
    /// An object is too large.
    TooLarge(String),
    /// It did not work, and is being tried again.
    Failed(String),
}
