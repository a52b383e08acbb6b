//! One route's catalogue: what its servers offer together, under the names clients see.
//!
//! A view is built once from what every server lists and never changes; a call looks its target up in it.

use super::item::{CacheScope, Item, ListKind, Listing, Listings};
use super::merge::{merge_instructions, merge_objects};
use super::naming::{CallFilter, Named, Naming};
use super::pages::{Caching, Pages, ShownItem};
use crate::gateway::error::GatewayError;
use crate::gateway::mcp::json::Object;
use crate::gateway::mcp::param_headers::ParamHeaders;
use crate::gateway::mcp::splice::{Change, Edits, json_string};
use crate::gateway::mcp::uri_template::UriTemplate;
use crate::gateway::mcp::version::Era;
use crate::ir::snapshot::Server;
use bytes::Bytes;
use std::collections::HashMap;

/// Conflicts described one by one; all are counted. Status shows a handful.
const MAX_DESCRIBED_CONFLICTS: usize = 256;

/// What one server of the fan-out offers.
#[derive(Clone, Copy, Debug)]
pub struct ServerOffer<'a> {
    /// The route's rules about it.
    pub server: &'a Server,
    /// What it lists.
    pub lists: &'a Listings,
    /// Its capabilities, JSON.
    pub capabilities: Option<&'a str>,
    /// What it tells models about itself.
    pub instructions: Option<&'a str>,
    /// Its name and version, JSON.
    pub server_info: Option<&'a str>,
}

/// An offer that clients do not see although the route wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Of which list.
    pub kind: ListKind,
    /// The server whose offer was dropped.
    pub server: Box<str>,
    /// The name clients would see, or the URI.
    pub name: Box<str>,
    /// Why.
    pub reason: Reason,
}

/// Why an offer was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An earlier offer, of this server, has the name.
    Taken {
        /// The server that keeps it.
        by: Box<str>,
    },
    /// Prefix or rename makes a name that clients refuse.
    UnfitName,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Index of the server within the route.
    pub server: usize,
    /// What the server itself calls it.
    pub own_name: &'a str,
}

#[derive(Debug)]
struct Entry {
    server: usize,
    own_name: Box<str>,
}

impl Entry {
    fn target(&self) -> Target<'_> {
        Target { server: self.server, own_name: &self.own_name }
    }
}

/// See the [module](self).
pub struct View {
    /// By kind, then by the name clients see.
    entries: [HashMap<Box<str>, Entry>; 4],
    /// Headers that mirror arguments, of the tools that ask for any, by the name clients see.
    param_headers: HashMap<Box<str>, ParamHeaders>,
    /// Templates that can be matched, in order.
    templates: Vec<(UriTemplate, Box<str>)>,
    pages: [Pages; 4],
    filters: Vec<CallFilter>,
    conflicts: Vec<Conflict>,
    conflict_counts: Vec<usize>,
    capabilities: String,
    instructions: Option<String>,
    server_info: String,
}

impl View {
    /// Arranges what the servers of a route offer. On a clash the earlier server keeps the name. `gateway_info` is the JSON of
    /// the gateway's own name and version, for routes of more than one server.
    pub fn build(offers: &[ServerOffer<'_>], gateway_info: &str) -> Self {
        let server_info = match offers {
            [ServerOffer { server_info: Some(info), .. }] => *info,
            _ => gateway_info,
        };
        let namings: Vec<_> = offers.iter().map(|offer| Naming::new(offer.server)).collect();
        let mut builder = Builder::new(offers, &namings);
        let pages = ListKind::ALL.map(|kind| {
            let shown = builder.list(kind);
            let listings = offers.iter().map(|offer| offer.lists.get(kind));
            Pages::new(kind, shown, caching(listings, server_info))
        });
        let names = offers.iter().map(|offer| (offer.server.name.as_str(), offer.instructions));
        Self {
            templates: builder.templates(),
            entries: builder.entries,
            param_headers: builder.param_headers,
            pages,
            conflicts: builder.conflicts,
            conflict_counts: builder.conflict_counts,
            capabilities: merged_capabilities(offers, &namings),
            instructions: merge_instructions(names),
            server_info: server_info.to_owned(),
            filters: namings.into_iter().map(|naming| naming.calls).collect(),
        }
    }

    /// Whose tool this is.
    pub fn tool(&self, name: &str) -> Option<Target<'_>> {
        self.find(ListKind::Tools, name)
    }

