//! What is not looked at is not kept: most of a watched object is bookkeeping.

use crate::operator::FIELD_MANAGER;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt;

/// Drops the bookkeeping of who wrote which field.
pub(super) fn managed_fields<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().clear();
}

/// Drops it but for our own part, by which we see whether what we wrote still stands.
pub(super) fn foreign_managed_fields<K: ResourceExt>(object: &mut K) {
    object.managed_fields_mut().retain(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
}

/// Keeps ports, type and addresses of a Service.
pub(super) fn service(object: &mut Service) {
    foreign_managed_fields(object);
    object.metadata.annotations = None;
}
