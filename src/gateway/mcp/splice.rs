//! Edits of JSON text that leave every other byte alone.
//!
//! A message passes the gateway as it was written: key order, number formats, escapes, whitespace and fields nobody here
//! knows. What must change is replaced in place.

use super::json::{Object, Value};
use crate::gateway::error::{GatewayError, Kind};
use bytes::{BufMut as _, Bytes, BytesMut};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

/// Changes to one text, gathered in any order and applied at once.
#[derive(Debug, Default)]
pub struct Edits<'a> {
    edits: Vec<Edit<'a>>,
}

#[derive(Debug)]
struct Edit<'a> {
    span: Range<usize>,
    with: Cow<'a, str>,
}

/// Two edits want the same bytes: a bug of the gateway, never the message's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("edits overlap at byte {at}")]
pub struct Overlap {
    /// Where the second one begins.
    pub at: usize,
}

impl From<Overlap> for GatewayError {
    fn from(overlap: Overlap) -> Self {
        Self::new(Kind::Internal, overlap.to_string())
    }
}

/// What becomes of one member of an object.
#[derive(Debug)]
pub enum Change<'a> {
    /// It gets this value (JSON text), and is added when there is none.
    Set(Cow<'a, str>),
    /// It goes, with its comma.
    Remove,
}

impl<'a> Edits<'a> {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// Puts `with` in the place of `span`.
    pub fn replace(&mut self, span: Range<usize>, with: impl Into<Cow<'a, str>>) {
        self.edits.push(Edit { span, with: with.into() });
    }

    /// Puts `what` before the byte at `at`. Of several at one place, the one asked for first stands first.
    pub fn insert(&mut self, at: usize, what: impl Into<Cow<'a, str>>) {
        self.replace(at..at, what);
    }

    /// Takes `span` out.
    pub fn remove(&mut self, span: Range<usize>) {
        self.replace(span, "");
    }

    /// Gives a member of `object` a value (JSON text); it is added at the end when there is none of this name.
    pub fn set_member(&mut self, object: &Object<'_>, key: &str, json: impl Into<Cow<'a, str>>) {
        self.change_members(object, [(key, Change::Set(json.into()))]);
    }

    /// Takes every member of this name out of `object`, with its comma.
    pub fn remove_member(&mut self, object: &Object<'_>, key: &str) {
        self.change_members(object, [(key, Change::Remove)]);
    }

    /// Changes several members of one object. Removals and additions of one object belong in one call: commas depend on
    /// what else stays. Where a key stands twice, one member is left at the most, so that all readers see the same.
    pub fn change_members<'k>(
        &mut self,
        object: &Object<'_>,
        changes: impl IntoIterator<Item = (&'k str, Change<'a>)>,
    ) {
        let mut changes: Vec<(&'k str, Option<Change<'a>>)> =
            changes.into_iter().map(|(key, change)| (key, Some(change))).collect();
        let mut commas = Commas::default();
        for entry in object.entries() {
            let whole = entry.key_span.start..entry.value.span().end;
            match changes.iter_mut().find(|(key, _)| entry.key.as_deref() == Some(key)) {
                None => self.edits.extend(commas.keep(whole)),
                Some((_, change @ Some(Change::Set(_)))) => {
                    if let Some(Change::Set(json)) = change.take() {
                        self.replace(entry.value.span(), json);
                    }
                    self.edits.extend(commas.keep(whole));
                }
                Some((_, Some(Change::Remove) | None)) => commas.drop(whole),
            }
        }
        let rest = changes.into_iter().filter_map(|(key, change)| match change {
            Some(Change::Set(json)) => Some((key, json)),
            _ => None,
        });
        self.add_members(object, &commas, rest);
        self.edits.extend(commas.removal());
    }

    fn add_members<'k>(
        &mut self,
        object: &Object<'_>,
        commas: &Commas,
        members: impl Iterator<Item = (&'k str, Cow<'a, str>)>,
    ) {
        let at = commas.last_kept.unwrap_or_else(|| object.span().start + 1);
        // An earlier call may have filled what was empty in the text.
        let mut first = commas.last_kept.is_none() && !self.edits.iter().any(|edit| edit.span == (at..at));
        for (key, json) in members {
            let comma = if std::mem::take(&mut first) { "" } else { "," };
            self.insert(at, format!("{comma}{}:{json}", json_string(key)));
        }
    }

    /// The text with all changes made. Without any, it is the same bytes, not a copy.
    pub fn apply(mut self, body: &Bytes) -> Result<Bytes, Overlap> {
        if self.edits.is_empty() {
            return Ok(body.clone());
        }
        // Stable, and insertions before what they stand in front of.
        self.edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
        let added: usize = self.edits.iter().map(|edit| edit.with.len()).sum();
        let mut out = BytesMut::with_capacity(body.len() + added);
        let mut done = 0;
        for Edit { span, with } in self.edits {
            let untouched = body.get(done..span.start).ok_or(Overlap { at: span.start })?;
            out.put_slice(untouched);
            out.put_slice(with.as_bytes());
            done = span.end;
        }
        out.put_slice(body.get(done..).ok_or(Overlap { at: done })?);
        Ok(out.freeze())
    }
}

