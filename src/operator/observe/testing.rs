//! What the tests of this room are made of.

use super::Stamp;
use super::seen::{Apply, SeenGateway, Workload};
use crate::ir::channel::Report;
use crate::ir::ids::ObjectId;
use crate::operator::manifests;
use crate::operator::push::ChannelState;
use crate::translate::{Plan, translate};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

/// At the beginning of time.
pub(super) fn stamp(generation: i64) -> Stamp {
    at(generation, 0)
}

/// So many seconds later.
pub(super) fn at(generation: i64, second: i64) -> Stamp {
    Stamp::new(Some(generation), &time(second))
}

pub(super) fn time(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

/// A condition as it stands in a status.
pub(super) fn condition(type_: &str, status: &str, reason: &str, message: &str) -> Condition {
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
        observed_generation: Some(1),
    }
}

/// The world of these manifests, translated.
pub(super) fn plan(text: &str) -> Plan {
    translate(&manifests::inputs(text))
}

/// A gateway `gw` that is open to everybody, with a route `r` to the backends `a` and, as its stand-in, `b`.
pub(super) const WORLD: &str = r"
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: gw}
spec: {listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPAuthPolicy
metadata: {name: open}
spec: {targetRefs: [{kind: MCPGateway, name: gw}], anonymous: Allow}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: a}
spec: {http: {image: a, port: 8000}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: b}
spec: {remote: {url: https://b.example.com/mcp}}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPRoute
metadata: {name: r}
spec:
  parentRefs: [{name: gw}]
  servers:
  - {name: s, backendRefs: [{name: a}, {name: b, priority: 1}]}
";

pub(super) fn id(name: &str) -> ObjectId {
    ObjectId::new("default", name)
}

/// A pod with this status.
pub(super) fn pod(name: &str, status: &Value) -> Arc<Pod> {
    let container = json!({"name": "gateway", "image": "images/gateway:1"});
    let pod = json!({"metadata": {"name": name}, "spec": {"containers": [container]}, "status": status});
    Arc::new(serde_json::from_value(pod).unwrap())
}

pub(super) fn ready(name: &str) -> Arc<Pod> {
    pod(name, &json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))
}

/// A pod that is being deleted, and still takes connections.
pub(super) fn leaving(name: &str) -> Arc<Pod> {
    let mut pod = (*ready(name)).clone();
    pod.metadata.deletion_timestamp = Some(time(0));
    Arc::new(pod)
}

/// A pod that finds no node.
pub(super) fn unschedulable(name: &str) -> Arc<Pod> {
    let message = "0/3 nodes are available: 3 Insufficient memory.";
    let scheduled = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
    pod(name, &json!({"phase": "Pending", "conditions": [scheduled]}))
}

/// A pod that is on its way.
pub(super) fn starting(name: &str) -> Arc<Pod> {
    pod(name, &json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}))
}

/// A pod whose container waits for this reason.
pub(super) fn waiting(name: &str, reason: &str, message: &str) -> Arc<Pod> {
    let state = json!({"waiting": {"reason": reason, "message": message}});
    let container = json!({"name": "gateway", "ready": false, "restartCount": 3, "image": "", "imageID": "", "state": state,
        "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}});
    pod(name, &json!({"phase": "Pending", "containerStatuses": [container]}))
}

/// A Deployment that wants so many pods.
pub(super) fn deployment(replicas: usize) -> Arc<Deployment> {
    let spec = json!({
        "replicas": replicas, "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {}, "spec": {"containers": []}},
    });
    Arc::new(
        serde_json::from_value(json!({"metadata": {"name": "d"}, "spec": spec, "status": {"replicas": replicas}}))
            .unwrap(),
    )
}

/// One that wants so many, and has none because the API server refuses them.
pub(super) fn refused_deployment(replicas: usize, why: &str) -> Arc<Deployment> {
    let mut deployment = (*deployment(replicas)).clone();
    let failure = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": why}]});
    deployment.status = Some(serde_json::from_value(failure).unwrap());
    Arc::new(deployment)
}

/// Each thing that can be wrong with a workload none of whose pods is ready, and what it is called.
pub(super) fn troubles() -> Vec<(Workload, &'static str)> {
    let with = |pod| Workload { apply: Apply::Done, deployment: Some(deployment(1)), pods: vec![pod] };
    let without = |apply, deployment| Workload { apply, deployment, pods: vec![] };
    let text = || "x".to_owned();
    vec![
        (with(unschedulable("p")), "False PodsNotScheduled"),
        (with(waiting("p", "ErrImagePull", "not found")), "False ImagePullFailed"),
        (with(waiting("p", "ImagePullBackOff", "Back-off pulling image")), "False ImagePullFailed"),
        (with(waiting("p", "CreateContainerConfigError", "secret not found")), "False ContainersNotCreated"),
        (with(waiting("p", "CrashLoopBackOff", "")), "False ContainersCrashing"),
        (with(starting("p")), "False PodsStarting"),
        (without(Apply::Done, Some(deployment(2))), "False PodsStarting"),
        (without(Apply::Done, Some(deployment(0))), "False NoPods"),
        (without(Apply::Done, Some(refused_deployment(1, "exceeded quota"))), "False ReplicaFailure"),
        (without(Apply::Pending, None), "Unknown Pending"),
        (without(Apply::Done, None), "Unknown Pending"),
        (without(Apply::Conflict(text()), None), "False ObjectConflict"),
        (without(Apply::PodTemplate(text()), None), "False PodTemplateInvalid"),
        (without(Apply::Invalid(text()), None), "False Invalid"),
        (without(Apply::Forbidden(text()), None), "False Forbidden"),
        (without(Apply::TooLarge(text()), None), "False TooLarge"),
        (without(Apply::Failed(text()), None), "False ApplyFailed"),
        (without(Apply::Paused, None), "False Paused"),
        (without(Apply::Paused, Some(deployment(0))), "False Paused"),
        // It is not the pause that keeps this pod from its node.
        (Workload { apply: Apply::Paused, ..with(unschedulable("p")) }, "False PodsNotScheduled"),
    ]
}

/// A gateway whose Deployment wants these pods, and whose generation should be `new`.
pub(super) fn seen(pods: Vec<Arc<Pod>>) -> SeenGateway {
    SeenGateway {
        workload: Workload { apply: Apply::Done, deployment: Some(deployment(pods.len())), pods },
        generation: Some("new".to_owned()),
        ..SeenGateway::default()
    }
}

/// The same, with what its pods say.
pub(super) fn heard(pods: &[(&str, ChannelState)]) -> SeenGateway {
    let mut seen = seen(pods.iter().map(|(name, _)| ready(name)).collect());
    seen.channels = pods.iter().map(|(name, state)| ((*name).to_owned(), state.clone())).collect();
    seen
}

pub(super) fn reached(report: Report) -> ChannelState {
    ChannelState::Reached(Arc::new(report))
}

/// What a pod says that serves this generation.
pub(super) fn report(generation: &str) -> Report {
    Report { generation: generation.to_owned(), ..Report::default() }
}

/// `Type=Status Reason`, or nothing.
pub(super) fn told(conditions: &[Condition], type_: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|found| format!("{} {}", found.status, found.reason)).unwrap_or_default()
}

/// Since when it has been so.
pub(super) fn since(conditions: &[Condition], type_: &str) -> Option<Time> {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|found| found.last_transition_time.clone())
}

/// The message of a condition.
pub(super) fn message(conditions: &[Condition], type_: &str) -> String {
    let found = conditions.iter().find(|condition| condition.type_ == type_);
    found.map(|found| found.message.clone()).unwrap_or_default()
}
