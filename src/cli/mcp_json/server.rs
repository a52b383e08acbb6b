//! One entry of an `.mcp.json` as the spec of an `MCPBackend`.

use super::parse::{Command, Entry};
use super::variables::{expand, has_variables};
use super::{ImportedSecret, Purpose, Warning, stdio};
use crate::cli::secret_values::{looks_secret, names_secret};
use crate::ir::secrets::PrivateBytes;
use serde_json::{Map, Value, json};

/// What stands where a secret was, in places that cannot refer to one.
pub(super) const PLACEHOLDER: &str = "REPLACE-ME";

/// Fields of hosts that say nothing about the server itself.
const HOSTS_OWN: [&str; 8] =
    ["name", "description", "icon", "autoApprove", "alwaysAllow", "gallery", "source", "enabled"];

/// The import of one server.
pub(super) struct ServerImport<'a> {
    original: &'a str,
    /// The Secret that takes what must not be in a manifest.
    secret: String,
    purpose: Purpose<'a>,
    pub(super) secrets: Vec<ImportedSecret>,
    pub(super) warnings: Vec<Warning>,
}

impl<'a> ServerImport<'a> {
    pub(super) fn new(original: &'a str, name: &str, purpose: Purpose<'a>) -> Self {
        let secret = format!("{name}-credentials");
        Self { original, secret, purpose, secrets: Vec::new(), warnings: Vec::new() }
    }

    /// The backend's spec; nothing if the server is left out, with a warning that says why.
    pub(super) fn spec(&mut self, entry: Value) -> Option<Value> {
        // The error may quote a value.
        let Ok(entry) = serde_json::from_value::<Entry>(entry) else {
            self.warn("is left out: its fields are not those of a server (command, args, env, url, headers)");
            return None;
        };
        if entry.disabled || entry.other.get("enabled") == Some(&Value::Bool(false)) {
            self.warn("is left out: it is disabled");
            return None;
        }
        for field in entry.other.keys().filter(|field| !HOSTS_OWN.contains(&field.as_str())) {
            self.warn(format!("{field} is not carried over"));
        }
        match (&entry.command, &entry.url) {
            (Some(_), _) => self.stdio(entry),
            (None, Some(_)) => self.remote(entry),
            (None, None) => {
                self.warn("is left out: it has neither command nor url");
                None
            }
        }
    }

    pub(super) fn warn(&mut self, message: impl Into<String>) {
        self.warnings.push(Warning { server: Some(self.original.to_owned()), message: message.into() });
    }

    pub(super) fn is_for_cluster(&self) -> bool {
        matches!(self.purpose, Purpose::Cluster)
    }

    fn stdio(&mut self, entry: Entry) -> Option<Value> {
        let (command, mut args, mut env) = match entry.command? {
            Command::Path(path) => (path, entry.args, entry.env),
            Command::Object { path, args, env } => (path, args, env),
        };
        let mut words = vec![command];
        words.append(&mut args);
        let words = self.words(words)?;
        let program = if self.is_for_cluster() {
            stdio::in_pod(self, words, &mut env)
        } else {
            stdio::Program { image: stdio::LOCAL_IMAGE.to_owned(), words }
        };
        let (command, args) = program.words.split_first()?;
        let mut spec = json!({ "image": program.image, "command": [command] });
        if !args.is_empty() {
            spec["args"] = json!(args);
        }
        let env = self.env(env);
        if !env.is_empty() {
            spec["env"] = env.into();
        }
        if let Some(directory) = entry.cwd {
            if self.is_for_cluster() {
                self.warn("cwd is not carried over: it is a directory of your machine; set spec.stdio.workingDir if the image has one");
            } else {
                spec["workingDir"] = self.words(vec![directory])?.into_iter().next().into();
            }
        }
        Some(json!({ "stdio": spec }))
    }

