//! What one server lists: items as it wrote them, gathered over all pages and bounded.

use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::json::Object;
use crate::ir::snapshot::Limits;
use bytes::Bytes;

/// Pages of one list. A server that always names a next one would otherwise be asked forever.
const MAX_PAGES: usize = 1_000;

/// The four things that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListKind {
    /// `tools/list`.
    Tools,
    /// `prompts/list`.
    Prompts,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
}

impl ListKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The method that lists it.
    pub const fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// What a method lists.
    pub fn of_method(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.method() == method)
    }

    /// The member of the result that holds the items.
    pub const fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member of an item by which it is asked for.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The method that uses an item.
    pub const fn use_method(self) -> &'static str {
        match self {
            Self::Tools => "tools/call",
            Self::Prompts => "prompts/get",
            Self::Resources | Self::Templates => "resources/read",
        }
    }

    /// The capability a server declares for it.
    pub const fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// One tool, prompt, resource or template, as its server wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its JSON: a slice of the page it came in.
    pub raw: Bytes,
    /// Its name, URI or URI template, unescaped.
    pub name: Box<str>,
}

/// Who may share a cached answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheScope {
    /// Anyone.
    Public,
    /// Only the same authorisation.
    Private,
}

impl CacheScope {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// All that one server lists of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The items in the server's order.
    pub items: Vec<Item>,
    /// Elements that were no items: not an object, or without a name.
    pub skipped: usize,
    /// The shortest time to live that a page named, in ms.
    pub ttl_ms: Option<u64>,
    /// The narrowest scope that a page named.
    pub cache_scope: Option<CacheScope>,
}

/// All that one server lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listings([Listing; 4]);

impl Listings {
    /// What it lists of one kind.
    pub fn get(&self, kind: ListKind) -> &Listing {
        &self.0[kind.index()]
    }

    /// Puts in what it lists of one kind.
    pub fn set(&mut self, kind: ListKind, listing: Listing) {
        self.0[kind.index()] = listing;
    }
}

