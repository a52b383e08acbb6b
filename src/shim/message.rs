//! One JSON-RPC message, with the places that the shim reads or rewrites.

use crate::gateway::mcp::envelope::{self, DecodeError, Envelope};
use crate::gateway::mcp::json::{Object, Value};
use crate::gateway::mcp::splice::{Edits, push_json_string};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

pub(super) use crate::gateway::mcp::envelope::Kind;

/// The first revision without sessions. Revisions are dates, so they compare as text.
pub(super) const FIRST_MODERN: &str = "2026-07-28";

/// Every revision with sessions.
pub(super) const LEGACY_VERSIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const LOG_LEVEL_KEY: &str = "io.modelcontextprotocol/logLevel";
const SUBSCRIPTION_KEY: &str = "io.modelcontextprotocol/subscriptionId";

/// JSON-RPC code of a child's failure: what the gateway, too, uses for an upstream that cannot be reached.
pub(super) const PROCESS_FAILED: i32 = -32011;

/// A decoded message that owns its bytes. Spans are byte offsets into them.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) bytes: Bytes,
    pub(super) kind: Kind,
    /// Of a request or notification; empty for a response.
    pub(super) method: String,
    id: Option<Range<usize>>,
    /// The progress token: of a request in `params._meta`, of `notifications/progress` in `params`.
    token: Option<Range<usize>>,
    /// `params.requestId` of `notifications/cancelled`.
    cancelled: Option<Range<usize>>,
    /// The subscription a message of this revision's notification streams belongs to.
    subscription: Option<Range<usize>>,
    /// The resource that a subscription's request or notification is about.
    pub(super) uri: Option<String>,
    /// The revision a modern request names.
    pub(super) version: Option<String>,
    /// Whether a modern request asks for log messages.
    pub(super) wants_logs: bool,
}

impl Message {
    /// Decodes a message.
    pub(super) fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let envelope = envelope::decode(&bytes)?;
        let (kind, method) = (envelope.kind(), envelope.method().to_owned());
        let meta = envelope.meta();
        let params = envelope.params();
        let in_meta = |key| id_span(&meta.as_ref()?.get(key)?);
        let token = match kind {
            Kind::Request => in_meta("progressToken"),
            Kind::Notification if method == "notifications/progress" => {
                params.as_ref().and_then(|params| id_span(&params.get("progressToken")?))
            }
            _ => None,
        };
        let cancelled = match kind {
            Kind::Notification if method == "notifications/cancelled" => {
                params.as_ref().and_then(|params| id_span(&params.get("requestId")?))
            }
            _ => None,
        };
        let subscription = match kind {
            Kind::Notification => in_meta(SUBSCRIPTION_KEY),
            _ => None,
        };
        let uri = match method.as_str() {
            "resources/subscribe" | "resources/unsubscribe" | "notifications/resources/updated" => {
                params.as_ref().and_then(|params| params.get_str("uri")).map(Cow::into_owned)
            }
            _ => None,
        };
        let version = meta.as_ref().and_then(|meta| meta.get_str(VERSION_KEY)).map(Cow::into_owned);
        let wants_logs = meta.as_ref().is_some_and(|meta| meta.get(LOG_LEVEL_KEY).is_some());
        let id = envelope.id_span();
        Ok(Self { bytes, kind, method, id, token, cancelled, subscription, uri, version, wants_logs })
    }

    fn text(&self, span: Option<&Range<usize>>) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(span?.clone())?).ok()
    }

    /// The id as it was written.
    pub(super) fn id(&self) -> Option<&str> {
        self.text(self.id.as_ref())
    }

    /// The progress token as it was written.
    pub(super) fn token(&self) -> Option<&str> {
        self.text(self.token.as_ref())
    }

    /// The id of the request that this notification cancels, as it was written.
    pub(super) fn cancelled(&self) -> Option<&str> {
        self.text(self.cancelled.as_ref())
    }

    /// The subscription's id as it was written.
    pub(super) fn subscription(&self) -> Option<&str> {
        self.text(self.subscription.as_ref())
    }

    /// Whether this is a request of the modern era.
    pub(super) fn is_modern(&self) -> bool {
        self.version.as_deref().is_some_and(|version| version >= FIRST_MODERN)
    }

    /// The same message under another id and, if it has one, another progress token.
    pub(super) fn with_id_and_token(&self, id: &str, token: &str) -> Bytes {
        self.edited([(&self.id, id), (&self.token, token)])
    }

    /// The same message under another id.
    pub(super) fn with_id(&self, id: &str) -> Bytes {
        self.edited([(&self.id, id)])
    }

    /// The same `notifications/progress` with another token.
    pub(super) fn with_token(&self, token: &str) -> Bytes {
        self.edited([(&self.token, token)])
    }

    /// The same `notifications/cancelled` for another request.
    pub(super) fn with_cancelled(&self, id: &str) -> Bytes {
        self.edited([(&self.cancelled, id)])
    }

    /// The same message of another subscription.
    pub(super) fn with_subscription(&self, id: &str) -> Bytes {
        self.edited([(&self.subscription, id)])
    }

    /// The response to `subscriptions/listen` under the id the client knows, which is also the subscription's.
    pub(super) fn with_id_and_result_subscription(&self, id: &str) -> Bytes {
        let envelope = envelope::decode(&self.bytes).ok();
        let result = envelope.as_ref().and_then(Envelope::result);
        let tag = result.and_then(|result| result.get_object("_meta")).and_then(|meta| meta.get(SUBSCRIPTION_KEY));
        self.edited([(&self.id, id), (&tag.map(|tag| tag.span()), id)])
    }

    fn edited<'a>(&'a self, changes: impl IntoIterator<Item = (&'a Option<Range<usize>>, &'a str)>) -> Bytes {
        let mut edits = Edits::new();
        for (span, text) in changes {
            if let Some(span) = span {
                edits.replace(span.clone(), text);
            }
        }
        // The spans are members of one message, so they cannot overlap.
        edits.apply(&self.bytes).unwrap_or_else(|_| self.bytes.clone())
    }

    /// `result`, if this is a response that carries one: its text.
    pub(super) fn result(&self) -> Option<Bytes> {
        let envelope = envelope::decode(&self.bytes).ok()?;
        let Kind::Response { error: false } = envelope.kind() else { return None };
        Some(self.bytes.slice(envelope.payload_span()?))
    }

    /// `error.code`, if this is a response that carries one.
    pub(super) fn error_code(&self) -> Option<i64> {
        envelope::decode(&self.bytes).ok()?.error()?.get("code")?.text().parse().ok()
    }

    /// `error.message`, if this is a response that carries one.
    pub(super) fn error_message(&self) -> Option<String> {
        Some(envelope::decode(&self.bytes).ok()?.error()?.get_str("message")?.into_owned())
    }

    /// The same `initialize` with no client capabilities.
    pub(super) fn without_capabilities(&self) -> Bytes {
        let envelope = envelope::decode(&self.bytes).ok();
        let params: Option<Object<'_>> = envelope.as_ref().and_then(Envelope::params);
        let span = params.and_then(|params| params.get("capabilities")).map(|value| value.span());
        self.edited([(&span, "{}")])
    }

    /// `result.supportedVersions` of the answer to `server/discover`, or `error.data.supported` of one that refuses a version.
    pub(super) fn supported_versions(&self) -> Vec<String> {
        let read = |value: Value<'_>| -> Option<Vec<String>> { serde_json::from_str(value.text()).ok() };
        let Ok(envelope) = envelope::decode(&self.bytes) else { return Vec::new() };
        let listed = envelope.result().and_then(|result| result.get("supportedVersions")).and_then(read);
        let refused = || envelope.error()?.get_object("data")?.get("supported").and_then(read);
        listed.or_else(refused).unwrap_or_default()
    }
}

