//! Reads a JSON-RPC message's envelope: what it is, its id, its method, and where its payload stands.
//!
//! [`decode`] looks at the whole body once, checks that all of it is strict JSON (RFC 8259, UTF-8, nothing behind the
//! value), and keeps spans. What it does not name passes through the gateway byte for byte. A key that stands twice in
//! the envelope, in `params` or in `params._meta` is refused: two readers could take different ones, and the one that
//! decides access must be the one that acts.

use super::json::{Object, Value, checked_text};
use super::scan::{Keys, MAX_DEPTH, Scanner, StringToken, unescape};
use crate::gateway::error::{GatewayError, Kind as ErrorKind};
use std::borrow::Cow;
use std::ops::Range;

/// Why a body is not a JSON-RPC message. Positions are byte offsets into the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // `at` is always the offset
pub enum DecodeError {
    /// The body is not UTF-8.
    #[error("the body is not valid UTF-8 at byte {at}")]
    InvalidUtf8 { at: usize },
    /// Not JSON, or cut short.
    #[error("the body is not valid JSON at byte {at}")]
    Syntax { at: usize },
    /// Something follows the value.
    #[error("unexpected data after the JSON value at byte {at}")]
    TrailingData { at: usize },
    /// More brackets than any honest message has open at once.
    #[error("JSON is nested deeper than {MAX_DEPTH} levels at byte {at}")]
    TooDeep { at: usize },
    /// A key stands twice where the gateway decides by it.
    #[error("duplicate key at byte {at}")]
    DuplicateKey { at: usize },
    /// A key differs only in letter case from one the gateway decides by.
    #[error("a key that differs from a protocol field only in letter case, at byte {at}")]
    CaseVariant { at: usize },
    /// The body is an array: a batch.
    #[error("JSON-RPC batches are not accepted here")]
    Batch,
    /// A batch with nothing in it.
    #[error("an empty JSON-RPC batch")]
    EmptyBatch,
    /// A batch of too many messages.
    #[error("a JSON-RPC batch of more than {limit} messages")]
    BatchTooLong { limit: usize },
    /// The body is some other value than an object.
    #[error("a JSON-RPC message must be an object")]
    NotAnObject { at: usize },
    /// `jsonrpc` is missing or not `"2.0"`.
    #[error("\"jsonrpc\" must be \"2.0\"")]
    BadVersion { at: usize },
    /// `id` is neither a string nor a number, or is missing where there must be one.
    #[error("\"id\" must be a string or a number")]
    BadId { at: usize },
    /// Neither a method nor an answer.
    #[error("a JSON-RPC message needs a \"method\", a \"result\" or an \"error\"")]
    MissingMethod,
    /// `method` is not a string.
    #[error("\"method\" must be a string")]
    BadMethod { at: usize },
    /// `params` is not an object.
    #[error("\"params\" must be an object")]
    BadParams { at: usize },
    /// `error` is not an object.
    #[error("\"error\" must be an object")]
    BadError { at: usize },
    /// More than one of `method`, `result` and `error`.
    #[error("a JSON-RPC message has only one of \"method\", \"result\" and \"error\"")]
    Ambiguous { at: usize },
}

impl DecodeError {
    /// Whether the text itself is at fault, rather than what it says.
    fn is_parse_error(self) -> bool {
        matches!(
            self,
            Self::InvalidUtf8 { .. } | Self::Syntax { .. } | Self::TrailingData { .. } | Self::TooDeep { .. }
        )
    }
}

impl From<DecodeError> for GatewayError {
    fn from(error: DecodeError) -> Self {
        let kind = if error.is_parse_error() { ErrorKind::ParseError } else { ErrorKind::InvalidRequest };
        Self::new(kind, error.to_string())
    }
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call that wants an answer.
    Request,
    /// A call that wants none.
    Notification,
    /// An answer.
    Response {
        /// Whether it carries `error` instead of `result`.
        error: bool,
    },
}

/// A decoded message: borrowed text and spans into it.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    text: &'a str,
    kind: Kind,
    id: Option<Range<usize>>,
    method: Cow<'a, str>,
    payload: Option<Range<usize>>,
    meta: Option<Range<usize>>,
}