/// Which separators go with dropped members: the comma before one that follows a kept member, else the one behind it.
#[derive(Default)]
struct Commas {
    last_kept: Option<usize>,
    /// Dropped members since then: from where the first began to where the last ended.
    dropped: Option<Range<usize>>,
}

impl Commas {
    fn drop(&mut self, member: Range<usize>) {
        let start = self.dropped.as_ref().map_or(member.start, |dropped| dropped.start);
        self.dropped = Some(start..member.end);
    }

    /// Keeps a member; yields the removal of what was dropped before it.
    fn keep(&mut self, member: Range<usize>) -> Option<Edit<'static>> {
        let edit = match (self.last_kept, self.dropped.take()) {
            (_, None) => None,
            (Some(end), Some(dropped)) => Some(end..dropped.end),
            (None, Some(dropped)) => Some(dropped.start..member.start),
        };
        self.last_kept = Some(member.end);
        edit.map(|span| Edit { span, with: Cow::Borrowed("") })
    }

    /// The removal of what was dropped last.
    fn removal(self) -> Option<Edit<'static>> {
        let dropped = self.dropped?;
        let start = self.last_kept.unwrap_or(dropped.start);
        Some(Edit { span: start..dropped.end, with: Cow::Borrowed("") })
    }
}

/// `text` as a JSON string, with its quotes.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_json_string(&mut out, text);
    out
}

