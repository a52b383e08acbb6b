//! Before all others, on a cluster without us: the operator of single namespaces comes and goes.

use crate::chart;
use crate::cluster::{self, everything};
use crate::stage::{Stage, demo};
use crate::support::mcp::ModernClient;
use crate::support::objects::{gateway, open, route};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_of_one_namespace_reads_nothing_elsewhere_and_leaves_nothing_behind() {
    let before = everything();
    let (team, other) = (Stage::without_chart("team").await, Stage::without_chart("other").await);
    let watched = format!("watchNamespaces={{{}}}", team.namespace);
    chart::install(chart::NAMESPACE, &["--set", &watched, "--set", "crds.keep=false"]);

    for stage in [&other, &team] {
        stage.apply(&open("tools")).await;
        stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
        stage.apply(&demo("docs")).await;
        stage.apply(&route("docs", "tools", &["docs"])).await;
    }
    team.until("MCPRoute", "docs", "Ready=True Ready").await;
    let mut client = ModernClient::connect(team.service("tools").await, "/docs").await;
    assert!(client.tools().await.contains(&"whoami".to_owned()));
    assert_eq!(other.get("MCPGateway", "tools").await.unwrap().get("status"), None);
    assert_eq!(other.get("apps/v1/Deployment", "mcpgw-tools").await, None);

    let said = chart::test(chart::NAMESPACE);
    assert!(said.contains("Succeeded"), "{said}");

    let kube = &team.client;
    assert!(may(kube, "get", "secrets", Some(&team.namespace)).await, "it needs those that objects of ours name");
    for namespace in [other.namespace.as_str(), "kube-system", "default"] {
        for verb in ["get", "list", "watch", "create", "patch", "delete"] {
            assert!(!may(kube, verb, "secrets", Some(namespace)).await, "{verb} secrets in {namespace}");
        }
    }
    for resource in ["secrets", "configmaps", "pods", "namespaces"] {
        assert!(!may(kube, "list", resource, None).await, "list all {resource}");
    }

    // The custom resources go with their definitions, and what was made for them with these.
    chart::uninstall(chart::NAMESPACE);
    let client = team.client.clone();
    for namespace in [&team.namespace, &other.namespace, &chart::NAMESPACE.to_owned()] {
        cluster::forget(&client, namespace).await;
    }
    team.until_some("nothing is left", async || {
        let mut left = everything();
        left.retain(|name| !before.contains(name));
        if !left.is_empty() {
            eprintln!("still there: {left:?}");
        }
        left.is_empty().then_some(())
    })
    .await;
}

/// Whether the operator may do something, to the API server's knowledge.
async fn may(client: &Client, verb: &str, resource: &str, namespace: Option<&str>) -> bool {
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        resource: Some(resource.to_owned()),
        namespace: namespace.map(str::to_owned),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: Some(chart::ACCOUNT.to_owned()),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    reviews.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}
