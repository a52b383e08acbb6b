//! What a route's clients see: the lists of all its servers as one, and the way back from a name to its server.
//!
//! A view is immutable. It is built in the background from what each server lists, by the rules of the route: include and
//! exclude, overrides, prefix, matches; on a clash the earlier server keeps the name, and the later item is reported.

use super::item::{Item, ItemList, ListKind};
use super::page;
use super::policy::ServerRules;
use crate::gateway::error::GatewayError;
use crate::gateway::mcp::json::Object;
use crate::gateway::mcp::param_headers::ParamHeaders;
use crate::gateway::mcp::splice::json_string;
use crate::gateway::mcp::uri_template::UriTemplate;
use crate::gateway::mcp::version::{Era, Version};
use crate::ir::snapshot::Server;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// How long clients may keep what the gateway itself says, in ms (`server/discover`): as long as a reload may take to matter.
const OWN_TTL_MS: u64 = 5_000;

/// Why an item is not offered whose name is another server's.
const TAKEN: &str = "an earlier server of the route has it";

/// What one server said of itself and listed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offer {
    pub(crate) capabilities: Map<String, Value>,
    pub(crate) instructions: Option<String>,
    pub(crate) lists: [Arc<ItemList>; 4],
}

/// One item as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Position of its server in the route.
    pub(crate) server: usize,
    /// The name, URI or URI template that clients use.
    pub(crate) key: String,
    /// The server's own.
    pub(crate) own_key: String,
    /// The item's JSON as clients see it.
    pub(crate) json: String,
}

/// Where a name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) server: usize,
    pub(crate) own_name: &'a str,
}

/// An item that is not offered, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conflict {
    /// Position of the server whose item is dropped.
    #[serde(skip)]
    pub server: usize,
    /// `tools`, `prompts`, `resources` or `resourceTemplates`.
    pub kind: &'static str,
    /// The name, URI or URI template.
    pub key: String,
    /// What is in the way.
    pub reason: String,
}

impl Conflict {
    /// Whether an earlier server of the route has the name.
    pub(crate) fn is_taken(&self) -> bool {
        self.reason == TAKEN
    }
}

/// The merged catalogue of one route, for one kind of client.
#[derive(Default)]
pub(crate) struct View {
    lists: [Vec<Entry>; 4],
    index: [HashMap<String, usize>; 4],
    templates: Vec<(UriTemplate, usize)>,
    /// Of the tools that ask for headers which mirror arguments, by the name clients use.
    param_headers: HashMap<String, ParamHeaders>,
    capabilities: Map<String, Value>,
    /// By server; empty for one that has not said anything.
    server_capabilities: Vec<Map<String, Value>>,
    instructions: Option<String>,
    ttl_ms: u64,
    private: bool,
    conflicts: Vec<Conflict>,
}

impl View {
    /// Merges what the servers of a route offer; `None` for one that could not be asked.
    pub(crate) fn build(servers: &[&Server], offers: &[Option<Arc<Offer>>]) -> Self {
        let mut view = Self { ttl_ms: u64::MAX, ..Self::default() };
        let mut instructions = Vec::new();
        for (position, (server, offer)) in servers.iter().zip(offers).enumerate() {
            let Some(offer) = offer else {
                view.server_capabilities.push(Map::new());
                // What is not there now may come: nobody may rely on this list for long.
                view.ttl_ms = 0;
                continue;
            };
            let rules = ServerRules::new(server);
            for kind in ListKind::ALL {
                view.add_list(position, kind, &rules, &offer.lists[kind.index()]);
            }
            merge(&mut view.capabilities, &offer.capabilities);
            view.server_capabilities.push(offer.capabilities.clone());
            instructions.extend(offer.instructions.as_ref().map(|text| (server.name.as_str(), text.as_str())));
        }
        let complete = offers.iter().all(Option::is_some);
        declare_changes(&mut view.capabilities, complete);
        view.instructions = join_instructions(&instructions, servers.len());
        if view.ttl_ms == u64::MAX {
            view.ttl_ms = 0;
        }
        view
    }

