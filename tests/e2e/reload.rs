//! A changed route reaches every pod, and nobody notices anything else.

use crate::stage::{Stage, demo};
use crate::support::mcp::{LegacyClient, ModernClient, text};
use crate::support::objects::{CLIENT_PORT, gateway, open, route};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CHANGES: u32 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_changed_routes_reach_every_pod_and_drop_no_connection() {
    let stage = Stage::new("reload").await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 2}))).await;
    stage.apply(&demo("docs")).await;
    stage.apply(&route("docs", "tools", &["docs"])).await;
    stage.until("MCPRoute", "docs", "Ready=True Ready").await;
    stage.programmed("tools", 2).await;
    let pods = stage.gateway_pods("tools").await;
    let before = identities(&pods);
    let addresses: Vec<SocketAddr> = pods.iter().map(|pod| SocketAddr::new(Stage::address(pod), CLIENT_PORT)).collect();
    assert_eq!(addresses.len(), 2);

    let over = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for address in &addresses {
        callers.push(tokio::spawn(call_until(*address, Arc::clone(&over))));
    }
    let mut watchers = Vec::new();
    for address in &addresses {
        watchers.push(ModernClient::connect(*address, "/docs").await);
    }

    let mut times = Vec::new();
    for change in 0..CHANGES {
        let prefix = format!("v{change}_");
        let mut changed = route("docs", "tools", &["docs"]);
        changed["spec"]["servers"][0]["prefix"] = json!(prefix);
        let start = Instant::now();
        stage.apply(&changed).await;
        for watcher in &mut watchers {
            // One connection for all hundred changes: were it dropped, this would fail.
            while !watcher.tools().await.contains(&format!("{prefix}whoami")) {
                assert!(start.elapsed() < stage.patience, "change {change} does not arrive");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        times.push(start.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
    assert_eq!(identities(&stage.gateway_pods("tools").await), before, "no pod was replaced or restarted");
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1].as_millis();
    eprintln!(
        "reload: {CHANGES} changes until both pods serve them: p50 {} ms, p95 {} ms, max {} ms",
        at(50),
        at(95),
        at(100)
    );
    stage.end().await;
}

/// One session on one connection: whatever prefix its tool has, it is found and called.
async fn call_until(address: SocketAddr, over: Arc<AtomicBool>) -> u32 {
    let mut client = LegacyClient::connect(address, "/docs").await;
    let mut calls = 0;
    while !over.load(Ordering::Relaxed) {
        let tools = client.tools().await;
        let name = tools.iter().find(|name| name.ends_with("echo")).unwrap_or_else(|| panic!("{tools:?}"));
        let reply = client.call(name, json!({"text": calls.to_string()})).await.unwrap();
        // Between the list and the call its name may have changed.
        if reply["error"]["code"] != -32602 {
            assert_eq!(text(&reply), calls.to_string());
        }
        calls += 1;
    }
    calls
}

/// Names and restarts of pods.
fn identities(pods: &[Value]) -> Vec<(String, u64)> {
    let restarts = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap();
    let mut found: Vec<_> =
        pods.iter().map(|pod| (pod["metadata"]["uid"].as_str().unwrap().to_owned(), restarts(pod))).collect();
    found.sort();
    found
}