/// Why a server's list cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The result is not JSON, or has no such array.
    #[error("the server's {0} answer has no list")]
    NotAList(&'static str),
    /// More items than the limit.
    #[error("the server lists more than {limit} items by {method}")]
    TooManyItems {
        /// The method asked.
        method: &'static str,
        /// The limit.
        limit: u32,
    },
    /// More bytes than the limit.
    #[error("the server lists more than {limit} bytes by {method}")]
    TooManyBytes {
        /// The method asked.
        method: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The pages do not end.
    #[error("the server's {0} has more than {MAX_PAGES} pages")]
    TooManyPages(&'static str),
}

impl From<ListError> for GatewayError {
    fn from(error: ListError) -> Self {
        let kind = if matches!(error, ListError::NotAList(_)) { Kind::BadAnswer } else { Kind::AnswerTooLarge };
        Self::new(kind, error.to_string())
    }
}

/// Gathers the pages of one list.
#[derive(Debug)]
pub struct Gather {
    kind: ListKind,
    limit_items: u32,
    limit_bytes: u64,
    bytes: u64,
    pages: usize,
    listing: Listing,
}

impl Gather {
    /// Begins a list.
    pub fn new(kind: ListKind, limits: &Limits) -> Self {
        let (limit_items, limit_bytes) = (limits.list_items, limits.list_bytes);
        Self { kind, limit_items, limit_bytes, bytes: 0, pages: 0, listing: Listing::default() }
    }

    /// Adds a page: the result object of one answer. Yields the JSON of the cursor to ask for the next page with, exactly as
    /// the server wrote it.
    pub fn add(&mut self, result: &Bytes) -> Result<Option<Box<str>>, ListError> {
        let method = self.kind.method();
        self.pages += 1;
        if self.pages > MAX_PAGES {
            return Err(ListError::TooManyPages(method));
        }
        let page = Object::parse(result).map_err(|_| ListError::NotAList(method))?;
        let (mut found, mut next) = (false, None);
        for entry in page.entries() {
            let value = entry.value;
            match entry.key.as_deref() {
                Some(member) if member == self.kind.member() => {
                    found = true;
                    for element in value.as_array().ok_or(ListError::NotAList(method))? {
                        self.add_item(result.slice(element.span()), element.as_object())?;
                    }
                }
                Some("nextCursor") if value.is_string() => next = Some(value.text().into()),
                Some("ttlMs") => self.narrow_ttl(value.text()),
                Some("cacheScope") => self.narrow_scope(value.as_str().as_deref()),
                _ => {}
            }
        }
        if found { Ok(next) } else { Err(ListError::NotAList(method)) }
    }

    fn add_item(&mut self, raw: Bytes, object: Option<Object<'_>>) -> Result<(), ListError> {
        let method = self.kind.method();
        self.bytes += raw.len() as u64;
        if self.bytes > self.limit_bytes {
            return Err(ListError::TooManyBytes { method, limit: self.limit_bytes });
        }
        if self.listing.items.len() + self.listing.skipped >= self.limit_items as usize {
            return Err(ListError::TooManyItems { method, limit: self.limit_items });
        }
        let name = object.and_then(|object| object.get_str(self.kind.key())).filter(|name| !name.is_empty());
        match name {
            Some(name) => self.listing.items.push(Item { raw, name: name.into() }),
            None => self.listing.skipped += 1,
        }
        Ok(())
    }

    fn narrow_ttl(&mut self, text: &str) {
        // A negative one means none; a fraction is cut.
        let whole = text.split(['.', 'e', 'E']).next().unwrap_or_default();
        let ttl = if whole.starts_with('-') { Some(0) } else { whole.parse().ok() };
        self.listing.ttl_ms = [self.listing.ttl_ms, ttl].into_iter().flatten().min();
    }

    fn narrow_scope(&mut self, text: Option<&str>) {
        let scope = if text == Some("public") { CacheScope::Public } else { CacheScope::Private };
        self.listing.cache_scope = self.listing.cache_scope.max(Some(scope));
    }

    /// Ends the list.
    pub fn finish(self) -> Listing {
        self.listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Cursors = Vec<Option<Box<str>>>;

    fn gather(kind: ListKind, limits: &Limits, pages: &[&str]) -> Result<(Listing, Cursors), ListError> {
        let mut gather = Gather::new(kind, limits);
        let cursors =
            pages.iter().map(|page| gather.add(&Bytes::copy_from_slice(page.as_bytes()))).collect::<Result<_, _>>()?;
        Ok((gather.finish(), cursors))
    }

    #[test]
    fn items_keep_their_bytes_over_pages() {
        let pages = [
            r#"{"tools":[{"x" : 1.0,"n\u0061me":"a\u0062"} , {"name":"c"}],"nextCursor":"\u0022","ttlMs":500,"cacheScope":"public"}"#,
            r#"{"nextCursor":"","tools":[],"ttlMs":300.5}"#,
            r#"{"tools":[],"nextCursor":null,"cacheScope":"private"}"#,
        ];
        let (listing, cursors) = gather(ListKind::Tools, &Limits::default(), &pages).unwrap();
        assert_eq!(listing.items[0].raw, r#"{"x" : 1.0,"n\u0061me":"a\u0062"}"#);
        assert_eq!(&*listing.items[0].name, "ab");
        assert_eq!(listing.items.len(), 2);
        assert_eq!(cursors, [Some(r#""\u0022""#.into()), Some("\"\"".into()), None], "an empty cursor is a cursor");
        assert_eq!((listing.ttl_ms, listing.cache_scope), (Some(300), Some(CacheScope::Private)));
    }

    #[test]
    fn a_malformed_item_costs_only_itself() {
        let page = r#"{"resources":[7,{"name":"x"},{"uri":3},{"uri":""},{"uri":"a:b"}]}"#;
        let (listing, _) = gather(ListKind::Resources, &Limits::default(), &[page]).unwrap();
        assert_eq!((listing.items.len(), listing.skipped), (1, 4));
    }

    #[test]
    fn lists_are_bounded() {
        let page = r#"{"prompts":[{"name":"a"},{"name":"b"}],"nextCursor":"x"}"#;
        let by = |list_items, list_bytes, pages: usize| {
            let limits = Limits { list_items, list_bytes, ..Limits::default() };
            gather(ListKind::Prompts, &limits, &vec![page; pages]).map(drop)
        };
        let method = "prompts/list";
        assert_eq!(by(4, 100, 2), Ok(()));
        assert_eq!(by(3, 100, 2), Err(ListError::TooManyItems { method, limit: 3 }));
        assert_eq!(by(4, 47, 2), Err(ListError::TooManyBytes { method, limit: 47 }));
        assert_eq!(by(u32::MAX, u64::MAX, MAX_PAGES + 1), Err(ListError::TooManyPages(method)));
        assert_eq!(GatewayError::from(by(3, 100, 2).unwrap_err()).kind, Kind::AnswerTooLarge);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for page in ["{}", r#"{"tools":{}}"#, "[]", "", r#"{"tools":null}"#] {
            let outcome = gather(ListKind::Tools, &Limits::default(), &[page]);
            assert_eq!(outcome.unwrap_err(), ListError::NotAList("tools/list"), "{page}");
        }
    }
}
