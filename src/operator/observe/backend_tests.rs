//! What a backend's status says of each thing that can be wrong.

use super::seen::{Apply, SeenBackend, SeenGateway, Workload};
use super::testing::*;
use super::{Stamp, backend_status, is_news};
use crate::api::McpBackendStatus;
use crate::ir::channel::{BackendReport, Report, ServerInfo};
use crate::ir::ids::ObjectId;
use crate::operator::push::{ChannelError, ChannelState};
use std::collections::BTreeMap;

/// What is seen of the gateway `gw`.
fn gateways(seen: SeenGateway) -> BTreeMap<ObjectId, SeenGateway> {
    [(id("gw"), seen)].into()
}

/// A backend of the test's world, as a gateway's pods report on it.
fn status_of(
    name: &str,
    seen: &SeenBackend,
    gateways: &BTreeMap<ObjectId, SeenGateway>,
    before: &McpBackendStatus,
    stamp: &Stamp,
) -> McpBackendStatus {
    backend_status(&id(name), &plan(WORLD).backends[&id(name)], seen, gateways, before, stamp)
}

/// The backend `a`, which runs in pods of its own.
fn status(seen: &SeenBackend, pods: &[(&str, ChannelState)], before: &McpBackendStatus) -> McpBackendStatus {
    status_of("a", seen, &gateways(heard(pods)), before, &stamp(1))
}

/// The backend `b`, which is remote: only the gateways know its addresses.
fn remote(pods: &[(&str, ChannelState)], before: &McpBackendStatus) -> McpBackendStatus {
    status_of("b", &SeenBackend::default(), &gateways(heard(pods)), before, &stamp(1))
}

/// A pod that reports this of both backends.
fn says(report: BackendReport) -> ChannelState {
    let backends = [(id("a"), report.clone()), (id("b"), report)].into();
    reached(Report { backends, ..self::report("new") })
}

fn verified(well: bool) -> BackendReport {
    let problem = (!well).then(|| "404 at /mcp".to_owned());
    BackendReport { verified: Some(well), tools: Some(3), problem, endpoints: 2, ..BackendReport::default() }
}

/// With so many ready addresses, and all its pods ready.
fn with(endpoints: u32) -> SeenBackend {
    let pods = vec![ready("pod")];
    let workload = Workload { apply: Apply::Done, deployment: Some(deployment(1)), pods };
    SeenBackend { workload: Some(workload), endpoints: Some(endpoints) }
}

/// Available, Verified and Ready.
fn all(status: &McpBackendStatus) -> [String; 3] {
    ["Available", "Verified", "Ready"].map(|type_| told(&status.conditions, type_))
}

fn of(seen: &SeenBackend, pods: &[(&str, ChannelState)]) -> [String; 3] {
    all(&status(seen, pods, &McpBackendStatus::default()))
}

fn good() -> ChannelState {
    says(verified(true))
}

#[test]
fn what_is_wrong_with_pods_and_objects_is_why_there_is_no_endpoint() {
    for (workload, says) in troubles() {
        let seen = SeenBackend { workload: Some(workload), endpoints: Some(0) };
        assert_eq!(of(&seen, &[("g", good())]), [says, "True Verified", says]);
    }
    assert_eq!(of(&with(0), &[("g", good())]), ["False NoEndpoints", "True Verified", "False NoEndpoints"]);
    let service = SeenBackend { workload: None, endpoints: Some(0) };
    assert_eq!(of(&service, &[("g", good())])[0], "False NoEndpoints");
}

#[test]
fn one_endpoint_is_enough_and_what_is_wrong_beside_it_is_told() {
    for (workload, says) in troubles() {
        let reason = says.split_once(' ').unwrap().1;
        let told = if matches!(reason, "NoPods" | "PodsStarting" | "Pending") { "Available" } else { reason };
        let seen = SeenBackend { workload: Some(workload), endpoints: Some(1) };
        assert_eq!(of(&seen, &[("g", good())]), [&format!("True {told}"), "True Verified", "True Ready"]);
    }
}

#[test]
fn only_a_handshake_verifies() {
    assert_eq!(of(&with(1), &[("g", good())]), ["True Available", "True Verified", "True Ready"]);
    assert_eq!(
        of(&with(1), &[("g", says(verified(false)))]),
        ["True Available", "False Unavailable", "False Unavailable"]
    );
    let silent = [
        (says(BackendReport::default()), "Unknown Pending"),
        (reached(report("new")), "Unknown Pending"),
        (ChannelState::Connecting, "Unknown Pending"),
        (ChannelState::Failed(ChannelError::Refused), "Unknown ChannelUnreachable"),
    ];
    for (state, says) in silent {
        assert_eq!(of(&with(1), &[("g", state)]), ["True Available", says, says]);
    }
    // One pod that cannot be asked is nothing against another that verified it.
    let some = [("g", ChannelState::Failed(ChannelError::Refused)), ("h", good())];
    assert_eq!(of(&with(1), &some)[1], "True Verified");
    let told = status(&with(1), &[("g", ChannelState::Failed(ChannelError::Refused))], &McpBackendStatus::default());
    assert_eq!(
        message(&told.conditions, "Verified"),
        "gateway pod g cannot be reached over the admin channel: the connection is refused: \
         nothing listens on its admin port"
    );
}

