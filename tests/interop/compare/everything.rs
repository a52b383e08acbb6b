//! `@modelcontextprotocol/server-everything`, over one of its three transports.

use serde_json::json;

use super::{
    blur::Blur,
    cases::{Case, Subject, Volatile},
};
use crate::wire::Message;

const VOLATILE: &[Volatile] =
    &[(Blur::Uuid, "session ids stand in texts and logs"), (Blur::Clock, "resources tell when they were made")];

const BLOB: &[Volatile] = &[(Blur::Member("blob"), "the base64 of a text that tells when it was made")];

/// The cases that need nothing else. `owns_uris` is for the instance that answers for the URIs, which all instances share:
/// only there, subscriptions and resources of the session can be compared.
pub(crate) fn subject(name: &'static str, owns_uris: bool) -> Subject {
    let mut cases = tools();
    cases.extend(prompts());
    cases.extend(resources());
    if owns_uris {
        cases.extend(session_resources());
    }
    Subject { name, volatile: VOLATILE, cases }
}

/// The server asks for the roots a moment after the handshake, or when it needs them first, and logs that it got them.
pub(crate) fn greets(message: &Message) -> bool {
    let payload = message.payload();
    payload.starts_with("roots/list ") || payload.contains("\"Roots updated: ")
}

fn tools() -> Vec<Case> {
    let tool = Case::tool;
    let gzip = |output: &str| {
        let arguments =
            json!({ "name": "hello.txt.gz", "data": "data:text/plain;base64,SGVsbG8gd29ybGQ=", "outputType": output });
        tool("gzip-file-as-resource", arguments)
    };
    vec![
        tool("echo", json!({ "message": "hello \u{e9} \u{2028} \"quoted\" \\ \u{1f600}" })),
        tool("echo", json!({})),
        tool("get-annotated-message", json!({ "messageType": "error", "includeImage": true })),
        tool("get-annotated-message", json!({ "messageType": "no such type" })),
        tool("get-env", json!({})),
        tool("get-resource-links", json!({ "count": 4 })),
        tool("get-resource-reference", json!({ "resourceType": "Text", "resourceId": 7 })),
        tool("get-resource-reference", json!({ "resourceType": "Blob", "resourceId": 8 })).volatile(BLOB),
        tool("get-structured-content", json!({ "location": "Chicago" })),
        tool("get-sum", json!({ "a": 1.5, "b": -2e3 })),
        tool("get-tiny-image", json!({})),
        gzip("resourceLink"),
        gzip("resource"),
        tool("trigger-long-running-operation", json!({ "duration": 0.2, "steps": 2 }))
            .meta(json!({ "progressToken": "of the client" }))
            .notifications(2),
        tool("trigger-long-running-operation", json!({ "duration": 0.1, "steps": 1 }))
            .meta(json!({ "progressToken": 4711 }))
            .notifications(1),
        tool("get-roots-list", json!({})),
        tool("trigger-elicitation-request", json!({})).notifications(1),
        tool("trigger-url-elicitation", json!({ "url": "https://example.com/x", "elicitationId": "e-1" }))
            .notifications(1),
        tool(
            "trigger-url-elicitation",
            json!({ "url": "https://example.com/x", "elicitationId": "e-2", "errorPath": true }),
        ),
        tool("trigger-sampling-request", json!({ "prompt": "What is the capital of France?" })).notifications(1),
        // Without a task, the tool that exists as a task only refuses; what it does as one is a test of its own.
        tool("simulate-research-query", json!({ "topic": "rust" })),
        Case::new("logging/setLevel", json!({ "level": "warning" })),
        tool("toggle-simulated-logging", json!({})),
        tool("toggle-simulated-logging", json!({})),
        Case::new("logging/setLevel", json!({ "level": "debug" })),
        tool("toggle-subscriber-updates", json!({})),
        tool("toggle-subscriber-updates", json!({})),
        Case::new("ping", json!({})),
    ]
}

fn prompts() -> Vec<Case> {
    let argument = |prompt: &str, name: &str, typed: &str| {
        Case::complete(json!({ "type": "ref/prompt", "name": prompt }), name, typed)
    };
    let mut dependent = argument("completable-prompt", "name", "A");
    dependent.params["context"] = json!({ "arguments": { "department": "Engineering" } });
    vec![
        Case::prompt("simple-prompt", json!({})),
        Case::prompt("args-prompt", json!({ "city": "Z\u{fc}rich", "state": "ZH" })),
        Case::prompt("args-prompt", json!({})),
        Case::prompt("completable-prompt", json!({ "department": "Sales", "name": "Eve" })),
        Case::prompt("resource-prompt", json!({ "resourceType": "Text", "resourceId": "3" })),
        argument("completable-prompt", "department", "S"),
        dependent,
        argument("resource-prompt", "resourceType", ""),
    ]
}

fn resources() -> Vec<Case> {
    let documents = ["architecture", "extension", "features", "how-it-works", "instructions", "startup", "structure"];
    let mut cases: Vec<Case> =
        documents.iter().map(|name| Case::read(&format!("demo://resource/static/document/{name}.md"))).collect();
    cases.push(Case::read("demo://resource/dynamic/text/5"));
    cases.push(Case::read("demo://resource/dynamic/blob/5").volatile(BLOB));
    cases.push(Case::read("demo://resource/dynamic/text/not-a-number"));
    let template = json!({ "type": "ref/resource", "uri": "demo://resource/dynamic/text/{resourceId}" });
    cases.push(Case::complete(template, "resourceId", "12"));
    cases
}

/// A resource that exists in this session only, and a subscription.
fn session_resources() -> Vec<Case> {
    let document = json!({ "uri": "demo://resource/static/document/features.md" });
    vec![
        Case::read("demo://resource/session/hello.txt.gz"),
        // The server logs that it was asked; then, switched on, it says at once that the resource changed.
        Case::new("resources/subscribe", document.clone()).notifications(1),
        Case::tool("toggle-subscriber-updates", json!({})).notifications(1),
        Case::tool("toggle-subscriber-updates", json!({})),
        Case::new("resources/unsubscribe", document).notifications(1),
    ]
}