/// Ids and tokens are strings or numbers; anything else is not ours to rewrite.
fn id_span(value: &Value<'_>) -> Option<Range<usize>> {
    (value.is_number() || value.is_string()).then(|| value.span())
}

/// An error that the shim itself answers with. `id` is JSON text.
pub(super) fn error(id: Option<&str>, code: i32, message: &str, data: Option<&str>) -> Bytes {
    let mut out = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":{code},"message":"#, id.unwrap_or("null"));
    push_json_string(&mut out, message);
    if let Some(data) = data {
        // Writing to a String cannot fail.
        let _ = write!(out, r#","data":{data}"#);
    }
    out.push_str("}}");
    out.into()
}

/// A result that the shim itself answers with. Both are JSON text.
pub(super) fn result(id: &str, result: &str) -> Bytes {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(text: &str) -> Message {
        Message::decode(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[test]
    fn everything_but_ids_and_tokens_survives_byte_for_byte() {
        let call = decode(
            r#"{ "id" : "a\u0062", "x":1.0, "params":{"_meta":{"progressToken":7,"y":[1e3]},"b":{}},"jsonrpc":"2.0","method":"tools/call" }"#,
        );
        assert_eq!((call.kind, call.id(), call.token()), (Kind::Request, Some(r#""a\u0062""#), Some("7")));
        assert_eq!(
            call.with_id_and_token("41", "42"),
            r#"{ "id" : 41, "x":1.0, "params":{"_meta":{"progressToken":42,"y":[1e3]},"b":{}},"jsonrpc":"2.0","method":"tools/call" }"#
        );
    }

    #[test]
    fn reads_the_era_of_a_request() {
        let modern = decode(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/logLevel":"info"}}}"#,
        );
        assert!(modern.is_modern() && modern.wants_logs);
        assert!(!decode(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).is_modern());
    }

    #[test]
    fn restores_the_subscription_in_a_notification_and_in_the_result() {
        let note = decode(
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":5}}}"#,
        );
        assert_eq!(note.subscription(), Some("5"));
        assert!(
            std::str::from_utf8(&note.with_subscription("\"mine\"")).unwrap().contains(r#"subscriptionId":"mine""#)
        );
        let end = decode(r#"{"jsonrpc":"2.0","id":5,"result":{"_meta":{"io.modelcontextprotocol/subscriptionId":5}}}"#);
        assert_eq!(
            end.with_id_and_result_subscription("\"mine\""),
            r#"{"jsonrpc":"2.0","id":"mine","result":{"_meta":{"io.modelcontextprotocol/subscriptionId":"mine"}}}"#
        );
    }

    #[test]
    fn strips_what_would_let_a_server_ask() {
        let initialize = decode(
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"capabilities":{"roots":{}},"protocolVersion":"2025-06-18"}}"#,
        );
        assert_eq!(
            initialize.without_capabilities(),
            r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"capabilities":{},"protocolVersion":"2025-06-18"}}"#
        );
    }
}
