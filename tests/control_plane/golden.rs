//! The golden cases of translation in a real cluster: what the operator says of each object is what the golden plan says, for
//! every case that a cluster of this kind can have.

#[path = "../golden/support/mod.rs"]
#[allow(dead_code)] // Plans are written down elsewhere.
mod support;

use crate::cluster::{ControlPlane, PATIENCE};
use crate::operator::Operator;
use futures_util::stream::{self, StreamExt as _};
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use mcp_gateway_operator::api::conditions::{Finding, Reason};
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::translate::facts::{Content, Mode, Secret};
use mcp_gateway_operator::translate::manifests::{Manifest, Object};
use mcp_gateway_operator::translate::{Plan, translate};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::{Case, Surroundings, cases};

/// Requests at a time.
const WIDTH: usize = 16;

/// Cases that a live cluster has, at least; the rest are of laptops and of operators that were started in other ways.
const LIVE: usize = 70;

/// Reasons of translation that no live object can show, and why.
const NEVER_LIVE: &[(Reason, &str)] = &[
    (Reason::HostnameConflict, "the API server refuses two listeners with one port and hostname"),
    (Reason::ProtocolConflict, "the API server refuses two protocols on one port"),
    (Reason::InvalidPolicy, "the API server refuses policies that this version cannot read"),
    (
        Reason::SnapshotTooLarge,
        "one object may have no text that large, and the many that it takes are left to translation",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_of_every_object_what_the_golden_plan_says() {
    let cluster = ControlPlane::private().await;
    let client = cluster.client();
    cluster.install("HTTPRoute", "gateway.networking.k8s.io", "v1", "httproutes").await;
    cluster.install("MCPServer", "mcp.x-k8s.io", "v1alpha1", "mcpservers").await;
    let mut lives: Vec<Live> = cases().iter().filter_map(Live::of).collect();

    stream::iter(&lives).for_each_concurrent(WIDTH, |live| live.surround(&client)).await;
    // Who came first matters in some cases, and times are in whole seconds.
    let days: BTreeSet<String> = lives.iter().flat_map(Live::days).collect();
    for day in days {
        stream::iter(&mut lives).for_each_concurrent(WIDTH, |live| live.create(&client, &day)).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    assert!(lives.len() >= LIVE, "{} cases", lives.len());
    let refused: usize = lives.iter().map(Live::refused).sum();

    let _operator = Operator::start(cluster.kubeconfig(), &["--namespace", "default"]);
    let mut failures = Vec::new();
    let mut told = BTreeSet::new();
    for live in &lives {
        let mut last = String::new();
        let plan = translate(&live.surroundings.with(live.taken.clone()));
        let agrees = async {
            while let Err(difference) = live.compare(&client, &plan, &mut told).await {
                last = difference;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, agrees).await.is_err() {
            failures.push(format!("{}: {last}", live.name));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{} cases without {refused} objects that the API server refuses; reasons: {told:?}", lives.len());
    let golden: String = cases().iter().map(Case::golden).collect();
    let words = golden.lines().filter_map(|line| line.trim().strip_prefix("reason: "));
    let of_translation: BTreeSet<Reason> = words.filter_map(Reason::parse).collect();
    for reason in of_translation {
        let never = NEVER_LIVE.iter().find(|(never, _)| *never == reason);
        assert_eq!(told.contains(reason.as_str()), never.is_none(), "{reason}: live, or {never:?}");
    }
}

/// A case in the cluster, in namespaces of its own.
struct Live {
    name: String,
    surroundings: Surroundings,
    namespaces: BTreeSet<String>,
    /// Its objects, and how they are written.
    objects: Vec<(Manifest, Value)>,
    /// Those that the API server took.
    taken: Vec<Manifest>,
}

impl Live {
    fn of(case: &Case) -> Option<Self> {
        let (manifests, surroundings) = case.read();
        if surroundings.mode != Mode::default() || !surroundings.unreadable_policies.is_empty() {
            return None;
        }
        let objects: Vec<(Manifest, Value)> =
            manifests.into_iter().map(|it| (it.clone(), as_json(&it.object))).collect();
        let facts = &surroundings.facts;
        let ids = facts.secrets.keys().chain(facts.config_maps.keys()).chain(facts.services.keys());
        let mut namespaces: BTreeSet<String> = ids.map(|id| id.namespace.clone()).collect();
        namespaces.extend(facts.namespaces.keys().cloned());
        let theirs = objects.iter().map(|(_, object)| object["metadata"]["namespace"].as_str().unwrap().to_owned());
        namespaces.extend(theirs);
        namespaces.extend(facts.servers.values().flat_map(BTreeMap::keys).map(|id| id.namespace.clone()));
        Some(Self { name: case.name(), surroundings, namespaces, objects, taken: Vec::new() })
    }

    /// A namespace of the case as it is called in the cluster.
    fn namespace(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// Creates what the case has besides our objects.
    async fn surround(&self, client: &Client) {
        let facts = &self.surroundings.facts;
        for namespace in &self.namespaces {
            let labels = facts.namespaces.get(namespace).cloned().unwrap_or_default();
            let object = json!({"metadata": {"name": self.namespace(namespace), "labels": labels}});
            create(client, None, &resource("", "v1", "Namespace"), object).await.unwrap();
        }
        for (id, secret) in &facts.secrets {
            self.put(client, "", "Secret", id, json!({"stringData": values(secret)})).await;
        }
        for (id, keys) in &facts.config_maps {
            let data: BTreeMap<&String, &str> = keys.iter().map(|key| (key, "x")).collect();
            self.put(client, "", "ConfigMap", id, json!({"data": data})).await;
        }
        for (id, service) in &facts.services {
            let ports: Vec<Value> =
                service.ports.keys().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
            let spec = if service.is_external_name {
                json!({"type": "ExternalName", "externalName": "elsewhere.example.com"})
            } else {
                json!({"ports": ports})
            };
            self.put(client, "", "Service", id, json!({"spec": spec})).await;
        }
        for (kind, servers) in &facts.servers {
            for (id, server) in servers {
                let status = json!({"status": {"address": {"url": server.url}}});
                self.put(client, &kind.group, &kind.kind, id, status).await;
            }
        }
    }

    async fn put(&self, client: &Client, group: &str, kind: &str, id: &ObjectId, mut object: Value) {
        object["metadata"] = json!({"name": id.name});
        let version = if group.is_empty() { "v1" } else { "v1alpha1" };
        create(client, Some(&self.namespace(&id.namespace)), &resource(group, version, kind), object).await.unwrap();
    }

    /// The days on which its objects come.
    fn days(&self) -> impl Iterator<Item = String> {
        self.objects.iter().map(|(_, object)| day(object))
    }

    /// Creates those of our objects that come on this day. The API server refuses some.
    async fn create(&mut self, client: &Client, this: &str) {
        for (manifest, object) in self.objects.iter().filter(|(_, object)| day(object) == this) {
            let mut object = object.clone();
            self.rename(&mut object);
            let kind = object["kind"].as_str().unwrap().to_owned();
            let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
            match create(client, Some(&namespace), &resource(OURS, "v1alpha1", &kind), object).await {
                Ok(()) => self.taken.push(manifest.clone()),
                Err(kube::Error::Api(status)) if status.is_invalid() => {}
                Err(error) => panic!("{}: {error}", self.name),
            }
        }
    }

    fn refused(&self) -> usize {
        self.objects.len() - self.taken.len()
    }

    /// Every namespace in an object is called as it is in the cluster.
    fn rename(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(text) if name == "namespace" || name == "kubernetes.io/metadata.name" => {
                            *text = self.namespace(text);
                        }
                        other => self.rename(other),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.rename(item)),
            _ => {}
        }
    }

    /// Compares what is said of each object with the plan.
    async fn compare(&self, client: &Client, plan: &Plan, told: &mut BTreeSet<String>) -> Result<(), String> {
        for (id, plan) in &plan.gateways {
            self.compare_one(client, "MCPGateway", id, "/conditions", &plan.conditions, told).await?;
        }
        for (id, plan) in &plan.backends {
            self.compare_one(client, "MCPBackend", id, "/conditions", &plan.conditions, told).await?;
        }
        for (id, plan) in &plan.auth_policies {
            self.compare_one(client, "MCPAuthPolicy", id, "/conditions", &plan.conditions, told).await?;
        }
        for (id, plan) in &plan.routes {
            for (index, parent) in plan.parents.iter().enumerate() {
                let place = format!("/parents/{index}/conditions");
                self.compare_one(client, "MCPRoute", id, &place, &parent.conditions, told).await?;
            }
        }
        Ok(())
    }

    async fn compare_one(
        &self,
        client: &Client,
        kind: &str,
        id: &ObjectId,
        place: &str,
        plan: &[Finding],
        told: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let resource = resource(OURS, "v1alpha1", kind);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &self.namespace(&id.namespace), &resource);
        let object = api.get(&id.name).await.map_err(|error| format!("{kind} {id}: {error}"))?;
        let conditions = object.data.pointer(&format!("/status{place}")).cloned().unwrap_or_default();
        for finding in plan {
            let wanted = format!("{}={:?} {}", finding.type_, finding.status, finding.reason);
            let is_it = |condition: &Value| {
                condition["type"] == finding.type_.as_str()
                    && condition["status"] == format!("{:?}", finding.status)
                    && condition["reason"] == finding.reason.as_str()
            };
            if !conditions.as_array().into_iter().flatten().any(is_it) {
                return Err(format!("{kind} {id}: not {wanted} at {place}, but {conditions}"));
            }
            told.insert(finding.reason.as_str().to_owned());
        }
        Ok(())
    }
}

const OURS: &str = "gateway.mcp-operator.dev";

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Creates an object of this kind, in this namespace or in none.
async fn create(client: &Client, namespace: Option<&str>, kind: &ApiResource, mut object: Value) -> kube::Result<()> {
    object["apiVersion"] = kind.api_version.clone().into();
    object["kind"] = kind.kind.clone().into();
    object["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, kind),
        None => Api::all_with(client.clone(), kind),
    };
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.map(drop)
}

fn as_json(object: &Object) -> Value {
    let value = match object {
        Object::Gateway(gateway) => serde_json::to_value(gateway),
        Object::Backend(backend) => serde_json::to_value(backend),
        Object::Route(route) => serde_json::to_value(route),
        Object::AuthPolicy(policy) => serde_json::to_value(policy),
        Object::Foreign(other) => panic!("{}: a case says what else there is by its facts", other.kind),
    };
    value.unwrap()
}

/// When an object comes.
fn day(object: &Value) -> String {
    object["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned()
}

/// Values of these kinds, which belong together unless the case says that they do not.
fn values(secret: &Secret) -> BTreeMap<String, String> {
    let pair = || rcgen::generate_simple_self_signed(vec!["mcp.example.com".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    let key = if secret.mismatch.is_some() { &other } else { &one };
    let value = |content: &Content| match content {
        Content::Certificates => one.cert.pem(),
        Content::PrivateKey => key.signing_key.serialize_pem(),
        Content::Other => "x".to_owned(),
    };
    secret.keys.iter().map(|(name, content)| (name.clone(), value(content))).collect()
}
