//! Handles onto validated JSON text: look a member up, read a scalar, keep the span. No tree is ever built.
//!
//! A handle remembers the whole text it stands in, so its spans can be handed to
//! [`Edits`](super::splice::Edits) or used to slice the text's [`bytes::Bytes`].

use super::envelope::DecodeError;
use super::scan::{Scanner, unescape};
use std::borrow::Cow;
use std::ops::Range;

/// One value inside a text that was validated as a whole.
#[derive(Clone, Debug)]
pub struct Value<'a> {
    text: &'a str,
    span: Range<usize>,
}

/// An object inside a text that was validated as a whole.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    text: &'a str,
    span: Range<usize>,
}

/// A member of an object.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// The key's token, quotes included.
    pub key_span: Range<usize>,
    /// The key, unescaped; `None` when it holds half of a surrogate pair.
    pub key: Option<Cow<'a, str>>,
    /// What stands behind the colon.
    pub value: Value<'a>,
}

/// A key that stands more than once in an object, so that two readers may see different values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("duplicate key")]
pub struct Ambiguous;

pub(super) fn checked_text(body: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(body).map_err(|error| DecodeError::InvalidUtf8 { at: error.valid_up_to() })
}

impl<'a> Value<'a> {
    /// Validates a whole text, which must be one JSON value.
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        let text = checked_text(body)?;
        let mut scanner = Scanner::new(body);
        let span = scanner.value(0)?;
        scanner.end()?;
        Ok(Self { text, span })
    }

    pub(super) fn new(text: &'a str, span: Range<usize>) -> Self {
        Self { text, span }
    }

    /// Where it stands in the whole text.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Its JSON, exactly as it was written.
    pub fn text(&self) -> &'a str {
        &self.text[self.span.clone()]
    }

    fn first(&self) -> u8 {
        self.text.as_bytes()[self.span.start]
    }

    /// The string it is; `None` for other values and for strings with half of a surrogate pair.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        let content = self.text().strip_prefix('"')?.strip_suffix('"')?;
        unescape(content, memchr::memchr(b'\\', content.as_bytes()).is_some())
    }

    /// The object it is.
    pub fn as_object(&self) -> Option<Object<'a>> {
        (self.first() == b'{').then(|| Object { text: self.text, span: self.span() })
    }

    /// The elements of the array it is.
    pub fn as_array(&self) -> Option<Elements<'a>> {
        (self.first() == b'[').then(|| Elements::new(self.text, self.span.start))
    }

    /// The integer it is, when it is written as one (`3`, not `3.0`).
    pub fn as_u64(&self) -> Option<u64> {
        self.text().parse().ok()
    }

    /// The truth value it is.
    pub fn as_bool(&self) -> Option<bool> {
        match self.text() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// Whether it is a number of any form.
    pub fn is_number(&self) -> bool {
        matches!(self.first(), b'-' | b'0'..=b'9')
    }

    /// Whether it is a string.
    pub fn is_string(&self) -> bool {
        self.first() == b'"'
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.first() == b'n'
    }
}

impl<'a> Object<'a> {
    /// Validates a whole text, which must be one JSON object.
    pub fn parse(body: &'a [u8]) -> Result<Self, DecodeError> {
        Value::parse(body)?.as_object().ok_or(DecodeError::NotAnObject { at: 0 })
    }

    pub(super) fn new(text: &'a str, span: Range<usize>) -> Self {
        Self { text, span }
    }

    /// Where it stands in the whole text, braces included.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Its JSON, exactly as it was written.
    pub fn text(&self) -> &'a str {
        &self.text[self.span.clone()]
    }

    /// The first member of this name. Where the key may stand twice and it matters who reads which, see
    /// [`get_unique`](Self::get_unique).
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.entries().find(|entry| entry.key.as_deref() == Some(key)).map(|entry| entry.value)
    }

    /// The only member of this name: for what is checked here but acted on by another reader, who may take the last.
    pub fn get_unique(&self, key: &str) -> Result<Option<Value<'a>>, Ambiguous> {
        let mut found = self.entries().filter(|entry| entry.key.as_deref() == Some(key));
        let first = found.next();
        if found.next().is_some() { Err(Ambiguous) } else { Ok(first.map(|entry| entry.value)) }
    }

    /// The string of this name.
    pub fn get_str(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key)?.as_str()
    }

    /// The object of this name.
    pub fn get_object(&self, key: &str) -> Option<Self> {
        self.get(key)?.as_object()
    }

    /// Its members in the order they were written.
    pub fn entries(&self) -> Entries<'a> {
        Entries { text: self.text, scanner: Scanner::at(self.text.as_bytes(), self.span.start + 1), first: true }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }
}

