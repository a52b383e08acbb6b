//! Whose an object is.

use super::target::{Kind, Target};
use crate::api::API_VERSION;
use crate::ir::ids::ObjectId;
use crate::translate::naming::OWNER_ANNOTATION;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// One of our own objects as the owner of what is made for it. It does not block the owner's deletion: where the API server's plugin
/// `OwnerReferencesPermissionEnforcement` is on, that would take one right more, and half a minute after our definitions were installed.
pub(super) fn reference(target: &Target, meta: &ObjectMeta) -> OwnerReference {
    OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: target.kind.as_str().to_owned(),
        name: target.id.name.clone(),
        uid: meta.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// Which of our objects this belongs to: its controller, or for pods, whose controller is a `ReplicaSet`, the object that
/// their annotation names.
pub(super) fn owner(meta: &ObjectMeta) -> Option<Target> {
    let namespace = meta.namespace.clone().unwrap_or_default();
    let references = meta.owner_references.iter().flatten();
    let controller = references.filter(|reference| reference.controller == Some(true)).find_map(|reference| {
        let kind = Kind::parse(&reference.kind).filter(|_| reference.api_version == API_VERSION)?;
        Some((kind, reference.name.clone()))
    });
    let named = || {
        let (kind, name) = meta.annotations.as_ref()?.get(OWNER_ANNOTATION)?.split_once('/')?;
        Some((Kind::parse(kind)?, name.to_owned()))
    };
    let (kind, name) = controller.or_else(named)?;
    Some(Target::new(kind, ObjectId::new(namespace, name)))
}

/// The uid of the object that controls this one: there is at most one.
pub(super) fn controller_uid(meta: &ObjectMeta) -> Option<&str> {
    let mut references = meta.owner_references.iter().flatten();
    references.find(|reference| reference.controller == Some(true)).map(|reference| reference.uid.as_str())
}

/// Whether the object with this uid controls the other.
pub(super) fn is_controlled_by(meta: &ObjectMeta, uid: &str) -> bool {
    controller_uid(meta) == Some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(value: serde_json::Value) -> ObjectMeta {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_controller_goes_before_the_annotation_and_others_are_not_ours() {
        let by = |api_version: &str, controller: bool| {
            meta(serde_json::json!({
                "namespace": "team",
                "annotations": {OWNER_ANNOTATION: "MCPBackend/search"},
                "ownerReferences": [{"apiVersion": api_version, "kind": "MCPGateway", "name": "tools", "uid": "u", "controller": controller}],
            }))
        };
        let told = |meta: &ObjectMeta| owner(meta).map(|target| target.to_string());
        assert_eq!(told(&by(API_VERSION, true)).as_deref(), Some("MCPGateway team/tools"));
        assert_eq!(told(&by("apps/v1", true)).as_deref(), Some("MCPBackend team/search"));
        assert_eq!(told(&by(API_VERSION, false)).as_deref(), Some("MCPBackend team/search"));
        assert_eq!(told(&meta(serde_json::json!({"namespace": "team"}))), None);
        assert!(is_controlled_by(&by(API_VERSION, true), "u") && !is_controlled_by(&by(API_VERSION, false), "u"));
    }
}
