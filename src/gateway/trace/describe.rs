//! What a request is about, by the semantic conventions: the same for its span and for those of its attempts.

use super::{bounded, put, put_text};
use crate::gateway::mcp::envelope::Envelope;
use crate::gateway::mcp::json::Value;
use opentelemetry_sdk::trace::SpanData;

/// Names the span, and says what is asked of whom. Arguments are none of it.
pub(super) fn describe(span: &mut SpanData, envelope: &Envelope<'_>) {
    let method = bounded(envelope.method());
    put_text(span, "mcp.method.name", method);
    let params = envelope.params();
    let member = |key| params.as_ref().and_then(|params| params.get_str(key));
    let mut target = None;
    match method {
        "tools/call" => {
            put(span, "gen_ai.operation.name", "execute_tool");
            target = member("name").inspect(|name| put_text(span, "gen_ai.tool.name", name));
        }
        "prompts/get" => target = member("name").inspect(|name| put_text(span, "gen_ai.prompt.name", name)),
        // No target: names of spans are few.
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            if let Some(uri) = member("uri") {
                put_text(span, "mcp.resource.uri", without_secrets(&uri));
            }
        }
        _ => {}
    }
    span.name = match target {
        Some(target) => format!("{method} {}", bounded(&target)).into(),
        None => method.to_owned().into(),
    };
    if let Some(id) = envelope.id() {
        let text = Value::parse(id.as_bytes()).ok().and_then(|value| value.as_str().map(std::borrow::Cow::into_owned));
        put_text(span, "jsonrpc.request.id", text.as_deref().unwrap_or(id));
    }
}

/// A URI up to its query; none where it begins with a user: tokens and passwords stand there.
fn without_secrets(uri: &str) -> &str {
    let uri = uri.split(['?', '#']).next().unwrap_or_default();
    let authority = uri.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    if authority.contains('@') { "" } else { uri }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_keeps_no_secret() {
        for (uri, kept) in [
            ("file:///a/b.txt", "file:///a/b.txt"),
            ("https://example.com/a@b?token=x", "https://example.com/a@b"),
            ("test://x#y", "test://x"),
            ("postgres://user:password@db/customers", ""),
            ("plain", "plain"),
        ] {
            assert_eq!(without_secrets(uri), kept);
        }
    }
}
