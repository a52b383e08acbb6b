//! When servers are asked for their lists: at the first client of a kind, when a list changed, when one was missing, when it
//! went stale.

use super::Catalog;
use super::ask::{Asker, in_legacy_era, list, offer};
use super::item::ListKind;
use super::view::Offer;
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::version::Version;
use crate::gateway::session::live::Session;
use crate::gateway::state::RouteState;
use crate::gateway::trace::Link;
use crate::gateway::upstream::UpstreamSession;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The shortest time between two renewals of a list whose server wants it never to be kept (`ttlMs: 0`).
const MIN_RENEWAL: Duration = Duration::from_secs(1);

/// A modern client's part of the key: what servers are told when they are asked in its place.
#[derive(Clone, Debug)]
pub(crate) struct ModernClient {
    pub(crate) version: Version,
    /// The `_meta` of the gateway's own requests, as JSON text.
    pub(crate) meta: String,
}

/// Whose lists a catalogue is filled with.
enum Source<'a> {
    Session(&'a Arc<Session>),
    Modern(&'a ModernClient),
}

/// The place in a trace of the request that waits for a list, if there is one.
type Trace<'a> = Option<&'a Arc<Link>>;

impl Source<'_> {
    async fn ask(&self, route: &RouteState, server: usize, trace: Trace<'_>) -> Result<Offer, GatewayError> {
        match self {
            Self::Session(session) => ask_in_session(session, route, server, trace).await,
            Self::Modern(client) => ask_modern(route, server, client, trace).await,
        }
    }
}

impl Catalog {
    /// Fills the catalogue from a session's servers, if nobody has yet. A server that does not answer in time is left out.
    pub(crate) async fn fill_from_session(&self, session: &Arc<Session>, route: &Arc<RouteState>, trace: Trace<'_>) {
        self.fill(route, &Source::Session(session), trace).await;
    }

    /// Fills the catalogue for a kind of modern client, if nobody has yet, and renews in the background what went stale.
    pub(crate) async fn serve_modern(
        self: &Arc<Self>,
        route: &Arc<RouteState>,
        client: impl Fn() -> ModernClient,
        trace: Trace<'_>,
    ) {
        if self.is_filled() {
            return self.renew_modern(route, client);
        }
        let client = client();
        self.fill(route, &Source::Modern(&client), trace).await;
    }

    async fn fill(&self, route: &RouteState, source: &Source<'_>, trace: Trace<'_>) {
        if self.is_filled() {
            return;
        }
        let _filling = self.filling.lock().await;
        if self.is_filled() {
            return;
        }
        let patience = Duration::from_millis(route.timeouts.request_ms);
        let asked: Vec<_> =
            (0..route.servers.len()).map(|server| timeout(patience, source.ask(route, server, trace))).collect();
        for (server, outcome) in join_all(asked).await.into_iter().enumerate() {
            let outcome = outcome.unwrap_or_else(|_| Err(too_late()));
            count(route, server, &outcome);
            self.learn(route, server, outcome);
        }
        self.filled.store(true, Ordering::Release);
    }

    /// Reads one list again over the session that said it changed.
    pub(crate) async fn refresh_from_session(
        &self,
        route: &RouteState,
        server: usize,
        kind: ListKind,
        client: &Arc<Session>,
        session: &Arc<UpstreamSession>,
    ) {
        let Some(state) = route.servers.get(server) else { return };
        let asker = Asker::Legacy { client, server: &state.name, session, trace: None };
        self.refresh(route, server, kind, &asker).await;
    }

    /// Reads one list of a modern server again.
    pub(crate) async fn refresh_modern(
        &self,
        route: &RouteState,
        server: usize,
        kind: ListKind,
        client: &ModernClient,
    ) {
        let Some(state) = route.servers.get(server) else { return };
        let asker = Asker::Modern { server: state, version: client.version, meta: &client.meta, trace: None };
        self.refresh(route, server, kind, &asker).await;
    }

    async fn refresh(&self, route: &RouteState, server: usize, kind: ListKind, asker: &Asker<'_>) {
        let Some(before) = self.servers.lock().get(server).and_then(|slot| slot.offer.clone()) else { return };
        let mut after = Offer::clone(&before);
        for &kind in kind.with_companion() {
            match list(route, asker, kind).await {
                Ok(list) => after.lists[kind.index()] = Arc::new(list),
                Err(error) => {
                    tracing::info!(route = %route.id(), server, %error, "a changed list could not be read again");
                    return count(route, server, &Err::<(), _>(error));
                }
            }
        }
        count(route, server, &Ok::<_, GatewayError>(()));
        self.learn(route, server, Ok(after));
    }

    /// Asks in the background for servers that could not be asked before, each after its wait.
    pub(crate) fn retry_missing_from_session(self: &Arc<Self>, session: &Arc<Session>, route: &Arc<RouteState>) {
        for server in self.due() {
            let (catalog, session, route) = (Arc::clone(self), Arc::clone(session), Arc::clone(route));
            tokio::spawn(async move {
                let outcome = ask_in_session(&session, &route, server, None).await;
                count(&route, server, &outcome);
                let listed = outcome.is_ok();
                catalog.learn(&route, server, outcome);
                if listed {
                    session.announce_lists();
                }
            });
        }
    }

    fn renew_modern(self: &Arc<Self>, route: &Arc<RouteState>, client: impl Fn() -> ModernClient) {
        for server in self.due() {
            let (catalog, route, client) = (Arc::clone(self), Arc::clone(route), client());
            tokio::spawn(async move {
                let outcome = ask_modern(&route, server, &client, None).await;
                count(&route, server, &outcome);
                catalog.learn(&route, server, outcome);
            });
        }
    }
}

/// Until when an offer may be shown without asking again; `None` when its server did not say.
pub(super) fn fresh_until(offer: &Offer) -> Option<Instant> {
    let ttl_ms = offer.lists.iter().filter_map(|list| list.ttl_ms).min()?;
    Some(Instant::now() + Duration::from_millis(ttl_ms).max(MIN_RENEWAL))
}

async fn ask_in_session(
    session: &Arc<Session>,
    route: &RouteState,
    server: usize,
    trace: Trace<'_>,
) -> Result<Offer, GatewayError> {
    let state = route.servers.get(server).ok_or_else(too_late)?;
    let opened = session.binding(&state.name).session(route, state, trace).await;
    let upstream = opened.map_err(|error| in_legacy_era(error, &state.name))?;
    let asker = Asker::Legacy { client: session, server: &state.name, session: &upstream, trace };
    offer(route, &asker, &state.name).await
}

async fn ask_modern(
    route: &RouteState,
    server: usize,
    client: &ModernClient,
    trace: Trace<'_>,
) -> Result<Offer, GatewayError> {
    let state = route.servers.get(server).ok_or_else(too_late)?;
    let asker = Asker::Modern { server: state, version: client.version, meta: &client.meta, trace };
    offer(route, &asker, &state.name).await
}

fn count<T>(route: &RouteState, server: usize, outcome: &Result<T, GatewayError>) {
    if let Some(state) = route.servers.get(server) {
        state.count_refresh(outcome.as_ref().map(drop).map_err(|error| error.kind));
    }
}

fn too_late() -> GatewayError {
    GatewayError::new(Kind::RequestTimeout, "the server did not list what it offers in time")
}
