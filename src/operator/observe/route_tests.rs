//! What a route's status says of each thing that can be wrong.

use super::seen::{Apply, SeenGateway};
use super::testing::*;
use super::{Stamp, is_news, route_status};
use crate::api::McpRouteStatus;
use crate::api::route::ParentRef;
use crate::ir::channel::{Report, RouteReport, ServerReport};
use crate::ir::ids::ObjectId;
use crate::operator::push::{ChannelError, ChannelState};
use serde_json::json;
use std::collections::BTreeMap;

/// What pods report, in the order of [`of`].
const TYPES: [&str; 4] = ["Programmed", "Ready", "PrimaryActive", "CatalogComplete"];

/// A world whose route has a second server `t`, which it cannot do without.
fn two_servers() -> String {
    format!("{WORLD}  - {{name: t, required: true, backendRefs: [{{name: b}}]}}\n")
}

/// A world with a second gateway that has the route, `ha`.
fn two_gateways() -> String {
    let second = "
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: ha}
spec: {listeners: [{name: http, port: 8080, protocol: HTTP}]}
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPAuthPolicy
metadata: {name: open-too}
spec: {targetRefs: [{kind: MCPGateway, name: ha}], anonymous: Allow}
";
    WORLD.replace("[{name: gw}]\n  servers", "[{name: gw}, {name: ha}]\n  servers") + second
}

fn status_at(
    text: &str,
    gateways: &BTreeMap<ObjectId, SeenGateway>,
    before: &McpRouteStatus,
    stamp: &Stamp,
) -> McpRouteStatus {
    let parents: Vec<ParentRef> = if text.contains("name: ha") {
        serde_json::from_value(json!([{"name": "gw"}, {"name": "ha"}])).unwrap()
    } else {
        serde_json::from_value(json!([{"name": "gw"}])).unwrap()
    };
    route_status(&id("r"), &parents, &plan(text), gateways, before, stamp)
}

fn status(text: &str, seen: SeenGateway, before: &McpRouteStatus) -> McpRouteStatus {
    status_at(text, &[(id("gw"), seen)].into(), before, &stamp(1))
}

/// The first status of the route in this world, as these pods report it.
fn first(text: &str, pods: &[(&str, ChannelState)]) -> McpRouteStatus {
    status(text, heard(pods), &McpRouteStatus::default())
}

/// A pod that reports these servers of the route.
fn says_all(servers: &[(&str, ServerReport)]) -> ChannelState {
    let named = |(name, server): &(&str, ServerReport)| ServerReport { name: (*name).into(), ..server.clone() };
    let route = RouteReport { servers: servers.iter().map(named).collect(), unavailable: false };
    reached(Report { routes: [(id("r"), route)].into(), ..report("new") })
}

/// A pod that reports this of the route's one server.
fn says(server: ServerReport) -> ChannelState {
    says_all(&[("s", server)])
}

/// The server as it is served by this priority.
fn served(active: Option<u32>) -> ServerReport {
    let healthy = u32::from(active.is_some());
    ServerReport { active_priority: active, healthy, total: 2, listed: Some(true), tools: 4, ..ServerReport::default() }
}

fn good() -> ChannelState {
    says(served(Some(0)))
}

fn all(status: &McpRouteStatus) -> [String; 4] {
    TYPES.map(|type_| told_of(status, type_))
}

fn of(pods: &[(&str, ChannelState)]) -> [String; 4] {
    all(&first(WORLD, pods))
}

fn told_of(status: &McpRouteStatus, type_: &str) -> String {
    told(&status.parents[0].conditions, type_)
}

fn message_of(status: &McpRouteStatus, type_: &str) -> String {
    message(&status.parents[0].conditions, type_)
}

#[test]
fn a_route_is_as_its_pods_report_it() {
    let status = first(WORLD, &[("a", good()), ("b", good())]);
    assert_eq!(all(&status), ["True Programmed", "True Ready", "True PrimaryActive", "True CatalogComplete"]);
    assert_eq!(status.summary.as_deref(), Some("Served by 2 pods: 4 tools of 1 server"));
    let server = &status.parents[0].servers[0];
    assert_eq!((server.name.as_str(), server.active_priority, server.reporting), ("s", Some(0), Some(2)));
    assert_eq!((server.healthy, server.total, server.tools), (Some(1), Some(2), Some(4)));
}

