//! What a gateway's status says of each thing that can be wrong.

use super::seen::{Apply, SeenGateway};
use super::testing::*;
use super::{Stamp, gateway_status, is_news};
use crate::api::McpGatewayStatus;
use crate::api::gateway::{AddressType, GatewayAddress};
use crate::ir::channel::{Refused, Report};
use crate::operator::push::{ChannelError, ChannelState};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::Arc;

/// A gateway that is not acceptable.
const NO_LISTENERS: &str = "
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: gw}
spec: {listeners: []}
";

fn status(seen: &SeenGateway, before: &McpGatewayStatus) -> McpGatewayStatus {
    status_at(WORLD, seen, before, &stamp(1))
}

fn status_at(text: &str, seen: &SeenGateway, before: &McpGatewayStatus, stamp: &Stamp) -> McpGatewayStatus {
    gateway_status(&plan(text).gateways[&id("gw")], seen, before, stamp)
}

/// Programmed and Ready, and the message of the first.
fn of(seen: &SeenGateway) -> (String, String, String) {
    let status = status(seen, &McpGatewayStatus::default());
    let conditions = &status.conditions;
    (told(conditions, "Programmed"), told(conditions, "Ready"), message(conditions, "Programmed"))
}

fn good() -> ChannelState {
    reached(report("new"))
}

/// A pod that stays with the generation before.
fn says_no() -> ChannelState {
    let refused = Refused { generation: Some("new".into()), reason: "port 80 is taken".into() };
    reached(Report { refused: Some(refused), ..report("old") })
}

#[test]
fn what_is_wrong_with_pods_and_objects_is_told_apart() {
    for (workload, says) in troubles() {
        let (programmed, ready, message) = of(&SeenGateway { workload, ..seen(vec![]) });
        assert_eq!((programmed.as_str(), ready.as_str()), (says, says), "{message}");
        assert!(!message.is_empty(), "{says}");
    }
}

#[test]
fn a_message_names_the_pods_and_the_way_out() {
    let oom = json!({"name": "gateway", "ready": false, "restartCount": 1, "image": "", "imageID": "",
        "state": {"running": {}}, "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}});
    let told = json!({"name": "server", "ready": false, "restartCount": 1, "image": "", "imageID": "",
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 127, "reason": "Error",
        "message": "the command \"x\" was not found\n"}}});
    let init = json!({"name": "copy", "ready": false, "restartCount": 0, "image": "images/copy:1", "imageID": "",
        "state": {"waiting": {"reason": "InvalidImageName", "message": "no such thing"}}});
    let containers = |key: &str, container: &Value| pod("p", &json!({"phase": "Running", key: [container]}));
    let cases: [(Vec<Arc<Pod>>, &str); 8] = [
        (
            vec![containers("containerStatuses", &told)],
            "pod p: container server ended with exit code 127: the command \"x\" was not found; it is started again, \
             and its log says more: kubectl logs --previous p",
        ),
        (
            vec![unschedulable("a"), unschedulable("b")],
            "pods a and b: no node takes it (0/3 nodes are available: 3 Insufficient memory); \
             add nodes, or ask for less",
        ),
        (
            vec![waiting("a", "ErrImagePull", "not found")],
            "pod a: the image cannot be pulled (images/gateway:1: not found); correct its name, \
             or name a pull secret in spec.podTemplate.spec.imagePullSecrets",
        ),
        (
            vec![waiting("a", "CreateContainerConfigError", "secret \"s\" not found")],
            "pod a: a container cannot be created (container gateway: secret \"s\" not found); \
             create what it names, or correct the spec",
        ),
        (
            vec![waiting("a", "CrashLoopBackOff", "back-off 20s")],
            "pod a: container gateway ended with exit code 2; it is started again, \
             and its log says more: kubectl logs --previous a",
        ),
        (
            vec![containers("containerStatuses", &oom)],
            "pod p: container gateway ended for want of memory (OOMKilled): raise its resources.limits.memory, \
             or have it use less; it is started again, and its log says more: kubectl logs --previous p",
        ),
        (
            vec![containers("initContainerStatuses", &init)],
            "pod p: the image cannot be pulled (images/copy:1: no such thing); correct its name, \
             or name a pull secret in spec.podTemplate.spec.imagePullSecrets",
        ),
        (["a", "b", "c", "d"].map(starting).into(), "pods a, b, c and 1 more: not ready yet"),
    ];
    for (pods, says) in cases {
        assert_eq!(of(&seen(pods)).2, says);
    }
    let mut refused = seen(vec![]);
    refused.workload.deployment = Some(refused_deployment(1, "exceeded quota"));
    assert_eq!(of(&refused).2, "pods cannot be created: exceeded quota");
    refused.workload.deployment = Some(deployment(0));
    assert_eq!(of(&refused).2, "it is scaled to 0 pods; raise spec.replicas");
}

