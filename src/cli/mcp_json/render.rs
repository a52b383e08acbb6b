//! Imported objects as YAML for people.

use super::{Imported, ImportedSecret};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Everything in one text.
pub(super) fn yaml(imported: &Imported) -> String {
    let texts: Vec<String> = files(imported).into_iter().map(|(_, text)| text).collect();
    texts.join("---\n")
}

/// A file per object, in an order in which they can be applied; the comments get one of their own kind each.
pub(super) fn files(imported: &Imported) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = imported.objects.iter().map(file).collect();
    if !imported.secrets.is_empty() {
        files.push(("secrets.yaml".to_owned(), secrets(imported)));
    }
    files.push(("access.yaml".to_owned(), access(imported)));
    files
}

fn file(object: &Value) -> (String, String) {
    let kind = object["kind"].as_str().unwrap_or_default().to_ascii_lowercase();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    (format!("{kind}-{name}.yaml"), print(object))
}

/// Values of JSON always have a YAML form; an error would be a comment in its place.
fn print(object: &Value) -> String {
    serde_saphyr::to_string(object).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
}

/// The Secrets that are missing, as comments: an empty one would be taken for a real one.
fn secrets(imported: &Imported) -> String {
    let mut text =
        "# The Secrets that the servers above need. Fill in the values, and keep them out of version control.\n"
            .to_owned();
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ImportedSecret { name, key, .. } in &imported.secrets {
        by_name.entry(name).or_default().push(key);
    }
    for (name, keys) in by_name {
        text.push_str("# ---\n# apiVersion: v1\n# kind: Secret\n# metadata:\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "#   name: {name}");
        if let Some(namespace) = namespace(imported) {
            let _ = writeln!(text, "#   namespace: {namespace}");
        }
        text.push_str("# stringData:\n");
        for key in keys {
            let _ = writeln!(text, "#   {key}: \"\"");
        }
    }
    text
}

/// The policy without which the route is refused, as a comment: opening a gateway is the owner's decision.
fn access(imported: &Imported) -> String {
    let name = imported.objects.first().and_then(|gateway| gateway["metadata"]["name"].as_str()).unwrap_or_default();
    let namespace = namespace(imported).map_or_else(String::new, |namespace| format!("#   namespace: {namespace}\n"));
    format!(
        "# In a cluster a route is refused until a policy says who may use it. This one lets everyone in who can reach the gateway.
# ---
# apiVersion: {}
# kind: MCPAuthPolicy
# metadata:
#   name: {name}
{namespace}# spec:
#   targetRefs:
#   - kind: MCPGateway
#     name: {name}
#   anonymous: Allow
",
        crate::api::API_VERSION
    )
}

fn namespace(imported: &Imported) -> Option<&str> {
    imported.objects.first()?["metadata"]["namespace"].as_str()
}
