//! Lists as clients get them: in pages, with cursors of our own.
//!
//! A cursor says which list, how far the client has come, and a hash of the last name it saw. When the list has changed in
//! between, the client goes on after that name, or at the same position when the name is gone; it never starts over.

use super::item::{CacheScope, ListKind};
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::meta;
use crate::gateway::mcp::version::Era;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::OnceLock;

/// Items on one page; clients show lists of this size at once.
const PAGE_ITEMS: usize = 250;
/// Bytes of items on one page (1 MiB); a larger item has a page of its own.
const PAGE_BYTES: usize = 1024 * 1024;
/// First byte of a cursor; another layout gets another one.
const CURSOR_FORMAT: u8 = 0xc1;

/// One list, ready to be served.
#[derive(Debug)]
pub struct Pages {
    kind: ListKind,
    items: Vec<ShownItem>,
    caching: Caching,
    /// Pages as clients that follow the cursors from the start ask for them, by position and era.
    rendered: HashMap<(usize, Era), OnceLock<Bytes>>,
}

/// An item under the name clients see.
#[derive(Clone, Debug)]
pub struct ShownItem {
    /// Its JSON, edited where the route says so.
    pub raw: Bytes,
    /// Its name, URI or template.
    pub name: Box<str>,
}

/// What modern clients are told about keeping a page.
#[derive(Clone, Debug)]
pub struct Caching {
    /// For how long, in ms.
    pub ttl_ms: u64,
    /// For whom.
    pub scope: CacheScope,
    /// JSON of who says so.
    pub server_info: Box<str>,
}

impl Pages {
    /// Arranges a list.
    pub fn new(kind: ListKind, items: Vec<ShownItem>, caching: Caching) -> Self {
        let mut pages = Self { kind, items, caching, rendered: HashMap::new() };
        let mut start = 0;
        loop {
            for era in [Era::Legacy, Era::Modern] {
                pages.rendered.insert((start, era), OnceLock::new());
            }
            start = pages.range(start).end;
            if start >= pages.items.len() {
                return pages;
            }
        }
    }

    /// How many items there are on all pages.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The result object of the page a cursor names; of the first page without one.
    pub fn page(&self, cursor: Option<&str>, era: Era) -> Result<Bytes, GatewayError> {
        let start = match cursor {
            None => 0,
            Some(cursor) => {
                self.resume(Cursor::read(cursor).filter(|cursor| cursor.kind == self.kind).ok_or_else(foreign)?)
            }
        };
        // Pages that begin elsewhere are those of a client that saw the list before it changed: too rare to keep.
        Ok(match self.rendered.get(&(start, era)) {
            Some(kept) => kept.get_or_init(|| self.render(start, era)).clone(),
            None => self.render(start, era),
        })
    }

    fn resume(&self, cursor: Cursor) -> usize {
        let is_last_seen = |item: &ShownItem| name_hash(&item.name) == cursor.last;
        let position = (cursor.position as usize).min(self.items.len());
        if position.checked_sub(1).is_some_and(|last| is_last_seen(&self.items[last])) {
            return position;
        }
        self.items.iter().position(is_last_seen).map_or(position, |last| last + 1)
    }

    /// The items of the page that begins at `start`.
    fn range(&self, start: usize) -> Range<usize> {
        let mut bytes = 0;
        let fits = |item: &&ShownItem| {
            bytes += item.raw.len();
            bytes <= PAGE_BYTES
        };
        let count = self.items[start..].iter().take(PAGE_ITEMS).take_while(fits).count();
        start..(start + count.max(1)).min(self.items.len())
    }

    fn render(&self, start: usize, era: Era) -> Bytes {
        let range = self.range(start);
        let size: usize = self.items[range.clone()].iter().map(|item| item.raw.len() + 1).sum();
        let mut out = Vec::with_capacity(size + 256 + self.caching.server_info.len());
        out.extend_from_slice(format!(r#"{{"{}":["#, self.kind.member()).as_bytes());
        for (index, item) in self.items[range.clone()].iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&item.raw);
        }
        out.extend_from_slice(self.tail(range, era).as_bytes());
        out.into()
    }

