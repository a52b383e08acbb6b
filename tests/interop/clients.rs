//! Clients from npm and PyPI, each as a process, through the gateway.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{
    gateway::{Gateway, Route},
    one_at_a_time,
    replicas::Replicated,
    servers::{Server, everything},
    tools::{TOOLS, tool},
    wire::Address,
};

const INSPECTOR: &str = "node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js";

/// What the clients connect to.
enum Front {
    One(Gateway),
    Two(Replicated),
}

impl Front {
    fn url(&self, path: &str) -> String {
        match self {
            Self::One(gateway) => gateway.url(path),
            Self::Two(replicas) => replicas.url(path),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::One(gateway) => gateway.log(),
            Self::Two(replicas) => replicas.log(),
        }
    }
}

/// The fixture server over HTTP at `/mcp`, the one of everything over stdio, with a prefix, at `/everything`.
struct Setting {
    gateway: Front,
    /// Where the clients may put their own files.
    home: TempDir,
    _fixture: Server,
}

impl Setting {
    async fn new(replicated: bool) -> Self {
        let fixture = Server::fixture();
        let http = Address::Http(fixture.url.clone());
        let stdio = Address::Stdio(vec![tool("bin/node"), everything()]);
        let routes = [
            Route { path: "/mcp", servers: vec![("", &http)] },
            Route { path: "/everything", servers: vec![("es_", &stdio)] },
        ];
        let gateway =
            if replicated { Front::Two(Replicated::start(&routes).await) } else { Front::One(Gateway::start(&routes)) };
        Self { gateway, home: TempDir::new().unwrap(), _fixture: fixture }
    }

    fn script(&self, interpreter: &str, script: &str, arguments: &[&str]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/clients").join(script);
        self.run(interpreter, &[&[script.to_str().unwrap()], arguments].concat());
    }

    /// Runs a client, and fails with all that it said if it does.
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let home = self.home.path();
        let output = Command::new(tool(program))
            .args(arguments)
            .env("MCP_TEST_TOOLS", &*TOOLS)
            .env("HOME", home)
            .env("MCP_REMOTE_CONFIG_DIR", home.join("mcp-remote"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}\n{}\n{}\ngateway:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.gateway.log(),
        );
        output
    }
}

/// Runs a client against one gateway, and against two replicas behind a balancer without affinity.
async fn with_one_and_with_two(client: impl Fn(&Setting)) {
    let _turn = one_at_a_time().await;
    for replicated in [false, true] {
        let setting = Setting::new(replicated).await;
        client(&setting);
        if let Front::Two(replicas) = &setting.gateway {
            replicas.assert_both_worked().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn python_mcp() {
    with_one_and_with_two(|setting| {
        for era in ["legacy", "modern"] {
            setting.script("venv/bin/python", "python_client.py", &[&setting.gateway.url("/mcp"), era]);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_sdk_1() {
    with_one_and_with_two(|setting| {
        for transport in ["http", "sse"] {
            setting.script("bin/node", "sdk_v1.mjs", &[&setting.gateway.url("/mcp"), transport, "fixture"]);
            setting.script(
                "bin/node",
                "sdk_v1.mjs",
                &[&setting.gateway.url("/everything"), transport, "everything:es_"],
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typescript_client_2() {
    with_one_and_with_two(|setting| {
        for era in ["legacy", "modern"] {
            setting.script("bin/node", "client_v2.mjs", &[&setting.gateway.url("/mcp"), era, "fixture"]);
        }
        setting.script("bin/node", "client_v2.mjs", &[&setting.gateway.url("/everything"), "legacy", "everything:es_"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_remote() {
    with_one_and_with_two(|setting| {
        setting.script("bin/node", "sdk_v1.mjs", &[&setting.gateway.url("/mcp"), "mcp-remote", "fixture"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn inspector() {
    with_one_and_with_two(|setting| {
        let (script, url) = (tool(INSPECTOR), setting.gateway.url("/mcp"));
        for era in ["legacy", "modern"] {
            let inspect = |rest: &[&str]| {
                let common = [&script, "--cli", &url, "--transport", "http", "--protocol-era", era];
                let output = setting.run("bin/node", &[&common, rest].concat());
                serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("the inspector prints JSON")
            };
            let list = inspect(&["--method", "tools/list"]);
            let names: Vec<&str> =
                list["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
            assert!(names.contains(&"test_simple_text") && names.contains(&"multi_input"), "{names:?}");
            let answer = inspect(&["--method", "tools/call", "--tool-name", "test_simple_text"]);
            assert_eq!(answer["content"][0]["text"], "This is a simple text response for testing.");
        }
    })
    .await;
}
