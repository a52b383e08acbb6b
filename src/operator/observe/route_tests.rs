//! What a route's status says of each thing that can be wrong.

use super::seen::SeenGateway;
use super::testing::*;
use super::{is_news, route_status};
use crate::api::McpRouteStatus;
use crate::api::route::ParentRef;
use crate::ir::channel::{Report, RouteReport, ServerReport};
use crate::operator::push::{ChannelError, ChannelState};
use serde_json::json;
use std::collections::BTreeMap;

fn status(text: &str, seen: SeenGateway, before: &McpRouteStatus) -> McpRouteStatus {
    let parents: Vec<ParentRef> = serde_json::from_value(json!([{"name": "gw"}])).unwrap();
    let gateways: BTreeMap<_, _> = [(id("gw"), seen)].into();
    route_status(&id("r"), &parents, &plan(text), &gateways, before, &stamp(1))
}

/// A pod that reports this of the route's one server.
fn says(server: ServerReport) -> ChannelState {
    let route = RouteReport { servers: vec![ServerReport { name: "s".into(), ..server }] };
    reached(Report { routes: [(id("r"), route)].into(), ..report("new") })
}

/// The server as it is served by this priority.
fn served(active: Option<u32>) -> ServerReport {
    let healthy = u32::from(active.is_some());
    ServerReport { active_priority: active, healthy, total: 2, listed: Some(true), tools: 4, ..ServerReport::default() }
}

fn of(pods: &[(&str, ChannelState)]) -> [String; 4] {
    let status = status(WORLD, heard(pods), &McpRouteStatus::default());
    ["Programmed", "Ready", "PrimaryActive", "CatalogComplete"].map(|type_| told(&status.parents[0].conditions, type_))
}

#[test]
fn each_thing_that_is_wrong_is_told_apart() {
    assert_eq!(
        of(&[("a", says(served(Some(0)))), ("b", says(served(Some(0))))]),
        ["True Programmed", "True Ready", "True PrimaryActive", "True CatalogComplete"]
    );
    let failed_over = [("a", says(served(Some(0)))), ("b", says(served(Some(1))))];
    assert_eq!(of(&failed_over)[2], "False FailedOver");
    let told = status(WORLD, heard(&failed_over), &McpRouteStatus::default());
    let conditions = &told.parents[0].conditions;
    assert_eq!(message(conditions, "PrimaryActive"), "server s is served by priority 1 instead of 0 at pod b");
    assert_eq!(told.parents[0].servers[0].active_priority, Some(1));
    assert_eq!(
        told.summary.as_deref(),
        Some("Served, but failed over: server s is served by priority 1 instead of 0 at pod b")
    );

    assert_eq!(of(&[("a", says(served(None)))])[1..3], ["False Unavailable", "False Unavailable"]);
    let unlisted = ServerReport { listed: Some(false), problem: Some("timed out".into()), ..served(Some(0)) };
    assert_eq!(of(&[("a", says(unlisted))])[3], "False Unavailable");
    let conflicting = ServerReport { conflicts: vec!["search".into()], ..served(Some(0)) };
    assert_eq!(of(&[("a", says(conflicting))])[3], "False NameConflict");
    let asked_by_nobody = ServerReport { listed: None, ..served(Some(0)) };
    assert_eq!(of(&[("a", says(asked_by_nobody))])[3], "Unknown Pending");
    assert_eq!(
        of(&[("a", ChannelState::Failed(ChannelError::Refused))]),
        [
            "False ChannelUnreachable",
            "Unknown ChannelUnreachable",
            "Unknown ChannelUnreachable",
            "Unknown ChannelUnreachable"
        ]
    );
    let pulling = status(WORLD, seen(vec![waiting("p", "ErrImagePull", "")]), &McpRouteStatus::default());
    assert_eq!(told_of(&pulling, "Ready"), "False ImagePullFailed");
}

fn told_of(status: &McpRouteStatus, type_: &str) -> String {
    told(&status.parents[0].conditions, type_)
}

#[test]
fn a_route_that_is_not_accepted_is_neither_programmed_nor_served() {
    let status = status(&WORLD.replace("anonymous: Allow", "anonymous: Deny"), heard(&[]), &McpRouteStatus::default());
    let accepted = told_of(&status, "Accepted");
    let reason = accepted.strip_prefix("False ").expect(&accepted);
    assert_eq!(told_of(&status, "Programmed"), format!("False {reason}"));
    assert_eq!(told_of(&status, "PrimaryActive"), "Unknown NotAttached");
    assert!(status.summary.unwrap().starts_with("Not accepted: "));
}

#[test]
fn what_was_said_stands_until_pods_were_looked_at() {
    let before = status(WORLD, heard(&[("a", says(served(Some(0))))]), &McpRouteStatus::default());
    assert_eq!(before.summary.as_deref(), Some("Served by 1 pod: 4 tools of 1 server"));
    let looking = status(WORLD, heard(&[("a", ChannelState::Connecting)]), &before);
    assert!(!is_news(&before, &looking), "{looking:?}");
    assert!(is_news(&before, &status(WORLD, heard(&[("a", says(served(None)))]), &before)));
}