    /// The program's words, with variables looked up on a laptop and secrets taken out for a cluster.
    fn words(&mut self, words: Vec<String>) -> Option<Vec<String>> {
        if let Purpose::Laptop(lookup) = self.purpose {
            let expanded: Result<Vec<String>, String> = words.iter().map(|word| expand(word, lookup)).collect();
            return expanded.map_err(|name| self.left_out_for(&name)).ok();
        }
        let mut flag_before = String::new();
        let mut clean = Vec::with_capacity(words.len());
        for (index, word) in words.into_iter().enumerate() {
            let (word, hidden) = hide(&word, &flag_before);
            if hidden {
                self.warn(format!(
                    "argument {index} looks like a secret and is replaced by {PLACEHOLDER}: give it to the server by an environment variable from a Secret"
                ));
            } else if has_variables(&word) {
                self.warn(format!(
                    "argument {index} has a variable, which nothing looks up in a cluster: write its value"
                ));
            }
            flag_before.clone_from(&word);
            clean.push(word);
        }
        Some(clean)
    }

    fn env(&mut self, env: Map<String, Value>) -> Vec<Value> {
        env.into_iter().filter_map(|(name, value)| self.variable(&name, value)).collect()
    }

    fn variable(&mut self, name: &str, value: Value) -> Option<Value> {
        if !is_env_name(name) {
            self.warn("an environment variable is left out: its name has other characters than letters, digits, '-', '_' and '.'");
            return None;
        }
        let value = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => {
                self.warn(format!("environment variable {name} is left out: its value is no text"));
                return None;
            }
        };
        let text = match self.purpose {
            Purpose::Laptop(lookup) => match expand(&value, lookup) {
                Ok(text) => text,
                Err(missing) => {
                    self.warn(format!("environment variable {name} is left out: {missing} is not set here"));
                    return None;
                }
            },
            Purpose::Cluster => value,
        };
        let is_secret = !self.is_for_cluster() || looks_secret(name, &text) || has_variables(&text);
        if !is_secret {
            return Some(json!({ "name": name, "value": text }));
        }
        let reference = self.secret_key(name, &text);
        Some(json!({ "name": name, "valueFrom": { "secretKeyRef": reference } }))
    }

    fn remote(&mut self, entry: Entry) -> Option<Value> {
        let url = entry.url.unwrap_or_default();
        let url = match self.purpose {
            Purpose::Laptop(lookup) => expand(&url, lookup).map_err(|name| self.left_out_for(&name)).ok()?,
            Purpose::Cluster => url,
        };
        let Ok(mut url) = url::Url::parse(&url) else {
            self.warn("is left out: its url is not one");
            return None;
        };
        if !matches!(url.scheme(), "http" | "https") {
            self.warn("is left out: its url is neither http nor https");
            return None;
        }
        self.clean(&mut url);
        let mut spec = json!({ "remote": { "url": url.as_str() } });
        if self.is_sse(entry.kind.as_deref(), &url) {
            spec["remote"]["transport"] = "SSE".into();
        }
        if let Some(header) = self.header(entry.headers) {
            spec["auth"] = json!({ "type": "Header", "header": header });
        }
        Some(spec)
    }

    /// Takes out of a URL what a manifest must not show.
    fn clean(&mut self, url: &mut url::Url) {
        if !url.username().is_empty() || url.password().is_some() {
            // Cannot fail: an http URL has a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            self.warn("user and password are taken out of its url: put them into a Secret and name that in spec.auth");
        }
        url.set_fragment(None);
        let is_secret = |name: &str, value: &str| names_secret(name) || looks_secret(name, value);
        if self.is_for_cluster() && url.query_pairs().any(|(name, value)| is_secret(&name, &value)) {
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            let mut query = url.query_pairs_mut();
            query.clear();
            for (name, value) in pairs {
                let shown = if is_secret(&name, &value) { PLACEHOLDER } else { &value };
                query.append_pair(&name, shown);
            }
            drop(query);
            self.warn(format!("a parameter of its url looks like a secret and is replaced by {PLACEHOLDER}: use a header if the server takes one"));
        }
    }

    fn is_sse(&mut self, kind: Option<&str>, url: &url::Url) -> bool {
        match kind.map(str::to_ascii_lowercase).as_deref() {
            Some("sse") => true,
            Some("http" | "streamable-http" | "streamablehttp" | "streamable_http") => false,
            _ if url.path().ends_with("/sse") => {
                self.warn("is taken for an HTTP+SSE server, because its path ends with /sse: remove spec.remote.transport if it is not");
                true
            }
            _ => false,
        }
    }

    /// The one header that a backend can have: the one that authenticates.
    fn header(&mut self, headers: Map<String, Value>) -> Option<Value> {
        let mut headers: Vec<(String, String)> =
            headers.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect();
        // Those that authenticate first; the order of the file otherwise.
        headers.sort_by_key(|(name, value)| {
            (!name.eq_ignore_ascii_case("authorization"), !names_secret(name), !looks_secret(name, value))
        });
        let mut headers = headers.into_iter();
        let (name, value) = headers.next()?;
        for (name, _) in headers {
            self.warn(format!("header {name} is not carried over: an MCPBackend has one header"));
        }
        let value = match self.purpose {
            Purpose::Laptop(lookup) => match expand(&value, lookup) {
                Ok(value) => value,
                Err(missing) => {
                    self.warn(format!("header {name} is left out: {missing} is not set here"));
                    return None;
                }
            },
            Purpose::Cluster => value,
        };
        let scheme = ["Bearer ", "Basic ", "Token "].into_iter().find(|scheme| value.starts_with(scheme));
        let credential = value.strip_prefix(scheme.unwrap_or_default()).unwrap_or(&value);
        let reference = self.secret_key(&name.to_ascii_lowercase(), credential);
        let mut header = json!({ "name": name });
        if let Some(scheme) = scheme {
            header["prefix"] = scheme.into();
        }
        header["valueFrom"] = json!({ "secretKeyRef": reference });
        Some(header)
    }

    /// A reference to the key of this server's Secret that is to hold `value`.
    fn secret_key(&mut self, key: &str, value: &str) -> Value {
        let name = self.secret.clone();
        if self.is_for_cluster() {
            self.warn(format!(
                "{key} is taken from Secret {name}, key {key}: create it; the value is not in the manifests"
            ));
        }
        let value = (!self.is_for_cluster()).then(|| PrivateBytes::new(value.as_bytes()));
        let reference = json!({ "name": name, "key": key });
        self.secrets.push(ImportedSecret { name, key: key.to_owned(), value });
        reference
    }

    fn left_out_for(&mut self, variable: &str) {
        self.warn(format!("is left out: {variable} is not set here"));
    }
}

