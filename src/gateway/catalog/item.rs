//! What one server lists: its items as it wrote them, page by page.

use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope;
use crate::gateway::mcp::json::{Object, Value};
use crate::ir::snapshot::Limits;
use bytes::Bytes;
use std::ops::Range;

/// The kinds of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListKind {
    /// `tools/list`
    Tools,
    /// `prompts/list`
    Prompts,
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
}

impl ListKind {
    pub(crate) const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    /// The method that lists it.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of the result that holds the items.
    pub(crate) fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// The member that tells one item from another.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }

    /// The capability that a server declares when it has such a list.
    pub(crate) fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// The notification that says it changed.
    pub(crate) fn changed_notification(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources | Self::Templates => "notifications/resources/list_changed",
        }
    }

    /// The kind whose change a notification announces; that of resources announces both of its lists.
    pub(crate) fn of_notification(method: &str) -> Option<Self> {
        [Self::Tools, Self::Prompts, Self::Resources].into_iter().find(|kind| kind.changed_notification() == method)
    }

    /// The kind whose changes a member of a `subscriptions/listen` filter asks for.
    pub(crate) fn of_filter(member: &str) -> Option<Self> {
        match member {
            "toolsListChanged" => Some(Self::Tools),
            "promptsListChanged" => Some(Self::Prompts),
            "resourcesListChanged" => Some(Self::Resources),
            _ => None,
        }
    }

    /// The lists that change together with this one.
    pub(crate) fn with_companion(self) -> &'static [Self] {
        match self {
            Self::Tools => &[Self::Tools],
            Self::Prompts => &[Self::Prompts],
            Self::Resources | Self::Templates => &[Self::Resources, Self::Templates],
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Tools => 0,
            Self::Prompts => 1,
            Self::Resources => 2,
            Self::Templates => 3,
        }
    }
}

/// One item, as its server wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The item's JSON.
    pub(crate) json: Bytes,
    /// Its name, URI or URI template.
    pub(crate) key: String,
    /// Where the key's JSON string stands in `json`.
    pub(crate) key_span: Range<usize>,
}

/// A whole list of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ItemList {
    pub(crate) items: Vec<Item>,
    /// How long it stays fresh, in ms, as the server said (2026-07-28); the smallest of its pages'.
    pub(crate) ttl_ms: Option<u64>,
    /// Whether the server said of every page that it is the same for all clients.
    pub(crate) public: bool,
    /// Items without a usable key: left out.
    pub(crate) malformed: usize,
    /// Pages read; 0 for a kind of list that the server does not have.
    pub(crate) pages: usize,
    bytes: u64,
}

impl ItemList {
    /// Adds a page (a whole JSON-RPC answer) and yields the cursor of the next one.
    pub(crate) fn add_page(
        &mut self,
        kind: ListKind,
        answer: &Bytes,
        limits: &Limits,
    ) -> Result<Option<String>, GatewayError> {
        let envelope = envelope::decode(answer).map_err(|error| malformed(kind, &error.to_string()))?;
        let result = envelope.result().ok_or_else(|| refused(kind, envelope.error().as_ref()))?;
        let listed = result.get(kind.member());
        let elements = listed.as_ref().and_then(Value::as_array).ok_or_else(|| malformed(kind, "it holds no list"))?;
        for element in elements {
            match item(kind, answer, &element) {
                Some(item) => self.add(kind, item, limits)?,
                None => self.malformed += 1,
            }
        }
        let ttl = result.get("ttlMs").and_then(|ttl| ttl.as_u64());
        self.ttl_ms = [self.ttl_ms, ttl].into_iter().flatten().min();
        let public = result.get_str("cacheScope").is_some_and(|scope| scope == "public");
        self.public = public && (self.public || self.pages == 0);
        self.pages += 1;
        Ok(result.get_str("nextCursor").map(std::borrow::Cow::into_owned))
    }

