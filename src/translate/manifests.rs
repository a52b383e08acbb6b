//! Manifests as people write them: YAML text in, typed objects out, with the line and the field of every mistake.
//!
//! Strict where the API server is strict: unknown fields, duplicate keys and wrong types are errors. Objects of other
//! groups are kept by name only, so that a file may hold the `Namespace` and the `Secret` that belong to ours.

use super::strict::{Fault, faults, schema};
use super::yaml::{Node, place};
use crate::api::validate::{self, Violation};
use crate::api::{API_VERSION, GROUP, McpAuthPolicy, McpBackend, McpGateway, McpRoute};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, MessageFormatter as _, UserMessageFormatter};
use std::fmt;

/// The largest file that is read, in bytes: more than any `kubectl apply` takes, and a bound on what a wrong file costs.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// One object and where it stands.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file.
    pub file: String,
    /// The document's first line, from 1.
    pub line: u64,
    /// The object.
    pub object: Object,
}

/// An object by kind.
#[derive(Clone, Debug)]
pub enum Object {
    /// An `MCPGateway`.
    Gateway(Box<McpGateway>),
    /// An `MCPBackend`.
    Backend(Box<McpBackend>),
    /// An `MCPRoute`.
    Route(Box<McpRoute>),
    /// An `MCPAuthPolicy`.
    AuthPolicy(Box<McpAuthPolicy>),
    /// Of another group: not ours to judge.
    Foreign(Foreign),
}

/// An object of another group, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its `metadata.name`.
    pub name: String,
}

/// A mistake in a file, printed as `file:line:column: field: message`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ManifestError {
    /// The file.
    pub file: String,
    /// Line, from 1; 0 when the mistake is the file as a whole.
    pub line: u64,
    /// Column, from 1; 0 when unknown.
    pub column: u64,
    /// The field's path (`spec.servers[0].prefix`); empty for the whole document.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        f.write_str(": ")?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

/// Reads every document of a file. Documents that cannot be read are errors; the others are objects all the same.
pub fn parse(file: &str, text: &str) -> (Vec<Manifest>, Vec<ManifestError>) {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("is larger than {MAX_FILE_BYTES} bytes");
        return (
            Vec::new(),
            vec![ManifestError { file: file.to_owned(), line: 0, column: 0, field: String::new(), message }],
        );
    }
    let mut manifests = Vec::new();
    let mut errors = Vec::new();
    for document in documents(text) {
        match object(&document) {
            Ok(object) => manifests.push(Manifest { file: file.to_owned(), line: document.line, object }),
            Err(mistakes) => errors.extend(mistakes.into_iter().map(|mistake| mistake.in_document(file, &document))),
        }
    }
    (manifests, errors)
}

/// One YAML document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its first line with content, from 1.
    pub line: u64,
    /// How many lines of the file stand before `text`.
    skipped: u64,
    /// Its text, with its `---` if it has one.
    pub text: &'a str,
}

/// Splits a file at its document markers; documents without content are left out.
///
/// A line that begins with `---` or `...` ends a document even within a scalar, so no YAML needs to be understood here.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let (mut start, mut skipped) = (0, 0);
    let (mut offset, mut number) = (0, 0);
    for line in text.split_inclusive('\n') {
        let is_start = is_marker(line, "---");
        let is_end = is_marker(line, "...");
        if is_start || is_end {
            found.extend(document(&text[start..offset], skipped));
            (start, skipped) = if is_end { (offset + line.len(), number + 1) } else { (offset, number) };
        }
        offset += line.len();
        number += 1;
    }
    found.extend(document(&text[start..], skipped));
    found
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// The document in `text`, unless it holds nothing but blanks, comments, directives and its own marker.
fn document(text: &str, skipped: u64) -> Option<Document<'_>> {
    let is_content = |line: &str| {
        let line = line.strip_prefix("---").unwrap_or(line).trim_start();
        !line.is_empty() && !line.starts_with(['#', '%'])
    };
    let first = text.lines().position(is_content)?;
    Some(Document { line: skipped + first as u64 + 1, skipped, text })
}

/// What every object has.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