/// The word without its secret, and whether it had one: `--token=x`, `x` after `--token`, or `x` that speaks for itself.
fn hide(word: &str, flag_before: &str) -> (String, bool) {
    if let Some((flag, value)) = word.split_once('=')
        && flag.starts_with('-')
        && !has_variables(value)
        && looks_secret(flag, value)
    {
        return (format!("{flag}={PLACEHOLDER}"), true);
    }
    let after_flag = flag_before.starts_with('-') && !flag_before.contains('=') && !word.starts_with('-');
    let name = if after_flag { flag_before } else { "" };
    // `Authorization: Bearer x`, as bridges take headers.
    let header = word.split_once(':').filter(|(name, value)| names_secret(name) && !value.starts_with("//"));
    let is_secret = !has_variables(word)
        && (looks_secret(name, word) || header.is_some_and(|(name, value)| looks_secret(name, value.trim())));
    match (is_secret, header) {
        (false, _) => (word.to_owned(), false),
        (true, Some((name, _))) => (format!("{name}: {PLACEHOLDER}"), true),
        (true, None) => (PLACEHOLDER.to_owned(), true),
    }
}

fn is_env_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.');
    name.len() <= 253
        && name.bytes().next().is_some_and(is_letter)
        && name.bytes().all(|byte| is_letter(byte) || byte.is_ascii_digit())
}
