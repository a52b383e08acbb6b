//! The overlay of a pod template: read as what it will be merged as, so that a mistake is told before any pod is made.

use super::security;
use crate::api::pod::PodTemplate;
use crate::translate::problem::Problem;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;

/// Where the overlay stands in a spec.
const FIELD: &str = "spec.podTemplate";

/// The overlay with its types, or what is wrong with it: first what cannot be read, then what is not allowed.
pub(super) fn check(overlay: Option<&PodTemplate>) -> Result<Option<PodTemplateSpec>, Problem> {
    let Some(overlay) = overlay else { return Ok(None) };
    let written = Value::Object(overlay.0.clone());
    let read: PodTemplateSpec = serde_path_to_error::deserialize(&written)
        .map_err(|error| Problem::invalid(format!("{FIELD}.{}: {}", error.path(), error.inner())))?;
    // What has no place in the type is lost in it, and so found missing.
    let understood = serde_json::to_value(&read).unwrap_or_default();
    if let Some(lost) = lost(&written, &understood, FIELD) {
        return Err(lost);
    }
    security::check(&read, FIELD)?;
    Ok(Some(read))
}

/// The first thing of `written` that is not in `understood`.
fn lost(written: &Value, understood: &Value, path: &str) -> Option<Problem> {
    match written {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let path = format!("{path}.{key}");
            match understood.get(key) {
                Some(understood) => lost(value, understood, &path),
                None if value.is_null() => {
                    Some(Problem::invalid(format!("{path} is null; an overlay adds and changes, remove the field")))
                }
                None => Some(Problem::invalid(format!("{path} is no field of a pod; correct its name or remove it"))),
            }
        }),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let understood = understood.get(index).unwrap_or(&Value::Null);
            lost(item, understood, &format!("{path}[{index}]"))
        }),
        _ => None,
    }
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
