//! `mcp-gateway shim` as a process: what runs in the pod of a stdio server.

mod behind_gateway;
mod processes;
mod serving;
mod starting;

use crate::support::http::{self, Answer};
use crate::support::mcp::{LegacyClient, text};
use crate::support::process::{GATEWAY, Process};
use crate::support::within;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

const SERVER: &str = include_str!("server.sh");

/// A running shim.
struct Pod {
    process: Process,
    address: SocketAddr,
}

impl Pod {
    /// In front of the server of these tests, on the loopback.
    async fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[]).await
    }

    async fn start_with(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let pod = Self::spawn(arguments, env).await;
        pod.ready().await;
        pod
    }

    /// The same, without waiting for more than its port.
    async fn spawn(arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let listen = if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let process = shim(&[listen, arguments].concat(), &["sh", "-c", SERVER], env);
        let address = process.logged("the shim listens", listening).await;
        Self { process, address }
    }

    async fn ready(&self) {
        within("the shim is ready", async {
            while self.page("/readyz").await.status != 200 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn page(&self, path: &str) -> Answer {
        http::get(self.address, path).await
    }

    /// The value of one series of the metrics page.
    async fn metric(&self, series: &str) -> u64 {
        let page = self.page("/metrics").await.text();
        let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{series} is not in\n{page}")).parse().unwrap()
    }

    /// Waits until a series has a value. What it waits for happens in other processes.
    async fn metric_is(&self, series: &str, wanted: u64) {
        within(&format!("{series} is {wanted}"), async {
            while self.metric(series).await != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    async fn client(&self) -> LegacyClient {
        LegacyClient::connect(self.address, "/mcp").await
    }

    /// What it started, and what they did, zombies included.
    fn family(&self) -> BTreeSet<u32> {
        let all: Vec<(u32, u32)> = std::fs::read_dir("/proc").unwrap().filter_map(|entry| stat(&entry.ok()?)).collect();
        let mut family = BTreeSet::from([self.process.pid()]);
        while {
            let known = family.len();
            family.extend(
                all.iter().filter(|(_, parent)| family.contains(parent)).map(|(pid, _)| *pid).collect::<Vec<_>>(),
            );
            family.len() > known
        } {}
        family.remove(&self.process.pid());
        family
    }

    async fn family_is(&self, what: &str, wanted: impl Fn(&BTreeSet<u32>) -> bool) {
        within(what, async {
            while !wanted(&self.family()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

fn shim(arguments: &[&str], command: &[&str], env: &[(&str, &str)]) -> Process {
    let mut shim = Command::new(GATEWAY);
    shim.arg("shim").args(arguments).arg("--").args(command).env_remove("RUST_LOG").envs(env.iter().copied());
    Process::start(&mut shim)
}

fn listening(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["fields"]["message"] == "listening" { line["fields"]["address"].as_str()?.parse().ok() } else { None }
}

/// A process and its parent.
fn stat(entry: &std::fs::DirEntry) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
    // "pid (name) state parent …", where the name may hold anything.
    let (pid, rest) = (text.split_once(' ')?.0, text.rsplit_once(") ")?.1);
    Some((pid.parse().ok()?, rest.split(' ').nth(1)?.parse().ok()?))
}

fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

/// Calls a tool that answers with a text.
async fn call(client: &mut LegacyClient, tool: &str) -> String {
    text(&client.call(tool, json!({})).await.unwrap()).to_owned()
}

/// Calls a tool that answers with the number of a process.
async fn call_for_pid(client: &mut LegacyClient, tool: &str) -> u32 {
    call(client, tool).await.parse().unwrap()
}
