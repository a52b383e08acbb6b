//! Pages of a merged list, and the cursors between them.
//!
//! A cursor names the last item before it and that item's position. So a list that changed between two pages goes on after
//! the same item, or, when that is gone, at the same place: it neither repeats itself for ever nor breaks.

use super::item::ListKind;
use super::view::Entry;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::splice::push_json_string;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Items on a page: more than most servers have, few enough to be parsed in a millisecond or two.
const PAGE_ITEMS: usize = 250;

/// Bytes on a page (1 MiB), unless a single item is larger: a quarter of what SDKs accept in one message.
const PAGE_BYTES: usize = 1024 * 1024;

/// A place in a list.
#[derive(Debug, PartialEq, Eq)]
struct Cursor {
    position: usize,
    last_key: String,
}

/// Renders one page as a result object; `tail` is JSON put before its closing brace.
pub(crate) fn render(
    kind: ListKind,
    entries: &[Entry],
    cursor: Option<&str>,
    tail: &str,
) -> Result<String, GatewayError> {
    let start = match cursor {
        None => 0,
        Some(text) => start_after(entries, &Cursor::decode(kind, text).ok_or_else(foreign)?),
    };
    let rest = entries.get(start..).unwrap_or_default();
    let mut bytes = 0;
    let fitting = rest.iter().take(PAGE_ITEMS).take_while(|entry| {
        bytes += entry.json.len();
        bytes <= PAGE_BYTES
    });
    // One item at least, or the list would never end.
    let count = fitting.count().max(1).min(rest.len());
    let (page, after) = rest.split_at(count);
    let next = page
        .last()
        .filter(|_| !after.is_empty())
        .map(|last| Cursor { position: start + count, last_key: last.key.clone() });
    Ok(result(kind, page, next.map(|next| next.encode(kind)), tail))
}

fn result(kind: ListKind, page: &[Entry], next: Option<String>, tail: &str) -> String {
    let size: usize = page.iter().map(|entry| entry.json.len() + 1).sum();
    let mut out = String::with_capacity(size + 256 + tail.len());
    out.push_str("{\"");
    out.push_str(kind.member());
    out.push_str("\":[");
    for (position, entry) in page.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&entry.json);
    }
    out.push(']');
    if let Some(next) = next {
        out.push_str(",\"nextCursor\":");
        push_json_string(&mut out, &next);
    }
    out.push_str(tail);
    out.push('}');
    out
}

fn start_after(entries: &[Entry], cursor: &Cursor) -> usize {
    let is_last = |position: usize| entries.get(position).is_some_and(|entry| entry.key == cursor.last_key);
    if cursor.position > 0 && is_last(cursor.position - 1) {
        return cursor.position;
    }
    let moved = entries.iter().position(|entry| entry.key == cursor.last_key);
    moved.map_or(cursor.position, |position| position + 1).min(entries.len())
}

fn foreign() -> GatewayError {
    GatewayError::new(Kind::InvalidParams, "params.cursor was not issued by this gateway for this list")
}

impl Cursor {
    fn encode(&self, kind: ListKind) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{}:{}", kind.index(), self.position, self.last_key))
    }

    fn decode(kind: ListKind, text: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (of, rest) = text.split_once(':')?;
        let (position, last_key) = rest.split_once(':')?;
        (of.parse() == Ok(kind.index())).then_some(())?;
        Some(Self { position: position.parse().ok()?, last_key: last_key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::mcp::splice::json_string;
    use proptest::prelude::*;
    use serde_json::Value;

    fn entries(names: &[String]) -> Vec<Entry> {
        names
            .iter()
            .map(|name| Entry {
                server: 0,
                key: name.clone(),
                own_key: name.clone(),
                json: format!(r#"{{"name":{}}}"#, json_string(name)),
            })
            .collect()
    }

    fn page(entries: &[Entry], cursor: Option<&str>) -> (Vec<String>, Option<String>) {
        let page: Value = serde_json::from_str(&render(ListKind::Tools, entries, cursor, "").unwrap()).unwrap();
        let names =
            page["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect();
        (names, page["nextCursor"].as_str().map(str::to_owned))
    }

    fn walk(entries: &[Entry]) -> Vec<String> {
        let (mut all, mut cursor) = page(entries, None);
        while let Some(at) = cursor {
            let (more, next) = page(entries, Some(&at));
            assert!(!more.is_empty());
            all.extend(more);
            cursor = next;
        }
        all
    }

    proptest! {
        #[test]
        fn pages_cover_every_item_exactly_once(count in 0usize..1200) {
            let names: Vec<String> = (0..count).map(|number| format!("tool-{number}")).collect();
            prop_assert_eq!(walk(&entries(&names)), names);
        }
    }

    #[test]
    fn a_changed_list_goes_on_after_the_same_item() {
        let names: Vec<String> = (0..400).map(|number| format!("tool-{number}")).collect();
        let (_, cursor) = page(&entries(&names), None);
        let cursor = cursor.unwrap();
        let shorter: Vec<String> = names[100..].to_vec();
        assert_eq!(page(&entries(&shorter), Some(&cursor)).0.first().unwrap(), "tool-250");
        let gone: Vec<String> = names[..100].to_vec();
        assert_eq!(page(&entries(&gone), Some(&cursor)).0, Vec::<String>::new());
    }

    #[test]
    fn a_large_item_has_a_page_of_its_own() {
        let names: Vec<String> = ["a", "b", "c"].iter().map(|name| name.repeat(PAGE_BYTES)).collect();
        assert_eq!(page(&entries(&names), None).0.len(), 1);
        assert_eq!(walk(&entries(&names)), names);
    }

    #[test]
    fn foreign_cursors_are_refused() {
        let names = vec!["a".to_owned()];
        let of_prompts = Cursor { position: 1, last_key: "a".to_owned() }.encode(ListKind::Prompts);
        for cursor in ["", "x", "!!", &of_prompts, &URL_SAFE_NO_PAD.encode("0:x:a")] {
            let error = render(ListKind::Tools, &entries(&names), Some(cursor), "").unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParams, "{cursor}");
        }
    }
}
