//! The gateway as a process, in front of given servers.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::wire::Address;

/// How long the gateway may take to serve: it starts in milliseconds, and the machine may be busy.
const START: Duration = Duration::from_secs(30);

/// One virtual MCP server.
pub(crate) struct Route<'a> {
    pub(crate) path: &'a str,
    /// Each with its prefix; an empty one is none.
    pub(crate) servers: Vec<(&'a str, &'a Address)>,
}

/// A running gateway, which ends with this value.
pub(crate) struct Gateway {
    child: Child,
    /// Without a path: `http://127.0.0.1:12345`.
    base: String,
    log: PathBuf,
    _directory: TempDir,
}

impl Gateway {
    pub(crate) fn start(routes: &[Route]) -> Self {
        let directory = TempDir::new().unwrap();
        let (manifests, backends) = manifests(routes);
        let file = directory.path().join("interop.yaml");
        std::fs::File::create(&file).unwrap().write_all(manifests.as_bytes()).unwrap();

        let log = directory.path().join("gateway.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-gateway"));
        command.args(["run".as_ref(), file.as_os_str()]).args([
            "--bind",
            "127.0.0.1",
            "--port",
            "0",
            "--admin",
            "127.0.0.1:0",
        ]);
        for (name, url) in backends {
            command.args(["--backend", &format!("{name}={url}")]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .expect("the gateway starts");

        let (found, base) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            // The pipe is read to its end, or the gateway would block on it.
            for line in stdout.lines().map_while(Result::ok) {
                if let Some(base) = base_of(&line) {
                    let _ = found.send(base);
                }
            }
        });
        let Ok(base) = base.recv_timeout(START) else {
            let _ = child.kill();
            panic!("the gateway does not serve:\n{}", log_of(&log));
        };
        Self { child, base, log, _directory: directory }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// What the gateway logged so far: for the message of a failure.
    pub(crate) fn log(&self) -> String {
        log_of(&self.log)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // A signal, so that it ends its child processes.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let start = std::time::Instant::now();
        while start.elapsed() < START {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines, where the reason is.
fn log_of(path: &Path) -> String {
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// The address in a line that names an endpoint.
fn base_of(line: &str) -> Option<String> {
    let start = line.find("http://127.0.0.1:")?;
    let port: String = line[start + "http://127.0.0.1:".len()..].chars().take_while(char::is_ascii_digit).collect();
    Some(format!("http://127.0.0.1:{port}"))
}

/// The objects, and the URLs of the backends that are not child processes.
fn manifests(routes: &[Route]) -> (String, Vec<(String, String)>) {
    let mut objects = vec![object(
        "MCPGateway",
        "interop",
        json!({ "listeners": [{ "name": "http", "port": 8080, "protocol": "HTTP" }] }),
    )];
    let mut urls = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let mut servers = Vec::new();
        for (index, (prefix, address)) in route.servers.iter().enumerate() {
            let name = format!("r{number}-s{index}");
            let backend = match address {
                Address::Stdio(command) => json!({ "stdio": { "image": "not-used", "command": command } }),
                Address::Http(_) => json!({ "http": { "image": "not-used", "port": 80 } }),
                Address::Sse(_) => json!({ "http": { "image": "not-used", "port": 80, "transport": "SSE" } }),
            };
            if let Address::Http(url) | Address::Sse(url) = address {
                urls.push((name.clone(), url.clone()));
            }
            objects.push(object("MCPBackend", &name, backend));
            let mut server = json!({ "name": name, "backendRefs": [{ "name": name }], "required": true });
            if !prefix.is_empty() {
                server["prefix"] = json!(prefix);
            }
            servers.push(server);
        }
        let spec = json!({
            "parentRefs": [{ "name": "interop" }],
            "matches": [{ "path": { "type": "Exact", "value": route.path } }],
            "servers": servers,
        });
        objects.push(object("MCPRoute", &format!("r{number}"), spec));
    }
    // YAML takes JSON as it is.
    (objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n"), urls)
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "gateway.mcp-operator.dev/v1alpha1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": spec,
    })
}
