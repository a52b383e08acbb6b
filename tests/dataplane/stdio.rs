//! Servers that are child processes of the gateway: served in front, and gone with it however it ends.

use crate::support::generation::{generation, id, server};
use crate::support::mcp::{LegacyClient, ModernClient, text};
use crate::support::process::Gateway;
use crate::support::replicas::Replicas;
use crate::support::within;
use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::snapshot::{Backend, Isolation, Process, ProcessPool, Target};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use std::time::Duration;

/// Speaks the legacy era with nothing but a POSIX shell. Its tool tells its process id, and `deaf` stops reading, so that it does
/// not notice when its standard input closes.
const SERVER: &str = r#"
answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
while IFS= read -r line; do
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    case $line in
    *'"method":"initialize"'*)
        answer '{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}' ;;
    *'"method":"tools/list"'*)
        answer '{"tools":[{"name":"pid","inputSchema":{"type":"object"}},{"name":"deaf","inputSchema":{"type":"object"}}]}' ;;
    *'"method":"tools/call"'*)
        answer "{\"content\":[{\"type\":\"text\",\"text\":\"$$\"}]}"
        case $line in *'"deaf"'*) while :; do sleep 0.1; done ;; esac ;;
    *'"method":"notifications/'*) ;;
    *) printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32601,"message":"method not found"}}\n' "$id" ;;
    esac
done
"#;

fn stdio() -> Generation {
    let mut generation = generation(&[]);
    let process = Process {
        command: ["sh", "-c", SERVER].map(str::to_owned).into(),
        args: Vec::new(),
        env: Vec::new(),
        working_dir: None,
        isolation: Isolation::PerSession,
        pool: ProcessPool { min: 1, max: 8, idle_timeout_ms: 600_000 },
    };
    generation.snapshot.routes[0].servers.push(server("shell"));
    generation.snapshot.backends.insert(id("shell"), Backend::new(Target::Process(process), None));
    generation
}

/// What a gateway started, zombies included. Killed when this is dropped, so that a failed test leaves nothing either.
struct Children(Vec<Pid>);

impl Children {
    fn of(gateway: &Gateway) -> Self {
        let gateway = gateway.process.pid().to_string();
        let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let text = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            // "pid (name) state parent …", where the name may hold anything.
            let (pid, rest) = (text.split_once(' ')?.0, text.rsplit_once(") ")?.1);
            Pid::from_raw(pid.parse().ok()?).filter(|_| rest.split(' ').nth(1) == Some(&gateway))
        });
        let children = Self(stats.collect());
        assert!(!children.0.is_empty(), "the gateway has no children");
        children
    }

    fn running(&self) -> Vec<Pid> {
        let is_running = |pid: &Pid| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
        };
        self.0.iter().copied().filter(is_running).collect()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for leader in self.running() {
            // It may just have ended.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[tokio::test]
async fn each_session_has_a_process_of_its_own_and_both_eras_are_told_what_is_offered() {
    let gateway = Gateway::serve(&stdio()).await;
    let address = gateway.address("http").await;
    let (mut one, mut two) =
        (LegacyClient::connect(address, "/mcp").await, LegacyClient::connect(address, "/mcp").await);
    assert_eq!(one.tools().await, ["pid", "deaf"]);
    let pids = [one.call("pid", json!({})).await.unwrap(), two.call("pid", json!({})).await.unwrap()];
    assert_ne!(text(&pids[0]), text(&pids[1]));
    assert_eq!(text(&one.call("pid", json!({})).await.unwrap()), text(&pids[0]), "and keeps it");

    let mut modern = ModernClient::connect(address, "/mcp").await;
    let discovered = modern.request("server/discover", json!({})).await.unwrap();
    assert!(discovered["result"]["supportedVersions"].is_array(), "{discovered}");
}

#[tokio::test]
async fn a_gateway_that_is_told_to_leave_takes_its_children_along() {
    let mut gateway = Gateway::serve(&stdio()).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    client.call("deaf", json!({})).await.unwrap();
    let children = Children::of(&gateway);
    gateway.process.signal(Signal::TERM);
    assert!(gateway.process.ended().await.success());
    assert_eq!(children.running(), [], "processes are left when the gateway has gone");
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_gateway_that_is_killed_leaves_no_child() {
    let mut gateway = Gateway::serve(&stdio()).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    client.call("deaf", json!({})).await.unwrap();
    let children = Children::of(&gateway);
    gateway.process.signal(Signal::KILL);
    gateway.process.ended().await;
    within("the children end", async {
        while !children.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_session_whose_servers_end_with_their_replica_goes_on_with_new_ones() {
    let mut replicas = Replicas::start(2, &mut stdio()).await;
    let mut client = LegacyClient::connect(replicas.all[0].address, "/mcp").await;
    let before = text(&client.call("pid", json!({})).await.unwrap()).to_owned();
    replicas.all[0].gateway.process.signal(Signal::TERM);
    assert!(replicas.all[0].gateway.process.ended().await.success());
    let mut elsewhere = client.over(replicas.all[1].address).await;
    let after = elsewhere.call("pid", json!({})).await.unwrap();
    assert_ne!(text(&after), before);
    assert!(replicas.all[1].count("mcp_gateway_sessions_adopted_total").await < 1.0, "it was handed over");
}