    fn add(&mut self, kind: ListKind, item: Item, limits: &Limits) -> Result<(), GatewayError> {
        self.bytes += item.json.len() as u64;
        if self.items.len() >= limits.list_items as usize || self.bytes > limits.list_bytes {
            return Err(GatewayError::new(
                Kind::AnswerTooLarge,
                format!(
                    "the server's {} exceeds {} items or {} bytes (spec.limits of the gateway)",
                    kind.method(),
                    limits.list_items,
                    limits.list_bytes
                ),
            ));
        }
        self.items.push(item);
        Ok(())
    }
}

fn item(kind: ListKind, answer: &Bytes, element: &Value<'_>) -> Option<Item> {
    let object = element.as_object()?;
    let key = object.get(kind.key())?;
    let text = key.as_str()?.into_owned();
    let (span, key_span) = (element.span(), key.span());
    Some(Item {
        json: answer.slice(span.clone()),
        key: text,
        key_span: key_span.start - span.start..key_span.end - span.start,
    })
}

fn malformed(kind: ListKind, why: &str) -> GatewayError {
    GatewayError::new(Kind::BadAnswer, format!("the server's answer to {} is malformed: {why}", kind.method()))
}

fn refused(kind: ListKind, error: Option<&Object<'_>>) -> GatewayError {
    let message = error.and_then(|error| error.get_str("message")).unwrap_or_default();
    GatewayError::new(Kind::BadAnswer, format!("the server answered {} with an error: {message}", kind.method()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(result: &str) -> Bytes {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#).into()
    }

    #[test]
    fn items_keep_their_bytes_and_pages_add_up() {
        let mut list = ItemList::default();
        let limits = Limits::default();
        let first = page(
            r#"{"tools":[{ "x":1.0e2, "name":"a\u0062" },{"name":7}],"nextCursor":"","ttlMs":500,"cacheScope":"public"}"#,
        );
        assert_eq!(
            list.add_page(ListKind::Tools, &first, &limits).unwrap().as_deref(),
            Some(""),
            "an empty cursor is one"
        );
        let second = page(r#"{"tools":[{"name":"c"}],"ttlMs":100,"cacheScope":"private"}"#);
        assert_eq!(list.add_page(ListKind::Tools, &second, &limits).unwrap(), None);
        let [first, second] = list.items.as_slice() else { panic!("{list:?}") };
        assert_eq!(first.json, r#"{ "x":1.0e2, "name":"a\u0062" }"#);
        assert_eq!((first.key.as_str(), &first.json[first.key_span.clone()]), ("ab", br#""a\u0062""#.as_slice()));
        assert_eq!(second.key, "c");
        assert_eq!((list.ttl_ms, list.public, list.malformed, list.pages), (Some(100), false, 1, 2));
    }

    #[test]
    fn too_long_a_list_is_an_error_that_names_the_limit() {
        let limits = Limits { list_items: 1, ..Limits::default() };
        let answer = page(r#"{"tools":[{"name":"a"},{"name":"b"}]}"#);
        let error = ItemList::default().add_page(ListKind::Tools, &answer, &limits).unwrap_err();
        assert_eq!(error.kind, Kind::AnswerTooLarge);
        assert!(error.message.contains("spec.limits"), "{error}");
    }

    #[test]
    fn errors_and_garbage_are_told_apart() {
        let mut list = ItemList::default();
        let limits = Limits::default();
        let refusal = Bytes::from(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such thing"}}"#);
        assert!(list.add_page(ListKind::Prompts, &refusal, &limits).unwrap_err().message.contains("no such thing"));
        for garbage in ["{}", "[]", r#"{"jsonrpc":"2.0","id":1,"result":{"prompts":{}}}"#] {
            assert_eq!(list.add_page(ListKind::Prompts, &garbage.into(), &limits).unwrap_err().kind, Kind::BadAnswer);
        }
    }
}