impl<'a> Envelope<'a> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The method of a request or notification; empty for a response.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The id as it was written: a number, or a string with its quotes. Absent from notifications, and from errors
    /// about a message whose id could not be read.
    pub fn id(&self) -> Option<&'a str> {
        self.id.clone().map(|span| &self.text[span])
    }

    /// Where the id stands.
    pub fn id_span(&self) -> Option<Range<usize>> {
        self.id.clone()
    }

    /// `params` of a request or notification.
    pub fn params(&self) -> Option<Object<'a>> {
        if matches!(self.kind, Kind::Response { .. }) { None } else { self.payload_object() }
    }

    /// `params._meta`, if it is an object.
    pub fn meta(&self) -> Option<Object<'a>> {
        self.meta.clone().map(|span| Object::new(self.text, span))
    }

    /// `result` of a response, if it is an object (as all of MCP's are).
    pub fn result(&self) -> Option<Object<'a>> {
        if self.kind == (Kind::Response { error: false }) { self.payload_object() } else { None }
    }

    /// `error` of a response.
    pub fn error(&self) -> Option<Object<'a>> {
        if self.kind == (Kind::Response { error: true }) { self.payload_object() } else { None }
    }

    /// Where `params`, `result` or `error` stands, whichever the message has.
    pub fn payload_span(&self) -> Option<Range<usize>> {
        self.payload.clone()
    }

    /// The message itself, without the whitespace around it.
    pub fn object(&self) -> Object<'a> {
        let start = self.text.len() - self.text.trim_ascii_start().len();
        Object::new(self.text, start..self.text.trim_ascii_end().len())
    }

    /// The whole text.
    pub fn text(&self) -> &'a str {
        self.text
    }

    fn payload_object(&self) -> Option<Object<'a>> {
        Value::new(self.text, self.payload.clone()?).as_object()
    }
}

/// Decodes one message.
pub fn decode(body: &[u8]) -> Result<Envelope<'_>, DecodeError> {
    let text = checked_text(body)?;
    let mut scanner = Scanner::new(body);
    scanner.whitespace();
    match scanner.peek() {
        Some(b'{') => {}
        // Whether it is worth calling a batch depends on its being JSON at all.
        other => {
            let span = scanner.value(0)?;
            scanner.end()?;
            return Err(if other == Some(b'[') {
                DecodeError::Batch
            } else {
                DecodeError::NotAnObject { at: span.start }
            });
        }
    }
    let mut fields = Fields::default();
    members(&mut scanner, text, |scanner, key, at| fields.read(scanner, text, key, at))?;
    scanner.end()?;
    fields.envelope(text)
}

