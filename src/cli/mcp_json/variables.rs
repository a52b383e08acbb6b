//! `${NAME}` and its relatives in the values of an `.mcp.json`.
//!
//! Claude: `${NAME}`, `${NAME:-default}`; Cursor and VS Code: `${env:NAME}`, `${input:id}`, `${workspaceFolder}`.

/// A value, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Text(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
}

/// The parts of `text`; what is no variable is text, as it stands.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(length) = rest[start..].find('}') else { break };
        if start > 0 {
            parts.push(Part::Text(&rest[..start]));
        }
        parts.push(variable(&rest[start + 2..start + length]));
        rest = &rest[start + length + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    parts
}

fn variable(inner: &str) -> Part<'_> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let name = name.strip_prefix("env:").or_else(|| name.strip_prefix("input:")).unwrap_or(name);
    Part::Variable { name, default }
}

/// Whether `text` has a variable.
pub(super) fn has_variables(text: &str) -> bool {
    parts(text).iter().any(|part| matches!(part, Part::Variable { .. }))
}

/// `text` with its variables looked up; the name of the first that has neither value nor default.
pub(super) fn expand(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut expanded = String::new();
    for part in parts(text) {
        match part {
            Part::Text(text) => expanded.push_str(text),
            Part::Variable { name, default } => match (lookup(name), default) {
                (Some(value), _) => expanded.push_str(&value),
                (None, Some(default)) => expanded.push_str(default),
                (None, None) => return Err(name.to_owned()),
            },
        }
    }
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_and_looked_up() {
        let lookup = |name: &str| (name == "TOKEN").then(|| "t".to_owned());
        assert_eq!(expand("Bearer ${TOKEN}!", &lookup), Ok("Bearer t!".to_owned()));
        assert_eq!(expand("${env:TOKEN}${input:TOKEN}", &lookup), Ok("tt".to_owned()));
        assert_eq!(expand("${HOST:-localhost}:${PORT:-}", &lookup), Ok("localhost:".to_owned()));
        assert_eq!(expand("a${HOST}", &lookup), Err("HOST".to_owned()));
        for plain in ["", "$TOKEN", "${TOKEN", "}{$", "$${"] {
            assert_eq!(expand(plain, &lookup), Ok(plain.to_owned()));
            assert!(!has_variables(plain), "{plain}");
        }
    }
}
