//! What may differ between two runs of the same call, each with its reason. Everything else must be the same, byte by byte.

use std::ops::Range;

/// A kind of text that changes from run to run, whoever is in between.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blur {
    /// `8-4-4-4-12` hexadecimal digits.
    Uuid,
    /// `2026-01-02T03:04:05`, with whatever fraction and zone follow.
    Timestamp,
    /// `3:04:05 PM`.
    Clock,
    /// The rest of a line within a string, after this beginning.
    Line(&'static str),
    /// The value of every member of this name: a string or a number.
    Member(&'static str),
}

/// Replaces what `blurs` name in `text` by the names of the kinds.
pub(crate) fn blur(text: &str, blurs: &[Blur]) -> String {
    blurs.iter().fold(text.to_owned(), |text, blur| match blur {
        Blur::Uuid => replace(&text, "<uuid>", uuid_at),
        Blur::Timestamp => replace(&text, "<timestamp>", timestamp_at),
        Blur::Clock => replace(&text, "<clock>", clock_at),
        Blur::Line(start) => replace(&text, "<rest>", |text, at| line_rest_at(text, at, start)),
        Blur::Member(name) => replace(&text, "<value>", |text, at| member_at(text, at, name)),
    })
}

/// Replaces every range that `find` recognises, going through `text` once.
fn replace(text: &str, by: &str, find: impl Fn(&str, usize) -> Option<Range<usize>>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if let Some(range) = find(text, at) {
            out.push_str(&text[at..range.start]);
            out.push_str(by);
            at = range.end;
        } else {
            let next = (at + 1..=text.len()).find(|next| text.is_char_boundary(*next)).unwrap();
            out.push_str(&text[at..next]);
            at = next;
        }
    }
    out
}

/// The end of `shape` at `at`, where `h` stands for a hexadecimal digit, `d` for a digit and the rest for itself.
fn shape_at(text: &str, at: usize, shape: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(at..at + shape.len())?;
    let fits = |(byte, kind): (&u8, u8)| match kind {
        b'h' => byte.is_ascii_hexdigit(),
        b'd' => byte.is_ascii_digit(),
        other => *byte == other,
    };
    bytes.iter().zip(shape.bytes()).all(fits).then_some(at + shape.len())
}

fn uuid_at(text: &str, at: usize) -> Option<Range<usize>> {
    Some(at..shape_at(text, at, "hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh")?)
}

fn timestamp_at(text: &str, at: usize) -> Option<Range<usize>> {
    let end = shape_at(text, at, "dddd-dd-ddTdd:dd:dd")?;
    let zone = |byte: &u8| byte.is_ascii_digit() || b".:+-Z".contains(byte);
    Some(at..end + text.as_bytes()[end..].iter().take_while(|byte| zone(byte)).count())
}

fn clock_at(text: &str, at: usize) -> Option<Range<usize>> {
    ["dd:dd:dd AM", "dd:dd:dd PM", "d:dd:dd AM", "d:dd:dd PM"]
        .iter()
        .find_map(|shape| shape_at(text, at, shape))
        .map(|end| at..end)
}

fn line_rest_at(text: &str, at: usize, start: &str) -> Option<Range<usize>> {
    let rest = text[at..].strip_prefix(start)?;
    let from = at + start.len();
    let length = ["\\n", "\""].iter().filter_map(|end| rest.find(end)).min().unwrap_or(rest.len());
    Some(from..from + length)
}

fn member_at(text: &str, at: usize, name: &str) -> Option<Range<usize>> {
    let rest = text[at..].strip_prefix('"')?.strip_prefix(name)?.strip_prefix("\":")?;
    let rest = rest.trim_start();
    let from = text.len() - rest.len();
    let length = match rest.strip_prefix('"') {
        Some(string) => {
            let mut escaped = false;
            let end = string.find(|character| {
                let ends = character == '"' && !escaped;
                escaped = character == '\\' && !escaped;
                ends
            })?;
            end + 2
        }
        None => rest.find([',', '}', ']'])?,
    };
    Some(from..from + length)
}

#[test]
fn only_what_is_named_is_blurred() {
    let text = r#"{"id":"0f8fad5b-d9cb-469f-a165-70867728950e","at":"2026-11-20T14:20:00.1+00:00","t":"at 2:03:04 PM ü","n":7,"l":"size: 3\nmodified: Fri\nend"}"#;
    assert_eq!(blur(text, &[]), text);
    let blurs = [Blur::Uuid, Blur::Timestamp, Blur::Clock, Blur::Line("modified: "), Blur::Member("n")];
    let expected =
        r#"{"id":"<uuid>","at":"<timestamp>","t":"at <clock> ü","n":<value>,"l":"size: 3\nmodified: <rest>\nend"}"#;
    assert_eq!(blur(text, &blurs), expected);
    assert_eq!(blur(r#"{"a":"x\"y","b":1}"#, &[Blur::Member("a")]), r#"{"a":<value>,"b":1}"#);
}