    fn add_list(&mut self, server: usize, kind: ListKind, rules: &ServerRules<'_>, list: &ItemList) {
        if list.pages > 0 {
            // A server that does not say for how long, or for whom, promises nothing.
            self.ttl_ms = self.ttl_ms.min(list.ttl_ms.unwrap_or(0));
            self.private |= !list.public;
        }
        for item in &list.items {
            match rules.offer(kind, item) {
                Ok(Some((key, json))) => self.add(server, kind, item, key, json),
                Ok(None) => {}
                Err(reason) => self.conflicts.push(conflict(server, kind, &item.key, reason)),
            }
        }
    }

    fn add(&mut self, server: usize, kind: ListKind, item: &Item, key: String, json: String) {
        let position = self.lists[kind.index()].len();
        if let Some(&taken) = self.index[kind.index()].get(&key) {
            let by = self.lists[kind.index()].get(taken).map_or(server, |entry| entry.server);
            let reason = if by == server { "listed twice" } else { TAKEN };
            self.conflicts.push(conflict(server, kind, &key, reason.to_owned()));
            return;
        }
        if kind == ListKind::Templates
            && let Ok(template) = UriTemplate::parse(&key)
        {
            self.templates.push((template, server));
        }
        if kind == ListKind::Tools
            && let Some(headers) = param_headers(item)
        {
            self.param_headers.insert(key.clone(), headers);
        }
        self.index[kind.index()].insert(key.clone(), position);
        self.lists[kind.index()].push(Entry { server, key, own_key: item.key.clone(), json });
    }

    // --- from names to servers ---

