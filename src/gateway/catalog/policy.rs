//! A route's rules for one server's items: which are offered, and under what names.

use super::item::{Item, ListKind};
use crate::gateway::mcp::json::Object;
use crate::gateway::mcp::splice::{Edits, json_string};
use crate::ir::snapshot::{CallMatch, Server, ToolOverride};
use globset::{Glob, GlobSet, GlobSetBuilder};

/// The longest name of a tool or prompt, in bytes (2026-07-28, server/tools).
const MAX_NAME: usize = 128;

/// The rules of one server, compiled.
pub(crate) struct ServerRules<'a> {
    server: &'a Server,
    include: Option<Globs>,
    exclude: Option<Globs>,
    matches: Vec<(&'a CallMatch, Option<Globs>)>,
}

impl<'a> ServerRules<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        let some = |globs: &[String]| (!globs.is_empty()).then(|| Globs::new(globs));
        Self {
            include: some(&server.tools.include),
            exclude: some(&server.tools.exclude),
            matches: server.matches.iter().map(|call| (call, some(&call.tools))).collect(),
            server,
        }
    }

    /// The key and the JSON under which clients see an item; `None` when it is not offered, an error when its name cannot be
    /// what the rules make of it.
    pub(crate) fn offer(&self, kind: ListKind, item: &Item) -> Result<Option<(String, String)>, String> {
        let changes = (kind == ListKind::Tools).then(|| self.changes(&item.key)).flatten();
        if kind == ListKind::Tools && !self.is_included(&item.key) {
            return Ok(None);
        }
        let name = match kind {
            ListKind::Tools | ListKind::Prompts => self.client_name(&item.key, changes)?,
            ListKind::Resources | ListKind::Templates => item.key.clone(),
        };
        if !self.is_matched(kind, &name) {
            return Ok(None);
        }
        let json = rewritten(item, &name, changes.and_then(|changes| changes.description.as_deref()))?;
        Ok(Some((name, json)))
    }

    fn changes(&self, tool: &str) -> Option<&'a ToolOverride> {
        self.server.tools.overrides.iter().find(|change| change.name == tool)
    }

    fn is_included(&self, tool: &str) -> bool {
        // Translation refuses globs that do not compile. Were one to slip through, it must show nothing and hide everything.
        let included = self.include.as_ref().is_none_or(|globs| globs.matches(tool).unwrap_or(false));
        let excluded = self.exclude.as_ref().is_some_and(|globs| globs.matches(tool).unwrap_or(true));
        included && !excluded
    }

    fn client_name(&self, own: &str, changes: Option<&ToolOverride>) -> Result<String, String> {
        let base = changes.and_then(|changes| changes.rename.as_deref()).unwrap_or(own);
        let name = match &self.server.prefix {
            Some(prefix) => format!("{prefix}{base}"),
            None => base.to_owned(),
        };
        // A server's own name passes as it is; one that the gateway made must be one that every client takes.
        if name == own || is_name(&name) {
            Ok(name)
        } else {
            Err(format!("{name:?} is not a valid name: at most {MAX_NAME} of A-Z a-z 0-9 _ . -"))
        }
    }

    fn is_matched(&self, kind: ListKind, name: &str) -> bool {
        let method = match kind {
            ListKind::Tools => "tools/call",
            ListKind::Prompts => "prompts/get",
            ListKind::Resources | ListKind::Templates => "resources/read",
        };
        self.matches.is_empty()
            || self.matches.iter().any(|(call, tools)| {
                let method_matches = call.methods.is_empty() || call.methods.iter().any(|wanted| wanted == method);
                let tool_matches =
                    tools.as_ref().is_none_or(|globs| kind == ListKind::Tools && globs.matches(name).unwrap_or(false));
                method_matches && tool_matches
            })
    }
}

/// The item with another name and description, everything else byte for byte.
fn rewritten(item: &Item, name: &str, description: Option<&str>) -> Result<String, String> {
    let mut edits = Edits::new();
    if name != item.key {
        edits.replace(item.key_span.clone(), json_string(name));
    }
    let object = Object::parse(&item.json).map_err(|error| error.to_string())?;
    if let Some(description) = description {
        edits.set_member(&object, "description", json_string(description));
    }
    let json = edits.apply(&item.json).map_err(|error| error.to_string())?;
    String::from_utf8(json.into()).map_err(|error| error.to_string())
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Patterns; `None` when one of them does not compile.
struct Globs(Option<GlobSet>);

impl Globs {
    fn new(patterns: &[String]) -> Self {
        let mut builder = GlobSetBuilder::new();
        for pattern in patterns {
            match Glob::new(pattern) {
                Ok(glob) => {
                    builder.add(glob);
                }
                Err(error) => {
                    tracing::warn!(%error, "a glob of the snapshot does not compile: what it guards is not offered");
                    return Self(None);
                }
            }
        }
        Self(builder.build().ok())
    }

    /// Whether any pattern matches; `None` when that cannot be told.
    fn matches(&self, name: &str) -> Option<bool> {
        Some(self.0.as_ref()?.is_match(name))
    }
}
