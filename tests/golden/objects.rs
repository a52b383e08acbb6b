//! What is deployed for the golden cases: `objects.yaml` beside `out.yaml`, in the cases that have one. An empty file opts a case
//! in; `UPDATE_GOLDEN=1` fills it.

use crate::support::{Case, cases};
use crate::{difference, restricted};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::api::networking::v1::NetworkPolicyEgressRule;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use mcp_gateway_operator::api::API_VERSION;
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::ir::infra::{BackendInfra, Expose, GatewayInfra, Program, Scale};
use mcp_gateway_operator::ir::secrets::PrivateBytes;
use mcp_gateway_operator::operator::build::{self, BackendObjects, Context, GatewayObjects, OperatorPods, Payload};
use mcp_gateway_operator::translate::translate;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const FILE: &str = "objects.yaml";

/// What no object but the Secret may hold.
const CREDENTIALS: &str = "the credentials";
const MORE_CREDENTIALS: &str = "more credentials";

fn context(kind: &str, id: &ObjectId) -> Context {
    Context {
        owner: OwnerReference {
            api_version: API_VERSION.to_owned(),
            kind: kind.to_owned(),
            name: id.name.clone(),
            uid: "00000000-0000-0000-0000-000000000001".to_owned(),
            controller: Some(true),
            block_owner_deletion: None,
        },
        gateway_image: "registry.example.com/mcp-gateway:0.1.0".to_owned(),
        operator: OperatorPods {
            namespace: "mcp-system".to_owned(),
            labels: BTreeMap::from([("app.kubernetes.io/name".to_owned(), "mcp-operator".to_owned())]),
        },
        scrapers: BTreeSet::from(["monitoring".to_owned()]),
    }
}

fn payload() -> Payload {
    Payload {
        generation: "0123456789abcdef".to_owned(),
        snapshot: b"the snapshot".to_vec(),
        credentials: PrivateBytes::new(CREDENTIALS),
        more_config: BTreeMap::from([("more".to_owned(), b"more of it".to_vec())]),
        more_secrets: BTreeMap::from([("more".to_owned(), PrivateBytes::new(MORE_CREDENTIALS))]),
    }
}

fn of_gateway(infra: &GatewayInfra) -> Vec<Value> {
    let GatewayObjects {
        service_account,
        config_map,
        secret,
        service,
        peers_service,
        network_policies,
        deployment,
        disruption_budget,
        autoscaler,
        http_route,
        ingress,
    } = build::gateway(infra, &payload(), &context("MCPGateway", &infra.gateway));
    let one = [
        json!(service_account),
        json!(config_map),
        json!(secret),
        json!(service),
        json!(peers_service),
        json!(deployment),
        json!(disruption_budget),
        json!(autoscaler),
        json!(http_route),
        json!(ingress),
    ];
    let policies = network_policies.into_iter().map(|policy| json!(policy));
    one.into_iter().chain(policies).filter(|object| !object.is_null()).collect()
}

fn of_backend(infra: &BackendInfra) -> Vec<Value> {
    let BackendObjects { service_account, service, network_policies, deployment, disruption_budget } =
        build::backend(infra, &context("MCPBackend", &infra.backend));
    let one = [json!(service_account), json!(service), json!(deployment), json!(disruption_budget)];
    let policies = network_policies.into_iter().map(|policy| json!(policy));
    one.into_iter().chain(policies).filter(|object| !object.is_null()).collect()
}

/// The pod of a gateway.
pub(crate) fn gateway_pod(infra: &GatewayInfra) -> PodTemplateSpec {
    build::gateway(infra, &payload(), &context("MCPGateway", &infra.gateway)).deployment.spec.unwrap().template
}

/// Everything that is deployed in a case, by the names of gateways and then of backends.
pub(crate) fn of_case(case: &Case) -> Vec<Value> {
    let plan = translate(&case.inputs());
    let gateways = plan.gateways.values().filter_map(|planned| planned.infra.as_ref()).flat_map(of_gateway);
    let backends = plan.backends.values().filter_map(|planned| planned.infra.as_ref()).flat_map(of_backend);
    gateways.chain(backends).collect()
}

