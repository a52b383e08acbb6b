//! From text to entries: JSON with comments, and the three places where hosts put their servers.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Where hosts put their servers: Claude, Cursor and most others; VS Code; Zed.
const PLACES: [&str; 3] = ["mcpServers", "servers", "context_servers"];

/// A text that is no `.mcp.json`. Messages quote nothing of it: it may hold secrets.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum McpJsonError {
    /// Not JSON, even with comments taken out.
    #[error("is not JSON: {problem} at line {line}, column {column}")]
    Json {
        /// What is wrong.
        problem: &'static str,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// JSON without servers.
    #[error("has no servers: they are expected under mcpServers, servers (VS Code) or context_servers (Zed)")]
    NoServers,
    /// More than a route takes.
    #[error("has {found} servers; one MCPRoute takes {most}: split the file")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
}

/// Entries by name, in the file's order, with those of the same name.
pub(super) fn entries(text: &str) -> Result<Vec<(String, Value)>, McpJsonError> {
    let plain = without_comments(text);
    let file: Pairs<Value> = serde_json::from_str(&plain).map_err(|error| malformed(&error))?;
    let place = PLACES.iter().find(|place| file.0.iter().any(|(name, value)| name == *place && value.is_object()));
    let Some(place) = place else { return Err(McpJsonError::NoServers) };
    // Read once more, to see names that are there twice: a map keeps only the last.
    let file: Pairs<Lenient> = serde_json::from_str(&plain).map_err(|error| malformed(&error))?;
    let servers = file.0.into_iter().filter(|(name, _)| name == place).map(|(_, servers)| servers);
    Ok(servers.flat_map(|servers| servers.0.0).collect())
}

fn malformed(error: &serde_json::Error) -> McpJsonError {
    let problem = match error.classify() {
        serde_json::error::Category::Eof => "the text ends too early",
        serde_json::error::Category::Data => "an object is expected",
        _ => "a mistake",
    };
    McpJsonError::Json { problem, line: error.line(), column: error.column() }
}

/// An object's fields in order, the same name twice included.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }

        deserializer.deserialize_map(Object(std::marker::PhantomData))
    }
}

/// The fields of an object; nothing for any other value.
struct Lenient(Pairs<Value>);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or(Pairs(Vec::new()))))
    }
}

/// One server, in any host's words.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Entry {
    #[serde(rename = "type", alias = "transport", alias = "transportType")]
    pub(super) kind: Option<String>,
    pub(super) command: Option<Command>,
    pub(super) args: Vec<String>,
    pub(super) env: serde_json::Map<String, Value>,
    #[serde(alias = "workingDirectory")]
    pub(super) cwd: Option<String>,
    #[serde(alias = "serverUrl", alias = "httpUrl")]
    pub(super) url: Option<String>,
    pub(super) headers: serde_json::Map<String, Value>,
    pub(super) disabled: bool,
    #[serde(flatten)]
    pub(super) other: serde_json::Map<String, Value>,
}

/// A program: its path, or Zed's object with everything in it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Command {
    Path(String),
    Object {
        path: String,
        #[serde(default)]
        args: Vec<String>,
        #[serde(default)]
        env: serde_json::Map<String, Value>,
    },
}

/// Takes out `//` and `/* */` comments and commas before a closing bracket, as VS Code allows them. What is taken out
/// becomes blank, so that lines and columns stay.
fn without_comments(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut plain: Vec<char> = Vec::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    // Where a comma stands that nothing but blanks has followed.
    let mut comma = None;
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('"', _) => {
                comma = None;
                plain.push('"');
                copy_string(&mut letters, &mut plain);
            }
            ('/', Some('/')) => {
                plain.push(' ');
                while letters.peek().is_some_and(|next| *next != '\n') {
                    letters.next();
                    plain.push(' ');
                }
            }
            ('/', Some('*')) => {
                plain.push(' ');
                blank_block(&mut letters, &mut plain);
            }
            (',', _) => {
                comma = Some(plain.len());
                plain.push(',');
            }
            ('}' | ']', _) => {
                if let Some(at) = comma.take() {
                    plain[at] = ' ';
                }
                plain.push(letter);
            }
            _ => {
                if !letter.is_whitespace() {
                    comma = None;
                }
                plain.push(letter);
            }
        }
    }
    plain.into_iter().collect()
}

/// Copies the rest of a string, its closing quote included.
fn copy_string(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, plain: &mut Vec<char>) {
    while let Some(letter) = letters.next() {
        plain.push(letter);
        match letter {
            '\\' => plain.extend(letters.next()),
            '"' => return,
            _ => {}
        }
    }
}

/// Blanks a block comment, whose `/` is gone already; lines stay.
fn blank_block(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, plain: &mut Vec<char>) {
    let mut before = '/';
    // The star that opens the block does not close it.
    letters.next();
    plain.push(' ');
    for letter in letters.by_ref() {
        plain.push(if letter == '\n' { '\n' } else { ' ' });
        if before == '*' && letter == '/' {
            return;
        }
        before = letter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_and_last_commas_are_allowed() {
        let text =
            "// servers\n{\"mcpServers\": { /* a, } */ \"a\": {\"command\": \"x // y\", \"args\": [\"/*\", ], },\n}, }";
        let entries = entries(text).unwrap();
        assert_eq!(entries[0].0, "a");
        assert_eq!(entries[0].1, serde_json::json!({ "command": "x // y", "args": ["/*"] }));
    }

    #[test]
    fn a_name_that_is_there_twice_is_seen_twice() {
        let names: Vec<String> = entries(r#"{"servers": {"a": {"url": "x"}, "a": {"url": "y"}}}"#)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["a", "a"]);
    }

    #[test]
    fn what_is_no_mcp_json_is_told_without_quoting_it() {
        let error = entries("{\"mcpServers\": {\n  \"a\": {\"env\": {\"TOKEN\": hunter2}}}}").unwrap_err();
        assert_eq!(error.to_string(), "is not JSON: a mistake at line 2, column 26");
        for text in ["{}", "{\"mcpServers\": []}", "{\"other\": {}}"] {
            assert_eq!(entries(text), Err(McpJsonError::NoServers), "{text}");
        }
        assert!(matches!(entries("[]"), Err(McpJsonError::Json { .. })));
        assert!(matches!(entries("{"), Err(McpJsonError::Json { problem: "the text ends too early", .. })));
    }

    proptest! {
        #[test]
        fn json_without_comments_stays_as_it_is(value in "[a-z/*,\"\\\\ ]{0,20}", lines in 0_usize..3) {
            let text = format!("{}{}", "\n".repeat(lines), serde_json::json!({ "a": [value, 1, {}] }));
            prop_assert_eq!(without_comments(&text), text);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-{}\\[\\],:\"/*\\\\a\n ]{0,60}") {
            let _ = entries(&text);
        }
    }
}