/// Walks the members of the object the scanner stands before and refuses duplicate keys; `member` consumes each value.
fn members<'a>(
    scanner: &mut Scanner<'a>,
    text: &'a str,
    mut member: impl FnMut(&mut Scanner<'a>, &str, usize) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    scanner.expect(b'{')?;
    if scanner.take(b'}') {
        return Ok(());
    }
    let mut keys = Keys::new();
    loop {
        let StringToken { content, escaped } = scanner.key()?;
        let at = content.start;
        let key = unescape(&text[content], escaped).ok_or(DecodeError::Syntax { at })?;
        member(scanner, &key, at)?;
        if !keys.insert(key) {
            return Err(DecodeError::DuplicateKey { at });
        }
        if !scanner.take(b',') {
            return scanner.expect(b'}');
        }
    }
}

/// What was found at the envelope's level.
#[derive(Default)]
struct Fields {
    version: Option<Range<usize>>,
    id: Option<Range<usize>>,
    method: Option<Range<usize>>,
    params: Option<Range<usize>>,
    meta: Option<Range<usize>>,
    result: Option<Range<usize>>,
    error: Option<Range<usize>>,
}

/// Fields that the gateway decides by. Some readers (Go's, for one) take a key in other letter case for the same field,
/// so such a variant beside or instead of the field would tell them another message than it tells us.
const ENVELOPE_FIELDS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// The same, in `params`.
const PARAMS_FIELDS: [&str; 5] = ["name", "uri", "arguments", "taskId", "_meta"];

fn refuse_case_variant(fields: &[&str], key: &str, at: usize) -> Result<(), DecodeError> {
    if fields.iter().any(|field| field.eq_ignore_ascii_case(key) && *field != key) {
        return Err(DecodeError::CaseVariant { at });
    }
    Ok(())
}

impl Fields {
    fn read<'a>(&mut self, scanner: &mut Scanner<'a>, text: &'a str, key: &str, at: usize) -> Result<(), DecodeError> {
        let field = match key {
            "params" if scanner.peek() == Some(b'{') => return self.read_params(scanner, text),
            "jsonrpc" => &mut self.version,
            "id" => &mut self.id,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "result" => &mut self.result,
            "error" => &mut self.error,
            _ => {
                refuse_case_variant(&ENVELOPE_FIELDS, key, at)?;
                return scanner.value(1).map(drop);
            }
        };
        *field = Some(scanner.value(1)?);
        Ok(())
    }

    fn read_params<'a>(&mut self, scanner: &mut Scanner<'a>, text: &'a str) -> Result<(), DecodeError> {
        let start = scanner.pos();
        members(scanner, text, |scanner, key, at| {
            if key == "_meta" && scanner.peek() == Some(b'{') {
                let start = scanner.pos();
                members(scanner, text, |scanner, _, _| scanner.value(3).map(drop))?;
                self.meta = Some(start..scanner.pos());
                return Ok(());
            }
            refuse_case_variant(&PARAMS_FIELDS, key, at)?;
            scanner.value(2).map(drop)
        })?;
        self.params = Some(start..scanner.pos());
        Ok(())
    }

    fn envelope(self, text: &str) -> Result<Envelope<'_>, DecodeError> {
        let starts_with = |span: &Range<usize>, byte: u8| text.as_bytes()[span.start] == byte;
        if self.version.clone().is_none_or(|span| &text[span] != "\"2.0\"") {
            return Err(DecodeError::BadVersion { at: self.version.map_or(0, |span| span.start) });
        }
        let (kind, payload) = match (&self.method, self.result, self.error) {
            (None, None, None) => return Err(DecodeError::MissingMethod),
            (None, Some(result), None) => (Kind::Response { error: false }, Some(result)),
            (None, None, Some(error)) if starts_with(&error, b'{') => (Kind::Response { error: true }, Some(error)),
            (None, None, Some(error)) => return Err(DecodeError::BadError { at: error.start }),
            (Some(_), None, None) if self.id.is_some() => (Kind::Request, self.params),
            (Some(_), None, None) => (Kind::Notification, self.params),
            (_, Some(other), _) | (_, _, Some(other)) => return Err(DecodeError::Ambiguous { at: other.start }),
        };
        let id = match self.id {
            Some(span) if matches!(text.as_bytes()[span.start], b'"' | b'-' | b'0'..=b'9') => Some(span),
            // JSON-RPC answers a message it could not read with an error that has no id to name.
            Some(span) if kind == (Kind::Response { error: true }) && starts_with(&span, b'n') => None,
            Some(span) => return Err(DecodeError::BadId { at: span.start }),
            None if kind == (Kind::Response { error: false }) => return Err(DecodeError::BadId { at: 0 }),
            None => None,
        };
        let method = match self.method {
            None => Cow::Borrowed(""),
            Some(span) => {
                let at = span.start;
                Value::new(text, span).as_str().ok_or(DecodeError::BadMethod { at })?
            }
        };
        let payload = match payload {
            Some(span) if kind == Kind::Request || kind == Kind::Notification => match text.as_bytes()[span.start] {
                b'{' => Some(span),
                // Serialisers that know no absence write it so.
                b'n' => None,
                _ => return Err(DecodeError::BadParams { at: span.start }),
            },
            other => other,
        };
        Ok(Envelope { text, kind, id, method, payload, meta: self.meta })
    }
}

