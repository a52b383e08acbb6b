//! How the tests' client answers what servers ask: always the same way, so that two runs can be compared.

use serde_json::{Map, Value, json};

use super::MODERN;

/// The client's side of elicitation, sampling and roots.
#[derive(Clone)]
pub(crate) struct Answers {
    /// The one root, a directory. Servers that serve files restrict themselves to it.
    pub(crate) root: String,
}

impl Answers {
    pub(crate) fn capabilities() -> Value {
        json!({ "roots": { "listChanged": true }, "sampling": {}, "elicitation": { "form": {}, "url": {} } })
    }

    /// Puts what a modern request has to carry into the `_meta` of its parameters.
    pub(crate) fn stamp(params: &mut Value) {
        let meta = &mut params["_meta"];
        meta["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "interop", "version": "1.0.0" });
        meta["io.modelcontextprotocol/clientCapabilities"] = Self::capabilities();
        // Tasks as an extension exist in this era only.
        meta["io.modelcontextprotocol/clientCapabilities"]["extensions"] =
            json!({ "io.modelcontextprotocol/tasks": {} });
    }

    /// The result that answers a server's request, if the method is known.
    pub(crate) fn answer(&self, method: &str, params: &Value) -> Option<Value> {
        Some(match method {
            "elicitation/create" => match params.get("requestedSchema") {
                Some(schema) => json!({ "action": "accept", "content": filled_in(schema) }),
                None => json!({ "action": "accept" }),
            },
            "sampling/createMessage" => json!({
                "role": "assistant",
                "content": { "type": "text", "text": "Paris, \u{2028} of course" },
                "model": "test-model",
                "stopReason": "endTurn",
            }),
            "roots/list" => json!({ "roots": [{ "uri": format!("file://{}", self.root), "name": "work" }] }),
            "ping" => json!({}),
            _ => return None,
        })
    }
}

/// The answers to the `inputRequests` of a result that asks (SEP-2322).
pub(crate) fn input_responses(answers: &Answers, requests: &Value) -> Value {
    let requests = requests.as_object().cloned().unwrap_or_default();
    let answer = |request: &Value| {
        answers.answer(request["method"].as_str().unwrap_or_default(), &request["params"]).unwrap_or_default()
    };
    requests.iter().map(|(key, request)| (key.clone(), answer(request))).collect::<Map<_, _>>().into()
}

/// A form filled in by its schema: every property, with the least surprising value of its type.
fn filled_in(schema: &Value) -> Value {
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    properties.iter().map(|(name, property)| (name.clone(), value_of(property))).collect::<Map<_, _>>().into()
}

fn value_of(property: &Value) -> Value {
    let first = |key: &str| property.get(key).and_then(|values| values.get(0)).cloned();
    if let Some(default) = property.get("default") {
        return default.clone();
    }
    if let Some(value) = first("enum").or_else(|| first("oneOf").map(|choice| choice["const"].clone())) {
        return value;
    }
    match property["type"].as_str() {
        Some("boolean") => json!(true),
        Some("integer") => property.get("minimum").cloned().unwrap_or_else(|| json!(42)),
        Some("number") => property.get("minimum").cloned().unwrap_or_else(|| json!(4.5)),
        Some("array") => json!([]),
        _ => match property["format"].as_str() {
            Some("email") => json!("ada@example.com"),
            Some("uri") => json!("https://example.com/"),
            Some("date") => json!("2026-01-02"),
            Some("date-time") => json!("2026-01-02T03:04:05Z"),
            _ => json!("Ada \u{e9}\u{2028}"),
        },
    }
}