    /// Whose prompt this is.
    pub fn prompt(&self, name: &str) -> Option<Target<'_>> {
        self.find(ListKind::Prompts, name)
    }

    /// Whose resource this is, if a server lists it.
    pub fn resource(&self, uri: &str) -> Option<Target<'_>> {
        self.find(ListKind::Resources, uri)
    }

    /// Whose template this is, by its very text.
    pub fn template(&self, uri_template: &str) -> Option<Target<'_>> {
        self.find(ListKind::Templates, uri_template)
    }

    /// Whose template this URI belongs to; the first one that matches.
    pub fn template_for(&self, uri: &str) -> Option<Target<'_>> {
        let (_, text) = self.templates.iter().find(|(template, _)| template.matches(uri))?;
        self.template(text)
    }

    /// The headers that mirror a tool's arguments, by the name clients see; `None` when it asks for none.
    pub fn param_headers(&self, tool: &str) -> Option<&ParamHeaders> {
        self.param_headers.get(tool)
    }

    /// Whether the server at this index takes calls of a method that is about no tool.
    pub fn takes(&self, server: usize, method: &str) -> bool {
        self.filters.get(server).is_some_and(|filter| filter.takes(method, None))
    }

    /// One page of a list, as the result object to answer with. Without a cursor, the first.
    pub fn page(&self, kind: ListKind, cursor: Option<&str>, era: Era) -> Result<Bytes, GatewayError> {
        self.pages[kind.index()].page(cursor, era)
    }

    /// How many items of a kind clients see.
    pub fn count(&self, kind: ListKind) -> usize {
        self.pages[kind.index()].len()
    }

    /// What was dropped, up to a bound on the number.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// How many offers of the server at this index were dropped.
    pub fn conflict_count(&self, server: usize) -> usize {
        self.conflict_counts.get(server).copied().unwrap_or(0)
    }

    /// The servers' capabilities together, JSON.
    pub fn capabilities(&self) -> &str {
        &self.capabilities
    }

    /// The servers' instructions together.
    pub fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    /// Name and version to show, JSON: the server's own when there is only one.
    pub fn server_info(&self) -> &str {
        &self.server_info
    }

    fn find(&self, kind: ListKind, name: &str) -> Option<Target<'_>> {
        self.entries[kind.index()].get(name).map(Entry::target)
    }
}

/// What modern clients are told about keeping a list: the shortest time and the narrowest scope any server named. A server
/// that names none, as legacy ones do, allows none.
fn caching<'a>(listings: impl Iterator<Item = &'a Listing>, server_info: &str) -> Caching {
    let (mut ttl_ms, mut scope) = (None, None);
    for listing in listings.filter(|listing| !listing.items.is_empty()) {
        let named = listing.ttl_ms.unwrap_or(0);
        ttl_ms = Some(ttl_ms.map_or(named, |shortest: u64| shortest.min(named)));
        scope = scope.max(Some(listing.cache_scope.unwrap_or(CacheScope::Private)));
    }
    Caching {
        ttl_ms: ttl_ms.unwrap_or(0),
        scope: scope.unwrap_or(CacheScope::Private),
        server_info: server_info.into(),
    }
}

/// The union of what the servers can do, without what the route lets none of their calls reach.
fn merged_capabilities(offers: &[ServerOffer<'_>], namings: &[Naming<'_>]) -> String {
    let reachable: Vec<String> = offers
        .iter()
        .zip(namings)
        .filter_map(|(offer, naming)| {
            let capabilities = Bytes::copy_from_slice(offer.capabilities?.as_bytes());
            let object = Object::parse(&capabilities).ok()?;
            let unreachable = ListKind::ALL.into_iter().filter(|kind| !naming.calls.may_take(kind.use_method()));
            let mut edits = Edits::new();
            // Resources and templates share a capability.
            let mut keys: Vec<_> = unreachable.map(ListKind::capability).collect();
            keys.dedup();
            edits.change_members(&object, keys.into_iter().map(|key| (key, Change::Remove)));
            String::from_utf8(edits.apply(&capabilities).ok()?.into()).ok()
        })
        .collect();
    let objects: Vec<_> = reachable.iter().filter_map(|text| Object::parse(text.as_bytes()).ok()).collect();
    merge_objects(&objects)
}

