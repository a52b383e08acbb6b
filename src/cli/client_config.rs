//! `kubectl mcp client-config`: ready configuration for MCP clients.

use super::Failure;
use super::manifests::load;
use crate::api::gateway::{Listener, ListenerProtocol};
use crate::api::{McpGateway, McpRoute};
use crate::translate::manifests::Object;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

/// Arguments of `kubectl mcp client-config`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).multiple(true))]
pub struct Args {
    /// Files with manifests: their gateways' listeners and routes say where clients connect
    #[arg(value_name = "FILE", group = "source", conflicts_with = "url")]
    files: Vec<PathBuf>,
    /// The URL that clients connect to
    #[arg(long, value_name = "URL", group = "source")]
    url: Option<url::Url>,
    /// The host name to write for listeners that have none
    #[arg(long, value_name = "HOST", default_value = "localhost", conflicts_with = "url")]
    host: String,
    /// What clients call the server
    #[arg(long, value_name = "NAME", default_value = "mcp-gateway")]
    name: String,
    /// The client; without it, every client's configuration
    #[arg(long, value_enum)]
    client: Option<Client>,
}

/// MCP clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Client {
    /// Claude Code
    Claude,
    /// Claude Desktop, which starts a bridge
    ClaudeDesktop,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
    /// Zed
    Zed,
    /// Continue
    Continue,
}

impl Client {
    /// Every client.
    pub const ALL: [Self; 6] =
        [Self::Claude, Self::ClaudeDesktop, Self::Cursor, Self::Vscode, Self::Zed, Self::Continue];

    /// The client's own name and the file it reads.
    fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::Claude => ("Claude Code", ".mcp.json in the project"),
            Self::ClaudeDesktop => ("Claude Desktop", "claude_desktop_config.json"),
            Self::Cursor => ("Cursor", ".cursor/mcp.json in the project or in your home directory"),
            Self::Vscode => ("Visual Studio Code", ".vscode/mcp.json in the project"),
            Self::Zed => ("Zed", "settings.json"),
            Self::Continue => ("Continue", ".continue/mcpServers/NAME.yaml in the project"),
        }
    }
}

/// What clients are told of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// What they call it.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// Prints the configuration.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let servers = match &args.url {
        Some(url) if matches!(url.scheme(), "http" | "https") => {
            vec![Server { name: args.name.clone(), url: url.to_string() }]
        }
        Some(_) => return Err(Failure::usage("--url must be an http or https URL")),
        None => servers(args)?,
    };
    let text = match args.client {
        Some(client) => snippet(client, &servers),
        None => all(&servers),
    };
    out.write_all(text.as_bytes()).map_err(|error| Failure::new(format!("cannot print: {error}")))
}

/// Every client's configuration, each with its client's name and file before it.
pub fn all(servers: &[Server]) -> String {
    let mut text = String::new();
    for client in Client::ALL {
        let (name, file) = client.title();
        // Writing to a String cannot fail.
        let _ =
            write!(text, "{}# {name}: {file}\n{}", if text.is_empty() { "" } else { "\n" }, snippet(client, servers));
    }
    text
}

/// One client's configuration, as its file has it.
pub fn snippet(client: Client, servers: &[Server]) -> String {
    let entries = |entry: fn(&str) -> Value| -> Value {
        servers.iter().map(|server| (server.name.clone(), entry(&server.url))).collect::<serde_json::Map<_, _>>().into()
    };
    let typed = |url: &str| json!({ "type": "http", "url": url });
    let plain = |url: &str| json!({ "url": url });
    // It starts programs only; the bridge speaks for it.
    let bridge = |url: &str| json!({ "command": "npx", "args": ["-y", "mcp-remote", url] });
    let config = match client {
        Client::Claude => json!({ "mcpServers": entries(typed) }),
        Client::ClaudeDesktop => json!({ "mcpServers": entries(bridge) }),
        Client::Cursor => json!({ "mcpServers": entries(plain) }),
        Client::Vscode => json!({ "servers": entries(typed) }),
        Client::Zed => json!({ "context_servers": entries(plain) }),
        Client::Continue => return continue_block(servers),
    };
    format!("{config:#}\n")
}

/// Continue reads YAML.
fn continue_block(servers: &[Server]) -> String {
    let entries: Vec<Value> = servers
        .iter()
        .map(|server| json!({ "name": server.name, "type": "streamable-http", "url": server.url }))
        .collect();
    let name = servers.first().map_or("mcp-gateway", |server| &server.name);
    let block = json!({ "name": name, "version": "0.0.1", "schema": "v1", "mcpServers": entries });
    serde_saphyr::to_string(&block).unwrap_or_default()
}

