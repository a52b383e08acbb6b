//! The protocol's HTTP headers, and the form that makes any text fit to be a header value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

/// `Mcp-Session-Id` (legacy).
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Method` (modern): the body's `method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name` (modern): the body's tool, prompt, resource or task.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// `Mcp-Gateway-Session`, which our gateway sends to our shim with `initialize`: whose session it is, the same from every replica.
pub const GATEWAY_SESSION: HeaderName = HeaderName::from_static("mcp-gateway-session");
/// `Last-Event-ID`.
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// `X-Accel-Buffering`: tells intermediaries to pass streams on as they come.
pub const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Begins the names of headers that mirror arguments (modern), in lower case.
pub const PARAM_PREFIX: &str = "mcp-param-";
/// The media type of a message.
pub const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The media type of a stream of events.
pub const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

const ENCODED_START: &str = "=?base64?";
const ENCODED_END: &str = "?=";

/// Why a header that mirrors the body cannot be compared with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It stands more than once, so that two readers may see different values.
    #[error("{0} header stands more than once")]
    Repeated(HeaderName),
    /// Not visible ASCII.
    #[error("{0} header has characters that must be encoded")]
    InvalidCharacters(HeaderName),
    /// Says it is encoded, and is not.
    #[error("{0} header is not valid base64 of UTF-8 text")]
    InvalidEncoding(HeaderName),
}

/// The one value of `name`, if it is there.
pub fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, HeaderError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(HeaderError::Repeated(name.clone()));
    }
    value.to_str().map(Some).map_err(|_| HeaderError::InvalidCharacters(name.clone()))
}

/// The one value of `name`, decoded.
pub fn single_decoded<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<Cow<'a, str>>, HeaderError> {
    let Some(value) = single(headers, name)? else { return Ok(None) };
    decode_value(value).map(Some).ok_or_else(|| HeaderError::InvalidEncoding(name.clone()))
}

/// `text` as a header value: itself where it can be, else wrapped as `=?base64?…?=`.
pub fn encode_value(text: &str) -> HeaderValue {
    let fits = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) && text.trim_ascii() == text && !is_encoded(text);
    let value = if fits { HeaderValue::from_str(text).ok() } else { None };
    value.unwrap_or_else(|| {
        let encoded = format!("{ENCODED_START}{}{ENCODED_END}", STANDARD.encode(text));
        // Base64 and the two marks are visible ASCII, which every header value may hold.
        HeaderValue::from_str(&encoded).unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// The text that a header value stands for; `None` when it says it is encoded and is not.
pub fn decode_value(value: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = value.strip_prefix(ENCODED_START).and_then(|rest| rest.strip_suffix(ENCODED_END)) else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = STANDARD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

fn is_encoded(text: &str) -> bool {
    text.starts_with(ENCODED_START) && text.ends_with(ENCODED_END)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_must_be_is_encoded() {
        for text in ["us-west1", "a b c", "", "=?base64?", "a?=", "~!"] {
            assert_eq!(encode_value(text), text);
        }
        for text in ["café", " padded", "padded ", "\ttab", "a\r\nEvil: 1", "\u{7f}", "=?base64?eA==?="] {
            assert!(encode_value(text).to_str().unwrap().starts_with(ENCODED_START), "{text}");
        }
        assert_eq!(encode_value("Hellö"), "=?base64?SGVsbMO2?=");
    }

    #[test]
    fn what_claims_to_be_encoded_must_be() {
        assert_eq!(decode_value("=?base64?SGVsbG8=?=").as_deref(), Some("Hello"));
        for value in ["=?base64?SGVsbG8?=", "=?base64?SGVs!!!bG8=?=", "=?base64?/w==?="] {
            assert_eq!(decode_value(value), None, "{value}");
        }
        for literal in ["SGVsbG8=", "=?base64?SGVsbG8="] {
            assert_eq!(decode_value(literal).as_deref(), Some(literal));
        }
    }

    #[test]
    fn a_header_that_stands_twice_is_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers, &NAME), Ok(None));
        headers.append(NAME, HeaderValue::from_static("a"));
        assert_eq!(single(&headers, &NAME), Ok(Some("a")));
        headers.append(NAME, HeaderValue::from_static("a"));
        assert_eq!(single(&headers, &NAME), Err(HeaderError::Repeated(NAME)));
        headers.insert(NAME, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(single(&headers, &NAME), Err(HeaderError::InvalidCharacters(NAME)));
    }

    proptest! {
        #[test]
        fn every_text_survives(text in any::<String>()) {
            let value = encode_value(&text);
            let decoded = decode_value(value.to_str().unwrap()).unwrap();
            prop_assert_eq!(&*decoded, text);
            prop_assert_eq!(value.as_bytes().trim_ascii(), value.as_bytes());
        }
    }
}