#[test]
fn a_handshake_that_fails_is_told_with_where_and_why() {
    let bad = || says(verified(false));
    let some = status(&with(1), &[("g", good()), ("h", bad())], &McpBackendStatus::default());
    assert_eq!(message(&some.conditions, "Verified"), "the MCP handshake fails at gateway pod h: 404 at /mcp");
    assert_eq!(some.summary.as_deref(), Some("Not ready: the MCP handshake fails at gateway pod h: 404 at /mcp"));
    let everywhere = status(&with(1), &[("g", bad()), ("h", bad())], &McpBackendStatus::default());
    assert_eq!(message(&everywhere.conditions, "Verified"), "the MCP handshake fails: 404 at /mcp");
}

#[test]
fn addresses_of_a_remote_server_are_those_that_gateways_see() {
    let empty = McpBackendStatus::default();
    assert_eq!(all(&remote(&[("g", ChannelState::Connecting)], &empty))[0], "Unknown Pending");
    let unresolved = BackendReport { endpoints: 0, ..verified(false) };
    assert_eq!(all(&remote(&[("g", says(unresolved))], &empty))[0], "False NoEndpoints");
    let before = remote(&[("g", good())], &empty);
    assert_eq!(all(&before), ["True Available", "True Verified", "True Ready"]);
    assert_eq!(before.endpoints.as_ref().unwrap().ready, 2);
    assert!(!is_news(&before, &remote(&[("g", ChannelState::Connecting)], &before)));
}

#[test]
fn endpoints_are_counted_as_the_pod_sees_them_that_sees_it_worst() {
    let counted = |usable, ejected| says(BackendReport { usable, ejected, ..verified(true) });
    let counts = |total, pods: &[(&str, ChannelState)], before: &McpBackendStatus| {
        let status = status(&with(total), pods, before);
        let counts = status.endpoints.clone().unwrap();
        ((counts.ready, counts.total, counts.ejected), status)
    };
    let empty = McpBackendStatus::default();
    let differing = [("g", counted(Some(3), Some(0))), ("h", counted(Some(1), Some(2)))];
    let (worst, before) = counts(4, &differing, &empty);
    assert_eq!(worst, (1, Some(4), Some(2)));
    assert!(before.summary.as_ref().unwrap().contains("answers at 1 endpoint with"), "{:?}", before.summary);
    assert_eq!(
        all(&before),
        ["True Available", "True Verified", "True Ready"],
        "what is ejected is there all the same"
    );
    assert_eq!(counts(2, &[("g", good())], &empty).0, (2, Some(2), None), "a gateway that counts none ejects none");
    assert_eq!(
        counts(1, &[("g", counted(Some(3), Some(0)))], &empty).0,
        (1, Some(1), Some(0)),
        "no more than there are"
    );
    // The operator has begun anew, and has not heard of the pods yet.
    let first_look = [("g", ChannelState::Connecting)];
    assert_eq!(counts(4, &first_look, &before).0, (1, Some(4), Some(2)));
    assert_eq!(counts(0, &first_look, &before).0, (0, Some(0), Some(0)), "no more than there are");
}

#[test]
fn a_server_is_shown_as_it_describes_itself() {
    let told = |name: &str, version: &str| BackendReport {
        server: Some(ServerInfo { name: name.to_owned(), version: Some("1".to_owned()) }),
        versions: vec![version.to_owned()],
        ..verified(true)
    };
    let pods = [("g", says(told(&"x".repeat(300), "2025-06-18"))), ("h", says(told("y", "2025-03-26")))];
    let status = status(&with(2), &pods, &McpBackendStatus::default());
    assert_eq!(status.protocol_versions, ["2025-03-26", "2025-06-18"]);
    assert_eq!((status.tools, status.replicas, status.selector.as_deref()), (Some(3), Some(1), Some("a=b")));
    let info = status.server_info.unwrap();
    assert!(info.name.len() <= 256 && info.name.ends_with("x…"), "no longer than the schema takes");
    assert!(status.summary.unwrap().ends_with("x… answers at 2 endpoints with 3 tools"));
}

