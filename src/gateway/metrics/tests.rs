use super::*;
use crate::ir::snapshot::{Limits, Timeouts};
use std::time::Duration;

const DOCUMENTATION: &str = include_str!("../../../docs/metrics.md");

fn route() -> ObjectId {
    ObjectId::new("team", "tools")
}

fn empty_snapshot() -> Snapshot {
    serde_json::from_value(serde_json::json!({
        "version": 1, "gateway": "team/gw", "listeners": [], "routes": [], "backends": {},
        "protocol": {"versions": ["2025-11-25"], "legacySse": true}, "sessions": {"idleTimeoutMs": 1},
        "timeouts": Timeouts::default(), "drain": {"minDurationMs": 0, "timeoutMs": 0}, "limits": Limits::default(),
    }))
    .unwrap()
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let registered: BTreeSet<String> = Metrics::new().unwrap().names().iter().cloned().collect();
    let documented: BTreeSet<String> = DOCUMENTATION
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|rest| rest.split_once('`').map(|(name, _)| name.to_owned()))
        // Those of other programs.
        .filter(|name| !name.starts_with("mcp_operator_") && !name.starts_with("mcp_shim_"))
        .collect();
    assert_eq!(registered, documented);
    assert!(registered.iter().all(|name| name.starts_with("mcp_gateway_") || name.starts_with("process_")));
}

#[tokio::test(start_paused = true)]
async fn a_request_is_counted_once_under_how_it_ended() {
    let metrics = Metrics::new().unwrap();
    let server = metrics.server(&route(), "search");
    let call = MethodClass::of("tools/call");

    let first = server.start(call);
    tokio::time::advance(Duration::from_millis(20)).await;
    first.ok();
    server.start(call).failed(Kind::ConnectFailed);
    drop(server.start(call));
    let open = server.start(call);

    let page = metrics.render().unwrap();
    for line in [
        r#"mcp_gateway_requests_total{method="tools/call",outcome="ok",route="team/tools",server="search"} 1"#,
        r#"mcp_gateway_requests_total{method="tools/call",outcome="connect_failed",route="team/tools",server="search"} 1"#,
        r#"mcp_gateway_requests_total{method="tools/call",outcome="cancelled",route="team/tools",server="search"} 1"#,
        r#"mcp_gateway_request_duration_seconds_bucket{method="tools/call",route="team/tools",server="search",le="0.01"} 2"#,
        r#"mcp_gateway_request_duration_seconds_bucket{method="tools/call",route="team/tools",server="search",le="0.025"} 3"#,
        r#"mcp_gateway_requests_in_flight{route="team/tools",server="search"} 1"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    open.ok();
}

#[test]
fn a_request_counts_for_the_server_it_went_to() {
    let metrics = Metrics::new().unwrap();
    let (whole, search) = (metrics.server(&route(), ""), metrics.server(&route(), "search"));
    let timer = whole.start(MethodClass::of("tools/call"));
    timer.served_by(&search);
    let page = metrics.render().unwrap();
    assert!(page.contains(r#"mcp_gateway_requests_in_flight{route="team/tools",server="search"} 1"#), "{page}");
    timer.ok();
    let page = metrics.render().unwrap();
    let counted =
        r#"mcp_gateway_requests_total{method="tools/call",outcome="ok",route="team/tools",server="search"} 1"#;
    assert!(page.contains(counted) && !page.contains(r#"outcome="ok",route="team/tools",server="""#), "{page}");
    assert!(page.contains(r#"mcp_gateway_requests_in_flight{route="team/tools",server=""} 0"#), "{page}");
}

#[test]
fn the_same_server_keeps_its_handles() {
    let metrics = Metrics::new().unwrap();
    assert!(Arc::ptr_eq(&metrics.server(&route(), "a"), &metrics.server(&route(), "a")));
    assert!(Arc::ptr_eq(&metrics.backend(&route()), &metrics.backend(&route())));
}

#[test]
fn what_is_no_longer_configured_leaves_the_page() {
    let metrics = Metrics::new().unwrap();
    metrics.server(&route(), "search").start(MethodClass::OTHER).ok();
    metrics.backend(&ObjectId::new("team", "old")).start().failed(Kind::ConnectFailed);
    metrics.listener("old").accepted.inc();
    metrics.unrouted(MethodClass::OTHER, Kind::RouteNotFound);
    metrics.retain(&empty_snapshot());
    let page = metrics.render().unwrap();
    assert!(
        !page.contains("team/tools") && !page.contains("team/old") && !page.contains(r#"listener="old""#),
        "{page}"
    );
    assert!(page.contains("route_not_found"), "{page}");
}

#[test]
fn one_generation_is_named_at_a_time() {
    let metrics = Metrics::new().unwrap();
    metrics.generation_applied("aaaa");
    metrics.generation_refused();
    metrics.generation_applied("bbbb");
    let page = metrics.render().unwrap();
    assert!(page.contains(r#"mcp_gateway_generation_info{hash="bbbb"} 1"#) && !page.contains("aaaa"), "{page}");
    assert!(page.contains(r#"mcp_gateway_reloads_total{outcome="ok"} 2"#), "{page}");
    assert!(page.contains(r#"mcp_gateway_reloads_total{outcome="refused"} 1"#), "{page}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_accounts_for_itself() {
    let page = Metrics::new().unwrap().render().unwrap();
    let resident = page.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    assert!(resident.parse::<u64>().unwrap() > 1024 * 1024, "{resident}");
}