/// Splits a batch, as 2025-03-26 has them, into the spans of its messages; each still wants [`decode`].
pub fn decode_batch(body: &[u8], limit: usize) -> Result<Vec<Range<usize>>, DecodeError> {
    let batch = Value::parse(body)?;
    let elements = batch.as_array().ok_or_else(|| DecodeError::NotAnObject { at: batch.span().start })?;
    let spans: Vec<_> = elements.take(limit.saturating_add(1)).map(|element| element.span()).collect();
    match spans.len() {
        0 => Err(DecodeError::EmptyBatch),
        length if length > limit => Err(DecodeError::BatchTooLong { limit }),
        _ => Ok(spans),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::mcp::json::tests::any_json;
    use crate::gateway::mcp::splice::json_string;
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    #[test]
    fn a_call_is_read_where_it_stands() {
        let body =
            br#" {"jsonrpc":"2.0","id": 1.50 ,"x":[1],"method":"tools\/call","params":{"name":"a","_meta":{"k":1}}} "#;
        let envelope = decode(body).unwrap();
        assert_eq!(envelope.kind(), Kind::Request);
        assert_eq!(envelope.id(), Some("1.50"));
        assert_eq!(envelope.method(), "tools/call");
        assert_eq!(envelope.params().unwrap().get_str("name").unwrap(), "a");
        assert_eq!(envelope.meta().unwrap().text(), r#"{"k":1}"#);
        assert_eq!(envelope.object().text(), std::str::from_utf8(body).unwrap().trim());
    }

    #[test]
    fn kinds_are_told_apart() {
        let kind = |body: &str| decode(body.as_bytes()).map(|envelope| envelope.kind());
        assert_eq!(kind(r#"{"jsonrpc":"2.0","method":"m"}"#), Ok(Kind::Notification));
        assert_eq!(kind(r#"{"jsonrpc":"2.0","id":"","method":"m","params":null}"#), Ok(Kind::Request));
        assert_eq!(kind(r#"{"jsonrpc":"2.0","result":{},"id":-1e3}"#), Ok(Kind::Response { error: false }));
        for id in [r#""id":1,"#, r#""id":null,"#, ""] {
            let body = format!(r#"{{{id}"jsonrpc":"2.0","error":{{}}}}"#);
            assert_eq!(kind(&body), Ok(Kind::Response { error: true }), "{body}");
        }
    }

    #[test]
    fn each_fault_has_its_name() {
        use DecodeError as E;
        let cases: [(&[u8], DecodeError); 27] = [
            (b"", E::Syntax { at: 0 }),
            (b"{", E::Syntax { at: 1 }),
            (b"\xef\xbb\xbf{}", E::Syntax { at: 0 }),
            (b"{\"a\":\"\xff\"}", E::InvalidUtf8 { at: 6 }),
            (b"{} x", E::TrailingData { at: 3 }),
            (b" [{}]", E::Batch),
            (b"[", E::Syntax { at: 1 }),
            (b" 3", E::NotAnObject { at: 1 }),
            (b"{}", E::BadVersion { at: 0 }),
            (br#"{"jsonrpc":2.0,"method":"m"}"#, E::BadVersion { at: 11 }),
            (br#"{"jsonrpc":"2.0"}"#, E::MissingMethod),
            (br#"{"jsonrpc":"2.0","id":1}"#, E::MissingMethod),
            (br#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, E::BadId { at: 22 }),
            (br#"{"jsonrpc":"2.0","id":{},"method":"m"}"#, E::BadId { at: 22 }),
            (br#"{"jsonrpc":"2.0","id":null,"result":{}}"#, E::BadId { at: 22 }),
            (br#"{"jsonrpc":"2.0","result":{}}"#, E::BadId { at: 0 }),
            (br#"{"jsonrpc":"2.0","id":true,"error":{}}"#, E::BadId { at: 22 }),
            (br#"{"jsonrpc":"2.0","id":1,"error":"x"}"#, E::BadError { at: 32 }),
            (br#"{"jsonrpc":"2.0","method":7}"#, E::BadMethod { at: 26 }),
            (br#"{"jsonrpc":"2.0","method":"\ud800"}"#, E::BadMethod { at: 26 }),
            (br#"{"jsonrpc":"2.0","method":"m","params":[]}"#, E::BadParams { at: 39 }),
            (br#"{"jsonrpc":"2.0","method":"m","result":{}}"#, E::Ambiguous { at: 39 }),
            (br#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, E::Ambiguous { at: 33 }),
            (br#"{"jsonrpc":"2.0","method":"m","meth\u006fd":"n"}"#, E::DuplicateKey { at: 31 }),
            (br#"{"jsonrpc":"2.0","method":"m","Method":"n"}"#, E::CaseVariant { at: 31 }),
            (br#"{"jsonrpc":"2.0","method":"m","params":{"name":1,"name":1}}"#, E::DuplicateKey { at: 50 }),
            (br#"{"jsonrpc":"2.0","method":"m","params":{"_meta":{"a":1,"a":1}}}"#, E::DuplicateKey { at: 56 }),
        ];
        for (body, expected) in cases {
            assert_eq!(decode(body).unwrap_err(), expected, "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn many_keys_are_still_compared() {
        let members: Vec<_> = (0..500).map(|i| format!("\"k{i}\":{i}")).collect();
        let body = |more: &str| {
            format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{{}{more}}}}}"#, members.join(",")).into_bytes()
        };
        assert!(decode(&body("")).is_ok());
        for duplicate in [",\"k3\":0", ",\"k499\":0", ",\"\\u006b77\":0"] {
            assert!(matches!(decode(&body(duplicate)), Err(DecodeError::DuplicateKey { .. })), "{duplicate}");
        }
    }

    #[test]
    fn nesting_is_bounded_without_recursion() {
        let message = |depth: usize| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"jsonrpc":"2.0","method":"m","params":{{"a":{open}{close}}}}}"#)
        };
        assert!(decode(message(126).as_bytes()).is_ok());
        assert!(matches!(decode(message(127).as_bytes()), Err(DecodeError::TooDeep { .. })));
        assert!(matches!(decode(message(1_000_000).as_bytes()), Err(DecodeError::TooDeep { .. })));
        assert!(matches!(decode("{\"a\":".repeat(10_000).as_bytes()), Err(DecodeError::TooDeep { .. })));
    }

    #[test]
    fn a_batch_is_split_and_bounded() {
        let body = br#" [ {"a":1} , {"b":[2]} ] "#;
        let spans = decode_batch(body, 2).unwrap();
        assert_eq!(
            spans.iter().map(|span| &body[span.clone()]).collect::<Vec<_>>(),
            [&b"{\"a\":1}"[..], b"{\"b\":[2]}"]
        );
        assert_eq!(decode_batch(body, 1), Err(DecodeError::BatchTooLong { limit: 1 }));
        assert_eq!(decode_batch(b"[]", 1), Err(DecodeError::EmptyBatch));
        assert_eq!(decode_batch(b"{}", 1), Err(DecodeError::NotAnObject { at: 0 }));
    }

    /// Strict JSON according to serde, whose own depth limit is the same as ours.
    fn serde_accepts(body: &[u8]) -> bool {
        // A raw value skips without a depth limit, so the depth is asked of a reader that has one.
        let skipped = serde_json::from_slice::<&RawValue>(body);
        let too_deep = serde_json::from_slice::<serde_json::Value>(body)
            .is_err_and(|error| error.to_string().contains("recursion limit"));
        skipped.is_ok() && !too_deep
    }

    proptest! {
        #[test]
        fn accepts_what_serde_accepts(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(Value::parse(&bytes).is_ok(), serde_accepts(&bytes));
        }

        #[test]
        fn accepts_what_serde_accepts_of_jsonlike_text(text in r#"[\[\]{}:,"\\u0-9a-fE+.\- \ntrlsn\x00\x7fé]{0,24}"#) {
            prop_assert_eq!(Value::parse(text.as_bytes()).is_ok(), serde_accepts(text.as_bytes()), "{}", text);
        }

        #[test]
        fn accepts_what_serde_accepts_of_mutated_json(
            value in any_json(),
            edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 0..4),
        ) {
            let mut text = serde_json::to_vec(&value).unwrap();
            for (at, byte, how) in edits {
                let at = at.index(text.len().max(1)).min(text.len().saturating_sub(1));
                match how {
                    _ if text.is_empty() => text.push(byte),
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            prop_assert_eq!(Value::parse(&text).is_ok(), serde_accepts(&text), "{:?}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn an_envelope_is_what_serde_says(params in any_json(), id in any::<i64>(), method in any::<String>()) {
            let params = serde_json::json!({"name": "n", "arguments": params, "_meta": {"progressToken": 7}}).to_string();
            let text = format!("{{ \"params\":{params}, \"method\":{}, \"id\":{id},\n\"jsonrpc\" : \"2.0\"}}", json_string(&method));
            let envelope = decode(text.as_bytes()).unwrap();
            prop_assert_eq!(envelope.kind(), Kind::Request);
            prop_assert_eq!(envelope.id().unwrap(), id.to_string());
            prop_assert_eq!(envelope.method(), method);
            prop_assert_eq!(envelope.params().unwrap().text(), params);
        }

    }
}