/// See [`Object::entries`].
pub struct Entries<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    first: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    // The text was validated: a scanner that stumbles over it would only end the walk early.
    fn next(&mut self) -> Option<Entry<'a>> {
        if !std::mem::take(&mut self.first) && !self.scanner.take(b',') {
            return None;
        }
        let key = self.scanner.key().ok()?;
        let value = self.scanner.value(0).ok()?;
        Some(Entry {
            key_span: key.content.start - 1..key.content.end + 1,
            key: unescape(&self.text[key.content.clone()], key.escaped),
            value: Value::new(self.text, value),
        })
    }
}

/// See [`Value::as_array`].
pub struct Elements<'a> {
    text: &'a str,
    scanner: Scanner<'a>,
    done: bool,
}

impl<'a> Elements<'a> {
    fn new(text: &'a str, start: usize) -> Self {
        let mut scanner = Scanner::at(text.as_bytes(), start + 1);
        let done = scanner.take(b']');
        Self { text, scanner, done }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.done {
            return None;
        }
        let span = self.scanner.value(0).ok()?;
        self.done = !self.scanner.take(b',');
        Some(Value::new(self.text, span))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn members_are_found_by_their_decoded_key() {
        let text = br#" { "plain" : 1 , "esc\u0061ped" : "v\n\ud83d\ude00" , "n" : { "x" : [ 1 , [ ] , "]" ] } } "#;
        let object = Object::parse(text).unwrap();
        assert_eq!(object.get("plain").unwrap().as_u64(), Some(1));
        assert_eq!(object.get_str("escaped").unwrap(), "v\n😀");
        let x = object.get_object("n").unwrap().get("x").unwrap();
        assert_eq!(x.as_array().unwrap().map(|v| v.text()).collect::<Vec<_>>(), ["1", "[ ]", "\"]\""]);
        assert!(object.get("missing").is_none());
    }

    #[test]
    fn a_lone_surrogate_has_no_text() {
        let object = Object::parse(br#"{"\ud800":1,"v":"\udc00x","w":"\ud800\u0041"}"#).unwrap();
        assert!(object.entries().next().unwrap().key.is_none());
        assert_eq!(object.get_str("v"), None);
        assert_eq!(object.get_str("w"), None);
        assert_eq!(object.get("v").unwrap().text(), r#""\udc00x""#);
    }

    #[test]
    fn a_key_that_stands_twice_is_ambiguous() {
        let object = Object::parse(br#"{"a":1,"\u0061":2,"b":3}"#).unwrap();
        assert_eq!(object.get_unique("a").unwrap_err(), Ambiguous);
        assert_eq!(object.get_unique("b").unwrap().unwrap().as_u64(), Some(3));
        assert!(object.get_unique("c").unwrap().is_none());
    }

    /// Any JSON value, with awkward strings and numbers.
    pub(in super::super) fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(5, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
        use serde_json::Value as V;
        match theirs {
            V::Null => ours.is_null(),
            V::Bool(b) => ours.as_bool() == Some(*b),
            V::Number(n) => ours.is_number() && ours.text() == n.to_string() && ours.as_u64() == n.as_u64(),
            V::String(s) => ours.as_str().as_deref() == Some(s),
            V::Array(items) => {
                let ours: Vec<_> = ours.as_array().unwrap().collect();
                ours.len() == items.len() && ours.iter().zip(items).all(|(a, b)| same(a, b))
            }
            V::Object(members) => {
                let ours: Vec<_> = ours.as_object().unwrap().entries().collect();
                ours.len() == members.len()
                    && ours.iter().zip(members).all(|(a, (k, v))| a.key.as_deref() == Some(k) && same(&a.value, v))
            }
        }
    }

    proptest! {
        #[test]
        fn reads_what_serde_reads(value in any_json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            prop_assert!(same(&Value::parse(text.as_bytes()).unwrap(), &value), "{text}");
        }
    }
}
