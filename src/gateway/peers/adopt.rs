//! Taking a session up whose owner is gone, from what its id says.
//!
//! The servers' sessions are opened again, with what the client said of itself, in the background or by the first call; the
//! client keeps its id and notices nothing. What is lost is what nobody else knew: calls in flight, questions, events that were
//! not read, and what the servers themselves tied to their sessions.

use crate::gateway::adapter::legacy::open_servers;
use crate::gateway::downstream::service::Inbound;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::json::Object;
use crate::gateway::session::hello::unpack;
use crate::gateway::session::live::{Hello, Session};
use crate::gateway::session::log::EventLog;
use crate::gateway::session::seal::Claims;
use crate::gateway::state::RouteState;
use bytes::Bytes;
use std::sync::Arc;

/// Takes up the session of a sealed id, or finds it taken up already: requests that come at once share one.
pub(super) fn adopt(inbound: &Inbound<'_>, sealed: &str, claims: &Claims) -> Result<Arc<Session>, GatewayError> {
    let (gateway, route) = (inbound.gateway, inbound.route);
    let hello = hello(route, unpack(&claims.hello, claims.version), claims);
    let unsolicited = EventLog::new(first_stream()?);
    let session = Session::new(sealed.to_owned(), route.id().clone(), hello, gateway.weak(), unsolicited);
    let limit = inbound.running.snapshot.limits.sessions as usize;
    let (session, taken) = gateway.admit(session, limit)?;
    if taken {
        gateway.metrics.sessions_adopted.inc();
        tracing::info!(route = %route.id(), "a session is taken up: its owner is gone");
        open_servers(&session, route);
    }
    Ok(session)
}

/// What the client said, as this replica would have understood it.
pub(super) fn hello(route: &RouteState, params: Bytes, claims: &Claims) -> Hello {
    let said = Object::parse(&params).ok();
    let capabilities = said.as_ref().and_then(|said| said.get_object("capabilities"));
    let key = route.catalogs.key(claims.version, capabilities.as_ref().map_or("{}", Object::text));
    Hello { version: claims.version, catalog_key: key, params }
}

/// The number of the first stream of this life of a session: a client that resumes a stream of an earlier one must not be given
/// another stream's events.
fn first_stream() -> Result<u64, GatewayError> {
    let random = getrandom::u32().map_err(|_| GatewayError::new(Kind::Internal, "the system has no random numbers"))?;
    Ok(u64::from(random.max(1)) << 32)
}