    pub(crate) fn tool(&self, name: &str) -> Option<Target<'_>> {
        self.find(ListKind::Tools, name)
    }

    /// The headers that must mirror a tool's arguments; `None` when it asks for none.
    pub(crate) fn param_headers(&self, tool: &str) -> Option<&ParamHeaders> {
        self.param_headers.get(tool)
    }

    pub(crate) fn prompt(&self, name: &str) -> Option<Target<'_>> {
        self.find(ListKind::Prompts, name)
    }

    fn find(&self, kind: ListKind, key: &str) -> Option<Target<'_>> {
        let entry = self.entry(kind, key)?;
        Some(Target { server: entry.server, own_name: &entry.own_key })
    }

    pub(crate) fn entry(&self, kind: ListKind, key: &str) -> Option<&Entry> {
        self.lists[kind.index()].get(*self.index[kind.index()].get(key)?)
    }

    /// The servers to ask for a resource, the likeliest first: the one that lists it; else those with a template for it;
    /// else those that list anything of its scheme; else all that have resources.
    pub(crate) fn servers_for_uri(&self, uri: &str) -> Vec<usize> {
        if let Some(target) = self.find(ListKind::Resources, uri) {
            return vec![target.server];
        }
        let by_template =
            self.templates.iter().filter(|(template, _)| template.matches(uri)).map(|(_, server)| *server);
        let found = distinct(by_template);
        if !found.is_empty() {
            return found;
        }
        let scheme = scheme(uri);
        let listed = [ListKind::Resources, ListKind::Templates].into_iter().flat_map(|kind| &self.lists[kind.index()]);
        let found = distinct(listed.filter(|entry| self::scheme(&entry.key) == scheme).map(|entry| entry.server));
        if found.is_empty() { self.servers_with("resources") } else { found }
    }

    /// The servers to ask for completions of a resource's or template's URI.
    pub(crate) fn servers_for_template(&self, uri: &str) -> Vec<usize> {
        match self.find(ListKind::Templates, uri) {
            Some(target) => vec![target.server],
            None => self.servers_for_uri(uri),
        }
    }

    /// The servers that declared a capability.
    pub(crate) fn servers_with(&self, capability: &str) -> Vec<usize> {
        let declared =
            |capabilities: &Map<String, Value>| capabilities.get(capability).is_some_and(|value| !value.is_null());
        self.server_capabilities
            .iter()
            .enumerate()
            .filter(|(_, caps)| declared(caps))
            .map(|(server, _)| server)
            .collect()
    }

    // --- what clients read ---

    /// One page of a list, as a result.
    pub(crate) fn page(&self, kind: ListKind, cursor: Option<&str>, era: Era) -> Result<String, GatewayError> {
        let tail = match era {
            Era::Legacy => String::new(),
            Era::Modern => self.cache_hints(),
        };
        page::render(kind, &self.lists[kind.index()], cursor, &tail)
    }

    fn cache_hints(&self) -> String {
        let scope = if self.private { "private" } else { "public" };
        format!(r#","resultType":"complete","ttlMs":{},"cacheScope":"{scope}""#, self.ttl_ms)
    }

    /// The result of a legacy `initialize`.
    pub(crate) fn initialize_result(&self, version: Version, own_version: &str) -> String {
        let mut result = format!(
            r#"{{"protocolVersion":"{}","capabilities":{},"serverInfo":{}"#,
            version.as_str(),
            Value::Object(self.capabilities.clone()),
            server_info(own_version)
        );
        self.finish_with_instructions(&mut result);
        result
    }

    /// The result of `server/discover`.
    pub(crate) fn discover_result(&self, versions: &[Version], own_version: &str) -> String {
        let versions: Vec<&str> = versions.iter().map(|version| version.as_str()).collect();
        let mut result = format!(
            r#"{{"resultType":"complete","supportedVersions":{},"capabilities":{},"ttlMs":{OWN_TTL_MS},"cacheScope":"private","_meta":{{"io.modelcontextprotocol/serverInfo":{}}}"#,
            json!(versions),
            Value::Object(self.capabilities.clone()),
            server_info(own_version)
        );
        self.finish_with_instructions(&mut result);
        result
    }

    fn finish_with_instructions(&self, result: &mut String) {
        if let Some(instructions) = &self.instructions {
            // Writing to a String cannot fail.
            let _ = write!(result, r#","instructions":{}"#, json_string(instructions));
        }
        result.push('}');
    }

    // --- what operators read ---

    pub(crate) fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// How many items of a kind a server has in it.
    pub(crate) fn count(&self, server: usize, kind: ListKind) -> usize {
        self.lists[kind.index()].iter().filter(|entry| entry.server == server).count()
    }
}

/// Clients leave tools with invalid annotations out by themselves; there is nothing to compare for those.
fn param_headers(item: &Item) -> Option<ParamHeaders> {
    let schema = Object::parse(&item.json).ok()?.get_object("inputSchema")?;
    ParamHeaders::from_schema(&schema).ok().filter(|headers| !headers.is_empty())
}

fn conflict(server: usize, kind: ListKind, key: &str, reason: String) -> Conflict {
    Conflict { server, kind: kind.member(), key: key.to_owned(), reason }
}

fn server_info(version: &str) -> Value {
    json!({"name": "mcp-gateway", "version": version})
}

fn scheme(uri: &str) -> &str {
    uri.split_once(':').map_or("", |(scheme, _)| scheme)
}

fn distinct(servers: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut found = Vec::new();
    for server in servers {
        if !found.contains(&server) {
            found.push(server);
        }
    }
    found
}

/// Adds what another server can do. Objects are merged, truths are joined, else the earlier value stands.
fn merge(into: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Object(into)), Value::Object(from)) => merge(into, from),
            (Some(Value::Bool(into)), Value::Bool(from)) => *into |= from,
            (Some(_), _) => {}
            (None, value) => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Lists change with the gateway's configuration, whatever their servers say. While a server is missing, every kind of list
/// is declared: it may have any.
fn declare_changes(capabilities: &mut Map<String, Value>, complete: bool) {
    for kind in ["tools", "prompts", "resources"] {
        if !complete {
            capabilities.entry(kind).or_insert_with(|| json!({}));
        }
        if let Some(Value::Object(capability)) = capabilities.get_mut(kind) {
            capability.insert("listChanged".to_owned(), Value::Bool(true));
        }
    }
}

/// One server's instructions as they are; several with the name of each before.
fn join_instructions(instructions: &[(&str, &str)], servers: usize) -> Option<String> {
    match instructions {
        [] => None,
        [(_, only)] if servers == 1 => Some((*only).to_owned()),
        several => {
            Some(several.iter().map(|(server, text)| format!("{server}:\n{text}")).collect::<Vec<_>>().join("\n\n"))
        }
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
