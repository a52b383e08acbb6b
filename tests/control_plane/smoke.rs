//! The control plane itself: what the other tests stand on.

use crate::cluster::ControlPlane;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use mcp_gateway_operator::api::route::McpRoute;
use serde_json::json;

#[tokio::test]
async fn a_service_account_may_do_what_it_is_allowed_to_and_the_audit_log_says_who_did() {
    let cluster = ControlPlane::shared().await;
    let namespace = cluster.namespace("smoke").await;
    let kubeconfig = cluster.kubeconfig_for(&namespace, "default").await;
    let account = cluster.client_of(&kubeconfig).await;

    let refused = Api::<Secret>::namespaced(account.clone(), &namespace).list(&ListParams::default()).await;
    assert!(matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403), "{refused:?}");

    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "smoke" },
        "rules": [{ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"] }],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "smoke" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "smoke" },
        "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": namespace }],
    });
    cluster.create(&namespace, &role).await;
    cluster.create(&namespace, &binding).await;

    let metadata = ObjectMeta { name: Some("smoke".to_owned()), ..ObjectMeta::default() };
    let map = ConfigMap { metadata, ..ConfigMap::default() };
    let maps = Api::<ConfigMap>::namespaced(account, &namespace);
    // Authorization watches its objects, and is a moment behind.
    cluster.until("the role counts", async || maps.create(&PostParams::default(), &map).await.ok()).await;

    let user = format!("system:serviceaccount:{namespace}:default");
    let written = cluster
        .until("the write is in the audit log", async || {
            cluster.audit().into_iter().find(|event| {
                event["user"]["username"] == *user
                    && event["verb"] == "create"
                    && event["responseStatus"]["code"] == 201
            })
        })
        .await;
    assert_eq!(written["objectRef"]["resource"], "configmaps");
}

#[tokio::test]
async fn what_is_stored_survives_the_api_server() {
    let cluster = ControlPlane::private().await;
    let namespace = cluster.namespace("smoke").await;
    let route = json!({
        "apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "MCPRoute", "metadata": { "name": "a" },
        "spec": { "parentRefs": [{ "name": "a" }], "servers": [{ "name": "a", "backendRefs": [{ "name": "a" }] }] },
    });
    let routes = Api::<McpRoute>::namespaced(cluster.client(), &namespace);
    let apply = PatchParams::apply("smoke");
    let before = routes.patch("a", &apply, &Patch::Apply(&route)).await.unwrap();

    cluster.restart_apiserver().await;
    let after = Api::<McpRoute>::namespaced(cluster.client(), &namespace).get("a").await.unwrap();
    assert_eq!(after.metadata.resource_version, before.metadata.resource_version);
}
