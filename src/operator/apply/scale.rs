//! Who says how many pods there are: the operator, or an autoscaler.
//!
//! A field that its only applier leaves out falls back to its default, and for `replicas` that is 1. So before the operator
//! leaves it to an autoscaler, a second field manager takes the field as it is, and nothing drops.

use super::problem::ApplyError;
use super::{Applier, Child};
use crate::operator::client::within;
use crate::operator::{FIELD_MANAGER, SCALE_MANAGER};
use crate::translate::naming::INITIAL_REPLICAS_ANNOTATION;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

impl Applier {
    /// Applies a Deployment, and keeps the number of its pods through a change of who decides about it.
    pub(super) async fn apply_deployment(
        &self,
        child: &Child,
        live: Option<&ObjectMeta>,
    ) -> Result<DynamicObject, ApplyError> {
        if child.object.data.pointer("/spec/replicas").is_some() {
            return self.patch(child, live).await;
        }
        match live {
            None => {
                let mut first = child.clone();
                let begin = initial(child);
                if let Some(spec) = first.object.data.get_mut("spec") {
                    spec["replicas"] = begin.into();
                }
                let created = self.patch(&first, None).await?;
                self.hand_over(child, begin).await?;
                self.patch(child, Some(&created.metadata)).await
            }
            Some(live) if owns_replicas(live) => {
                self.hand_over(child, self.replicas_now(child).await?).await?;
                self.patch(child, Some(live)).await
            }
            Some(live) => self.patch(child, Some(live)).await,
        }
    }

    async fn replicas_now(&self, child: &Child) -> Result<i64, ApplyError> {
        let live = within(child.api(&self.client).get(&child.id.name)).await;
        let live = live.map_err(|error| ApplyError::from_api(error, &child.resource.kind, &child.id))?;
        Ok(live.data.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_else(|| initial(child)))
    }

    async fn hand_over(&self, child: &Child, replicas: i64) -> Result<(), ApplyError> {
        let patch = json!({
            "apiVersion": child.resource.api_version, "kind": child.resource.kind,
            "metadata": {"name": child.id.name, "namespace": child.id.namespace},
            "spec": {"replicas": replicas},
        });
        let params = PatchParams::apply(SCALE_MANAGER).force();
        let patched = within(child.api(&self.client).patch(&child.id.name, &params, &Patch::Apply(&patch))).await;
        patched.map(drop).map_err(|error| ApplyError::from_api(error, &child.resource.kind, &child.id))
    }
}

fn initial(child: &Child) -> i64 {
    let annotation =
        child.object.metadata.annotations.as_ref().and_then(|annotations| annotations.get(INITIAL_REPLICAS_ANNOTATION));
    annotation.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Whether `spec.replicas` is a field that we applied.
fn owns_replicas(meta: &ObjectMeta) -> bool {
    meta.managed_fields.iter().flatten().any(|entry| {
        entry.manager.as_deref() == Some(FIELD_MANAGER)
            && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.pointer("/f:spec/f:replicas").is_some())
    })
}
