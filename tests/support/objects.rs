//! The objects of one namespace, as a person handles them: applied, looked at, waited for.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use std::time::Duration;

/// One namespace.
pub struct Objects {
    pub namespace: String,
    pub client: Client,
    /// How long to wait for something that must happen.
    pub patience: Duration,
    /// Says that something failed for good, so that nobody need wait.
    pub failure: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Objects {
    /// Creates the objects of a manifest, or changes them to it.
    pub async fn apply(&self, manifest: &Value) {
        let api = self.api(manifest["apiVersion"].as_str().unwrap(), manifest["kind"].as_str().unwrap());
        let params = PatchParams::apply("a-person").force();
        api.patch(manifest["metadata"]["name"].as_str().unwrap(), &params, &Patch::Apply(manifest)).await.unwrap();
    }

    pub async fn patch(&self, kind: &str, name: &str, patch: Value) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub async fn patch_status(&self, kind: &str, name: &str, patch: Value) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Puts another spec in the place of the whole of it.
    pub async fn replace_spec(&self, kind: &str, name: &str, spec: Value) {
        let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]);
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).unwrap());
        self.api(OURS, kind).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// As `kubectl edit` does: lists are merged by their keys.
    pub async fn strategic(&self, kind: &str, name: &str, patch: Value) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.unwrap();
    }

    pub async fn delete(&self, kind: &str, name: &str) {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        self.api(group, kind).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// An object, if it is there; `kind` is one of ours, or `group/version/Kind`.
    pub async fn get(&self, kind: &str, name: &str) -> Option<Value> {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        let found = self.api(group, kind).get_opt(name).await.unwrap()?;
        Some(serde_json::to_value(found).unwrap())
    }

    /// Names of the objects of a kind, in alphabetical order.
    pub async fn names(&self, kind: &str) -> Vec<String> {
        let (group, kind) = kind.rsplit_once('/').unwrap_or((OURS, kind));
        let objects = self.api(group, kind).list(&ListParams::default()).await.unwrap();
        let mut names: Vec<String> = objects.into_iter().filter_map(|object| object.metadata.name).collect();
        names.sort();
        names
    }

    pub fn api(&self, api_version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind))
    }

    /// Waits until a condition of an object of ours is so, and gives its message. `told` is `Type=Status Reason`.
    pub async fn until(&self, kind: &str, name: &str, told: &str) -> String {
        let mut last = Vec::new();
        let what = format!("{kind} {name}: {told}");
        let found = self.asking(&what, async || {
            let object = self.get(kind, name).await?;
            let (found, all) = find(&object, told);
            last = all;
            found
        });
        found.await.unwrap_or_else(|| panic!("{kind} {name}: not {told}, but {last:#?}"))
    }

    /// Asks again and again until there is an answer.
    pub async fn until_some<T>(&self, what: &str, ask: impl AsyncFnMut() -> Option<T>) -> T {
        self.asking(what, ask).await.unwrap_or_else(|| panic!("{what}: not within {:?}", self.patience))
    }

    async fn asking<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
        let answer = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                if let Some(failure) = (self.failure)() {
                    panic!("{what}: {failure}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(self.patience, answer).await.ok()
    }

    /// Waits until so many pods of a gateway serve what they should.
    pub async fn programmed(&self, gateway: &str, pods: usize) {
        self.until_some(&format!("{pods} pods of {gateway} serve what they should"), async || {
            let status = self.get("MCPGateway", gateway).await?["status"].clone();
            (status["programmedReplicas"] == pods).then_some(())
        })
        .await;
    }

    /// Reasons of the Events about an object of ours.
    pub async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items;
        let about = events.into_iter().filter(|event| event.involved_object.name.as_deref() == Some(name));
        about.filter_map(|event| event.reason).collect()
    }

    /// How often an Event about an object of ours was told: one that repeats is counted, not written again.
    pub async fn times_told(&self, name: &str, reason: &str) -> i32 {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = api.list(&ListParams::default()).await.unwrap().items;
        let is_it = |event: &&Event| {
            event.involved_object.name.as_deref() == Some(name) && event.reason.as_deref() == Some(reason)
        };
        let times = |event: &Event| event.series.as_ref().and_then(|series| series.count).unwrap_or(1);
        events.iter().filter(is_it).map(times).sum()
    }
}

/// The port that gateways listen at for clients.
pub const CLIENT_PORT: u16 = 8080;

const OURS: &str = "gateway.mcp-operator.dev/v1alpha1";

/// A gateway with one listener, and this spec besides.
#[expect(clippy::needless_pass_by_value, reason = "specs are written where they are used")]
pub fn gateway(name: &str, more: Value) -> Value {
    let mut spec = json!({"listeners": [{"name": "http", "port": CLIENT_PORT, "protocol": "HTTP"}]});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"apiVersion": OURS, "kind": "MCPGateway", "metadata": {"name": name}, "spec": spec})
}

/// A policy that lets everybody in.
pub fn open(name: &str) -> Value {
    json!({
        "apiVersion": OURS, "kind": "MCPAuthPolicy", "metadata": {"name": name},
        "spec": {"targetRefs": [{"kind": "MCPGateway", "name": name}], "anonymous": "Allow"},
    })
}

/// A backend at a Service of the test.
pub fn backend(name: &str, service: &str) -> Value {
    json!({
        "apiVersion": OURS, "kind": "MCPBackend", "metadata": {"name": name},
        "spec": {"service": {"name": service, "port": 80}},
    })
}

/// A route with one server, served by these backends in order of preference.
pub fn route(name: &str, gateway: &str, backends: &[&str]) -> Value {
    let refs: Vec<Value> =
        (0..).zip(backends).map(|(priority, name)| json!({"name": name, "priority": priority})).collect();
    json!({
        "apiVersion": OURS, "kind": "MCPRoute", "metadata": {"name": name},
        "spec": {"parentRefs": [{"name": gateway}], "matches": [{"path": {"value": format!("/{name}")}}], "servers": [{"name": "tools", "backendRefs": refs}]},
    })
}

/// The message of a condition that is so, and all conditions there are.
fn find(object: &Value, told: &str) -> (Option<String>, Vec<String>) {
    let status = &object["status"];
    let at_parents = status["parents"].as_array().into_iter().flatten().map(|parent| &parent["conditions"]);
    let mut all = Vec::new();
    let mut found = None;
    for condition in std::iter::once(&status["conditions"]).chain(at_parents).filter_map(Value::as_array).flatten() {
        let text = |key: &str| condition[key].as_str().unwrap_or_default();
        let this = format!("{}={} {}", text("type"), text("status"), text("reason"));
        // Of this generation only.
        if this == told && condition["observedGeneration"] == object["metadata"]["generation"] {
            found = Some(text("message").to_owned());
        }
        all.push(format!("{this}: {}", text("message")));
    }
    (found, all)
}

/// Creates the definition of a kind of others, whose objects may be anything. It stands in for definitions that no package
/// registry has.
pub async fn install_stand_in(client: &Client, kind: &str, group: &str, version: &str, plural: &str) {
    let name = format!("{plural}.{group}");
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {
            "name": name,
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
        },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{"name": version, "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    crds.patch(&name, &PatchParams::apply("tests").force(), &Patch::Apply(&definition)).await.unwrap();
}
