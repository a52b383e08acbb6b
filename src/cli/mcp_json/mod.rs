//! The `.mcp.json` of desktop hosts, as manifests: for `kubectl mcp import` and for `mcp-gateway run .mcp.json`.
//!
//! Each entry becomes an `MCPBackend`; one `MCPGateway` and one `MCPRoute` put them together. What looks like a secret
//! becomes a reference to a Secret, and its value never gets into a manifest, a warning or an error. On a laptop that is
//! every environment variable and header: what runs shows its snapshot, and a guess may be wrong.

mod parse;
mod render;
mod server;
mod stdio;
#[cfg(test)]
mod tests;
mod variables;

use crate::ir::secrets::PrivateBytes;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

pub use parse::McpJsonError;

/// A name for the gateway and the route, where the person gives none.
pub const DEFAULT_NAME: &str = "mcp";

/// The port of the gateway's listener, where the person gives none.
pub const DEFAULT_PORT: u16 = 8080;

/// The most entries of a file: as many as one `MCPRoute` takes.
const MAX_SERVERS: usize = 64;

/// The longest name of a backend, in bytes. Objects are named after it with a suffix, and have 63.
const MAX_NAME: usize = 40;

/// What the manifests are for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// A cluster: images are chosen, and `${VARIABLES}` become references to Secrets.
    Cluster,
    /// This machine, now: commands stay as they are, and `${VARIABLES}` are looked up here.
    Laptop(&'a dyn Fn(&str) -> Option<String>),
}

/// How to import.
#[derive(Clone)]
pub struct ImportOptions<'a> {
    /// The name of the `MCPGateway` and the `MCPRoute`.
    pub name: String,
    /// The namespace of everything; none: left open.
    pub namespace: Option<String>,
    /// The port of the gateway's listener.
    pub port: u16,
    /// What the manifests are for.
    pub purpose: Purpose<'a>,
}

impl<'a> ImportOptions<'a> {
    /// The usual options.
    pub fn new(purpose: Purpose<'a>) -> Self {
        Self { name: DEFAULT_NAME.to_owned(), namespace: None, port: DEFAULT_PORT, purpose }
    }
}

/// What an `.mcp.json` became.
#[derive(Debug)]
pub struct Imported {
    /// The objects, gateway first.
    pub objects: Vec<Value>,
    /// The Secrets' keys that the objects refer to.
    pub secrets: Vec<ImportedSecret>,
    /// What was changed, left out or must be completed; none prints a secret.
    pub warnings: Vec<Warning>,
}

/// A key of a Secret that the manifests refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportedSecret {
    /// The Secret's name.
    pub name: String,
    /// The key.
    pub key: String,
    /// The value, on a laptop; for a cluster it is not carried along.
    pub value: Option<PrivateBytes>,
}

/// Something to know about one server of the file, or about the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The server's name as the file has it.
    pub server: Option<String>,
    /// What, and what to do about it.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server {
            Some(server) => write!(f, "server {server:?}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Imported {
    /// The manifests as YAML, with a commented skeleton of the Secrets.
    pub fn yaml(&self) -> String {
        render::yaml(self)
    }

    /// The same, one file per object: names and texts.
    pub fn files(&self) -> Vec<(String, String)> {
        render::files(self)
    }
}

/// Whether a JSON text is an `.mcp.json`, rather than a manifest in JSON.
pub fn is_mcp_json(text: &str) -> bool {
    serde_json::from_str::<Value>(text).map_or(true, |value| value.get("apiVersion").is_none())
}

/// Turns the text of an `.mcp.json` (also VS Code's and Zed's forms, comments allowed) into manifests.
pub fn manifests_from_mcp_json(text: &str, options: &ImportOptions<'_>) -> Result<Imported, McpJsonError> {
    let entries = parse::entries(text)?;
    if entries.len() > MAX_SERVERS {
        return Err(McpJsonError::TooMany { found: entries.len(), most: MAX_SERVERS });
    }
    let mut import = Import { options, taken: BTreeSet::new(), secrets: Vec::new(), warnings: Vec::new() };
    let backends: Vec<Backend> = entries.into_iter().filter_map(|(name, entry)| import.server(&name, entry)).collect();
    if backends.is_empty() {
        return Err(McpJsonError::NoServers);
    }
    let mut objects = vec![import.gateway()];
    objects.extend(backends.iter().map(|backend| import.object("MCPBackend", &backend.name, &backend.spec)));
    objects.push(import.route(&backends));
    let Import { secrets, warnings, .. } = import;
    Ok(Imported { objects, secrets, warnings })
}

/// An `MCPBackend` in the making.
struct Backend {
    name: String,
    spec: Value,
}

struct Import<'a> {
    options: &'a ImportOptions<'a>,
    /// Names of backends so far.
    taken: BTreeSet<String>,
    secrets: Vec<ImportedSecret>,
    warnings: Vec<Warning>,
}

impl Import<'_> {
    fn server(&mut self, original: &str, entry: Value) -> Option<Backend> {
        let name = self.name(original);
        let mut server = server::ServerImport::new(original, &name, self.options.purpose);
        let spec = server.spec(entry);
        self.warnings.append(&mut server.warnings);
        let Some(spec) = spec else {
            self.taken.remove(&name);
            return None;
        };
        self.secrets.append(&mut server.secrets);
        Some(Backend { name, spec })
    }

    /// A DNS label that no other backend has.
    fn name(&mut self, original: &str) -> String {
        let wanted = dns_label(original);
        let mut name = wanted.clone();
        let mut count = 1;
        while !self.taken.insert(name.clone()) {
            count += 1;
            name = format!("{wanted}-{count}");
        }
        if name != original {
            let message = format!("is named {name}: names are lower-case letters, digits and '-', each of them once");
            self.warnings.push(Warning { server: Some(original.to_owned()), message });
        }
        name
    }

    fn gateway(&self) -> Value {
        let listener = json!({ "name": "http", "port": self.options.port, "protocol": "HTTP" });
        self.object("MCPGateway", &self.options.name, &json!({ "listeners": [listener] }))
    }

    /// One route to all backends. With several of them each has a prefix, so that none hides another's tools.
    fn route(&self, backends: &[Backend]) -> Value {
        let servers: Vec<Value> = backends
            .iter()
            .map(|Backend { name, .. }| {
                let mut server = json!({ "name": name });
                if backends.len() > 1 {
                    server["prefix"] = format!("{}_", name.replace('-', "_")).into();
                }
                server["backendRefs"] = json!([{ "name": name }]);
                server
            })
            .collect();
        let spec = json!({ "parentRefs": [{ "name": self.options.name }], "servers": servers });
        self.object("MCPRoute", &self.options.name, &spec)
    }

    fn object(&self, kind: &str, name: &str, spec: &Value) -> Value {
        let mut metadata = json!({ "name": name });
        if let Some(namespace) = &self.options.namespace {
            metadata["namespace"] = namespace.clone().into();
        }
        json!({ "apiVersion": crate::api::API_VERSION, "kind": kind, "metadata": metadata, "spec": spec })
    }
}

/// The nearest DNS label.
fn dns_label(text: &str) -> String {
    let mut label = String::new();
    for letter in text.chars() {
        let letter = letter.to_ascii_lowercase();
        if letter.is_ascii_alphanumeric() {
            label.push(letter);
        } else if !label.is_empty() && !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(MAX_NAME);
    let label = label.trim_end_matches('-');
    if label.is_empty() { "server".to_owned() } else { label.to_owned() }
}
