//! Children on standard input and output, in pods: whose process is whose, what is left behind, and who suffers from whom.

use crate::stage::{MISBEHAVING, Stage};
use crate::support::mcp::{LegacyClient, text};
use crate::support::objects::{gateway, open, route};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// Processes that one client with one warm process costs: its own, the warm one, and the one for all that has no session, which is how
/// the gateway asks what the server is.
const KEPT: usize = 3;

/// A child that misbehaves on demand, one process for each session.
fn child(name: &str, pool: Value, more: Value) -> Value {
    let mut stdio =
        json!({"image": MISBEHAVING, "command": ["misbehaving-server"], "isolation": "PerSession", "pool": pool});
    stdio.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "gateway.mcp-operator.dev/v1alpha1", "kind": "MCPBackend", "metadata": {"name": name},
        "spec": {"stdio": stdio},
    })
}

/// A gateway in front of one such child, at `/bad`.
async fn served(prefix: &str, pool: Value) -> (Stage, SocketAddr) {
    let stage = Stage::new(prefix).await;
    stage.apply(&open("tools")).await;
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.apply(&child("bad", pool, json!({}))).await;
    stage.apply(&route("bad", "tools", &["bad"])).await;
    stage.until("MCPRoute", "bad", "Ready=True Ready").await;
    let address = stage.service("tools").await;
    (stage, address)
}

async fn connect(address: SocketAddr) -> LegacyClient {
    LegacyClient::connect(address, "/bad").await
}

/// The process that serves a session.
async fn pid(client: &mut LegacyClient) -> u32 {
    let reply = client.call("pid", json!({})).await.unwrap();
    text(&reply).parse().unwrap_or_else(|_| panic!("{reply}"))
}

/// What runs in the pod, as a child of it sees.
struct Processes {
    /// Of the same program as the child's.
    servers: Vec<u32>,
    zombies: Vec<u32>,
    /// Neither the entry point, nor a server, nor a zombie.
    others: Vec<String>,
    /// Descriptors that the entry point holds.
    descriptors: u64,
}

async fn processes(client: &mut LegacyClient) -> Processes {
    let reply = client.call("processes", json!({})).await.unwrap();
    let all: Value = serde_json::from_str(text(&reply)).unwrap();
    let all = all.as_array().unwrap();
    let id = |process: &Value| u32::try_from(process["pid"].as_u64().unwrap()).unwrap();
    let is_zombie = |process: &&Value| process["state"] == "Z";
    let is_server = |process: &&Value| process["name"].as_str().unwrap().starts_with("misbehaving");
    Processes {
        servers: all.iter().filter(|process| is_server(process) && !is_zombie(process)).map(id).collect(),
        zombies: all.iter().filter(is_zombie).map(id).collect(),
        others: all
            .iter()
            .filter(|process| id(process) != 1 && !is_server(process) && !is_zombie(process))
            .map(Value::to_string)
            .collect(),
        descriptors: all.iter().find(|process| id(process) == 1).unwrap()["descriptors"].as_u64().unwrap(),
    }
}

/// Waits until no more servers run than this, and nothing else is left.
async fn settled(stage: &Stage, client: &mut LegacyClient, servers: usize) -> Processes {
    let deadline = tokio::time::Instant::now() + stage.patience;
    loop {
        let now = processes(client).await;
        if now.servers.len() <= servers && now.zombies.is_empty() && now.others.is_empty() {
            return now;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "servers {:?}, zombies {:?}, others {:?}",
            now.servers,
            now.zombies,
            now.others
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_sessions_leave_no_process_no_zombie_and_no_descriptor() {
    let (stage, address) = served("sessions", json!({"min": 1, "max": 16})).await;
    let mut watcher = connect(address).await;
    let before = settled(&stage, &mut watcher, KEPT).await;
    for batch in 0..10 {
        let sessions = (0..10).map(|number| async move {
            let mut client = connect(address).await;
            let own = pid(&mut client).await;
            assert_eq!(pid(&mut client).await, own, "a session keeps its process");
            // Some leave orphans behind.
            if number % 3 == 0 {
                client.call("fork", json!({"count": 2, "millis": 50 * batch})).await.unwrap();
            }
            assert_eq!(client.delete().await.unwrap().status, 204);
            own
        });
        let mut pids = futures_util::future::join_all(sessions).await;
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 10, "each session has a process of its own");
    }
    let after = settled(&stage, &mut watcher, KEPT).await;
    // Connections of the gateway's pool come and go; what a leak of a session would cost is more.
    assert!(after.descriptors <= before.descriptors + 8, "{} -> {}", before.descriptors, after.descriptors);
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sessions_first_call_finds_its_process_warm() {
    let (stage, address) = served("warm", json!({"min": 2, "max": 8})).await;
    let mut watcher = connect(address).await;
    let warm = stage
        .until_some("two processes are kept ready", async || {
            let now = processes(&mut connect_watcher(&watcher, address).await).await;
            (now.servers.len() == KEPT + 1).then_some(now.servers)
        })
        .await;
    let mut client = connect(address).await;
    let own = pid(&mut client).await;
    assert!(warm.contains(&own), "{own} was started for the call; ready were {warm:?}");
    assert_ne!(own, pid(&mut watcher).await);
    stage.end().await;
}

/// The same session on a connection of its own: a closure cannot lend the one it captures.
async fn connect_watcher(watcher: &LegacyClient, address: SocketAddr) -> LegacyClient {
    watcher.over(address).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_crashes_hangs_or_floods_hurts_its_own_session_only() {
    let (stage, address) = served("harm", json!({"min": 1, "max": 8})).await;
    let mut good = connect(address).await;
    let own = pid(&mut good).await;

    let mut crashes = connect(address).await;
    let reply = crashes.call("exit", json!({"code": 3})).await.unwrap();
    assert!(reply.get("error").is_some(), "{reply}");
    assert_eq!(pid(&mut good).await, own);

    let mut hangs = connect(address).await;
    let hang = hangs.message("tools/call", json!({"name": "hang", "arguments": {"whole": true}}));
    hangs.send(&hang).await.unwrap();
    assert_eq!(pid(&mut good).await, own);

    let mut floods = connect(address).await;
    let reply = floods.call("flood", json!({"mebibytes": 64})).await.unwrap();
    assert!(reply.get("result").is_some(), "{reply}");
    assert_eq!(pid(&mut good).await, own);
    let pod = stage.pods("gateway.mcp-operator.dev/backend=bad").await.remove(0);
    let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
    let log = crate::cluster::kubectl(&["logs", "--namespace", &stage.namespace, &name]);
    assert!(log.len() < 8 * 1024 * 1024, "the log of 64 MiB of complaints is {} bytes", log.len());

    // New sessions start as if nothing had been, and the one that hangs ends with its client's word.
    let mut next = connect(address).await;
    assert_ne!(pid(&mut next).await, own);
    let ended = hangs.over(address).await.delete().await.unwrap();
    assert_eq!(ended.status, 204);
    // Besides these, who floods and who came next have theirs.
    settled(&stage, &mut good, KEPT + 2).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 0);
    stage.end().await;
}
