//! How what a span is about ended, in the words of the semantic conventions.

use crate::gateway::error::Kind;
use crate::gateway::mcp::envelope;
use opentelemetry::KeyValue;
use opentelemetry::trace::Status;
use opentelemetry_sdk::trace::SpanData;
use std::borrow::Cow;

/// A tool that says it failed (`isError`).
const TOOL_ERROR: &str = "tool_error";
/// The client or its session went away before the answer.
const CANCELLED: &str = "cancelled";
/// A JSON-RPC error whose code is no number.
const OTHER: &str = "_OTHER";

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a result, or an answer that is too large to be looked at.
    Ok,
    /// With the result of a tool that failed.
    ToolError,
    /// With a JSON-RPC error of a server's, and its code if that is one.
    RpcError(Option<i64>),
    /// With an error of the gateway's.
    Failed(Kind),
    /// Without an answer.
    Cancelled,
}

impl Ending {
    /// What a whole answer says. Nothing of it but an error's code is kept.
    pub(super) fn of_answer(message: &[u8]) -> Self {
        let Ok(envelope) = envelope::decode(message) else { return Self::Ok };
        if let Some(error) = envelope.error() {
            return Self::RpcError(error.get("code").and_then(|code| code.text().parse().ok()));
        }
        let is_error = envelope.result().and_then(|result| result.get("isError"));
        if is_error.is_some_and(|value| value.text() == "true") { Self::ToolError } else { Self::Ok }
    }

    /// Writes it down. Messages are left out: a server's may hold anything, and the gateway's kind says it all.
    pub(super) fn write(self, span: &mut SpanData) {
        let (word, code): (Cow<'static, str>, Option<i64>) = match self {
            Self::Ok => return,
            Self::ToolError => (TOOL_ERROR.into(), None),
            Self::RpcError(None) => (OTHER.into(), None),
            Self::RpcError(Some(code)) => (code.to_string().into(), Some(code)),
            Self::Failed(kind) => (kind.word().into(), Some(kind.rpc_code().into())),
            Self::Cancelled => (CANCELLED.into(), None),
        };
        span.status = Status::error("");
        span.attributes.push(KeyValue::new("error.type", word));
        if let Some(code) = code {
            span.attributes.push(KeyValue::new("rpc.response.status_code", code.to_string()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_it_ended() {
        for (answer, ending) in [
            (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":false}}"#, Ending::Ok),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"isError":true}]}}"#, Ending::Ok),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"isError": true ,"content":[]}}"#, Ending::ToolError),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"m"}}"#, Ending::RpcError(Some(-32602))),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}"#, Ending::RpcError(None)),
            ("not JSON", Ending::Ok),
        ] {
            assert_eq!(Ending::of_answer(answer.as_bytes()), ending, "{answer}");
        }
    }
}
