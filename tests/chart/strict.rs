//! Each object read as its type: a field that the type does not have, or has otherwise, is a mistake.

use crate::helm::{all_objects, text};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn objects_have_the_fields_of_their_kinds_only() {
    let mut seen = BTreeSet::new();
    for object in all_objects() {
        let what = (text(&object, "/apiVersion"), text(&object, "/kind"));
        let lost = match what {
            ("apps/v1", "Deployment") => lost::<Deployment>(&object),
            ("coordination.k8s.io/v1", "Lease") => lost::<Lease>(&object),
            ("v1", "ConfigMap") => lost::<ConfigMap>(&object),
            ("v1", "Pod") => lost::<Pod>(&object),
            ("v1", "Service") => lost::<Service>(&object),
            ("v1", "ServiceAccount") => lost::<ServiceAccount>(&object),
            ("networking.k8s.io/v1", "NetworkPolicy") => lost::<NetworkPolicy>(&object),
            ("policy/v1", "PodDisruptionBudget") => lost::<PodDisruptionBudget>(&object),
            ("rbac.authorization.k8s.io/v1", "ClusterRole") => lost::<ClusterRole>(&object),
            ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => lost::<ClusterRoleBinding>(&object),
            ("rbac.authorization.k8s.io/v1", "Role") => lost::<Role>(&object),
            ("rbac.authorization.k8s.io/v1", "RoleBinding") => lost::<RoleBinding>(&object),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition") => lost::<CustomResourceDefinition>(&object),
            // Their types are in no library; `monitoring` looks at what matters of them.
            ("monitoring.coreos.com/v1", "ServiceMonitor" | "PodMonitor" | "PrometheusRule") => Vec::new(),
            other => panic!("nobody checks {other:?}"),
        };
        assert_eq!(lost, Vec::<String>::new(), "{what:?} {}", text(&object, "/metadata/name"));
        seen.insert(text(&object, "/kind").to_owned());
    }
    assert_eq!(seen.len(), 16, "{seen:?}");
}

#[test]
fn a_field_that_is_not_there_is_found() {
    let service =
        serde_json::json!({"metadata": {"name": "x"}, "spec": {"port": [], "ports": [{"port": 1, "nam": "x"}]}});
    assert_eq!(lost::<Service>(&service), ["/spec/port", "/spec/ports/0/nam"]);
}

/// What of an object its type does not know.
fn lost<K: Serialize + DeserializeOwned>(object: &Value) -> Vec<String> {
    let typed: K = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{error}: {object}"));
    let mut lost = Vec::new();
    compare("", object, &serde_json::to_value(typed).unwrap(), &mut lost);
    lost
}

fn compare(path: &str, written: &Value, kept: &Value, lost: &mut Vec<String>) {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            for (name, value) in written {
                let path = format!("{path}/{name}");
                match kept.get(name) {
                    Some(kept) => compare(&path, value, kept, lost),
                    None => lost.push(path),
                }
            }
        }
        (Value::Array(written), Value::Array(kept)) if written.len() == kept.len() => {
            for (index, (written, kept)) in written.iter().zip(kept).enumerate() {
                compare(&format!("{path}/{index}"), written, kept, lost);
            }
        }
        // Bounds in definitions are floats in their type.
        (Value::Number(written), Value::Number(kept)) if written.as_f64() == kept.as_f64() => {}
        // A quantity may be written as a number.
        (Value::Number(written), Value::String(kept)) if written.to_string() == *kept => {}
        (written, kept) if written == kept => {}
        _ => lost.push(path.to_owned()),
    }
}