#[test]
fn why_no_pod_reports_it_is_told_apart() {
    for (workload, says) in troubles() {
        let status = status(WORLD, SeenGateway { workload, ..seen(vec![]) }, &McpRouteStatus::default());
        let unknown = format!("Unknown {}", says.split_once(' ').unwrap().1);
        assert_eq!(all(&status), [says, says, unknown.as_str(), unknown.as_str()]);
        assert!(message_of(&status, "Ready").starts_with("no pod of default/gw is ready: "));
    }
    let unreachable = ["Unknown ChannelUnreachable"; 3];
    let told = of(&[("a", ChannelState::Failed(ChannelError::Refused))]);
    assert_eq!((told[0].as_str(), &told[1..]), ("False ChannelUnreachable", &unreachable.map(str::to_owned)[..]));
    assert_eq!(of(&[("a", ChannelState::Connecting)]), ["Unknown Pending"; 4]);
    // It serves an earlier generation, without the route.
    let told = of(&[("a", reached(report("old")))]);
    assert_eq!(told, ["False ReplicasOutdated", "Unknown Pending", "Unknown Pending", "Unknown Pending"]);
    let unseen = status_at(WORLD, &BTreeMap::new(), &McpRouteStatus::default(), &stamp(1));
    assert_eq!(all(&unseen), ["Unknown Pending"; 4]);
    assert_eq!(unseen.summary.as_deref(), Some("Waiting: its gateway was not looked at yet"));
}

#[test]
fn a_lower_tier_is_told_with_where() {
    let status = first(WORLD, &[("a", good()), ("b", says(served(Some(1))))]);
    assert_eq!(all(&status)[1..], ["True Ready", "False FailedOver", "True CatalogComplete"]);
    let message = "server s is served by priority 1 instead of 0 at pod b";
    assert_eq!(message_of(&status, "PrimaryActive"), message);
    assert_eq!(status.parents[0].servers[0].active_priority, Some(1));
    assert_eq!(status.summary, Some(format!("Served, but failed over: {message}")));
}

#[test]
fn a_route_without_anything_to_call_is_not_served() {
    let dead = first(WORLD, &[("a", good()), ("b", says(served(None)))]);
    assert_eq!(all(&dead)[1..], ["False Unavailable", "False Unavailable", "True CatalogComplete"]);
    assert_eq!(message_of(&dead, "Ready"), "no server has a backend that can be called at pod b");
    assert_eq!(message_of(&dead, "PrimaryActive"), "server s has no backend that can be called at pod b");
    assert_eq!(dead.parents[0].servers[0].active_priority, None, "the worst of all pods counts");
    assert_eq!(dead.parents[0].servers[0].healthy, Some(0));

    let without = |s, t| first(&two_servers(), &[("a", says_all(&[("s", served(s)), ("t", served(t))]))]);
    let optional = without(None, Some(0));
    assert_eq!(all(&optional)[1..3], ["True Ready", "False Unavailable"]);
    let required = without(Some(0), None);
    assert_eq!(all(&required)[1..3], ["False Unavailable", "False Unavailable"]);
    assert_eq!(message_of(&required, "Ready"), "server t, which the route requires, has no backend that can be called");
    // What was reported of one of them says nothing of the other.
    let half = first(&two_servers(), &[("a", good())]);
    assert_eq!(all(&half)[2..], ["Unknown Pending", "Unknown Pending"]);
    assert_eq!(half.parents[0].servers[1].reporting, Some(0));
}

#[test]
fn a_route_that_refuses_everybody_is_not_served_whatever_its_servers_could_do() {
    let unresolved = WORLD.replace("[{name: a}, {name: b, priority: 1}]", "[{name: nowhere}]");
    let status = first(&unresolved, &[("a", good())]);
    assert_eq!(all(&status)[..2], ["True Programmed", "False Unavailable"]);
    let why = message_of(&status, "Ready");
    assert_eq!(why, "clients get 503: no server has a usable backend");

    // It is resolved since, and a pod serves what was before.
    let refuses =
        RouteReport { servers: vec![ServerReport { name: "s".into(), ..served(Some(0)) }], unavailable: true };
    let refuses = reached(Report { routes: [(id("r"), refuses)].into(), ..report("old") });
    let status = first(WORLD, &[("a", good()), ("b", refuses)]);
    assert_eq!(all(&status)[..2], ["False ReplicasOutdated", "False Unavailable"]);
    assert_eq!(message_of(&status, "Ready"), "clients get 503 until what was missing is in force at pod b");
}

