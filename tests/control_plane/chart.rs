//! What the chart makes, shown to an API server.

use crate::cluster::ControlPlane;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::fs;

/// The chart as it is, and its cases.
const RENDERED: [&str; 4] = [
    "deploy/install.yaml",
    "tests/chart/cases/namespaced/out.yaml",
    "tests/chart/cases/everything/out.yaml",
    "tests/chart/cases/minimal/out.yaml",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_would_take_every_object() {
    let cluster = ControlPlane::shared().await;
    let client = cluster.client();
    for name in ["mcp-system", "team-a", "team-b"] {
        // A pod is admitted with its account, and by the strictest standard, only.
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mcp-operator", "namespace": name},
        });
        for manifest in [namespace, account] {
            apply(&client, &manifest, &PatchParams::apply("a-person")).await.unwrap();
        }
    }
    let params = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("helm").force()
    };
    let mut taken = 0;
    for path in RENDERED {
        let text = fs::read_to_string(path).unwrap();
        for document in text.split("---\n").filter(|text| text.contains("\nkind: ")) {
            let manifest: Value = serde_saphyr::from_str(document).unwrap();
            // The Prometheus operator's kinds are not here.
            if manifest["apiVersion"].as_str().unwrap().starts_with("monitoring.coreos.com/") {
                continue;
            }
            if let Err(error) = apply(&client, &manifest, &params).await {
                panic!("{path}: {error}\n{document}");
            }
            taken += 1;
        }
    }
    assert!(taken > 40, "only {taken} objects were tried");
}

async fn apply(client: &Client, manifest: &Value, params: &PatchParams) -> kube::Result<DynamicObject> {
    let (group, version) = manifest["apiVersion"].as_str().unwrap().rsplit_once('/').unwrap_or(("", "v1"));
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, manifest["kind"].as_str().unwrap()));
    let api: Api<DynamicObject> = match manifest["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    api.patch(manifest["metadata"]["name"].as_str().unwrap(), params, &Patch::Apply(manifest)).await
}