#[test]
fn the_worst_of_many_troubles_is_the_reason_and_the_message_tells_all() {
    let (programmed, _, message) = of(&seen(vec![starting("a"), unschedulable("b"), waiting("c", "ErrImagePull", "")]));
    assert_eq!(programmed, "False ImagePullFailed");
    let places: Vec<_> =
        ["pod c: the image", "pod b: no node", "pod a: not ready"].map(|text| message.find(text)).into();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{message}");
}

#[test]
fn a_pull_that_is_tried_again_and_again_is_said_once() {
    let error = "rpc error: manifest unknown";
    let trying = of(&seen(vec![waiting("a", "ErrImagePull", error)]));
    let backing_off = format!("Back-off pulling image \"images/gateway:1\": ErrImagePull: {error}");
    assert_eq!(trying, of(&seen(vec![waiting("a", "ImagePullBackOff", &backing_off)])));
}

#[test]
fn one_pod_that_serves_is_enough_and_the_others_are_told_of() {
    let with = |other: Arc<Pod>| {
        let mut seen = heard(&[("a", good())]);
        seen.workload.pods.push(other);
        seen.workload.deployment = Some(deployment(2));
        let status = status(&seen, &McpGatewayStatus::default());
        assert_eq!(told(&status.conditions, "Programmed"), "True Programmed");
        (told(&status.conditions, "Ready"), status.summary.unwrap())
    };
    let (ready, summary) = with(waiting("b", "ErrImagePull", "not found"));
    assert_eq!(ready, "True ImagePullFailed");
    assert!(summary.starts_with("Serving 1 route; 1 of 2 pods ready: pod b: the image cannot"), "{summary}");
    // What passes by itself is nothing to look at.
    let (ready, summary) = with(starting("b"));
    assert_eq!(
        (ready.as_str(), summary.as_str()),
        ("True Ready", "Serving 1 route; 1 of 2 pods ready: pod b: not ready yet")
    );
    assert_eq!(with(leaving("b")).1, "Serving 1 route; 1 of 1 pod ready: 1 of 2 pods are there");
}

#[test]
fn what_serves_goes_on_serving_whatever_is_wrong_with_objects() {
    let mut seen = heard(&[("p", good())]);
    seen.workload.apply = Apply::Conflict("x".into());
    let (programmed, ready, message) = of(&seen);
    assert_eq!((programmed.as_str(), ready.as_str(), message.as_str()), ("False ObjectConflict", "True Ready", "x"));
    for apply in [Apply::Paused, Apply::Failed("x".into())] {
        seen.workload.apply = apply;
        assert_eq!(of(&seen).0, "True Programmed");
    }
    // A pause is why a pod stays behind; it is not why one refuses.
    for (state, says) in [(reached(report("old")), "False Paused"), (says_no(), "False GenerationRefused")] {
        let mut paused = heard(&[("p", state)]);
        paused.workload.apply = Apply::Paused;
        assert_eq!(of(&paused).0, says);
    }
}