fn template(object: &Value) -> Option<PodTemplateSpec> {
    serde_json::from_value(object.pointer("/spec/template")?.clone()).ok()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn the_objects_of_a_case_are_its_golden_objects() {
    let rewrite = std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1");
    let mut failures = Vec::new();
    let mut compared = 0;
    for case in cases() {
        let path = case.directory.join(FILE);
        let Ok(golden) = std::fs::read_to_string(&path) else { continue };
        compared += 1;
        let documents =
            of_case(&case).iter().map(|object| serde_saphyr::to_string(object).unwrap()).collect::<Vec<_>>();
        let found = documents.join("---\n");
        if rewrite {
            std::fs::write(path, found).unwrap();
        } else if let Some(difference) = difference(FILE, &golden, &found) {
            failures.push(format!("{}: {difference}", case.name()));
        }
    }
    assert!(compared >= 10, "{compared} cases have golden objects");
    assert!(failures.is_empty(), "{}\nUPDATE_GOLDEN=1 rewrites the golden objects", failures.join("\n"));
}

#[test]
fn every_pod_meets_the_restricted_standard() {
    let mut pods = 0;
    for case in cases() {
        for object in of_case(&case) {
            if let Some(template) = template(&object) {
                pods += 1;
                let violations = restricted::violations(&template);
                assert!(violations.is_empty(), "{}: {}: {violations:?}", case.name(), text(&object, "/metadata/name"));
            }
        }
    }
    assert!(pods > 50, "{pods} pods");
}

#[test]
fn credentials_are_in_the_secret_only() {
    let encoded = |text: &str| serde_json::to_value(PrivateBytes::new(text)).unwrap().as_str().unwrap().to_owned();
    let mut secrets = 0;
    for object in cases().iter().flat_map(of_case) {
        let written = object.to_string();
        for text in [CREDENTIALS, MORE_CREDENTIALS] {
            let is_there = written.contains(text) || written.contains(&encoded(text));
            assert_eq!(is_there, text_is(&object, "Secret"), "{written}");
        }
        secrets += usize::from(text_is(&object, "Secret"));
    }
    assert!(secrets > 10, "{secrets} Secrets");
}

/// What is empty the API server drops, and for some kinds it then finds a change in every apply.
#[test]
fn nothing_that_is_said_is_empty() {
    fn empty(value: &Value, path: &str) -> Option<String> {
        match value {
            Value::Array(items) if items.is_empty() => Some(path.to_owned()),
            Value::Object(fields) if fields.is_empty() => Some(path.to_owned()),
            Value::Array(items) => items.iter().find_map(|item| empty(item, &format!("{path}[]"))),
            Value::Object(fields) => fields.iter().find_map(|(key, value)| empty(value, &format!("{path}.{key}"))),
            _ => None,
        }
    }
    for case in cases() {
        for object in of_case(&case) {
            assert_eq!(empty(&object, text(&object, "/metadata/name")), None, "{}", case.name());
        }
    }
}

fn text_is(object: &Value, kind: &str) -> bool {
    text(object, "/kind") == kind
}

#[test]
fn every_object_is_owned_and_no_two_have_one_name() {
    for case in cases() {
        let mut names = BTreeSet::new();
        for object in of_case(&case) {
            assert_eq!(text(&object, "/metadata/ownerReferences/0/apiVersion"), API_VERSION);
            let name =
                ["/kind", "/metadata/namespace", "/metadata/name"].map(|pointer| text(&object, pointer).to_owned());
            assert!(names.insert(name.clone()), "{}: {name:?}", case.name());
        }
    }
}

/// A generation is in no pod template, and what only a generation changes neither: so routes and credentials replace no pods.
#[test]
fn only_a_changed_pod_shape_changes_a_pod() {
    let case = cases().into_iter().find(|case| case.name() == "listener-https").unwrap();
    let plan = translate(&case.inputs());
    let infra = plan.gateways.values().find_map(|planned| planned.infra.clone()).unwrap();
    let pods = |infra: &GatewayInfra, payload: &Payload| {
        build::gateway(infra, payload, &context("MCPGateway", &infra.gateway)).deployment
    };
    let before = pods(&infra, &payload());
    let generation = Payload { generation: "f".repeat(16), snapshot: vec![1], ..payload() };
    assert_eq!(pods(&infra, &generation), before);

    let mut listeners = infra.clone();
    listeners.ports.iter_mut().for_each(|listener| listener.port += 1);
    listeners.destinations = None;
    listeners.expose = Expose::LoadBalancer;
    assert_eq!(pods(&listeners, &payload()), before);

    let mut restarted = infra.clone();
    restarted.rollout.restarted_at = Some("now".to_owned());
    assert_ne!(pods(&restarted, &payload()), before);
}

#[test]
fn an_autoscaler_alone_says_how_many_pods_there_are() {
    let case = cases().into_iter().find(|case| case.name() == "infra-autoscaling").unwrap();
    let objects = of_case(&case);
    let deployment = objects.iter().find(|object| text_is(object, "Deployment")).unwrap();
    let autoscaler = objects.iter().find(|object| text_is(object, "HorizontalPodAutoscaler")).unwrap();
    assert_eq!(deployment.pointer("/spec/replicas"), None);
    assert_eq!(text(autoscaler, "/spec/scaleTargetRef/name"), text(deployment, "/metadata/name"));
}

/// Names that Kubernetes admits for our objects: DNS subdomains.
fn name() -> impl Strategy<Value = String> {
    proptest::string::string_regex("[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?){0,4}")
        .unwrap()
        .prop_filter("at most 253 bytes", |name| name.len() <= 253)
}

fn is_a_dns_label(name: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= 63
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && ends(name.bytes().last())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_a_label_value(value: &str) -> bool {
    let ends = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    value.len() <= 63
        && ends(value.bytes().next())
        && ends(value.bytes().last())
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn gateway_named(name: &str) -> Vec<Value> {
    of_gateway(&GatewayInfra {
        gateway: ObjectId::new("team", name),
        image: None,
        scale: Scale::Auto { min: 1, max: 2, cpu_percent: 50 },
        ports: Vec::new(),
        expose: Expose::Ingress { class: None, port: 80, hostnames: BTreeSet::new() },
        grace_seconds: 1,
        destinations: Some(BTreeSet::new()),
        overlay: None,
        rollout: mcp_gateway_operator::ir::infra::Rollout::default(),
    })
}

fn backend_named(name: &str) -> Vec<Value> {
    of_backend(&BackendInfra {
        backend: ObjectId::new("team", name),
        replicas: 2,
        program: Program::Http { image: "a".to_owned(), port: 80, command: Vec::new(), args: Vec::new() },
        env: Vec::new(),
        env_from: Vec::new(),
        resources: None,
        volumes: Vec::new(),
        mounts: Vec::new(),
        egress: Some(vec![NetworkPolicyEgressRule::default()]),
        callers: BTreeSet::new(),
        overlay: None,
        rollout: mcp_gateway_operator::ir::infra::Rollout::default(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn odd_names_give_names_and_labels_that_kubernetes_takes(name in name()) {
        for object in gateway_named(&name).into_iter().chain(backend_named(&name)) {
            prop_assert!(is_a_dns_label(text(&object, "/metadata/name")), "{name}: {object}");
            for (key, value) in object["metadata"]["labels"].as_object().unwrap() {
                prop_assert!(is_a_label_value(value.as_str().unwrap()), "{name}: {key}: {value}");
            }
        }
    }

    /// Also those that look like each other, and like what another one's objects are called.
    #[test]
    fn no_two_share_an_object(name in name(), word in "(peers|clients|dns|operator|gateways|public|egress|a|-)") {
        let other = [format!("{word}-{name}"), format!("{name}-{word}"), name.replace('.', "-"), name.replace('-', ".")];
        for other in other.iter().filter(|other| **other != name) {
            let names = |name: &str| -> BTreeSet<(String, String)> {
                let objects = gateway_named(name).into_iter().chain(backend_named(name));
                objects.map(|object| (text(&object, "/kind").to_owned(), text(&object, "/metadata/name").to_owned())).collect()
            };
            prop_assert!(names(&name).is_disjoint(&names(other)), "{name} and {other}");
        }
    }
}
