//! After all others, one after the other: the operator is away, what it may do is what it did, and it goes.

use crate::chart;
use crate::cluster::{self, everything, kubectl};
use crate::stage::{Stage, demo};
use crate::support::mcp::ModernClient;
use crate::support::objects::{gateway, open, route};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const DEPLOYMENT: &str = "deployment/mcp-operator";

#[tokio::test(flavor = "multi_thread")]
async fn step_1_a_gateway_starts_on_its_last_generation_without_an_operator() {
    let stage = Stage::new("alone").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.apply(&demo("docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    let mut prefixed = route("docs", "tools", &["docs"]);
    prefixed["spec"]["servers"][0]["prefix"] = json!("last_");
    stage.apply(&prefixed).await;
    let served = async || {
        let mut client = ModernClient::connect(stage.service("tools").await, "/docs").await;
        client.tools().await.contains(&"last_whoami".to_owned())
    };
    stage.until_some("the last change is served", async || served().await.then_some(())).await;
    stage.until("MCPRoute", "docs", "Programmed=True Programmed").await;

    let scale = |replicas: &str| {
        kubectl(&["scale", "--namespace", chart::NAMESPACE, DEPLOYMENT, &format!("--replicas={replicas}")]);
        kubectl(&["rollout", "status", "--namespace", chart::NAMESPACE, DEPLOYMENT, "--timeout=120s"]);
    };
    scale("0");
    let pod = stage.gateway_pods("tools").await.remove(0);
    let old = pod["metadata"]["name"].as_str().unwrap().to_owned();
    stage.delete("v1/Pod", &old).await;
    let fresh = stage
        .until_some("another pod is ready", async || {
            let pods = stage.gateway_pods("tools").await;
            let ready = |pod: &&Value| {
                let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
                conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            };
            pods.iter().filter(ready).find(|pod| pod["metadata"]["name"] != *old).cloned()
        })
        .await;
    let address = std::net::SocketAddr::new(Stage::address(&fresh), crate::support::objects::CLIENT_PORT);
    let mut client = ModernClient::connect(address, "/docs").await;
    // The first kind of client waits for the catalogue to be filled; then it is whole.
    assert!(client.tools().await.contains(&"last_whoami".to_owned()));
    let reply = client.call("last_whoami", json!({})).await.unwrap();
    assert!(crate::support::mcp::text(&reply).starts_with("docs "), "{reply}");
    scale("2");
    stage.end().await;
}

type Right = (String, String, String);

#[test]
fn step_2_the_operator_may_do_what_it_did_and_nothing_else() {
    let Some(events) = cluster::audit() else {
        eprintln!("NOT RUN: this cluster has no audit log to read; set E2E_AUDIT_LOG");
        return;
    };
    let used: BTreeSet<Right> = events
        .filter(|event| event["user"]["username"] == chart::ACCOUNT)
        .filter(|event| event["responseStatus"]["code"].as_u64().is_some_and(|code| code != 403))
        .flat_map(|event| rights_used(&event))
        .collect();
    let granted = granted();
    let unused: Vec<_> = granted.difference(&used).collect();
    let unexplained: Vec<_> = used.difference(&granted).collect();
    assert!(
        unused.is_empty() && unexplained.is_empty(),
        "granted, not used: {unused:#?}\nused, not granted: {unexplained:#?}"
    );
}

/// What a request took. Whoever creates an object by applying it needs both verbs.
fn rights_used(event: &Value) -> Vec<Right> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    // Discovery and the health of the API server are everybody's.
    let Some(resource) = object["resource"].as_str() else { return Vec::new() };
    let resource = match object["subresource"].as_str() {
        Some(sub) => format!("{resource}/{sub}"),
        None => resource.to_owned(),
    };
    let group = text(&object["apiGroup"]);
    let mut verbs = vec![text(&event["verb"])];
    if verbs[0] == "patch" && event["responseStatus"]["code"] == 201 {
        verbs.push("create".to_owned());
    }
    verbs.into_iter().map(|verb| (group.clone(), resource.clone(), verb)).collect()
}

/// Every right that a role gives the operator's account.
fn granted() -> BTreeSet<Right> {
    let roles = kubectl(&["get", "clusterroles,roles", "--all-namespaces", "-o", "json"]);
    let bindings = kubectl(&["get", "clusterrolebindings,rolebindings", "--all-namespaces", "-o", "json"]);
    let items = |json: &str| serde_json::from_str::<Value>(json).unwrap()["items"].as_array().unwrap().clone();
    let is_ours = |binding: &&Value| {
        binding["subjects"].as_array().into_iter().flatten().any(|subject| {
            subject["kind"] == "ServiceAccount"
                && format!(
                    "system:serviceaccount:{}:{}",
                    subject["namespace"].as_str().unwrap_or_default(),
                    subject["name"].as_str().unwrap_or_default()
                ) == chart::ACCOUNT
        })
    };
    let bindings = items(&bindings);
    let named: Vec<&Value> = bindings.iter().filter(is_ours).map(|binding| &binding["roleRef"]).collect();
    assert!(!named.is_empty(), "the operator has no roles");
    let roles = items(&roles);
    let bound = roles.iter().filter(|role| {
        named.iter().any(|name| name["kind"] == role["kind"] && name["name"] == role["metadata"]["name"])
    });
    let list = |rule: &Value, key: &str| -> Vec<String> {
        rule[key].as_array().into_iter().flatten().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in bound.flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default()) {
        for group in list(&rule, "apiGroups") {
            for resource in list(&rule, "resources") {
                for verb in list(&rule, "verbs") {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    assert!(!rights.iter().any(|(group, resource, verb)| [group, resource, verb].iter().any(|part| *part == "*")));
    rights
}

#[test]
fn step_3_the_chart_goes_and_leaves_what_it_was_told_to_keep() {
    chart::installed();
    let kept: BTreeSet<String> = cluster::definitions();
    assert_eq!(kept.len(), 4, "{kept:?}");
    chart::uninstall(chart::NAMESPACE);
    assert_eq!(cluster::definitions(), kept, "crds.keep is the default");
    let usual = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    let left: Vec<String> = everything()
        .into_iter()
        .filter(|name| {
            let ours = name.starts_with(&format!("{} ", chart::NAMESPACE));
            ours && !usual.iter().any(|usual| name.ends_with(usual))
        })
        .collect();
    assert_eq!(left, Vec::<String>::new());
    let helms = kubectl(&[
        "get",
        "all,clusterroles,clusterrolebindings,networkpolicies,leases",
        "--all-namespaces",
        "--selector",
        "app.kubernetes.io/managed-by=Helm",
        "-o",
        "name",
    ]);
    assert_eq!(helms, "");
}
