//! The `generate:` stanza: routes whose size matters and whose text does not.

use mcp_gateway_operator::api::{API_VERSION, McpRoute};
use mcp_gateway_operator::translate::manifests::{Manifest, Object};
use serde::Deserialize;
use serde_json::json;

/// What to generate.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Generate {
    routes: Vec<LargeRoute>,
}

/// An `MCPRoute` at the path `/<name>` of the gateway `team/tools`, in front of the backend `team/search`.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LargeRoute {
    name: String,
    /// Its `creationTimestamp`.
    created: String,
    /// What it adds to a compressed snapshot, about: one tool's description is as many random letters.
    kib: usize,
}

impl Generate {
    /// The generated objects.
    pub(crate) fn manifests(&self) -> Vec<Manifest> {
        let routes = self.routes.iter().map(|route| Object::Route(Box::new(route.object())));
        routes.map(|object| Manifest { file: "generated".to_owned(), line: 1, object }).collect()
    }
}

impl LargeRoute {
    fn object(&self) -> McpRoute {
        let override_ = json!({ "name": "large", "description": noise(self.kib * 1024) });
        serde_json::from_value(json!({
            "apiVersion": API_VERSION,
            "kind": "MCPRoute",
            "metadata": { "name": self.name, "namespace": "team", "creationTimestamp": self.created },
            "spec": {
                "parentRefs": [{ "name": "tools" }],
                "matches": [{ "path": { "value": format!("/{}", self.name) } }],
                "servers": [{
                    "name": "search",
                    "backendRefs": [{ "name": "search" }],
                    "tools": { "overrides": [override_] },
                }],
            },
        }))
        .unwrap()
    }
}

/// Text that takes `bytes` when compressed: six bits of a linear congruential generator to a letter, the same each time.
fn noise(bytes: usize) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = bytes as u64;
    let letter = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(LETTERS[usize::try_from(state >> 58).unwrap()])
    };
    // 8 letters carry 6 bytes.
    std::iter::repeat_with(letter).take(bytes * 8 / 6).collect()
}