#[test]
fn a_route_is_not_ready_before_a_server_has_answered_and_stays_so_while_new_pods_try() {
    let new = || says(ServerReport { untried: true, ..served(Some(0)) });
    let status = first(WORLD, &[("a", new())]);
    assert_eq!(all(&status)[..2], ["True Programmed", "Unknown Pending"]);
    assert_eq!(message_of(&status, "Ready"), "no pod has had an answer of a server yet");
    assert_eq!(of(&[("a", new()), ("b", good())])[1], "True Ready", "one that knows is enough");
    assert_eq!(of(&[("a", new()), ("b", says(served(None)))])[1], "False Unavailable");

    let again = |text: &str, state, before: &_| {
        all(&status_at(text, &[(id("gw"), heard(&[("c", state)]))].into(), before, &at(1, 60)))
    };
    let before = first(WORLD, &[("a", good())]);
    assert_eq!(again(WORLD, new(), &before)[1], "True Ready", "all pods were replaced");
    assert_eq!(again(WORLD, says(served(None)), &before)[1], "False Unavailable");
    // What the route requires counts by itself.
    let pods = |t| says_all(&[("s", served(Some(0))), ("t", ServerReport { untried: t, ..served(Some(0)) })]);
    assert_eq!(all(&first(&two_servers(), &[("a", pods(true))]))[1], "Unknown Pending");
    assert_eq!(all(&first(&two_servers(), &[("a", pods(false))]))[1], "True Ready");
}

#[test]
fn what_clients_do_not_find_is_told_with_why() {
    let unlisted = ServerReport { listed: Some(false), problem: Some("timed out".into()), ..served(Some(0)) };
    let status = first(WORLD, &[("a", good()), ("b", says(unlisted.clone()))]);
    assert_eq!(told_of(&status, "CatalogComplete"), "False Unavailable");
    assert_eq!(message_of(&status, "CatalogComplete"), "server s is not in the catalogue at pod b: timed out");
    let conflicting = |count: usize| {
        let conflicts = (0..count).map(|number| format!("tool-{number:02}")).collect();
        first(WORLD, &[("a", says(ServerReport { conflicts, ..served(Some(0)) }))])
    };
    let one = conflicting(1);
    assert_eq!(told_of(&one, "CatalogComplete"), "False NameConflict");
    assert_eq!(
        message_of(&one, "CatalogComplete"),
        "server s: name tool-00 taken by an earlier server; give one of them a prefix, or exclude or rename the tool"
    );
    assert!(one.summary.unwrap().starts_with("Served, but not whole: server s: name tool-00"));
    assert_eq!(conflicting(20).parents[0].servers[0].conflicts.len(), 16, "no more than the schema takes");
    // Both at once: what is missing altogether is worse.
    let both = says_all(&[("s", unlisted), ("t", ServerReport { conflicts: vec!["x".into()], ..served(Some(0)) })]);
    let both = first(&two_servers(), &[("a", both)]);
    assert_eq!(told_of(&both, "CatalogComplete"), "False Unavailable");
    assert!(message_of(&both, "CatalogComplete").contains("; server t: name x taken"));
    let asked_by_nobody = ServerReport { listed: None, ..served(Some(0)) };
    let status = first(WORLD, &[("a", says(asked_by_nobody))]);
    assert_eq!(
        (told_of(&status, "CatalogComplete").as_str(), status.parents[0].servers[0].tools),
        ("Unknown Pending", None)
    );
}

#[test]
fn the_worst_of_several_gateways_is_the_summary() {
    let gateways = [(id("gw"), heard(&[("a", good())])), (id("ha"), heard(&[("b", says(served(Some(1))))]))].into();
    let status = status_at(&two_gateways(), &gateways, &McpRouteStatus::default(), &stamp(1));
    let told: Vec<_> = status.parents.iter().map(|parent| told(&parent.conditions, "PrimaryActive")).collect();
    assert_eq!(told, ["True PrimaryActive", "False FailedOver"]);
    assert_eq!(status.parents[1].parent_ref.name, "ha");
    assert_eq!(
        status.summary.as_deref(),
        Some("At default/ha: Served, but failed over: server s is served by priority 1 instead of 0")
    );
    // One of them being looked at again leaves what was said at either.
    let gateways = [(id("gw"), heard(&[("a", good())])), (id("ha"), heard(&[("b", ChannelState::Connecting)]))].into();
    assert!(!is_news(&status, &status_at(&two_gateways(), &gateways, &status, &at(1, 60))));
}