#[test]
fn only_what_pods_report_is_programmed() {
    assert_eq!(of(&heard(&[("a", good()), ("b", good())])).0, "True Programmed");
    let unreadable = Refused { generation: None, reason: "not gzip".into() };
    let earlier = Refused { generation: Some("older".into()), reason: "x".into() };
    let refusing = |refused| reached(Report { refused: Some(refused), ..report("old") });
    let cases = [
        (says_no(), "False GenerationRefused", "pod b refuses it: port 80 is taken"),
        (refusing(unreadable), "False GenerationRefused", "pod b refuses it: not gzip"),
        (refusing(earlier), "False ReplicasOutdated", "pod b is still on old"),
        (reached(report("old")), "False ReplicasOutdated", "pod b is still on old"),
        (reached(report("")), "False ReplicasOutdated", "pod b serves none yet"),
        (
            ChannelState::Failed(ChannelError::Unauthorized),
            "False ChannelUnreachable",
            "pod b cannot be reached over the admin channel: it does not accept the operator's token: \
             restart the pod if its Secret was replaced",
        ),
        (ChannelState::Connecting, "Unknown Pending", "pod b was not looked at yet"),
    ];
    for (state, says, message) in cases {
        let (programmed, ready, told) = of(&heard(&[("a", good()), ("b", state)]));
        assert_eq!((programmed.as_str(), ready.as_str()), (says, "True Ready"));
        assert_eq!(told, format!("generation new is live on 1 of 2 pods: {message}"));
    }
    let all = [("a", says_no()), ("b", reached(report("old"))), ("c", reached(report("old"))), ("d", good())];
    let (programmed, _, message) = of(&heard(&all));
    assert_eq!(programmed, "False GenerationRefused");
    assert_eq!(
        message,
        "generation new is live on 1 of 4 pods: pod a refuses it: port 80 is taken; pods b and c are still on old"
    );
    let going = reached(Report { draining: true, ..report("old") });
    assert_eq!(of(&heard(&[("a", good()), ("b", going)])).0, "True Programmed", "one that leaves does not count");
    let mut unmade = heard(&[("a", good())]);
    unmade.generation = None;
    assert_eq!(of(&unmade).0, "Unknown Pending");
}

#[test]
fn a_new_pod_that_refuses_what_it_finds_says_why_though_it_is_never_ready() {
    let mut seen = seen(vec![starting("a"), starting("b")]);
    seen.channels = [("a".to_owned(), says_no()), ("b".to_owned(), good())].into();
    let (programmed, ready, message) = of(&seen);
    assert_eq!((programmed.as_str(), ready.as_str()), ("False GenerationRefused", "False PodsStarting"));
    assert_eq!(message, "generation new is live on 0 of 2 pods: pod a refuses it: port 80 is taken");
    // One that leaves does not count, nor one that is gone.
    seen.workload.pods = vec![leaving("a")];
    assert_eq!(of(&seen).0, "False PodsStarting");
    seen.workload.pods = vec![starting("b")];
    assert_eq!(of(&seen).0, "False PodsStarting");
}

#[test]
fn a_restarted_operator_unsays_nothing_and_says_nothing_twice() {
    let programmed = status(&heard(&[("a", good())]), &McpGatewayStatus::default());
    assert_eq!(programmed.programmed_replicas, Some(1));
    assert_eq!(programmed.summary.as_deref(), Some("Serving 1 route on 1 pod"));
    let again = |seen: &SeenGateway| status_at(WORLD, seen, &programmed, &at(1, 60));
    assert!(!is_news(&programmed, &again(&heard(&[("a", good())]))));
    let mut looking = heard(&[("a", ChannelState::Connecting)]);
    assert!(!is_news(&programmed, &again(&looking)));
    // It has not even made the generation again.
    looking.generation = None;
    looking.workload.apply = Apply::Pending;
    assert!(!is_news(&programmed, &again(&looking)));

    assert!(is_news(&programmed, &again(&heard(&[("a", reached(report("old")))]))));
    // Another generation stands for nothing that was said of the one before.
    looking.generation = Some("next".into());
    let next = again(&looking);
    assert_eq!(told(&next.conditions, "Programmed"), "Unknown Pending");
    assert_eq!((next.generation.as_deref(), next.programmed_replicas), (Some("next"), Some(0)));
}

