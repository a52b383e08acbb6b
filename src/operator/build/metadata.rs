//! Names, labels and owners.

use crate::api::{BACKEND_LABEL, GATEWAY_LABEL};
use crate::ir::ids::ObjectId;
use crate::translate::naming;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

/// What manages the objects: watches select by it.
const MANAGER: &str = "mcp-operator";

/// What they are part of.
const PRODUCT: &str = "mcp-gateway-operator";

/// Whose objects are built.
pub(super) struct Subject<'a> {
    /// The `MCPGateway` or `MCPBackend`.
    pub(super) id: &'a ObjectId,
    /// Name of everything that there is one of.
    pub(super) name: String,
    owner: &'a OwnerReference,
    /// What runs in the pods, in general.
    application: &'static str,
    component: &'static str,
    /// The one label that selects the pods.
    label: &'static str,
}

/// Selects the pods of a gateway of whatever namespace.
pub(super) fn gateway_pods(gateway: &ObjectId) -> LabelSelector {
    select(GATEWAY_LABEL, gateway)
}

/// Selects the pods of a backend of whatever namespace.
pub(super) fn backend_pods(backend: &ObjectId) -> LabelSelector {
    select(BACKEND_LABEL, backend)
}

fn select(label: &str, id: &ObjectId) -> LabelSelector {
    LabelSelector {
        match_labels: Some(pairs([(label, naming::label_value(&id.name).as_str())])),
        match_expressions: None,
    }
}

/// A map of labels or annotations.
pub(super) fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

impl<'a> Subject<'a> {
    pub(super) fn gateway(id: &'a ObjectId, owner: &'a OwnerReference) -> Self {
        let name = naming::gateway_objects(&id.name);
        Self { id, name, owner, application: "mcp-gateway", component: "gateway", label: GATEWAY_LABEL }
    }

    pub(super) fn backend(id: &'a ObjectId, owner: &'a OwnerReference) -> Self {
        let name = naming::backend_objects(&id.name);
        Self { id, name, owner, application: "mcp-server", component: "backend", label: BACKEND_LABEL }
    }

    /// Metadata of the one object of its kind.
    pub(super) fn metadata(&self) -> ObjectMeta {
        self.metadata_as(self.name.clone())
    }

    /// Metadata of an object with a name of its own.
    pub(super) fn metadata_as(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.id.namespace.clone()),
            labels: Some(self.labels()),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }

    /// Labels of every object, pods too.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let instance = naming::label_value(&self.id.name);
        pairs([
            ("app.kubernetes.io/name", self.application),
            ("app.kubernetes.io/instance", &instance),
            ("app.kubernetes.io/component", self.component),
            ("app.kubernetes.io/part-of", PRODUCT),
            ("app.kubernetes.io/managed-by", MANAGER),
            (self.label, &instance),
        ])
    }

    /// Annotations of the pods: their own labels may be too short for whose they are.
    pub(super) fn pod_annotations(&self) -> BTreeMap<String, String> {
        pairs([(naming::OWNER_ANNOTATION, &format!("{}/{}", self.owner.kind, self.id.name))])
    }

    /// Selects the pods. A Deployment's selector cannot change, so it is as small as can be.
    pub(super) fn selector(&self) -> LabelSelector {
        select(self.label, self.id)
    }

    /// The account of the pods. No token of it is mounted anywhere.
    pub(super) fn service_account(&self) -> ServiceAccount {
        ServiceAccount {
            metadata: self.metadata(),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }
    }
}
