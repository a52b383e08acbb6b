//! Finds every path that Rust source names, without compiling it: comments, strings and test modules left out, `use` trees
//! written out, `self` and `super` resolved.

/// A piece of source that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Colons,
    Punctuation(char),
}

/// Every path in `source`, which is the module `module` (`["gateway", "mcp"]` for `src/gateway/mcp/mod.rs`), as
/// `crate::ir::ids::ObjectId` or `tokio::spawn`. Single words are left out: they name what a path brought in.
pub(crate) fn paths(source: &str, module: &[&str]) -> Vec<String> {
    let tokens = without_test_modules(&tokens(source));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        at = match tokens[at] {
            Token::Word(_) => path(&tokens, at, &[], &mut found),
            _ => at + 1,
        };
    }
    found.iter().filter(|path| path.len() > 1).map(|path| resolve(path, module).join("::")).collect()
}

/// Reads the path at `at`, or several where it ends in a group, and returns where it ends.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) => path.push(word.clone()),
            Some(Token::Punctuation('*')) => path.push("*".to_owned()),
            Some(Token::Punctuation('{')) => return group(tokens, at + 1, &path, found),
            // `Vec::<T>::new`: what stands between the brackets is read on its own.
            _ => {
                found.push(path);
                return at;
            }
        }
        at += 1;
        if tokens.get(at) != Some(&Token::Colons) {
            // `use tokio as t;` names tokio whatever it is called from here on.
            if tokens.get(at) == Some(&Token::Word("as".to_owned())) && path.len() == 1 {
                path.push("*".to_owned());
            }
            found.push(path);
            return at;
        }
        at += 1;
    }
}

/// Reads the members of `{…}`, each of which goes on from `prefix`.
fn group(tokens: &[Token], mut at: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    while let Some(token) = tokens.get(at) {
        at = match token {
            Token::Punctuation('}') => return at + 1,
            Token::Word(word) if word == "as" => at + 2,
            Token::Word(_) | Token::Punctuation('*') => path(tokens, at, prefix, found),
            _ => at + 1,
        };
    }
    at
}

/// Writes `self` and `super` out as a path from `crate`.
fn resolve(path: &[String], module: &[&str]) -> Vec<String> {
    let mut here: Vec<String> = ["crate"].iter().chain(module).map(|&name| name.to_owned()).collect();
    let mut rest = path;
    match path[0].as_str() {
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                here.pop();
                rest = &rest[1..];
            }
        }
        _ => return path.to_vec(),
    }
    // `use super::{self, …}` names the module itself.
    here.extend(rest.iter().filter(|word| *word != "self").cloned());
    here
}

/// Drops what stands behind `#[cfg(test)] mod name`: tests may read files and clocks.
fn without_test_modules(tokens: &[Token]) -> Vec<Token> {
    let word = |text: &str| Token::Word(text.to_owned());
    let mark = Token::Punctuation;
    let start = [mark('#'), mark('['), word("cfg"), mark('('), word("test"), mark(')'), mark(']'), word("mod")];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].starts_with(&start) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let mut depth = 0;
        for token in &tokens[at..] {
            at += 1;
            match token {
                Token::Punctuation('{') => depth += 1,
                Token::Punctuation('}') if depth == 1 => break,
                Token::Punctuation('}') => depth -= 1,
                // `mod tests;`: the file itself is the caller's business.
                Token::Punctuation(';') if depth == 0 => break,
                _ => {}
            }
        }
    }
    kept
}

fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = skip_comment(rest).or_else(|| skip_literal(rest)) {
            rest = after;
        } else if first.is_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        } else if let Some(after) = rest.strip_prefix("::") {
            tokens.push(Token::Colons);
            rest = after;
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Punctuation(first));
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    tokens
}

fn skip_comment(text: &str) -> Option<&str> {
    if text.starts_with("//") {
        return Some(text.find('\n').map_or("", |end| &text[end..]));
    }
    let mut rest = text.strip_prefix("/*")?;
    let mut depth = 1;
    while depth > 0 {
        let open = rest.find("/*").unwrap_or(usize::MAX);
        let close = rest.find("*/").unwrap_or(usize::MAX);
        match open.min(close) {
            usize::MAX => return Some(""),
            at => rest = &rest[at + 2..],
        }
        depth = if open < close { depth + 1 } else { depth - 1 };
    }
    Some(rest)
}

/// Skips a string or a character, with its prefix letters. A lifetime is neither.
fn skip_literal(text: &str) -> Option<&str> {
    let body = ["br", "cr", "b", "c", "r", ""].iter().find_map(|prefix| {
        let rest = text.strip_prefix(prefix)?;
        let raw = prefix.ends_with('r');
        (rest.starts_with('"')
            || (raw && rest.starts_with('#') && rest.trim_start_matches('#').starts_with('"'))
            || (!raw && rest.starts_with('\'')))
        .then_some((rest, raw))
    });
    let (rest, raw) = body?;
    if raw {
        let hashes = rest.len() - rest.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let inside = &rest[hashes + 1..];
        return Some(inside.find(&end).map_or("", |at| &inside[at + end.len()..]));
    }
    let quote = rest.chars().next()?;
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            c if c == quote => return Some(&rest[at + 1..]),
            // `'a` without an end after one character is a lifetime.
            _ if quote == '\'' && !rest[at + character.len_utf8()..].starts_with('\'') => return None,
            _ => {}
        }
    }
    Some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_trees_are_written_out() {
        let source = "use std::{fs::{self, File}, io}; use crate::gateway::*; use tokio as t;";
        let expected = ["std::fs::self", "std::fs::File", "std::io", "crate::gateway::*", "tokio::*"];
        assert_eq!(paths(source, &["ir"]), expected);
    }

    #[test]
    fn paths_in_expressions_types_and_macros_count() {
        let source = "fn a() -> kube::Client { vec![std::time::Instant::now()]; Vec::<std::fs::File>::new() }";
        let found = paths(source, &["ir"]);
        for path in ["kube::Client", "std::time::Instant::now", "std::fs::File"] {
            assert!(found.contains(&path.to_owned()), "{path} is not in {found:?}");
        }
    }

    #[test]
    fn comments_strings_and_test_modules_do_not_count() {
        let source = r##"
            // kube::a
            /* kube::b /* nested */ kube::c */
            const A: &str = "kube::d \" kube::e"; const B: &[u8] = br#"kube::f" kube::g"#;
            const C: char = '"'; fn d<'a>(x: &'a str) { let y = '\''; real::path(); }
            #[cfg(test)]
            mod tests { use kube::h; fn i() { if true { kube::j(); } } }
            use after::tests;
        "##;
        assert_eq!(paths(source, &["ir"]), ["real::path", "after::tests"]);
    }

    #[test]
    fn relative_paths_are_resolved() {
        let source = "use super::super::gateway::mcp; use self::deep::A; use super::{self, b};";
        let expected = ["crate::gateway::mcp", "crate::ir::x::deep::A", "crate::ir", "crate::ir::b"];
        assert_eq!(paths(source, &["ir", "x"]), expected);
    }
}
