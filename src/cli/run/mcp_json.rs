//! `.mcp.json`, as the hosts of MCP servers read it, taken as the manifests it stands for: a gateway on port 8080 with one
//! route at `/mcp`, and a backend per server. With several servers, tools get their server's name before them.
//!
//! Values of variables and headers go into the credentials, whatever they are: nothing but their names is ever shown.

use super::world::SecretValues;
use crate::api::{McpBackend, McpGateway, McpRoute};
use crate::ir::secrets::PrivateBytes;
use crate::translate::manifests::{Manifest, Object};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Objects and the values they refer to.
pub(super) struct McpJson {
    pub(super) manifests: Vec<Manifest>,
    pub(super) secrets: SecretValues,
}

/// The port of the gateway that the file does not name.
const PORT: u16 = 8080;

/// Name of the gateway and its route.
const NAME: &str = "mcp";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    // VS Code calls it `servers`.
    #[serde(alias = "servers")]
    mcp_servers: serde_json::Map<String, Value>,
}

/// One server. Hosts add fields of their own, which say nothing to us.
#[derive(Deserialize)]
struct Server {
    #[serde(default, rename = "type", alias = "transport")]
    kind: Option<String>,
    #[serde(default)]
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    cwd: Option<String>,
    #[serde(default, alias = "serverUrl")]
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    disabled: bool,
}

/// Whether a JSON text is one of these files, rather than a manifest in JSON.
pub(super) fn is_one(text: &str) -> bool {
    serde_json::from_str::<Value>(text).map_or(true, |value| value.get("apiVersion").is_none())
}

/// Reads the file `name`. `variable` looks up what `${NAME}` stands for. A mistake is one line with the file and the field.
pub(super) fn read(name: &str, text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<McpJson, String> {
    let file: File = serde_json::from_str(text)
        .map_err(|error| format!("{name}:{}:{}: {}", error.line(), error.column(), plain(&error)))?;
    let mut reader = Reader { file: name, variable, manifests: Vec::new(), secrets: SecretValues::new() };
    let mut labels = Vec::new();
    for (server_name, value) in file.mcp_servers {
        let field = format!("mcpServers.{server_name}");
        let server: Server = serde_json::from_value(value).map_err(|error| format!("{name}: {field}: {error}"))?;
        if server.disabled {
            continue;
        }
        let label = label(&server_name).ok_or_else(|| format!("{name}: {field}: the name has no letter or digit"))?;
        if labels.contains(&label) {
            return Err(format!("{name}: {field}: another server's name also comes down to {label:?}: rename one"));
        }
        reader.backend(&field, &label, server)?;
        labels.push(label);
    }
    if labels.is_empty() {
        return Err(format!("{name}: mcpServers: names no server that is enabled"));
    }
    reader.gateway(&labels)?;
    Ok(McpJson { manifests: reader.manifests, secrets: reader.secrets })
}

struct Reader<'a, V> {
    file: &'a str,
    variable: V,
    manifests: Vec<Manifest>,
    secrets: SecretValues,
}