#[test]
fn a_route_that_is_not_accepted_is_neither_programmed_nor_served() {
    let before = first(WORLD, &[("a", good())]);
    let denied = WORLD.replace("anonymous: Allow", "anonymous: Deny");
    let no_listeners = WORLD.replace("[{name: http, port: 8080, protocol: HTTP}]", "[]");
    for text in [denied, no_listeners] {
        // Whoever looked at its gateway, and whatever was said before.
        for seen in [heard(&[("a", good())]), heard(&[("a", ChannelState::Connecting)])] {
            let status = status(&text, seen, &before);
            let accepted = told_of(&status, "Accepted");
            let reason = accepted.strip_prefix("False ").expect(&accepted);
            let bad = format!("False {reason}");
            assert_eq!(all(&status), [&bad, &bad, "Unknown NotAttached", "Unknown NotAttached"]);
            assert_eq!(status.parents[0].servers, []);
            assert!(status.summary.unwrap().starts_with("Not accepted: "));
        }
    }
}

#[test]
fn a_restarted_operator_unsays_nothing_and_says_nothing_twice() {
    let before = first(WORLD, &[("a", good())]);
    let again = |gateways, generation| status_at(WORLD, &gateways, &before, &at(generation, 60));
    let looking = || [(id("gw"), heard(&[("a", ChannelState::Connecting)]))].into();
    assert!(!is_news(&before, &again([(id("gw"), heard(&[("a", good())]))].into(), 1)));
    assert!(!is_news(&before, &again(looking(), 1)));
    assert!(!is_news(&before, &again(BTreeMap::new(), 1)), "its gateway was not even deployed again");
    // One pod of several is enough to wait for.
    let some = heard(&[("a", says(served(None))), ("b", ChannelState::Connecting)]);
    assert!(!is_news(&before, &again([(id("gw"), some)].into(), 1)));
    assert!(is_news(&before, &again([(id("gw"), heard(&[("a", says(served(None)))]))].into(), 1)));
    // Nothing was said of the route as it is now.
    assert_eq!(all(&again(looking(), 2)), ["Unknown Pending"; 4]);
    assert_eq!(all(&again(BTreeMap::new(), 2)), ["Unknown Pending"; 4]);
}

#[test]
fn nothing_stands_where_nobody_looks() {
    let before = first(WORLD, &[("a", good())]);
    let cases = [
        (Apply::Paused, "Paused"),
        (Apply::Forbidden("x".into()), "Forbidden"),
        (Apply::Failed("x".into()), "ApplyFailed"),
    ];
    for (apply, reason) in cases {
        let mut unmade = seen(vec![ready("a")]);
        unmade.generation = None;
        unmade.workload.apply = apply;
        let [bad, unknown] = ["False", "Unknown"].map(|status| format!("{status} {reason}"));
        assert_eq!(all(&status(WORLD, unmade, &before)), [bad, unknown.clone(), unknown.clone(), unknown]);
    }
}

#[test]
fn times_move_with_what_they_are_about() {
    let at_pod = |state, before: &_, second| {
        status_at(WORLD, &[(id("gw"), heard(&[("a", state)]))].into(), before, &at(1, second))
    };
    let times =
        |status: &McpRouteStatus| TYPES.map(|type_| since(&status.parents[0].conditions, type_).unwrap().0.as_second());
    let first = at_pod(good(), &McpRouteStatus::default(), 10);
    let failed_over = at_pod(says(served(Some(1))), &first, 20);
    assert_eq!((times(&first), times(&failed_over)), ([10; 4], [10, 10, 20, 10]));
    // PrimaryActive is False still, for another reason.
    let dead = at_pod(says(served(None)), &failed_over, 30);
    assert_eq!((told_of(&dead, "PrimaryActive").as_str(), times(&dead)), ("False Unavailable", [10, 30, 20, 10]));
}