/// A server for each listener of each gateway and each route that attaches to it.
fn servers(args: &Args) -> Result<Vec<Server>, Failure> {
    let loaded = load(&args.files).map_err(Failure::new)?;
    if let Some(mistake) = loaded.mistakes.first() {
        return Err(Failure::new(format!("{mistake}; kubectl mcp lint tells more")));
    }
    let mut gateways = Vec::new();
    let mut routes = Vec::new();
    for manifest in loaded.manifests {
        match manifest.object {
            Object::Gateway(gateway) => gateways.push(gateway),
            Object::Route(route) => routes.push(route),
            _ => {}
        }
    }
    let mut servers = Vec::new();
    for gateway in &gateways {
        for route in &routes {
            let listeners = gateway.spec.listeners.iter().filter(|listener| attaches(route, gateway, listener));
            servers.extend(listeners.map(|listener| Server {
                name: route.metadata.name.clone().unwrap_or_default(),
                url: url(listener, route, &args.host),
            }));
        }
    }
    if servers.is_empty() {
        return Err(Failure::new("the files have no MCPRoute that is attached to an MCPGateway of theirs"));
    }
    Ok(distinct(servers))
}

fn attaches(route: &McpRoute, gateway: &McpGateway, listener: &Listener) -> bool {
    route.spec.parent_refs.iter().any(|parent| {
        let namespace = parent.namespace.as_ref().or(route.metadata.namespace.as_ref());
        Some(&parent.name) == gateway.metadata.name.as_ref()
            && namespace == gateway.metadata.namespace.as_ref()
            && parent.section_name.as_ref().is_none_or(|section| *section == listener.name)
    })
}

fn url(listener: &Listener, route: &McpRoute, host: &str) -> String {
    let (scheme, usual_port) = match listener.protocol {
        ListenerProtocol::HTTP => ("http", 80),
        ListenerProtocol::HTTPS => ("https", 443),
    };
    // A wildcard is no host; the route's own name is narrower than the listener's.
    let named = route.spec.hostnames.iter().chain(&listener.hostname).find(|name| !name.starts_with('*'));
    let host = named.map_or(host, String::as_str);
    let port = if listener.port == usual_port { String::new() } else { format!(":{}", listener.port) };
    let path = route.spec.matches.first().map_or("/mcp", |matched| matched.path.value.as_str());
    format!("{scheme}://{host}{port}{path}")
}

/// Gives servers of the same name numbers, so that no entry replaces another.
fn distinct(servers: Vec<Server>) -> Vec<Server> {
    let mut named: Vec<Server> = Vec::new();
    for Server { name, url } in servers {
        if named.iter().any(|server| server.url == url) {
            continue;
        }
        let numbered = (1..).map(|number| if number == 1 { name.clone() } else { format!("{name}-{number}") });
        let free = numbered.into_iter().find(|name| named.iter().all(|server| server.name != *name));
        named.push(Server { name: free.unwrap_or(name), url });
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Vec<Server> {
        vec![Server { name: "tools".to_owned(), url: "https://mcp.example.com/mcp".to_owned() }]
    }

    #[test]
    fn each_client_reads_its_own_form() {
        let read = |client| serde_json::from_str::<Value>(&snippet(client, &one())).unwrap();
        assert_eq!(read(Client::Claude)["mcpServers"]["tools"]["type"], "http");
        assert_eq!(read(Client::ClaudeDesktop)["mcpServers"]["tools"]["args"][2], "https://mcp.example.com/mcp");
        assert_eq!(read(Client::Cursor)["mcpServers"]["tools"], json!({ "url": "https://mcp.example.com/mcp" }));
        assert_eq!(read(Client::Vscode)["servers"]["tools"]["url"], "https://mcp.example.com/mcp");
        assert_eq!(read(Client::Zed)["context_servers"]["tools"]["url"], "https://mcp.example.com/mcp");
        let yaml: Value = serde_saphyr::from_str(&snippet(Client::Continue, &one())).unwrap();
        assert_eq!(yaml["mcpServers"][0]["type"], "streamable-http");
    }

    #[test]
    fn servers_of_one_name_are_numbered_and_one_url_is_told_once() {
        let server = |name: &str, url: &str| Server { name: name.to_owned(), url: url.to_owned() };
        let named = distinct(vec![server("a", "x"), server("a", "y"), server("a", "x"), server("a-2", "z")]);
        assert_eq!(named, [server("a", "x"), server("a-2", "y"), server("a-2-2", "z")]);
    }
}