impl<V: Fn(&str) -> Option<String>> Reader<'_, V> {
    fn backend(&mut self, field: &str, label: &str, server: Server) -> Result<(), String> {
        let spec = match (&server.command, &server.url) {
            (Some(_), None) => self.stdio(field, label, server)?,
            (None, Some(_)) => self.remote(field, label, server)?,
            (Some(_), Some(_)) => return Err(format!("{}: {field}: has both command and url: remove one", self.file)),
            (None, None) => return Err(format!("{}: {field}: has neither command nor url", self.file)),
        };
        self.object::<McpBackend>("MCPBackend", label, &spec, |object| Object::Backend(Box::new(object)))
    }

    fn stdio(&mut self, field: &str, label: &str, server: Server) -> Result<Value, String> {
        let expand = |key: &str, text: &str| self.expand(&format!("{field}.{key}"), text);
        let command = expand("command", &server.command.unwrap_or_default())?;
        let args: Vec<String> = server.args.iter().map(|arg| expand("args", arg)).collect::<Result<_, _>>()?;
        let working_dir = server.cwd.map(|cwd| expand("cwd", &cwd)).transpose()?;
        let secret = format!("{label}-env");
        let mut env = Vec::new();
        for (key, value) in &server.env {
            let value = self.expand(&format!("{field}.env.{key}"), value)?;
            self.secrets.insert((secret.clone(), key.clone()), PrivateBytes::new(value));
            env.push(json!({"name": key, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}));
        }
        let mut stdio = json!({"image": "local", "command": [command], "args": args, "env": env});
        if let Some(working_dir) = working_dir {
            stdio["workingDir"] = json!(working_dir);
        }
        Ok(json!({"stdio": stdio}))
    }

    fn remote(&mut self, field: &str, label: &str, server: Server) -> Result<Value, String> {
        let transport = match server.kind.as_deref() {
            None | Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => "StreamableHTTP",
            Some("sse") => "SSE",
            Some(other) => {
                return Err(format!("{}: {field}.type: {other:?} is unknown: use stdio, http or sse", self.file));
            }
        };
        let url = self.expand(&format!("{field}.url"), &server.url.unwrap_or_default())?;
        let mut spec = json!({"remote": {"url": url, "transport": transport}});
        let mut headers = server.headers.iter();
        if let Some((header, value)) = headers.next() {
            let value = self.expand(&format!("{field}.headers.{header}"), value)?;
            let secret = format!("{label}-headers");
            self.secrets.insert((secret.clone(), header.clone()), PrivateBytes::new(value));
            let source = json!({"secretKeyRef": {"name": secret, "key": header}});
            spec["auth"] = json!({"type": "Header", "header": {"name": header, "valueFrom": source}});
        }
        if headers.next().is_some() {
            return Err(format!("{}: {field}.headers: one header at the most can be sent to a server", self.file));
        }
        Ok(spec)
    }

    fn gateway(&mut self, labels: &[String]) -> Result<(), String> {
        let gateway = json!({"listeners": [{"name": "http", "port": PORT, "protocol": "HTTP"}]});
        self.object::<McpGateway>("MCPGateway", NAME, &gateway, |object| Object::Gateway(Box::new(object)))?;
        let server = |label: &String| {
            let mut server = json!({"name": label, "backendRefs": [{"name": label}]});
            if labels.len() > 1 {
                server["prefix"] = json!(format!("{label}_"));
            }
            server
        };
        let servers: Vec<Value> = labels.iter().map(server).collect();
        let route = json!({"parentRefs": [{"name": NAME}], "servers": servers});
        self.object::<McpRoute>("MCPRoute", NAME, &route, |object| Object::Route(Box::new(object)))
    }

    fn object<T: DeserializeOwned>(
        &mut self,
        kind: &str,
        name: &str,
        spec: &Value,
        wrap: impl Fn(T) -> Object,
    ) -> Result<(), String> {
        let api_version = format!("{}/{}", crate::api::GROUP, crate::api::VERSION);
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": spec});
        let object = serde_json::from_value(object).map_err(|error| format!("{}: {name}: {error}", self.file))?;
        self.manifests.push(Manifest { file: self.file.to_owned(), line: 1, object: wrap(object) });
        Ok(())
    }

    /// Replaces `${NAME}` and `${NAME:-default}`.
    fn expand(&self, field: &str, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            expanded.push_str(before);
            let (inside, after) =
                after.split_once('}').ok_or_else(|| format!("{}: {field}: a ${{ is not closed", self.file))?;
            let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, value)| (name, Some(value)));
            let value = (self.variable)(name).or_else(|| default.map(str::to_owned)).ok_or_else(|| {
                format!(
                    "{}: {field}: the environment variable {name} is not set: set it, or write ${{{name}:-default}}",
                    self.file
                )
            })?;
            expanded.push_str(&value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// A server's name as the name of an object: lower case, with hyphens for what is no letter or digit.
fn label(name: &str) -> Option<String> {
    // The most that a DNS label has.
    const MAX: usize = 63;
    let hyphened: String =
        name.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(MAX).collect();
    let words: Vec<&str> = hyphened.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { None } else { Some(words.join("-")) }
}

/// serde's message without the place, which is told first.
fn plain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.split(" at line ").next().unwrap_or(&message).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(text: &str) -> Result<McpJson, String> {
        read("x.json", text, |name| (name == "TOKEN").then(|| "hunter2".to_owned()))
    }

    fn backends(world: &McpJson) -> Vec<Value> {
        let backend = |manifest: &Manifest| match &manifest.object {
            Object::Backend(object) => serde_json::to_value(&object.spec).ok(),
            _ => None,
        };
        world.manifests.iter().filter_map(backend).collect()
    }

    #[test]
    fn servers_become_backends_of_one_route() {
        let text = r#"{"mcpServers": {
            "My Files": {"command": "npx", "args": ["-y", "server", "${HOME_DIR:-/srv}"], "env": {"API_KEY": "${TOKEN}"}},
            "search": {"type": "http", "url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
            "old": {"type": "sse", "url": "http://localhost:1/sse"},
            "off": {"command": "x", "disabled": true}
        }}"#;
        let world = read_with(text).unwrap();
        let backends = backends(&world);
        assert_eq!(backends.len(), 3);
        assert_eq!(backends[0]["stdio"]["command"], json!(["npx"]));
        assert_eq!(backends[0]["stdio"]["args"], json!(["-y", "server", "/srv"]));
        assert_eq!(backends[0]["stdio"]["env"][0]["valueFrom"]["secretKeyRef"]["name"], "my-files-env");
        assert_eq!(backends[1]["auth"]["header"]["name"], "Authorization");
        assert_eq!(backends[2]["remote"]["transport"], "SSE");
        let route = world.manifests.iter().find_map(|manifest| match &manifest.object {
            Object::Route(route) => Some(route),
            _ => None,
        });
        let prefixes: Vec<_> =
            route.unwrap().spec.servers.iter().map(|server| server.prefix.clone().unwrap()).collect();
        assert_eq!(prefixes, ["my-files_", "search_", "old_"]);
        let secret = &world.secrets[&("search-headers".to_owned(), "Authorization".to_owned())];
        assert_eq!(secret.expose(), b"Bearer hunter2");
        assert!(!backends.iter().any(|backend| backend.to_string().contains("hunter2")), "{backends:?}");
    }

    #[test]
    fn one_server_keeps_its_names() {
        let world = read_with(r#"{"servers": {"a": {"command": "x"}}}"#).unwrap();
        assert!(world.manifests.iter().any(|manifest| {
            matches!(&manifest.object, Object::Route(route) if route.spec.servers[0].prefix.is_none())
        }));
    }

    #[test]
    fn mistakes_name_the_field() {
        for (text, message) in [
            ("{", "x.json:1:1: EOF while parsing an object"),
            ("{}", "x.json:1:2: missing field `mcpServers`"),
            (r#"{"mcpServers": {}}"#, "names no server"),
            (r#"{"mcpServers": {"a": {}}}"#, "mcpServers.a: has neither command nor url"),
            (r#"{"mcpServers": {"a": {"command": "x", "url": "y"}}}"#, "mcpServers.a: has both"),
            (r#"{"mcpServers": {"a": {"command": 3}}}"#, "mcpServers.a: invalid type: integer"),
            (r#"{"mcpServers": {"a": {"type": "ws", "url": "y"}}}"#, r#"mcpServers.a.type: "ws" is unknown"#),
            (r#"{"mcpServers": {"a b": {"command": "x"}, "A-B": {"command": "x"}}}"#, r#"comes down to "a-b""#),
            (r#"{"mcpServers": {"a": {"command": "${NOPE}"}}}"#, "mcpServers.a.command: the environment variable NOPE"),
            (r#"{"mcpServers": {"a": {"command": "${NOPE"}}}"#, "is not closed"),
            (r#"{"mcpServers": {"!": {"command": "x"}}}"#, "no letter or digit"),
        ] {
            let mistake = read_with(text).err().unwrap();
            assert!(mistake.contains(message) && mistake.starts_with("x.json"), "{text}: {mistake}");
        }
    }

    #[test]
    fn a_manifest_in_json_is_none() {
        assert!(is_one(r#"{"mcpServers": {}}"#));
        assert!(is_one("{"));
        assert!(!is_one(r#"{"apiVersion": "gateway.mcp-operator.dev/v1alpha1"}"#));
    }
}
