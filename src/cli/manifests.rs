//! Manifests from files, checked as the API server would check them: for every command that takes manifests.

use crate::api::validate::{Checker, Violation};
use crate::translate::manifests::{MAX_FILE_BYTES, Manifest, ManifestError, Object, documents, parse};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The name of standard input among file names.
const STDIN: &str = "-";

/// What files hold: the good objects, and every mistake.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Objects without a mistake, in the order of the files.
    pub manifests: Vec<Manifest>,
    /// Mistakes, in the order of the files and lines.
    pub mistakes: Vec<ManifestError>,
}

/// A file that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", path.display())]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Reads files, `-` for standard input.
pub fn load(paths: &[PathBuf]) -> Result<Loaded, Unreadable> {
    let mut files = Files::default();
    for path in paths {
        let text = read_file(path)?;
        let name = if path.as_os_str() == STDIN { "standard input".to_owned() } else { path.display().to_string() };
        files.add(&name, &text);
    }
    Ok(files.loaded)
}

/// Reads one file as text, `-` for standard input.
pub fn read_file(path: &Path) -> Result<String, Unreadable> {
    read(path).map_err(|source| Unreadable { path: path.to_owned(), source })
}

/// Reads a text, as file `name`.
pub fn check(name: &str, text: &str) -> Loaded {
    let mut files = Files::default();
    files.add(name, text);
    files.loaded
}

#[derive(Default)]
struct Files {
    checker: Checker,
    loaded: Loaded,
}

impl Files {
    fn add(&mut self, name: &str, text: &str) {
        let (manifests, mut mistakes) = parse(name, text);
        for manifest in manifests {
            let violations = self.violations(&manifest.object);
            if violations.is_empty() {
                self.loaded.manifests.push(manifest);
            } else {
                mistakes.extend(violations.into_iter().map(|violation| placed(violation, &manifest, text)));
            }
        }
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        self.loaded.mistakes.extend(mistakes);
    }

    fn violations(&mut self, object: &Object) -> Vec<Violation> {
        match object {
            Object::Gateway(gateway) => self.checker.check(&**gateway),
            Object::Backend(backend) => self.checker.check(&**backend),
            Object::Route(route) => self.checker.check(&**route),
            Object::AuthPolicy(policy) => self.checker.check(&**policy),
            Object::Foreign(_) => Vec::new(),
        }
    }
}

/// The violation, with the place of its field in the file.
fn placed(violation: Violation, manifest: &Manifest, text: &str) -> ManifestError {
    let Violation { path, message } = violation;
    let document = documents(text).into_iter().find(|document| document.line == manifest.line);
    let (line, column) = document.map_or((manifest.line, 0), |document| document.place(&path));
    ManifestError { file: manifest.file.clone(), line, column, field: path, message }
}

fn read(path: &Path) -> io::Result<String> {
    // One byte more than is allowed, so that a longer file is refused and not cut.
    let bound = MAX_FILE_BYTES as u64 + 1;
    let mut text = String::new();
    if path.as_os_str() == STDIN {
        io::stdin().lock().take(bound).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(path)?.take(bound).read_to_string(&mut text)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_is_broken_is_told_with_its_place() {
        let text = "# a comment
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPGateway
metadata: {name: tools}
spec:
  listeners:
  - name: http
    port: 0
    protocol: HTTP
  - name: https
    port: 8443
    protocol: HTTPS
---
apiVersion: gateway.mcp-operator.dev/v1alpha1
kind: MCPBackend
metadata: {name: search}
spec:
  service: {name: search, port: 1}
  remote: {url: 'https://example.com/mcp'}
";
        let Loaded { manifests, mistakes } = check("f.yaml", text);
        assert!(manifests.is_empty());
        let printed: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(printed.len(), 2, "{printed:?}");
        assert!(
            printed[0].starts_with("f.yaml:9:5: spec.listeners[0].port: 0 is not between 1 and 65535"),
            "{printed:?}"
        );
        assert!(printed[1].starts_with("f.yaml:18:1: spec: spec takes exactly one of"), "{printed:?}");
    }

    #[test]
    fn a_good_object_beside_a_bad_one_is_kept() {
        let policy = |name: &str| {
            format!(
                "---\napiVersion: gateway.mcp-operator.dev/v1alpha1\nkind: MCPAuthPolicy\nmetadata: {{name: {name}}}\nspec:\n  targetRefs: [{{kind: MCPRoute, name: a}}]\n"
            )
        };
        let Loaded { manifests, mistakes } = check("f.yaml", &(policy("Bad_Name") + &policy("good")));
        assert_eq!((manifests.len(), mistakes.len()), (1, 1));
        assert!(
            mistakes[0].to_string().starts_with("f.yaml:4:12: metadata.name: must be lower-case"),
            "{}",
            mistakes[0]
        );
    }
}
