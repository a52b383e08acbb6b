//! What a pod's server starts, and that nothing of it stays.

use super::*;
use rustix::process::Signal;

/// Descriptors that a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[tokio::test]
async fn the_first_call_of_a_session_starts_no_process() {
    let pod = Pod::start(&["--pool-min", "2", "--pool-max", "6"]).await;
    pod.metric_is(r#"mcp_shim_processes{state="idle"}"#, 2).await;
    let before = pod.family();
    let mut client = pod.client().await;
    let serving = call_for_pid(&mut client, "pid").await;
    assert!(before.contains(&serving), "{serving} was started for the session: {before:?}");
    pod.metric_is(r#"mcp_shim_processes{state="idle"}"#, 2).await;
    assert_eq!(call_for_pid(&mut client, "pid").await, serving, "and the session keeps it");
}

#[tokio::test]
async fn a_hundred_sessions_leave_nothing() {
    let pod = Pod::start(&["--pool-min", "1", "--pool-max", "8"]).await;
    let is_quiet = || async {
        pod.metric_is(r#"mcp_shim_processes{state="running"}"#, 0).await;
        pod.metric_is(r#"mcp_shim_processes{state="idle"}"#, 1).await;
        pod.metric_is("mcp_shim_connections_open", 1).await;
    };
    is_quiet().await;
    let before = descriptors(pod.process.pid());
    let mut served = BTreeSet::new();
    for _ in 0..25 {
        let mut clients = Vec::new();
        for _ in 0..4 {
            let mut client = pod.client().await;
            served.insert(call_for_pid(&mut client, "pid").await);
            clients.push(client);
        }
        for mut client in clients {
            assert_eq!(client.delete().await.unwrap().status, 200);
        }
    }
    assert_eq!(served.len(), 100, "each session had a process of its own");
    is_quiet().await;
    assert_eq!(pod.metric("mcp_shim_sessions_open").await, 0);
    pod.family_is("the warm process alone is left", |family| family.len() == 1).await;
    // The shim may still be closing the connection that was last asked for a metric.
    within("no descriptor stays open", async {
        while descriptors(pod.process.pid()) > before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_crashes_hangs_or_complains_hurts_only_its_own_session() {
    let pod = Pod::start(&["--pool-max", "8"]).await;
    let (mut crashing, mut hanging, mut flooding, mut other) =
        (pod.client().await, pod.client().await, pod.client().await, pod.client().await);
    let hang = hanging.message("tools/call", json!({"name": "hang", "arguments": {}}));
    hanging.send(&hang).await.unwrap();
    let flood = flooding.message("tools/call", json!({"name": "flood", "arguments": {}}));
    flooding.send(&flood).await.unwrap();
    let lost = crashing.call("crash", json!({})).await.unwrap();
    assert_eq!(lost["error"]["data"]["kind"], "process_failed", "{lost}");
    let again = crashing.message("tools/list", json!({}));
    assert_eq!(crashing.post(&again).await.unwrap().status, 404, "its session is over");
    for _ in 0..10 {
        call(&mut other, "pid").await;
    }
    assert_eq!(text(&flooding.connection.answer().await.unwrap().json()), "done");
    let ended = hanging.over(pod.address).await.delete().await.unwrap();
    assert_eq!(ended.status, 200, "what hangs can be ended");

    // The answer may overtake what waits in the pipe of the complaints.
    within("the flood is read, and mostly left out", async {
        while pod.metric("mcp_shim_stderr_dropped_total").await < 49_000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let logged = pod.process.log().iter().filter(|line| line.contains(r#""line":"complaint""#)).count();
    assert!((100..=1000).contains(&logged), "{logged}");
    assert_eq!(pod.page("/readyz").await.status, 200);
}

#[tokio::test]
async fn what_leaves_its_group_ends_with_its_session() {
    let pod = Pod::start(&[]).await;
    let (mut client, mut other) = (pod.client().await, pod.client().await);
    let (daemon, others) = (call_for_pid(&mut client, "daemon").await, call_for_pid(&mut other, "daemon").await);
    assert!(pod.family().is_superset(&BTreeSet::from([daemon, others])), "orphans are adopted");
    client.delete().await.unwrap();
    pod.family_is("the daemon ends", |family| !family.contains(&daemon)).await;
    assert!(exists(others), "a daemon of another session stays");

    // It ends by a crash, too.
    other.call("crash", json!({})).await.unwrap();
    pod.family_is("the other daemon ends", |family| !family.contains(&others)).await;
}

#[tokio::test]
async fn orphans_are_reaped_and_no_status_is_stolen() {
    let pod = Pod::start(&["--pool-min", "0"]).await;
    let mut client = pod.client().await;
    for _ in 0..5 {
        call(&mut client, "orphans").await;
    }
    pod.metric_is("mcp_shim_orphans_reaped_total", 15).await;
    pod.family_is("the session's process alone is left", |family| family.len() == 1).await;
    let lost = client.call("crash", json!({})).await.unwrap();
    assert_eq!(lost["error"]["message"], "the server's process exited with status 3 before it answered");
    pod.family_is("nothing is left", BTreeSet::is_empty).await;
}

#[tokio::test]
async fn what_hides_ends_with_the_pod() {
    let mut pod = Pod::start(&[]).await;
    let mut client = pod.client().await;
    let hidden = call_for_pid(&mut client, "hidden").await;
    client.delete().await.unwrap();
    pod.process.signal(Signal::TERM);
    assert!(pod.process.ended().await.success());
    assert!(!exists(hidden));
}