#[test]
fn a_backend_that_nobody_names_was_not_tried() {
    let alone = plan(&WORLD.replace("{name: a}, {name: b, priority: 1}", "{name: b}"));
    let status = |seen: &SeenBackend, before: &McpBackendStatus| {
        backend_status(&id("a"), &alone.backends[&id("a")], seen, &BTreeMap::new(), before, &stamp(1))
    };
    let first = status(&with(1), &McpBackendStatus::default());
    assert_eq!(all(&first), ["True Available", "Unknown NotAttached", "Unknown NotAttached"]);
    assert_eq!(first.summary.as_deref(), Some("Not in use: no accepted route names it"));
    // Nor is that of the gateways which held it before still true.
    let held = self::status(&with(1), &[("g", good())], &McpBackendStatus::default());
    assert_eq!(told(&status(&with(1), &held).conditions, "Verified"), "Unknown NotAttached");
    let elsewhere = status(&SeenBackend::default(), &McpBackendStatus::default());
    assert_eq!(told(&elsewhere.conditions, "Available"), "Unknown NotAttached");
    // Once a gateway holds it, that is over, though nobody has looked at that gateway yet.
    let attached = remote(&[("g", ChannelState::Connecting)], &elsewhere);
    assert_eq!(all(&attached), ["Unknown Pending"; 3]);
}

#[test]
fn a_backend_that_is_not_accepted_says_so_first() {
    let plan = plan(&WORLD.replace("https://b.example.com/mcp", "ftp://b.example.com/mcp"));
    let status = backend_status(
        &id("b"),
        &plan.backends[&id("b")],
        &SeenBackend::default(),
        &BTreeMap::new(),
        &McpBackendStatus::default(),
        &stamp(1),
    );
    assert_eq!(told(&status.conditions, "Ready"), told(&status.conditions, "Accepted"));
    assert!(status.summary.unwrap().starts_with("Not accepted: "));
}

#[test]
fn a_restarted_operator_unsays_nothing_and_says_nothing_twice() {
    let before = status(&with(1), &[("g", good())], &McpBackendStatus::default());
    assert_eq!(before.tools, Some(3));
    let again = |gateways, generation| status_of("a", &with(1), &gateways, &before, &at(generation, 60));
    let looking = || gateways(heard(&[("g", ChannelState::Connecting)]));
    assert!(!is_news(&before, &again(gateways(heard(&[("g", good())])), 1)));
    assert!(!is_news(&before, &again(looking(), 1)));
    assert!(!is_news(&before, &again(BTreeMap::new(), 1)), "its gateway was not even deployed again");
    // One pod of several is enough to wait for.
    let some = heard(&[("g", says(verified(false))), ("h", ChannelState::Connecting)]);
    assert!(!is_news(&before, &again(gateways(some), 1)));
    // What the operator sees by itself does not wait.
    let lost = status(&with(0), &[("g", ChannelState::Connecting)], &before);
    assert_eq!(all(&lost), ["False NoEndpoints", "True Verified", "False NoEndpoints"]);
    // Nothing was said of the backend as it is now.
    assert_eq!(all(&again(looking(), 2)), ["True Available", "Unknown Pending", "Unknown Pending"]);
}

#[test]
fn nothing_stands_where_nobody_looks() {
    let before = status(&with(1), &[("g", good())], &McpBackendStatus::default());
    let cases = [
        (Apply::Paused, "Unknown Paused"),
        (Apply::Conflict("x".into()), "Unknown ObjectConflict"),
        (Apply::Failed("x".into()), "Unknown ApplyFailed"),
    ];
    for (apply, says) in cases {
        let mut unmade = seen(vec![ready("g")]);
        unmade.generation = None;
        unmade.workload.apply = apply;
        let status = status_of("a", &with(1), &gateways(unmade), &before, &stamp(1));
        assert_eq!(told(&status.conditions, "Verified"), says);
    }
}

#[test]
fn times_move_with_what_they_are_about() {
    let pods = |state| gateways(heard(&[("g", state)]));
    let times = |status: &McpBackendStatus| {
        ["Available", "Verified", "Ready"].map(|type_| since(&status.conditions, type_).unwrap().0.as_second())
    };
    let first = status_of("a", &with(1), &pods(good()), &McpBackendStatus::default(), &at(1, 10));
    let broken = status_of("a", &with(1), &pods(says(verified(false))), &first, &at(1, 20));
    assert_eq!((times(&first), times(&broken)), ([10, 10, 10], [10, 20, 20]));
    // Ready is False still, for another reason.
    let gone = status_of("a", &with(0), &pods(says(verified(false))), &broken, &at(1, 30));
    assert_eq!((told(&gone.conditions, "Ready").as_str(), times(&gone)), ("False NoEndpoints", [30, 20, 20]));
}
