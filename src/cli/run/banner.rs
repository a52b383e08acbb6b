//! What `run` prints for the person at the laptop: where to connect, a client's configuration, and a command that works.

use crate::gateway::config::{Engine, Runtime};
use crate::gateway::listener::BoundListener;
use crate::ir::snapshot::{PathMatch, Route, Snapshot};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long to wait for the servers to say which era they speak. Some fetch a package first; then the older form is printed.
const TRIAL: Duration = Duration::from_secs(15);

/// More than this of an answer need not be read to know that it lists tools, in bytes.
const TRIAL_BYTES: u64 = 64 * 1024;

/// One way to reach one route.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    route: String,
    /// As a client writes it.
    url: String,
    /// The host that the request must name, and where it is: for names that no resolver knows on a laptop.
    resolve: Option<String>,
    address: SocketAddr,
    host: String,
    path: String,
    tls: bool,
}

/// Prints where to connect, and a little later a command to try.
pub(super) fn print<E: Engine>(runtime: &Arc<Runtime<E>>) {
    let endpoints = endpoints(&runtime.snapshot(), &runtime.bound());
    say(&greeting(&endpoints));
    let Some(first) = endpoints.into_iter().next() else { return };
    tokio::spawn(async move {
        let modern = lists_tools(&first).await;
        say(&format!("\nTry it:\n\n{}\n", if modern { modern_curl(&first) } else { legacy_curl(&first) }));
    });
}

/// Standard output may be closed; what is printed is a courtesy.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn endpoints(snapshot: &Snapshot, bound: &[BoundListener]) -> Vec<Endpoint> {
    let on = |route: &Route| -> Vec<Endpoint> {
        let listeners = bound.iter().filter(|listener| route.listeners.contains(&listener.name));
        listeners.map(|listener| endpoint(route, listener)).collect()
    };
    snapshot.routes.iter().flat_map(on).collect()
}

fn endpoint(route: &Route, listener: &BoundListener) -> Endpoint {
    let ip = match listener.address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    let address = SocketAddr::new(ip, listener.address.port());
    // Any name below a wildcard will do.
    let hostname = route.hostnames.first().or(listener.hostname.as_ref()).map(|name| name.replace('*', "any"));
    let (resolve, host) = match hostname {
        Some(name) => (Some(format!("{name}:{}:{ip}", address.port())), format!("{name}:{}", address.port())),
        None => (None, address.to_string()),
    };
    let path = match route.matches.first().map(|found| &found.path) {
        Some(PathMatch::Exact(path) | PathMatch::PathPrefix(path)) => path.clone(),
        None => "/".to_owned(),
    };
    let scheme = if listener.tls { "https" } else { "http" };
    let url = format!("{scheme}://{host}{path}");
    Endpoint { route: route.id.name.clone(), url, resolve, address, host, path, tls: listener.tls }
}

fn greeting(endpoints: &[Endpoint]) -> String {
    let mut text = "\nServing:\n\n".to_owned();
    let mut servers = serde_json::Map::new();
    for endpoint in endpoints {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {:<20} {}", endpoint.route, endpoint.url);
        servers.entry(endpoint.route.clone()).or_insert_with(|| json!({"type": "http", "url": endpoint.url}));
    }
    let snippet = serde_json::to_string_pretty(&json!({"mcpServers": servers})).unwrap_or_default();
    let _ = writeln!(text, "\nFor your client's configuration (.mcp.json):\n\n{snippet}");
    text
}

const MODERN_HEADERS: [&str; 4] = [
    "content-type: application/json",
    "accept: application/json, text/event-stream",
    "mcp-protocol-version: 2026-07-28",
    "mcp-method: tools/list",
];

const MODERN_BODY: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

