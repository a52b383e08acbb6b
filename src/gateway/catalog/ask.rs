//! Asking one server for all that it offers.

use super::item::{ItemList, ListKind};
use super::view::Offer;
use crate::gateway::adapter::reply::Reply;
use crate::gateway::adapter::{legacy_to_modern, modern_to_legacy};
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope;
use crate::gateway::mcp::headers::encode_value;
use crate::gateway::mcp::message;
use crate::gateway::mcp::splice::json_string;
use crate::gateway::mcp::version::Version;
use crate::gateway::session::inbound;
use crate::gateway::session::live::Session;
use crate::gateway::state::{RouteState, ServerState};
use crate::gateway::trace::Link;
use crate::gateway::upstream::{Introduction, ModernCall, UpstreamSession};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::HeaderValue;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Pages of one list at the most; the limits on items and bytes end most loops sooner.
const MAX_PAGES: usize = 1000;

/// Numbers the gateway's own requests. They share a session with the client's, whose ids are numbers or words of its own.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A way to ask a server, in the era of the client that wants to know.
pub(super) enum Asker<'a> {
    /// Within a client's session.
    Legacy {
        client: &'a Arc<Session>,
        server: &'a str,
        session: &'a Arc<UpstreamSession>,
        /// The place in a trace of the request that waits for it.
        trace: Option<&'a Arc<Link>>,
    },
    /// With a request of its own, whose `_meta` is this JSON.
    Modern { server: &'a ServerState, version: Version, meta: &'a str, trace: Option<&'a Arc<Link>> },
}

/// Everything a server offers.
pub(super) async fn offer(route: &RouteState, asker: &Asker<'_>, name: &str) -> Result<Offer, GatewayError> {
    let (capabilities, instructions) = asker.introduction(route, name).await?;
    let has = |kind: &ListKind| capabilities.get(kind.capability()).is_some_and(|value| !value.is_null());
    let kinds: Vec<ListKind> = ListKind::ALL.into_iter().filter(has).collect();
    let listing: Vec<_> = kinds.iter().map(|kind| list(route, asker, *kind)).collect();
    let lists = try_join_all(listing).await?;
    let mut offer = Offer { capabilities, instructions, ..Offer::default() };
    for (kind, list) in kinds.into_iter().zip(lists) {
        offer.lists[kind.index()] = Arc::new(list);
    }
    Ok(offer)
}

/// One whole list.
pub(super) async fn list(route: &RouteState, asker: &Asker<'_>, kind: ListKind) -> Result<ItemList, GatewayError> {
    let mut list = ItemList::default();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let params = cursor.as_ref().map(|cursor| format!(r#""cursor":{}"#, json_string(cursor)));
        let answer = match asker.ask(route, kind.method(), params.as_deref()).await {
            // Servers that declare resources without templates are common: what is not there is empty.
            Ok(answer) if kind == ListKind::Templates && is_unknown_method(&answer) => return Ok(list),
            answer => answer?,
        };
        let next = list.add_page(kind, &answer, &route.limits)?;
        if next.is_none() || next == cursor {
            return Ok(list);
        }
        cursor = next;
    }
    Err(GatewayError::new(Kind::AnswerTooLarge, format!("the server's {} has no end", kind.method())))
}

impl Asker<'_> {
    /// What the server says of itself: its capabilities and instructions.
    async fn introduction(
        &self,
        route: &RouteState,
        name: &str,
    ) -> Result<(Map<String, Value>, Option<String>), GatewayError> {
        let result: Value = match self {
            Self::Legacy { session, .. } => serde_json::from_slice(session.initialize_result()).unwrap_or_default(),
            Self::Modern { server, .. } => {
                let answer = self.ask(route, "server/discover", None).await.map_err(|error| in_era(error, name))?;
                let message: Value = serde_json::from_slice(&answer).unwrap_or_default();
                match message.get("result") {
                    Some(result) => {
                        let introduction = Introduction::read(result.to_string().as_bytes());
                        if let (Some(backend), Some(introduction)) = (server.only_backend(), introduction) {
                            backend.knowledge().introduced(introduction);
                        }
                        result.clone()
                    }
                    // A server of another era does not know the question.
                    None => return Err(modern_to_legacy::unavailable(name)),
                }
            }
        };
        let capabilities = result.get("capabilities").and_then(Value::as_object).cloned().unwrap_or_default();
        let instructions = result.get("instructions").and_then(Value::as_str).map(str::to_owned);
        Ok((capabilities, instructions))
    }

    /// The server's whole answer to one request; `params` are members without braces.
    async fn ask(&self, route: &RouteState, method: &str, params: Option<&str>) -> Result<Bytes, GatewayError> {
        let id = format!("\"gateway-list-{}\"", NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let deadline = Instant::now() + Duration::from_millis(route.timeouts.response_ms);
        let answer = match self {
            Self::Legacy { session, trace, .. } => {
                let params = params.map(|params| format!("{{{params}}}"));
                let body = message::request(&id, method, params.as_deref());
                session.call_for(*trace, 1, body, &route.timeouts).await?
            }
            Self::Modern { server, version, meta, trace } => {
                let params = params.map_or_else(String::new, |params| format!("{params},"));
                let body = message::request(&id, method, Some(&format!(r#"{{{params}"_meta":{meta}}}"#)));
                let call = ModernCall {
                    body,
                    protocol_version: HeaderValue::from_static(version.as_str()),
                    method: encode_value(method),
                    name: None,
                    extra: Vec::new(),
                    trace: trace.cloned(),
                };
                server.group.call(&call, &route.timeouts).await?.1
            }
        };
        let reply = Reply::hold(answer, &id, deadline).await?;
        let aside = |message| self.pass_aside(&message);
        reply.into_whole_by(deadline, &id, route.limits.list_bytes, &aside).await
    }
}

impl Asker<'_> {
    /// A server may ask the client something while it is being asked (for its roots, before it lists): that is the client's.
    fn pass_aside(&self, message: &Bytes) {
        if let Self::Legacy { client, server, .. } = self {
            inbound::deliver(client, server, message, client.unsolicited());
        }
    }
}

/// The error for a legacy session that a server would not open because it speaks only the other era.
pub(super) fn in_legacy_era(error: GatewayError, name: &str) -> GatewayError {
    if error.kind == Kind::EraUnavailable { legacy_to_modern::unavailable(name) } else { error }
}

fn in_era(error: GatewayError, name: &str) -> GatewayError {
    match error.kind {
        // A legacy server refuses a request outside of a session, or the revision, with a status of its choice.
        Kind::EraUnavailable | Kind::HttpStatus | Kind::SessionLost => modern_to_legacy::unavailable(name),
        _ => error,
    }
}

fn is_unknown_method(answer: &[u8]) -> bool {
    let code = |envelope: envelope::Envelope<'_>| envelope.error()?.get("code").map(|code| code.text() == "-32601");
    envelope::decode(answer).ok().and_then(code).unwrap_or(false)
}
