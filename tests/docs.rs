//! The documents keep to the facts: links resolve, the paths and commands they name exist, and the manifests in the README
//! are accepted by the linter.

// A test fails by panicking, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

use mcp_gateway_operator::api::conditions::Reason;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders whose files documents may name in backquotes.
const OURS: &[&str] = &["src/", "tests/", "docs/", "deploy/", "scripts/", "crds/", "charts/", ".ci/", ".github/"];

#[test]
fn links_lead_somewhere() {
    assert_eq!(in_every_document(broken_links), Vec::<String>::new());
}

#[test]
fn paths_in_backquotes_exist() {
    assert_eq!(in_every_document(|text, _| missing_paths(text)), Vec::<String>::new());
}

#[test]
fn make_targets_in_backquotes_exist() {
    let makefile = std::fs::read_to_string("Makefile").unwrap();
    assert_eq!(in_every_document(|text, _| missing_targets(text, &makefile)), Vec::<String>::new());
}

#[test]
fn the_manifests_in_the_readme_are_valid() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let manifests: Vec<String> =
        blocks(&readme, "yaml").into_iter().filter(|block| block.contains("apiVersion:")).collect();
    assert!(!manifests.is_empty(), "the README shows no manifest");
    let file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::fs::write(file.path(), manifests.join("\n---\n")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-mcp")).arg("lint").arg(file.path()).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_error_is_documented_as_it_is() {
    let source = std::fs::read_to_string("src/gateway/error.rs").unwrap();
    let document = std::fs::read_to_string("docs/errors.md").unwrap();
    let expected = error_rows(&source);
    assert!(expected.len() > 30, "the table was not found: {expected:?}");
    let rows = document.lines().filter(|line| line.starts_with("| `"));
    // All but the meaning, which is for people.
    let documented = rows.map(|row| row.splitn(6, '|').take(5).collect::<Vec<_>>().join("|") + "|");
    assert_eq!(documented.collect::<Vec<_>>(), expected);
}

#[test]
fn every_reason_has_an_entry_and_every_entry_is_of_a_reason() {
    let document = std::fs::read_to_string("docs/operations.md").unwrap();
    let reasons = Reason::ALL.iter().map(ToString::to_string);
    // As lists, so that an entry that is there twice is found.
    assert_eq!(sorted(entries(&document, "Troubleshooting by condition reason", "####")), sorted(reasons.collect()));
}

#[test]
fn each_check_can_fail() {
    let text = "# A title\n[a](missing.md) [b](#no-such) [c](#a-title) `src/missing.rs` `src/` `make nothing`\n\
        ```sh\n[not a link](in-code)\n```\n";
    let links = broken_links(text, Path::new("docs/x.md"));
    assert_eq!(links, ["missing.md", "#no-such"]);
    assert_eq!(missing_paths(text), ["src/missing.rs"]);
    assert_eq!(missing_targets(text, "help: ## x\n"), ["make nothing"]);
    let text = "## One\n### A, B\n#### C\n## Two\n### D\n";
    assert_eq!(entries(text, "One", "###"), ["A", "B"]);
    assert_eq!(blocks("```yaml\na: 1\n```\n```sh\nb\n```\n", "yaml"), ["a: 1\n"]);
}

/// Runs a check on each Markdown file, and says where it found what.
fn in_every_document(check: impl Fn(&str, &Path) -> Vec<String>) -> Vec<String> {
    let documents = documents();
    assert!(documents.len() > 2, "the documents were not found: {documents:?}");
    let found = documents.iter().flat_map(|path| {
        let text = std::fs::read_to_string(path).unwrap();
        check(&text, path).into_iter().map(move |what| format!("{}: {what}", path.display()))
    });
    found.collect()
}

/// README.md and what is in `docs/`.
fn documents() -> Vec<PathBuf> {
    let in_folder = |folder: &str| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> = in_folder(".").chain(in_folder("docs")).collect();
    found.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    found
}

/// Targets of links, relative or within the document, that do not exist.
fn broken_links(text: &str, path: &Path) -> Vec<String> {
    let prose = without_blocks(text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    let exists = |target: &str| {
        let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
        if anchor.is_empty() {
            return file.exists();
        }
        let text = if file == path { Ok(text.to_owned()) } else { std::fs::read_to_string(file) };
        text.is_ok_and(|text| anchors(&text).iter().any(|known| known == anchor))
    };
    local.filter(|target| !exists(target)).map(str::to_owned).collect()
}

/// The anchors that a Markdown viewer makes of headings.
fn anchors(text: &str) -> Vec<String> {
    let prose = without_blocks(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| -> String {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    headings.map(anchor).collect()
}

/// The headings of one level in a section; one may be about several names.
fn entries(text: &str, section: &str, level: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| line.strip_prefix("## ") != Some(section)).skip(1);
    let headings = lines
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix(level)?.strip_prefix(' '));
    headings.flat_map(|heading| heading.split(", ")).map(str::to_owned).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

fn missing_paths(text: &str) -> Vec<String> {
    let prose = without_blocks(text);
    let named = prose.split('`').skip(1).step_by(2);
    let ours = named.filter(|name| OURS.iter().any(|folder| name.starts_with(folder)));
    // A pattern or a command line is no path.
    let paths = ours.filter(|name| !name.contains([' ', '*', '<', '…', '{']));
    paths.filter(|path| !Path::new(path).exists()).map(str::to_owned).collect()
}

fn missing_targets(text: &str, makefile: &str) -> Vec<String> {
    let named = text.split('`').filter(|code| code.starts_with("make ") && !code.contains('\n'));
    let missing = named.filter(|code| {
        let target = code.split(' ').nth(1).unwrap();
        !makefile.lines().any(|line| line.starts_with(&format!("{target}:")))
    });
    missing.map(str::to_owned).collect()
}

/// The rows that `docs/errors.md` must have, without their last column, from the table in the source.
fn error_rows(source: &str) -> Vec<String> {
    let constant = |name: &str| {
        let (_, rest) = source.split_once(&format!("const {name}: i32 = ")).unwrap();
        rest.split(';').next().unwrap().to_owned()
    };
    let row = |fields: &str| {
        let fields: Vec<&str> = fields.split(", ").collect();
        let [_, retry, code, http, word] = fields[..] else { panic!("an error has an unknown form: {fields:?}") };
        let code = if code.starts_with('-') { code.to_owned() } else { constant(code) };
        let again = match retry {
            "Never" => "no",
            "Safe" => "yes",
            _ => "if harmless",
        };
        format!("| `{}` | {code} | {http} | {again} |", word.trim_matches('"'))
    };
    let lines = source.lines().map(str::trim).filter(|line| line.starts_with("K::") && line.ends_with("\"),"));
    lines.map(|line| row(line.split_once("=> (").unwrap().1.trim_end_matches("),"))).collect()
}

/// The text without its fenced code blocks.
fn without_blocks(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// The fenced code blocks of one language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n').map(str::to_owned)).collect()
}
