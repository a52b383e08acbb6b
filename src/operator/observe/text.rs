//! Pieces of messages.

use crate::api::conditions::cut;

/// The longest summary that the schema takes is this many characters; bytes are at least as many.
const MAX_SUMMARY_BYTES: usize = 1024;

/// The longest text of somebody else within a message, in bytes.
const MAX_QUOTE_BYTES: usize = 300;

/// Names told in one list: enough to look at one, and to see that it is more than one.
const MAX_NAMES: usize = 3;

/// A status's summary, cut to what the schema takes.
pub(super) fn summary(text: String) -> String {
    cut(text, MAX_SUMMARY_BYTES)
}

/// What somebody else says, on one line and bounded.
pub(super) fn quote(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    cut(words.join(" ").trim_end_matches('.').to_owned(), MAX_QUOTE_BYTES)
}

/// `1 pod`, `2 pods`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// `pod a`, `pods a and b`, `pods a, b, c and 4 more`.
pub(super) fn pods<S: AsRef<str>>(names: &[S]) -> String {
    list("pod", names)
}

/// A few names, and how many more there are.
pub(super) fn list<S: AsRef<str>>(what: &str, names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(AsRef::as_ref).collect();
    match (names.len() - shown.len(), shown.as_slice()) {
        (0, []) => format!("no {what}"),
        (0, [one]) => format!("{what} {one}"),
        (0, [first @ .., last]) => format!("{what}s {} and {last}", first.join(", ")),
        (more, _) => format!("{what}s {} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short_whatever_their_length() {
        assert_eq!(pods::<&str>(&[]), "no pod");
        assert_eq!(pods(&["a"]), "pod a");
        assert_eq!(pods(&["a", "b"]), "pods a and b");
        assert_eq!(pods(&["a", "b", "c"]), "pods a, b and c");
        assert_eq!(pods(&["a", "b", "c", "d", "e"]), "pods a, b, c and 2 more");
        assert_eq!(quote(" one\n two. "), "one two");
        assert_eq!(quote(&"ü".repeat(400)).len(), MAX_QUOTE_BYTES - 1);
    }
}