fn object(document: &Document<'_>) -> Result<Object, Vec<Mistake>> {
    let header: Header = read(document.text).map_err(one)?;
    if header.api_version.is_empty() || header.kind.is_empty() {
        return Err(document.mistake("is not a Kubernetes object: apiVersion and kind are required"));
    }
    let group = header.api_version.split_once('/').map_or("", |(group, _)| group);
    if group != GROUP {
        let Header { api_version, kind, metadata } = header;
        return Ok(Object::Foreign(Foreign { api_version, kind, name: metadata.name }));
    }
    if header.api_version != API_VERSION {
        return Err(
            document.mistake(format!("apiVersion {} is unknown; this build reads {API_VERSION}", header.api_version))
        );
    }
    if header.metadata.name.is_empty() {
        return Err(document.mistake("metadata.name is required"));
    }
    let (kind, text) = (header.kind.as_str(), document.text);
    match kind {
        "MCPGateway" => read_strictly(kind, text).map(Object::Gateway),
        "MCPBackend" => read_strictly(kind, text).map(Object::Backend),
        "MCPRoute" => read_strictly(kind, text).map(Object::Route),
        "MCPAuthPolicy" => read_strictly(kind, text).map(Object::AuthPolicy),
        _ => Err(document.mistake(format!(
            "kind {kind} is unknown in {GROUP}; there are MCPGateway, MCPBackend, MCPRoute and MCPAuthPolicy"
        ))),
    }
}

/// Reads one document as a `T` and refuses what its kind's schema does not allow.
fn read_strictly<T: DeserializeOwned>(kind: &str, text: &str) -> Result<Box<T>, Vec<Mistake>> {
    let root: Node = read(text).map_err(one)?;
    let schema = schema(kind);
    let faults: Vec<Mistake> = faults(&root, schema).into_iter().map(Mistake::from).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let json = root.to_json(schema);
    serde_path_to_error::deserialize(&json).map(Box::new).map_err(|error| {
        // A number that the type cannot hold: the bound says more than the type does.
        let mut violations = validate::bounds(kind, &json);
        if violations.is_empty() {
            let path = error.path().to_string();
            violations.push(Violation { path, message: error.into_inner().to_string() });
        }
        let fault = |Violation { path, message }| {
            let at = place(&root, &path).unwrap_or(Location::UNKNOWN);
            Mistake::from(Fault { path, at, message })
        };
        violations.into_iter().map(fault).collect()
    })
}

fn one(mistake: Mistake) -> Vec<Mistake> {
    vec![mistake]
}

/// Reads one document as a `T`.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    // Kept aside, because the parser adds the place to its own error type only.
    let mut field = String::new();
    serde_saphyr::with_deserializer_from_str(text, |deserializer| {
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let path = error.path().to_string();
            field = if path == "." { String::new() } else { path };
            error.into_inner()
        })
    })
    .map_err(|error: serde_saphyr::Error| {
        let error = error.without_snippet();
        let location = error.location().filter(|location| *location != Location::UNKNOWN);
        Mistake {
            line: location.map_or(0, |location| location.line()),
            column: location.map_or(0, |location| location.column()),
            field,
            message: UserMessageFormatter.format_message(error).into_owned(),
        }
    })
}

/// A mistake, with its line counted from the document's own start.
struct Mistake {
    line: u64,
    column: u64,
    field: String,
    message: String,
}

impl Mistake {
    fn in_document(self, file: &str, document: &Document<'_>) -> ManifestError {
        // A place that the parser does not know is at least within this document.
        let line = if self.line == 0 { document.line } else { document.skipped + self.line };
        ManifestError { file: file.to_owned(), line, column: self.column, field: self.field, message: self.message }
    }
}

impl From<Fault> for Mistake {
    fn from(Fault { path, at, message }: Fault) -> Self {
        let (line, column) = if at == Location::UNKNOWN { (0, 0) } else { (at.line(), at.column()) };
        Self { line, column, field: path, message }
    }
}

impl Document<'_> {
    /// Where the field `path` (`spec.listeners[0].port`) stands in the file, as line and column from 1; for a field that
    /// is not written, the nearest one around it.
    pub fn place(&self, path: &str) -> (u64, u64) {
        let shape: Option<Node> = read(self.text).ok();
        let place = shape.and_then(|shape| place(&shape, path)).filter(|place| *place != Location::UNKNOWN);
        place.map_or((self.line, 0), |place| (self.skipped + place.line(), place.column()))
    }

    /// A mistake of the document as a whole.
    fn mistake(&self, message: impl Into<String>) -> Vec<Mistake> {
        vec![Mistake { line: self.line - self.skipped, column: 0, field: String::new(), message: message.into() }]
    }
}

#[cfg(test)]
#[path = "manifests_tests.rs"]
mod tests;
