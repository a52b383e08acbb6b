//! A session's tie to one server of its route: the server's own session, opened when needed and again when lost.

use super::inbound;
use super::live::Session;
use crate::gateway::error::GatewayError;
use crate::gateway::mcp::message;
use crate::gateway::mcp::splice::json_string;
use crate::gateway::state::{RouteState, ServerState};
use crate::gateway::trace::Link;
use crate::gateway::upstream::{Released, SessionSink, UpstreamSession};
use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// One server's session on behalf of one client's.
pub(crate) struct Binding {
    server: String,
    client: Weak<Session>,
    /// The open session, readable without a lock by every call.
    open: ArcSwapOption<UpstreamSession>,
    /// Held while opening: concurrent calls share one handshake.
    opening: tokio::sync::Mutex<()>,
    given_away: AtomicBool,
}

impl Binding {
    pub(crate) fn new(server: String, client: Weak<Session>) -> Self {
        Self {
            server,
            client,
            open: ArcSwapOption::empty(),
            opening: tokio::sync::Mutex::new(()),
            given_away: AtomicBool::new(false),
        }
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The server's session, if one is open and still belongs to the route as it is now.
    pub(crate) fn current(&self, server: &ServerState) -> Option<Arc<UpstreamSession>> {
        self.open.load_full().filter(|session| !session.is_lost() && server.group.contains(session))
    }

    /// The server's session, opened if it has to be, for what has this place in a trace.
    pub(crate) async fn session(
        &self,
        route: &RouteState,
        server: &ServerState,
        trace: Option<&Arc<Link>>,
    ) -> Result<Arc<UpstreamSession>, GatewayError> {
        if let Some(session) = self.current(server) {
            return Ok(session);
        }
        let _opening = self.opening.lock().await;
        if let Some(session) = self.current(server) {
            return Ok(session);
        }
        let Some(client) = self.client.upgrade().filter(|client| !client.is_closed()) else {
            return Err(inbound::session_gone());
        };
        let sink = Arc::new(Inbox { key: Some(key(client.id(), &self.server)), ..self.inbox() });
        let session = server.group.open_session(&client.hello().params, sink, &route.timeouts, trace).await?;
        self.repeat(&client, &session, route).await;
        let previous = self.open.swap(Some(Arc::clone(&session)));
        if let Some(previous) = previous {
            tokio::spawn(async move { previous.close().await });
        }
        Ok(session)
    }

    /// Goes on with a session that another replica opened; false where that cannot be.
    pub(crate) fn resume(&self, released: &Released, server: &ServerState, route: &RouteState) -> bool {
        let session = server.group.resume_session(released, Arc::new(self.inbox()), &route.timeouts);
        let resumed = session.is_some();
        self.open.store(session);
        resumed
    }

    fn inbox(&self) -> Inbox {
        Inbox { client: self.client.clone(), server: self.server.clone(), key: None }
    }

    /// Tells a server that was opened late, or again, what the client has set. Best effort: a server that does not take it still
    /// serves.
    async fn repeat(&self, client: &Session, session: &Arc<UpstreamSession>, route: &RouteState) {
        let level = client.log_level().map(|params| ("logging/setLevel", params));
        let subscriptions = client.subscriptions_at(&self.server).into_iter().map(|uri| {
            let params = format!(r#"{{"uri":{}}}"#, json_string(&uri));
            ("resources/subscribe", params)
        });
        for (number, (method, params)) in level.into_iter().chain(subscriptions).enumerate() {
            let id = format!("\"gateway-repeats-{number}\"");
            if let Err(error) = session.call(message::request(&id, method, Some(&params)), &route.timeouts).await {
                tracing::debug!(server = %self.server, method, %error, "a reopened server did not take what the client set");
            }
        }
    }

    /// The server's session is not to be used again.
    pub(crate) fn forget(&self, session: &Arc<UpstreamSession>) {
        let current = self.open.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, session)) {
            self.open.compare_and_swap(&*current, None);
        }
    }

    /// The open session, whatever became of it.
    pub(crate) fn peek(&self) -> Option<Arc<UpstreamSession>> {
        self.open.load_full().filter(|session| !session.is_lost())
    }

    /// Another replica goes on with the server's session. Calls that hold it end here, and nobody tells the server that it is over.
    pub(crate) fn give_away(&self) {
        self.given_away.store(true, Ordering::Relaxed);
    }

    /// Ends the server's session.
    pub(crate) async fn close(&self) {
        if let Some(session) = self.open.swap(None)
            && !self.given_away.load(Ordering::Relaxed)
        {
            session.close().await;
        }
    }
}

/// Where a server's unasked messages arrive. Weak, so that a session the client left can go.
struct Inbox {
    client: Weak<Session>,
    server: String,
    key: Option<String>,
}

/// What our shim knows a session by: a digest of its sealed id, which is random, never changes, and is known to its client and to
/// this gateway's replicas alone. A route's servers are told different ones, since two of them may be the same backend.
fn key(session: &str, server: &str) -> String {
    let digest = Sha256::new().chain_update("mcp shim session\0").chain_update(server).chain_update("\0");
    URL_SAFE_NO_PAD.encode(digest.chain_update(session).finalize())
}

impl SessionSink for Inbox {
    fn deliver(&self, message: Bytes) {
        if let Some(client) = self.client.upgrade() {
            let log = Arc::clone(client.unsolicited());
            inbound::deliver(&client, &self.server, &message, &log);
        }
    }

    fn lost(&self, error: GatewayError) {
        tracing::info!(server = %self.server, %error, "a server's session is lost; the next call opens another");
        if let Some(client) = self.client.upgrade() {
            client.questions.forget(&self.server);
        }
    }

    fn session_key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}