/// Appends `text` as a JSON string, with its quotes.
pub fn push_json_string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        if escape.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Whether two JSON texts say the same id: equal text, or equal strings written with different escapes.
pub fn same_id(a: &str, b: &str) -> bool {
    let string = |text: &str| Value::parse(text.as_bytes()).ok()?.as_str().map(Cow::into_owned);
    a == b || (a.starts_with('"') && b.starts_with('"') && string(a).is_some_and(|text| string(b) == Some(text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn apply<'a>(text: &str, change: impl FnOnce(&mut Edits<'a>, &Object<'_>)) -> String {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let mut edits = Edits::new();
        change(&mut edits, &Object::parse(&body).unwrap());
        String::from_utf8(edits.apply(&body).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_member_is_set_where_it_stands_or_at_the_end() {
        let set = |text| apply(text, |edits, object| edits.set_member(object, "a", "[1]"));
        assert_eq!(set(r#"{ "b" : 1.0 , "a" : {"x":2} , "c":3 }"#), r#"{ "b" : 1.0 , "a" : [1] , "c":3 }"#);
        assert_eq!(set(r#"{ "\u0061" : 1 }"#), r#"{ "\u0061" : [1] }"#);
        assert_eq!(set(r#"{ "b" : 1.0 }"#), r#"{ "b" : 1.0,"a":[1] }"#);
        assert_eq!(set("{ }"), r#"{"a":[1] }"#);
        assert_eq!(set(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":[1],"b":2}"#, "no second one is left for another reader");
    }

    #[test]
    fn a_member_goes_with_its_comma() {
        let text = r#"{ "a":1 , "b":2 , "c":3 }"#;
        let without = |keys: &[&'static str]| {
            apply(text, |edits, object| edits.change_members(object, keys.iter().map(|key| (*key, Change::Remove))))
        };
        assert_eq!(without(&["a"]), r#"{ "b":2 , "c":3 }"#);
        assert_eq!(without(&["b"]), r#"{ "a":1 , "c":3 }"#);
        assert_eq!(without(&["c"]), r#"{ "a":1 , "b":2 }"#);
        assert_eq!(without(&["a", "b"]), r#"{ "c":3 }"#);
        assert_eq!(without(&["c", "b"]), r#"{ "a":1 }"#);
        assert_eq!(without(&["a", "c"]), r#"{ "b":2 }"#);
        assert_eq!(without(&["a", "b", "c"]), "{  }");
        assert_eq!(without(&["x"]), text);
    }

    #[test]
    fn members_added_by_several_calls_are_all_separated() {
        let added = |text| {
            apply(text, |edits, object| {
                edits.set_member(object, "x", "1");
                edits.set_member(object, "y", "2");
            })
        };
        assert_eq!(added("{}"), r#"{"x":1,"y":2}"#);
        assert_eq!(added(r#"{"a":0}"#), r#"{"a":0,"x":1,"y":2}"#);
    }

    #[test]
    fn nothing_to_change_copies_nothing_and_overlaps_are_refused() {
        let body = Bytes::from_static(b"{\"a\":1}");
        assert_eq!(Edits::new().apply(&body).unwrap().as_ptr(), body.as_ptr());
        let mut edits = Edits::new();
        edits.replace(2..6, "x");
        edits.replace(4..5, "y");
        assert_eq!(edits.apply(&body).unwrap_err(), Overlap { at: 4 });
        let mut edits = Edits::new();
        edits.remove(5..9);
        assert_eq!(edits.apply(&body).unwrap_err(), Overlap { at: 9 });
    }

    #[test]
    fn ids_are_compared_by_what_they_say() {
        assert!(same_id("1", "1") && same_id(r#""a""#, r#""\u0061""#));
        assert!(!same_id("1", r#""1""#) && !same_id(r#""a""#, r#""b""#));
    }

    /// Members as they would be written, with awkward spacing and number formats; keys from a small set.
    fn members() -> impl Strategy<Value = Vec<(String, String)>> {
        let value = prop_oneof![
            Just("1.0".to_owned()),
            Just("-0e+9".to_owned()),
            Just("12345678901234567890123".to_owned()),
            Just("\"\\u00e9\\/\"".to_owned()),
            Just("{\"z\" : [ ], \"a\":{}}".to_owned()),
            any::<String>().prop_map(|text| json_string(&text)),
        ];
        prop::collection::vec(("[a-e]", value), 0..6)
    }

    proptest! {
        #[test]
        fn json_strings_are_serdes(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&json_string(&text)).unwrap(), text);
        }

        #[test]
        fn the_rest_is_kept_byte_for_byte(
            members in members(),
            changes in prop::collection::btree_map("[a-g]", any::<bool>(), 0..4),
            space in "[ \\n\\t]{0,2}",
        ) {
            let written: Vec<_> = members.iter().map(|(k, v)| format!("\"{k}\"{space}:{space}{v}")).collect();
            let text = format!("{{{space}{}{space}}}", written.join(&format!("{space},{space}")));
            let edited = apply(&text, |edits, object| {
                edits.change_members(object, changes.iter().map(|(key, set)| {
                    (key.as_str(), if *set { Change::Set("[true]".into()) } else { Change::Remove })
                }));
            });

            let mut expected: Vec<(String, String)> = Vec::new();
            for (key, value) in &members {
                match changes.get(key) {
                    None => expected.push((key.clone(), value.clone())),
                    Some(true) if !expected.iter().any(|(k, _)| k == key) => {
                        expected.push((key.clone(), "[true]".to_owned()));
                    }
                    Some(_) => {}
                }
            }
            for (key, set) in &changes {
                if *set && !expected.iter().any(|(k, _)| k == key) {
                    expected.push((key.clone(), "[true]".to_owned()));
                }
            }
            let object = Object::parse(edited.as_bytes()).unwrap();
            let found: Vec<_> = object
                .entries()
                .map(|entry| (entry.key.unwrap().into_owned(), entry.value.text().to_owned()))
                .collect();
            prop_assert_eq!(found, expected, "{} -> {}", text, edited);
        }
    }
}
