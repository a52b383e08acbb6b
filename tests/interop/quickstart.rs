//! The quickstart as people run it: the printed command works, a real client lists and calls tools, and Ctrl-C leaves no
//! process behind.

use std::{collections::BTreeSet, process::Command};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    one_at_a_time,
    servers::Server,
    support::process::{GATEWAY, Process},
    tools::{example, tool},
};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/quickstart.yaml");

const INSPECTOR: &str = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";

/// The processes that `ancestor` started, and those that these started.
fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let table = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().expect("ps is installed");
    let table = String::from_utf8(table.stdout).unwrap();
    let pairs: Vec<(u32, u32)> = table
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut found = BTreeSet::from([ancestor]);
    while let Some((child, _)) = pairs.iter().find(|(child, parent)| found.contains(parent) && !found.contains(child)) {
        found.insert(*child);
    }
    found.remove(&ancestor);
    found
}

/// Which of these processes are still there.
fn alive(processes: &BTreeSet<u32>) -> Vec<u32> {
    let exists = |process: &&u32| {
        let state = Command::new("ps").args(["-o", "stat=", "-p", &process.to_string()]).output().unwrap();
        let state = String::from_utf8(state.stdout).unwrap();
        // A zombie is gone: only its parent, which is not ours, has yet to look.
        !state.trim().is_empty() && !state.trim().starts_with('Z')
    };
    processes.iter().filter(exists).copied().collect()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

#[tokio::test]
async fn quickstart() {
    let _turn = one_at_a_time().await;
    let demo = Server::demo("demo-http");
    let examples = example("demo-mcp-server").parent().unwrap().to_str().unwrap().to_owned();
    let mut command = Command::new(GATEWAY);
    command
        .args(["run", MANIFEST, "--bind", "127.0.0.1", "--port", "0", "--admin", "127.0.0.1:0"])
        .args(["--backend", &format!("demo-http={}", demo.url)])
        .env("PATH", format!("{examples}:{}", std::env::var("PATH").unwrap()));
    let mut gateway = Process::start(&mut command);

    // The command is printed over several lines, the last of which ends the quoted body.
    let url = gateway.printed("the endpoint", |line| {
        let start = line.find("http://127.0.0.1:")?;
        Some(line[start..].trim_end_matches('"').to_owned())
    });
    let url = url.await;
    gateway.printed("the end of the command", |line| line.trim_start().starts_with("-d '").then_some(())).await;
    let printed = gateway.stdout().join("\n");
    let curl = &printed[printed.find("curl -s").unwrap()..];
    let answer = run("sh", &["-c", curl]);
    for name in ["\"echo\"", "\"whoami\"", "\"web_echo\""] {
        assert!(answer.contains(name), "{name} is not in {answer}");
    }

    let script = tool(INSPECTOR);
    for era in ["legacy", "modern"] {
        let common = [&script, "--cli", &url, "--transport", "http", "--protocol-era", era];
        let inspect = |rest: &[&str]| -> Value {
            serde_json::from_str(&run(&tool("bin/node"), &[&common[..], rest].concat()))
                .expect("the inspector prints JSON")
        };
        let list = inspect(&["--method", "tools/list"]);
        assert_eq!(list["tools"].as_array().unwrap().len(), 10, "{list}");
        let whoami = |name| inspect(&["--method", "tools/call", "--tool-name", name])["content"][0]["text"].clone();
        assert!(whoami("whoami").as_str().unwrap().starts_with("demo-a "), "the first tier answers");
        assert!(whoami("web_whoami").as_str().unwrap().starts_with("demo-http "), "the prefix tells the servers apart");
    }

    let children = descendants(gateway.pid());
    assert!(!children.is_empty(), "demo-a is a child process");
    gateway.signal(Signal::INT);
    let status = gateway.ended().await;
    assert!(status.success(), "{status}: {}", gateway.log().join("\n"));
    assert_eq!(alive(&children), Vec::<u32>::new(), "processes are left behind");
}