    /// What follows the items.
    fn tail(&self, range: Range<usize>, era: Era) -> String {
        let mut tail = String::from("]");
        if range.end < self.items.len()
            && let Some(last) = self.items.get(range.end - 1)
        {
            let position = u32::try_from(range.end).unwrap_or(u32::MAX);
            let cursor = Cursor { kind: self.kind, position, last: name_hash(&last.name) };
            let _ = write!(tail, r#","nextCursor":"{}""#, cursor.write());
        }
        if era == Era::Modern {
            let Caching { ttl_ms, scope, server_info } = &self.caching;
            let _ = write!(
                tail,
                r#","resultType":"complete","ttlMs":{ttl_ms},"cacheScope":"{}","_meta":{{"{}":{server_info}}}"#,
                scope.as_str(),
                meta::SERVER_INFO,
            );
        }
        tail.push('}');
        tail
    }
}

fn foreign() -> GatewayError {
    GatewayError::new(Kind::InvalidParams, "unknown cursor: list again from the start")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    kind: ListKind,
    /// How many items came before.
    position: u32,
    /// Hash of the last of them.
    last: u64,
}

impl Cursor {
    const LENGTH: usize = 1 + 1 + 4 + 8 + 4;

    fn write(self) -> String {
        let mut bytes = vec![CURSOR_FORMAT, self.kind as u8];
        bytes.extend(self.position.to_be_bytes());
        bytes.extend(self.last.to_be_bytes());
        bytes.extend(check(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for what this never wrote.
    fn read(text: &str) -> Option<Self> {
        // Four thirds, rounded up: longer texts are not even decoded.
        if text.len() != Self::LENGTH.div_ceil(3) * 4 {
            return None;
        }
        let bytes: [u8; Self::LENGTH] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (said, sum) = bytes.split_last_chunk::<4>()?;
        let (&[format, kind], rest) = said.split_first_chunk::<2>()?;
        let (position, last) = rest.split_first_chunk::<4>()?;
        if format != CURSOR_FORMAT || *sum != check(said) {
            return None;
        }
        let kind = ListKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        Some(Self { kind, position: u32::from_be_bytes(*position), last: u64::from_be_bytes(last.try_into().ok()?) })
    }
}

/// Tells our cursors from others' by accident, not from forged ones: a forged one only names a position in a list that the
/// client may read anyway.
fn check(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = fnv(bytes).to_be_bytes();
    [a, b, c, d]
}

fn name_hash(name: &str) -> u64 {
    fnv(name.as_bytes())
}

/// FNV-1a: the same on every replica and in every build, unlike the standard library's.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pages(items: impl IntoIterator<Item = (String, usize)>) -> Pages {
        let item = |(name, size): (String, usize)| ShownItem {
            raw: format!(r#"{{"name":"{name}","pad":"{}"}}"#, "x".repeat(size)).into(),
            name: name.into(),
        };
        let caching = Caching { ttl_ms: 7, scope: CacheScope::Private, server_info: r#"{"name":"g"}"#.into() };
        Pages::new(ListKind::Tools, items.into_iter().map(item).collect(), caching)
    }

    fn numbered(range: Range<usize>) -> Pages {
        pages(range.map(|n| (format!("t{n}"), 0)))
    }

    fn read(page: &Bytes) -> (Vec<String>, Option<String>) {
        let page: serde_json::Value = serde_json::from_slice(page).unwrap();
        let names = page["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned());
        (names.collect(), page["nextCursor"].as_str().map(str::to_owned))
    }

    fn walk(pages: &Pages) -> Vec<Vec<String>> {
        let (mut out, mut cursor) = (Vec::new(), None);
        loop {
            let (names, next) = read(&pages.page(cursor.as_deref(), Era::Modern).unwrap());
            out.push(names);
            match next {
                Some(next) => cursor = Some(next),
                None => return out,
            }
        }
    }

    #[test]
    fn a_small_list_is_one_page_in_either_era() {
        let pages = numbered(0..1);
        assert_eq!(pages.page(None, Era::Legacy).unwrap(), r#"{"tools":[{"name":"t0","pad":""}]}"#);
        let modern = pages.page(None, Era::Modern).unwrap();
        assert_eq!(
            modern,
            r#"{"tools":[{"name":"t0","pad":""}],"resultType":"complete","ttlMs":7,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"g"}}}"#
        );
        assert_eq!(pages.page(None, Era::Modern).unwrap().as_ptr(), modern.as_ptr(), "rendered once");
        assert_eq!(numbered(0..0).page(None, Era::Legacy).unwrap(), r#"{"tools":[]}"#);
    }

    #[test]
    fn pages_are_bounded_by_count_and_by_size() {
        let lengths = |pages: &Pages| walk(pages).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&numbered(0..600)), [250, 250, 100]);
        let half = PAGE_BYTES / 2 - 100;
        let sizes = [half, half, half, 3 * PAGE_BYTES, 1, half];
        assert_eq!(lengths(&pages(sizes.iter().enumerate().map(|(n, size)| (n.to_string(), *size)))), [2, 1, 1, 2]);
    }

    #[test]
    fn foreign_cursors_are_refused() {
        let pages = numbered(0..600);
        let good = read(&pages.page(None, Era::Legacy).unwrap()).1.unwrap();
        let other_list = Cursor { kind: ListKind::Prompts, ..Cursor::read(&good).unwrap() }.write();
        let mut cut = good.clone();
        cut.pop();
        for cursor in ["", "x", "!!", &"A".repeat(24), &other_list, &cut, &good.to_lowercase()] {
            let error = pages.page(Some(cursor), Era::Legacy).unwrap_err();
            assert_eq!(error.kind, Kind::InvalidParams, "{cursor}");
        }
    }

    #[test]
    fn a_changed_list_is_gone_on_with_after_the_last_name_seen() {
        let second = read(&numbered(0..600).page(None, Era::Legacy).unwrap()).1.unwrap();
        let first_name = |pages: &Pages| read(&pages.page(Some(&second), Era::Legacy).unwrap()).0.first().cloned();
        let moved = pages((1000..1100).chain(0..600).map(|n| (format!("t{n}"), 0)));
        assert_eq!(first_name(&moved).unwrap(), "t250", "items were put before");
        let shorter = pages((0..240).chain(245..600).map(|n| (format!("t{n}"), 0)));
        assert_eq!(first_name(&shorter).unwrap(), "t250", "items before are gone");
        let gone = pages((0..249).chain(250..600).map(|n| (format!("t{n}"), 0)));
        assert_eq!(first_name(&gone).unwrap(), "t251", "the last name seen is gone: the same position");
        assert_eq!(first_name(&numbered(0..10)), None, "nothing is left");
    }

    proptest! {
        // Each case moves megabytes.
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn every_item_is_on_one_page(sizes in prop::collection::vec(0..PAGE_BYTES, 0..12), many in 0..700usize) {
            let small = (0..many).map(|n| (format!("s{n}"), 0));
            let all: Vec<_> = sizes.iter().enumerate().map(|(n, size)| (format!("l{n}"), *size)).chain(small).collect();
            let names: Vec<_> = all.iter().map(|(name, _)| name.clone()).collect();
            let pages = pages(all);
            let walked = walk(&pages);
            prop_assert!(walked.iter().all(|page| page.len() <= PAGE_ITEMS));
            prop_assert_eq!(walked.concat(), names);
        }

        #[test]
        fn a_list_that_changes_underway_is_still_finished(lengths in prop::collection::vec(0..900usize, 1..20)) {
            let (mut cursor, mut seen) = (None, 0);
            for length in lengths.iter().chain([&300, &300, &300]) {
                let (names, next) = read(&numbered(0..*length).page(cursor.as_deref(), Era::Legacy).unwrap());
                seen += names.len();
                let Some(next) = next else { return Ok(()) };
                cursor = Some(next);
                prop_assert_eq!(names.last().cloned(), Some(format!("t{}", seen - 1)), "no item twice, none left out");
            }
            prop_assert!(false, "three pages of the same list end it");
        }

        #[test]
        fn cursors_survive_and_garbage_does_not(position: u32, last: u64, text in any::<String>()) {
            let cursor = Cursor { kind: ListKind::Templates, position, last };
            prop_assert_eq!(Cursor::read(&cursor.write()), Some(cursor));
            prop_assert_eq!(Cursor::read(&text), None);
        }
    }
}