#[test]
fn nothing_stands_where_nobody_looks() {
    let programmed = status(&heard(&[("a", good())]), &McpGatewayStatus::default());
    let mut unmade = seen(vec![ready("a")]);
    unmade.generation = None;
    let cases = [
        (Apply::Paused, "False Paused"),
        (Apply::Forbidden("x".into()), "False Forbidden"),
        (Apply::Failed("x".into()), "False ApplyFailed"),
        (Apply::Done, "Unknown Pending"),
    ];
    let mut before = programmed;
    // Each is told although the one before it was as good as never looked at.
    for (apply, says) in cases {
        unmade.workload.apply = apply;
        before = status(&unmade, &before);
        assert_eq!(told(&before.conditions, "Programmed"), says);
        assert_eq!(before.generation, None);
    }
    // What is wrong whatever pods report does not wait for them.
    let mut looking = heard(&[("a", ChannelState::Connecting)]);
    let before = status(&heard(&[("a", good())]), &McpGatewayStatus::default());
    looking.workload.apply = Apply::Conflict("x".into());
    assert_eq!(told(&status(&looking, &before).conditions, "Programmed"), "False ObjectConflict");
}

#[test]
fn times_move_with_what_they_are_about() {
    let first = status_at(WORLD, &heard(&[("a", good())]), &McpGatewayStatus::default(), &at(1, 10));
    let times = |status: &McpGatewayStatus| {
        ["Accepted", "Programmed", "Ready"].map(|type_| since(&status.conditions, type_).unwrap().0.as_second())
    };
    assert_eq!(times(&first), [10, 10, 10]);
    let outdated = status_at(WORLD, &heard(&[("a", reached(report("old")))]), &first, &at(1, 20));
    assert_eq!(times(&outdated), [10, 20, 10]);
    // Another reason, and another generation of the object.
    let refused = status_at(WORLD, &heard(&[("a", says_no())]), &outdated, &at(2, 30));
    assert_eq!(told(&refused.conditions, "Programmed"), "False GenerationRefused");
    assert_eq!(times(&refused), [10, 20, 10]);
    assert!(refused.conditions.iter().all(|condition| condition.observed_generation == Some(2)));
    assert_eq!(times(&status_at(WORLD, &heard(&[("a", good())]), &refused, &at(2, 40))), [10, 40, 10]);
}

#[test]
fn a_gateway_that_is_not_accepted_says_so_first() {
    let before = status(&heard(&[("a", good())]), &McpGatewayStatus::default());
    // Also while nobody has looked at what serves still.
    let mut looking = heard(&[("a", ChannelState::Connecting)]);
    looking.generation = None;
    looking.workload.apply = Apply::Pending;
    for (seen, ready) in [(seen(vec![]), "False Invalid"), (looking, "True Ready")] {
        let status = status_at(NO_LISTENERS, &seen, &before, &stamp(2));
        assert_eq!(told(&status.conditions, "Programmed"), "False Invalid");
        assert_eq!(told(&status.conditions, "Ready"), ready);
        assert!(status.summary.unwrap().starts_with("Not accepted: "));
    }
}

#[test]
fn the_scale_subresource_and_clients_find_what_they_need() {
    let address = |number: u8| GatewayAddress { type_: AddressType::IPAddress, value: format!("192.0.2.{number}") };
    let mut seen = heard(&[("a", good()), ("b", good())]);
    seen.addresses = (0..40).map(address).collect();
    let status = status(&seen, &McpGatewayStatus::default());
    assert_eq!((status.replicas, status.selector.as_deref()), (Some(2), Some("a=b")));
    assert_eq!((status.programmed_replicas, status.attached_routes), (Some(2), Some(1)));
    assert_eq!(status.addresses.len(), 32, "no more than the schema takes");
    assert_eq!(status.addresses[0], address(0));
}