/// Asks the gateway itself what the printed command would ask, and tells whether any tool came back.
async fn lists_tools(endpoint: &Endpoint) -> bool {
    // A certificate of one's own would have to be trusted first.
    if endpoint.tls {
        return false;
    }
    let trial = async {
        let mut stream = TcpStream::connect(endpoint.address).await?;
        let request = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\n{}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{MODERN_BODY}",
            endpoint.path,
            endpoint.host,
            MODERN_HEADERS.join("\r\n"),
            MODERN_BODY.len(),
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(TRIAL_BYTES).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    match tokio::time::timeout(TRIAL, trial).await {
        Ok(Ok(answer)) => {
            let answer = String::from_utf8_lossy(&answer);
            answer.starts_with("HTTP/1.1 200") && answer.contains(r#""tools":[{"#)
        }
        _ => false,
    }
}

fn modern_curl(endpoint: &Endpoint) -> String {
    let headers: Vec<String> = MODERN_HEADERS.iter().map(|header| format!("-H '{header}'")).collect();
    format!("curl -s {} \\\n  {} \\\n  -d '{MODERN_BODY}'", target(endpoint), headers.join(" "))
}

/// A session first, then the list in it.
fn legacy_curl(endpoint: &Endpoint) -> String {
    let target = target(endpoint);
    let headers = "-H 'content-type: application/json' -H 'accept: application/json, text/event-stream'";
    let initialize = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"curl","version":"1"}}}"#;
    let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
    format!(
        "SESSION=$(curl -s -o /dev/null -D - {target} {headers} \\\n  -d '{initialize}' \\\n  \
         | tr -d '\\r' | awk 'tolower($1) == \"mcp-session-id:\" {{ print $2 }}')\n\
         curl -s {target} {headers} -H \"mcp-session-id: $SESSION\" \\\n  -H 'mcp-protocol-version: 2025-11-25' -d '{list}'"
    )
}

fn target(endpoint: &Endpoint) -> String {
    let resolve = endpoint.resolve.as_ref().map(|resolve| format!(" --resolve {resolve}")).unwrap_or_default();
    format!("{}{resolve}", endpoint.url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ids::ObjectId;
    use crate::ir::snapshot::{Access, HttpMatch, Timeouts};

    fn route(hostnames: &[&str]) -> Route {
        Route {
            id: ObjectId::new("default", "tools"),
            listeners: vec!["http".to_owned()],
            hostnames: hostnames.iter().map(|name| (*name).to_owned()).collect(),
            matches: vec![HttpMatch {
                path: PathMatch::Exact("/mcp".to_owned()),
                headers: Vec::new(),
                query_params: Vec::new(),
            }],
            access: Access::Anonymous,
            servers: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    fn bound(address: &str, tls: bool) -> BoundListener {
        BoundListener { name: "http".to_owned(), address: address.parse().unwrap(), hostname: None, tls }
    }

    #[test]
    fn the_url_is_one_that_this_machine_can_open() {
        assert_eq!(endpoint(&route(&[]), &bound("127.0.0.1:80", false)).url, "http://127.0.0.1:80/mcp");
        assert_eq!(endpoint(&route(&[]), &bound("[::]:8080", false)).url, "http://127.0.0.1:8080/mcp");
        assert_eq!(endpoint(&route(&[]), &bound("[::1]:8443", true)).url, "https://[::1]:8443/mcp");
        let named = endpoint(&route(&["*.example.com"]), &bound("127.0.0.1:8080", false));
        assert_eq!(target(&named), "http://any.example.com:8080/mcp --resolve any.example.com:8080:127.0.0.1");
    }

    #[test]
    fn the_snippet_is_a_client_configuration() {
        let endpoints = vec![endpoint(&route(&[]), &bound("127.0.0.1:8080", false))];
        let text = greeting(&endpoints);
        let snippet = &text[text.find('{').unwrap()..];
        let snippet: serde_json::Value = serde_json::from_str(snippet).unwrap();
        assert_eq!(snippet["mcpServers"]["tools"]["url"], "http://127.0.0.1:8080/mcp");
    }

    #[test]
    fn the_commands_survive_a_shell() {
        let endpoint = endpoint(&route(&[]), &bound("127.0.0.1:8080", false));
        for command in [modern_curl(&endpoint), legacy_curl(&endpoint)] {
            let checked = std::process::Command::new("sh").arg("-n").arg("-c").arg(&command).output().unwrap();
            assert!(checked.status.success(), "{command}\n{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
}
