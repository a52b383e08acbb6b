//! What a gateway's status says of each thing that can be wrong.

use super::gateway_status;
use super::is_news;
use super::seen::{Apply, SeenGateway};
use super::testing::*;
use crate::api::McpGatewayStatus;
use crate::ir::channel::{Refused, Report};
use crate::operator::push::{ChannelError, ChannelState};
use k8s_openapi::api::apps::v1::DeploymentStatus;
use serde_json::json;
use std::sync::Arc;

fn status(seen: &SeenGateway, before: &McpGatewayStatus) -> McpGatewayStatus {
    gateway_status(&plan(WORLD).gateways[&id("gw")], seen, before, &stamp(1))
}

/// Programmed and Ready, and the message of the first.
fn of(seen: &SeenGateway) -> (String, String, String) {
    let status = status(seen, &McpGatewayStatus::default());
    let conditions = &status.conditions;
    (told(conditions, "Programmed"), told(conditions, "Ready"), message(conditions, "Programmed"))
}

#[test]
fn what_is_wrong_with_pods_is_told_apart() {
    let unschedulable = json!({"conditions": [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available."},
    ]});
    let cases = [
        (pod("p", &unschedulable), "PodsNotScheduled", "pod p: no node takes it (0/3 nodes are available)"),
        (
            waiting("p", "ImagePullBackOff", "Back-off pulling image"),
            "ImagePullFailed",
            "cannot be pulled (images/gateway:1)",
        ),
        (waiting("p", "ErrImagePull", "not found"), "ImagePullFailed", "(images/gateway:1: not found)"),
        (
            waiting("p", "CreateContainerConfigError", "secret \"s\" not found"),
            "ContainersNotCreated",
            "secret \"s\" not found",
        ),
        (
            waiting("p", "CrashLoopBackOff", ""),
            "ContainersCrashing",
            "exit code 2 and is started again; its log says why: kubectl logs --previous p",
        ),
        (pod("p", &json!({"phase": "Pending"})), "PodsStarting", "pod p: not ready yet"),
    ];
    for (pod, reason, says) in cases {
        let (programmed, ready, message) = of(&seen(vec![pod]));
        assert_eq!((programmed, ready), (format!("False {reason}"), format!("False {reason}")));
        assert!(message.contains(says), "{message}");
    }
    let leaving = json!({"phase": "Succeeded"});
    let (programmed, ready, _) = of(&seen(vec![pod("p", &leaving)]));
    assert_eq!((programmed.as_str(), ready.as_str()), ("False PodsStarting", "False PodsStarting"));
    let mut none = seen(vec![]);
    assert_eq!(of(&none).0, "False NoPods");
    none.workload.deployment = Some(deployment(2));
    assert_eq!(of(&none).0, "False PodsStarting");
    let mut failing = (*deployment(2)).clone();
    let failure = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]});
    failing.status = Some(serde_json::from_value::<DeploymentStatus>(failure).unwrap());
    none.workload.deployment = Some(Arc::new(failing));
    let (programmed, _, message) = of(&none);
    assert_eq!(
        (programmed.as_str(), message.as_str()),
        ("False ReplicaFailure", "pods cannot be created: exceeded quota")
    );
    none.workload.deployment = None;
    assert_eq!(of(&none).0, "Unknown Pending");
}

#[test]
fn what_is_wrong_with_objects_is_told_apart() {
    let cases = [
        (Apply::Conflict("x".into()), "False ObjectConflict"),
        (Apply::PodTemplate("x".into()), "False PodTemplateInvalid"),
        (Apply::Invalid("x".into()), "False Invalid"),
        (Apply::Forbidden("x".into()), "False Forbidden"),
        (Apply::TooLarge("x".into()), "False TooLarge"),
        (Apply::Failed("x".into()), "False ApplyFailed"),
        (Apply::Paused, "False Paused"),
    ];
    for (apply, says) in cases {
        let mut seen = seen(vec![]);
        seen.workload.deployment = None;
        seen.workload.apply = apply;
        assert_eq!(of(&seen).0, says);
    }
    // What serves goes on serving.
    let mut seen = heard(&[("p", reached(report("new")))]);
    seen.workload.apply = Apply::Conflict("x".into());
    assert_eq!((of(&seen).0.as_str(), of(&seen).1.as_str()), ("False ObjectConflict", "True Ready"));
    seen.workload.apply = Apply::Paused;
    assert_eq!(of(&seen).0, "True Programmed");
}