struct Builder<'b> {
    offers: &'b [ServerOffer<'b>],
    namings: &'b [Naming<'b>],
    entries: [HashMap<Box<str>, Entry>; 4],
    param_headers: HashMap<Box<str>, ParamHeaders>,
    template_order: Vec<Box<str>>,
    conflicts: Vec<Conflict>,
    conflict_counts: Vec<usize>,
}

impl<'b> Builder<'b> {
    fn new(offers: &'b [ServerOffer<'b>], namings: &'b [Naming<'b>]) -> Self {
        Self {
            offers,
            namings,
            entries: Default::default(),
            param_headers: HashMap::new(),
            template_order: Vec::new(),
            conflicts: Vec::new(),
            conflict_counts: vec![0; offers.len()],
        }
    }

    /// The items of one kind that clients see, in order.
    fn list(&mut self, kind: ListKind) -> Vec<ShownItem> {
        let mut shown = Vec::new();
        for (server, (offer, naming)) in self.offers.iter().zip(self.namings).enumerate() {
            for item in &offer.lists.get(kind).items {
                match naming.name(kind, &item.name) {
                    Named::Hidden => {}
                    Named::Unfit(name) => self.drop_offer(kind, server, &name, Reason::UnfitName),
                    Named::Shown(name) => {
                        if let Some(earlier) = self.entries[kind.index()].get(&*name) {
                            let by = self.offers[earlier.server].server.name.as_str().into();
                            self.drop_offer(kind, server, &name, Reason::Taken { by });
                            continue;
                        }
                        shown.push(self.show(kind, server, item, &name));
                    }
                }
            }
        }
        shown
    }

    fn show(&mut self, kind: ListKind, server: usize, item: &Item, name: &str) -> ShownItem {
        let entry = Entry { server, own_name: item.name.clone() };
        self.entries[kind.index()].insert(name.into(), entry);
        if kind == ListKind::Templates {
            self.template_order.push(name.into());
        }
        let description = if kind == ListKind::Tools { self.namings[server].description(&item.name) } else { None };
        if kind == ListKind::Tools
            && let Some(headers) = read_param_headers(item)
        {
            self.param_headers.insert(name.into(), headers);
        }
        ShownItem { raw: edited(item, name, description), name: name.into() }
    }

    fn drop_offer(&mut self, kind: ListKind, server: usize, name: &str, reason: Reason) {
        self.conflict_counts[server] += 1;
        if self.conflicts.len() < MAX_DESCRIBED_CONFLICTS {
            let server = self.offers[server].server.name.as_str().into();
            self.conflicts.push(Conflict { kind, server, name: name.into(), reason });
        }
    }

    fn templates(&self) -> Vec<(UriTemplate, Box<str>)> {
        let texts = self.template_order.iter();
        texts.filter_map(|text| Some((UriTemplate::parse(text).ok()?, text.clone()))).collect()
    }
}

/// Clients leave tools with invalid annotations out by themselves; nothing is compared for those.
fn read_param_headers(item: &Item) -> Option<ParamHeaders> {
    let schema = Object::parse(&item.raw).ok()?.get_object("inputSchema")?;
    ParamHeaders::from_schema(&schema).ok().filter(|headers| !headers.is_empty())
}

/// The item's JSON under the name clients see. What needs no change is the server's own bytes.
fn edited(item: &Item, name: &str, description: Option<&str>) -> Bytes {
    if name == &*item.name && description.is_none() {
        return item.raw.clone();
    }
    // It was validated when it was gathered.
    let Ok(object) = Object::parse(&item.raw) else { return item.raw.clone() };
    let rename = (name != &*item.name).then(|| ("name", Change::Set(json_string(name).into())));
    let describe = description.map(|text| ("description", Change::Set(json_string(text).into())));
    let mut edits = Edits::new();
    edits.change_members(&object, rename.into_iter().chain(describe));
    edits.apply(&item.raw).unwrap_or_else(|_| item.raw.clone())
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
