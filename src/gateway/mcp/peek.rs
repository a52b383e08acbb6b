//! What the first bytes of a message tell, for messages too large to hold.

use super::envelope::{DecodeError, Kind};
use super::scan::Scanner;
use std::ops::Range;

/// What the first bytes of a message tell, before the rest has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// Where the id stands, if it has been seen whole.
    pub id: Option<Range<usize>>,
    /// Where the method's string stands, if it has been seen whole.
    pub method: Option<Range<usize>>,
    /// Where the value of `result` begins.
    pub result: Option<usize>,
    /// Where the value of `error` begins.
    pub error: Option<usize>,
    /// What is wrong already with what has come.
    pub malformed: Option<DecodeError>,
}

impl Peek {
    /// What the message will turn out to be, when that much is known. A method may still become a notification.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self { method: Some(_), id: Some(_), .. } => Some(Kind::Request),
            Self { result: Some(_), .. } => Some(Kind::Response { error: false }),
            Self { error: Some(_), .. } => Some(Kind::Response { error: true }),
            _ => None,
        }
    }
}

/// Classifies an incomplete message by its first bytes. Only the envelope's own members are looked at; what a truncated
/// one means is left open.
pub fn peek(prefix: &[u8]) -> Peek {
    let mut seen = Peek::default();
    let outcome = peek_members(&mut Scanner::new(prefix), prefix, &mut seen);
    // An error at the very end only says that more has to come.
    seen.malformed = outcome.err().filter(|error| !matches!(error, DecodeError::Syntax { at } if *at >= prefix.len()));
    seen
}

fn peek_members(scanner: &mut Scanner<'_>, prefix: &[u8], seen: &mut Peek) -> Result<(), DecodeError> {
    scanner.expect(b'{')?;
    if scanner.take(b'}') {
        return Ok(());
    }
    loop {
        let key = scanner.key()?.content;
        let start = scanner.pos();
        match &prefix[key.clone()] {
            b"result" if start < prefix.len() => seen.result = Some(start),
            b"error" if start < prefix.len() => seen.error = Some(start),
            _ => {}
        }
        let value = scanner.value(1)?;
        // The last digits of a number may not have come yet.
        if value.end < prefix.len() {
            match &prefix[key] {
                b"id" => seen.id = Some(value),
                b"method" => seen.method = Some(value),
                _ => {}
            }
        }
        if !scanner.take(b',') {
            return scanner.expect(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::mcp::envelope::decode;
    use crate::gateway::mcp::json::tests::any_json;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_tells_what_it_can() {
        let whole = br#"{"jsonrpc":"2.0","id":12,"result":{"content":[]}}"#;
        assert_eq!(peek(&whole[..24]).id, None, "more digits may follow");
        assert_eq!(peek(&whole[..25]).id, Some(22..24));
        assert_eq!(peek(&whole[..25]).kind(), None);
        assert_eq!(peek(&whole[..40]).kind(), Some(Kind::Response { error: false }));
        assert_eq!(peek(whole).result, Some(34));
        for cut in 0..whole.len() {
            assert_eq!(peek(&whole[..cut]).malformed, None, "{cut}");
        }
        let question = br#"{"method":"sampling/createMessage","id":"7","params":{"messages":["#;
        assert_eq!(peek(question).kind(), Some(Kind::Request));
        assert_eq!(peek(b"{\"a\" 1").malformed, Some(DecodeError::Syntax { at: 5 }));
        assert_eq!(peek(b"HTTP").malformed, Some(DecodeError::Syntax { at: 0 }));
    }

    proptest! {
        #[test]
        fn peek_never_contradicts_decode(params in any_json(), cut in any::<prop::sample::Index>()) {
            let text = serde_json::json!({"jsonrpc": "2.0", "id": 10, "method": "m", "params": {"a": params}}).to_string();
            let seen = peek(&text.as_bytes()[..cut.index(text.len())]);
            prop_assert_eq!(seen.malformed, None);
            let envelope = decode(text.as_bytes()).unwrap();
            prop_assert!(seen.id.is_none() || seen.id == envelope.id_span());
            prop_assert!(seen.method.is_none_or(|span| &text[span] == "\"m\""));
        }

        #[test]
        fn peek_survives_anything(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            peek(&bytes);
        }
    }
}
