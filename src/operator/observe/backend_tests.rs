//! What a backend's status says of each thing that can be wrong.

use super::seen::{Apply, SeenBackend, SeenGateway, Workload};
use super::testing::*;
use super::{backend_status, is_news};
use crate::api::McpBackendStatus;
use crate::ir::channel::{BackendReport, Report};
use crate::operator::push::{ChannelError, ChannelState};
use std::collections::BTreeMap;

/// The backend `a` of the test's world, as these gateway pods report on it.
fn status(seen: &SeenBackend, pods: &[(&str, ChannelState)], before: &McpBackendStatus) -> McpBackendStatus {
    let gateways: BTreeMap<_, SeenGateway> = [(id("gw"), heard(pods))].into();
    backend_status(&id("a"), &plan(WORLD).backends[&id("a")], seen, &gateways, before, &stamp(1))
}

/// A pod that reports this of the backend `a`.
fn says(report: BackendReport) -> ChannelState {
    reached(Report { backends: [(id("a"), report)].into(), ..self::report("new") })
}

fn verified(well: bool) -> BackendReport {
    let problem = (!well).then(|| "404 at /mcp".to_owned());
    BackendReport { verified: Some(well), tools: Some(3), problem, ..BackendReport::default() }
}

/// With so many ready addresses, and all its pods ready.
fn with(endpoints: u32) -> SeenBackend {
    let pods = vec![ready("pod")];
    let workload = Workload { apply: Apply::Done, deployment: Some(deployment(1)), pods };
    SeenBackend { workload: Some(workload), endpoints: Some(endpoints) }
}

fn of(seen: &SeenBackend, pods: &[(&str, ChannelState)]) -> [String; 3] {
    let status = status(seen, pods, &McpBackendStatus::default());
    ["Available", "Verified", "Ready"].map(|type_| told(&status.conditions, type_))
}

#[test]
fn each_thing_that_is_wrong_is_told_apart() {
    let good = [("g", says(verified(true)))];
    assert_eq!(of(&with(1), &good), ["True Available", "True Verified", "True Ready"]);
    assert_eq!(of(&with(0), &good), ["False NoEndpoints", "True Verified", "False NoEndpoints"]);
    let mut pulling = with(0);
    pulling.workload.as_mut().unwrap().pods = vec![waiting("pod", "ErrImagePull", "")];
    assert_eq!(of(&pulling, &good)[0], "False ImagePullFailed");
    pulling.endpoints = Some(1);
    assert_eq!(of(&pulling, &good)[0], "True ImagePullFailed", "of some pods only");
    let mut conflict = with(0);
    conflict.workload.as_mut().unwrap().apply = Apply::Conflict("x".into());
    assert_eq!(of(&conflict, &good)[0], "False ObjectConflict");

    let bad = [("g", says(verified(false)))];
    assert_eq!(of(&with(1), &bad), ["True Available", "False Unavailable", "False Unavailable"]);
    let some = [("g", says(verified(true))), ("h", says(verified(false)))];
    let told = status(&with(1), &some, &McpBackendStatus::default());
    assert_eq!(message(&told.conditions, "Verified"), "the MCP handshake fails at gateway pod h: 404 at /mcp");
    assert_eq!(of(&with(1), &[("g", says(BackendReport::default()))])[1], "Unknown Pending");
    assert_eq!(of(&with(1), &[("g", ChannelState::Failed(ChannelError::Refused))])[1], "Unknown ChannelUnreachable");
}

#[test]
fn a_backend_that_nobody_names_was_not_tried() {
    let plan = plan(&WORLD.replace("{name: a}, {name: b, priority: 1}", "{name: b}"));
    let status = |seen: &SeenBackend| {
        backend_status(
            &id("a"),
            &plan.backends[&id("a")],
            seen,
            &BTreeMap::new(),
            &McpBackendStatus::default(),
            &stamp(1),
        )
    };
    assert_eq!(told(&status(&with(1)).conditions, "Verified"), "Unknown NotAttached");
    assert_eq!(told(&status(&SeenBackend::default()).conditions, "Available"), "Unknown NotAttached");
    assert_eq!(status(&with(1)).summary.as_deref(), Some("Not in use: no accepted route names it"));
}

#[test]
fn what_was_said_stands_until_pods_were_looked_at() {
    let before = status(&with(1), &[("g", says(verified(true)))], &McpBackendStatus::default());
    assert_eq!(before.tools, Some(3));
    assert!(!is_news(&before, &status(&with(1), &[("g", ChannelState::Connecting)], &before)));
    let after = status(&with(1), &[("g", says(verified(false)))], &before);
    assert!(is_news(&before, &after));
    assert_eq!(after.conditions.iter().filter(|condition| condition.reason == "Unavailable").count(), 2);
}