#[test]
fn only_what_pods_report_is_programmed() {
    let good = || reached(report("new"));
    assert_eq!(of(&heard(&[("a", good()), ("b", good())])).0, "True Programmed");
    let refused = Refused { generation: Some("new".into()), reason: "port 80 is taken".into() };
    let says_no = reached(Report { refused: Some(refused), ..report("old") });
    let cases = [
        (
            says_no.clone(),
            "False GenerationRefused",
            "generation new is live on 1 of 2 pods: pod b refuses it: port 80 is taken",
        ),
        (reached(report("old")), "False ReplicasOutdated", "pod b is still on old"),
        (reached(report("")), "False ReplicasOutdated", "pod b serves none yet"),
        (
            ChannelState::Failed(ChannelError::Timeout),
            "False ChannelUnreachable",
            "pod b its admin channel cannot be reached: no answer in time",
        ),
        (ChannelState::Connecting, "Unknown Pending", "pod b was not looked at yet"),
    ];
    for (state, says, message) in cases {
        let (programmed, ready, told) = of(&heard(&[("a", good()), ("b", state)]));
        assert_eq!((programmed.as_str(), ready.as_str()), (says, "True Ready"));
        assert!(told.contains(message), "{told}");
    }
    let leaving = reached(Report { draining: true, ..report("old") });
    assert_eq!(of(&heard(&[("a", good()), ("b", leaving)])).0, "True Programmed", "one that leaves does not count");
    // A new pod that refuses what it finds never becomes ready, and says why all the same.
    let mut starting = seen(vec![pod("b", &json!({"phase": "Running"}))]);
    starting.channels = [("b".to_owned(), says_no)].into();
    let (programmed, ready, _) = of(&starting);
    assert_eq!((programmed.as_str(), ready.as_str()), ("False GenerationRefused", "False PodsStarting"));
}

#[test]
fn nothing_is_unsaid_before_pods_were_looked_at_and_nothing_is_said_twice() {
    let programmed = status(&heard(&[("a", reached(report("new")))]), &McpGatewayStatus::default());
    assert_eq!(programmed.programmed_replicas, Some(1));
    assert_eq!(programmed.summary.as_deref(), Some("Serving 1 route on 1 pod"));
    let restarted = status(&heard(&[("a", ChannelState::Connecting)]), &programmed);
    assert!(!is_news(&programmed, &restarted), "{restarted:?}");
    let outdated = status(&heard(&[("a", reached(report("old")))]), &restarted);
    assert!(is_news(&restarted, &outdated));
    // Another generation stands for nothing that was said of the one before.
    let mut next = heard(&[("a", ChannelState::Connecting)]);
    next.generation = Some("next".into());
    assert_eq!(told(&status(&next, &programmed).conditions, "Programmed"), "Unknown Pending");
}

#[test]
fn a_gateway_that_is_not_accepted_says_so_first() {
    let plan = plan(
        "apiVersion: gateway.mcp-operator.dev/v1alpha1\nkind: MCPGateway\nmetadata: {name: gw}\nspec: {listeners: []}\n",
    );
    let status = gateway_status(&plan.gateways[&id("gw")], &seen(vec![]), &McpGatewayStatus::default(), &stamp(1));
    assert_eq!(told(&status.conditions, "Programmed"), "False Invalid");
    assert!(status.summary.unwrap().starts_with("Not accepted: "));
}
