//! The overlay of a pod template.

use super::{security, typed};
use crate::api::pod::PodTemplate;
use crate::translate::problem::Problem;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// Where the overlay stands in a spec.
const FIELD: &str = "spec.podTemplate";

/// The overlay with its types, or what is wrong with it: first what cannot be read, then what is not allowed.
pub(super) fn check(overlay: Option<&PodTemplate>) -> Result<Option<PodTemplateSpec>, Problem> {
    let Some(overlay) = overlay else { return Ok(None) };
    let read = typed::read(&Value::Object(overlay.0.clone()), FIELD, "a pod")?;
    security::check(&read, FIELD)?;
    Ok(Some(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(overlay: Value) -> Result<Option<PodTemplateSpec>, String> {
        let Value::Object(overlay) = overlay else { panic!("{overlay}") };
        check(Some(&PodTemplate(overlay))).map_err(|problem| problem.message)
    }

    #[test]
    fn what_a_pod_may_have_is_taken() {
        let overlay = json!({
            "metadata": { "labels": { "team": "a" }, "annotations": { "b": "c" } },
            "spec": {
                "nodeSelector": { "disk": "ssd" },
                "tolerations": [{ "operator": "Exists" }],
                "containers": [{ "name": "gateway", "resources": { "limits": { "cpu": 2, "memory": "1Gi" } } }],
                "securityContext": { "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
                "volumes": [{ "name": "ca", "configMap": { "name": "ca" } }],
            },
        });
        let read = checked(overlay).unwrap().unwrap();
        assert_eq!(read.spec.unwrap().containers[0].name, "gateway");
        assert!(check(None).unwrap().is_none());
    }

    #[test]
    fn what_would_be_ignored_is_refused_with_its_path() {
        let cases = [
            (json!({ "spec": { "nodeSelectr": {} } }), "spec.podTemplate.spec.nodeSelectr is no field"),
            (
                json!({ "spec": { "containers": [{ "name": "a", "imagePolicy": "Always" }] } }),
                "spec.podTemplate.spec.containers[0].imagePolicy is no field",
            ),
            (json!({ "spec": { "nodeName": null } }), "spec.podTemplate.spec.nodeName is null"),
            (
                json!({ "spec": { "containers": [{ "name": "a", "$patch": "delete" }] } }),
                "spec.podTemplate.spec.containers[0].$patch is no field",
            ),
            (json!({ "spec": { "tolerations": "all" } }), "spec.podTemplate.spec.tolerations: invalid type"),
            (
                json!({ "spec": { "containers": [{ "name": "a", "ports": [{ "containerPort": "x" }] }] } }),
                "spec.podTemplate.spec.containers[0].ports[0].containerPort: invalid type",
            ),
        ];
        for (overlay, message) in cases {
            let found = checked(overlay.clone()).unwrap_err();
            assert!(found.starts_with(message), "{overlay}: {found}");
        }
    }
}
