//! What a real API server takes and what it refuses, and that `kubectl mcp lint` agrees with it.

mod bounds;
#[path = "../../cel/rows.rs"]
mod rows;

use crate::cluster::ControlPlane;
use bounds::{Expected, Variant, variants};
use kube::Client;
use kube::client::Body;
use mcp_gateway_operator::api::crd;
use mcp_gateway_operator::cli::manifests;
use rows::{KINDS, rows};
use serde_json::Value;

/// What somebody has against an object, by field; nothing against a good one.
type Refusal = Vec<(String, String)>;

/// An API server that judges objects without keeping them.
struct Judge {
    client: Client,
}

impl Judge {
    async fn new() -> Self {
        Self { client: ControlPlane::shared().await.client() }
    }

    /// Asks as kubectl does: unknown fields are mistakes.
    async fn ask(&self, object: &Value) -> Refusal {
        let plural = match object["kind"].as_str().unwrap() {
            "MCPAuthPolicy" => "mcpauthpolicies".to_owned(),
            kind => kind.to_lowercase() + "s",
        };
        let api_version = object["apiVersion"].as_str().unwrap();
        let url = format!("/apis/{api_version}/namespaces/default/{plural}?dryRun=All&fieldValidation=Strict");
        let request = http::Request::post(url).header("content-type", "application/json");
        let request = request.body(Body::from(serde_json::to_vec(object).unwrap())).unwrap();
        let response = self.client.send(request).await.unwrap();
        let is_accepted = response.status().is_success();
        let answer: Value = serde_json::from_slice(&response.into_body().collect_bytes().await.unwrap()).unwrap();
        let refusal = if is_accepted { Vec::new() } else { read(&answer) };
        assert_eq!(refusal.is_empty(), is_accepted, "{answer}");
        refusal
    }
}

/// The causes in a `Status`; an unknown field is in its message only.
fn read(status: &Value) -> Refusal {
    let message = status["message"].as_str().unwrap();
    if let Some((_, unknown)) = message.split_once("strict decoding error: unknown field \"") {
        let field = unknown.split('"').next().unwrap();
        return vec![(field.to_owned(), message.to_owned())];
    }
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    causes.map(|cause| (text(&cause["field"]), text(&cause["message"]))).collect()
}

fn lint(object: &Value) -> Refusal {
    let mistakes = manifests::check("row", &serde_saphyr::to_string(object).unwrap()).mistakes;
    mistakes.into_iter().map(|mistake| (mistake.field, mistake.message)).collect()
}

/// Whether a refusal names this field.
fn names(refusal: &Refusal, field: &str) -> bool {
    refusal.iter().any(|(named, _)| named == field)
}

/// The messages of all rules below a schema.
fn rule_messages(schema: &Value, messages: &mut Vec<String>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        messages.push(rule["message"].as_str().unwrap().to_owned());
    }
    let below = schema["properties"].as_object().into_iter().flat_map(|properties| properties.values());
    for schema in below.chain([&schema["items"], &schema["additionalProperties"]]).filter(|schema| schema.is_object()) {
        rule_messages(schema, messages);
    }
}

fn schema_of(kind: &str) -> Value {
    crd::schema(crd::all().iter().find(|definition| definition.spec.names.kind == kind).unwrap())
}

#[tokio::test]
async fn every_row_is_judged_as_lint_judges_it() {
    let judge = Judge::new().await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for kind in KINDS {
        let mut rules = Vec::new();
        rule_messages(&schema_of(kind), &mut rules);
        let mut broken = Vec::new();
        for row in rows(kind) {
            count += 1;
            let told = judge.ask(&row.object(kind)).await;
            // A rule says the same to both. A bound is told in words of Kubernetes' own.
            let linted = lint(&row.object(kind));
            let by_rule = linted.iter().find(|(_, message)| rules.contains(message));
            let is_right = match by_rule {
                _ if row.accept => told.is_empty(),
                Some((field, rule)) => told.iter().any(|(named, message)| named == field && message.contains(rule)),
                None => names(&told, &row.field),
            };
            if !is_right {
                wrong.push(format!("{kind}, {}: {told:?}", row.title));
            }
            if let Some((_, rule)) = by_rule {
                broken.push(rule.clone());
                match row.fixed(kind) {
                    Some(fixed) => {
                        for (who, told) in [("the API server", judge.ask(&fixed).await), ("lint", lint(&fixed))] {
                            if !told.is_empty() {
                                wrong.push(format!("{kind}, {}, fixed: {who}: {told:?}", row.title));
                            }
                        }
                    }
                    None => wrong.push(format!("{kind}, {}: say how to fix it", row.title)),
                }
            }
        }
        for rule in rules {
            if !broken.contains(&rule) {
                wrong.push(format!("{kind}: no row breaks {rule:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(count >= 60, "{count}");
}

#[tokio::test]
async fn every_bound_is_judged_as_lint_judges_it() {
    let judge = Judge::new().await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for kind in KINDS {
        let good: Vec<Value> = rows(kind).iter().filter(|row| row.accept).map(|row| row.object(kind)).collect();
        for Variant { field, change, object, expected } in variants(&schema_of(kind), &good) {
            count += 1;
            let (told, linted) = (judge.ask(&object).await, lint(&object));
            let is_right = told.is_empty() == linted.is_empty()
                && match expected {
                    Expected::Agreement => true,
                    Expected::FieldHolds => !names(&told, &field) && !names(&linted, &field),
                    Expected::FieldRefused => names(&told, &field) && names(&linted, &field),
                };
            if !is_right {
                wrong.push(format!("{kind}, {field}, {change}:\n  API server {told:?}\n  lint {linted:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}\n{}", wrong.len(), wrong.join("\n"));
    assert!(count >= 500, "{count}");
}
