//! What a gateway is at one moment: the generation it serves, compiled, and the sessions that outlive generations.

use super::catalog::Catalogs;
use super::downstream::sse_transport::Channels;
use super::error::{GatewayError, Kind};
use super::mcp::splice::Edits;
use super::mcp::version::Version;
use super::metrics::{Metrics, ServerMetrics};
use super::peers::peering::{JoinError, Joined, Peering};
use super::peers::{Peers, SessionKey};
use super::router::Router;
use super::session::live::Session;
use super::session::seal::Keyring;
use super::session::table::{Inserted, SessionTable};
use super::trace::Tracer;
use super::upstream::{Group, Upstream};
use super::verify::Verifier;
use crate::ir::generation::Generation;
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Channels as ChannelSecrets;
use crate::ir::snapshot::{Endpoint, Limits, Route, Server, Snapshot, Timeouts};
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often sessions are looked at for having been idle too long.
const SWEEP: Duration = Duration::from_secs(5);

/// How long the last spans may take to go out: a part of what a pod gets beyond its drain.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The data plane of one gateway.
pub struct Gateway {
    running: ArcSwap<Running>,
    pub(crate) sessions: SessionTable,
    pub(crate) channels: Channels,
    pub(crate) metrics: Arc<Metrics>,
    closing: CancellationToken,
    closing_since: OnceLock<Instant>,
    /// Addresses that the operator told. Locked while they or the generation change: one after the other.
    endpoints: Mutex<Told>,
    pub(crate) verifier: Verifier,
    /// The other replicas, once this one has joined them.
    joined: OnceLock<Arc<Joined>>,
    this: Weak<Self>,
}

/// Ready addresses, by backend.
type Told = BTreeMap<ObjectId, BTreeSet<Endpoint>>;

/// One generation, compiled.
pub(crate) struct Running {
    pub(crate) hash: String,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) router: Router,
    pub(crate) routes: Vec<Arc<RouteState>>,
    pub(crate) keyring: Keyring,
    /// What secures the channel to the other replicas.
    channels: Option<ChannelSecrets>,
    /// Revisions offered to clients.
    pub(crate) versions: Vec<Version>,
    /// What makes spans, if there are to be any.
    pub(crate) tracer: Option<Arc<Tracer>>,
    upstreams: BTreeMap<ObjectId, Arc<Upstream>>,
}

/// A route with its servers.
pub(crate) struct RouteState {
    pub(crate) spec: Route,
    pub(crate) servers: Vec<ServerState>,
    pub(crate) catalogs: Arc<Catalogs>,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    /// For what is no one server's: lists, sessions.
    pub(crate) metrics: Arc<ServerMetrics>,
}

/// A server of a route with the backends behind it.
pub(crate) struct ServerState {
    pub(crate) name: Arc<str>,
    pub(crate) spec: Server,
    pub(crate) group: Group,
    pub(crate) metrics: Arc<ServerMetrics>,
}

impl RouteState {
    pub(crate) fn id(&self) -> &ObjectId {
        &self.spec.id
    }

    /// The position of the server of this name.
    pub(crate) fn server(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| &*server.name == name)
    }

    /// From a request to the end of its answer.
    pub(crate) fn response_timeout(&self) -> Duration {
        Duration::from_millis(self.timeouts.response_ms)
    }

    /// Whether clients see the same servers here as there.
    fn offers_the_same(&self, other: &Self) -> bool {
        let specs = |route: &Self| route.servers.iter().map(|server| server.spec.clone()).collect::<Vec<_>>();
        specs(self) == specs(other)
            && self.servers.iter().zip(&other.servers).all(|(ours, theirs)| ours.group.same_backends(&theirs.group))
    }
}

impl Gateway {
    /// A gateway that serves `generation`. Nothing is dialled before somebody asks for it.
    pub fn new(generation: &Generation, metrics: Arc<Metrics>) -> Result<Arc<Self>, GatewayError> {
        let running = Running::compile(generation, None, &Told::new(), &metrics)?;
        metrics.generation_applied(&running.hash);
        running.start_upstreams();
        let gateway = Arc::new_cyclic(|this| Self {
            running: ArcSwap::from_pointee(running),
            sessions: SessionTable::default(),
            channels: Channels::default(),
            metrics,
            closing: CancellationToken::new(),
            closing_since: OnceLock::new(),
            endpoints: Mutex::default(),
            verifier: Verifier::default(),
            joined: OnceLock::new(),
            this: Weak::clone(this),
        });
        tokio::spawn(sweep(Arc::downgrade(&gateway)));
        gateway.verify_if_wanted();
        Ok(gateway)
    }

    /// Serves another generation from now on. What is unchanged is kept, sessions live on, and calls in flight end where they
    /// began. An error leaves everything as it was.
    pub fn apply(&self, generation: &Generation) -> Result<String, GatewayError> {
        let told = self.endpoints.lock();
        let before = self.running.load_full();
        let running = Running::compile(generation, Some(&before), &told, &self.metrics)?;
        let hash = running.hash.clone();
        if let (Some(joined), Some(this)) = (self.joined.get(), self.this.upgrade()) {
            joined
                .secure(running.channels.as_ref(), &this)
                .map_err(|error| GatewayError::new(Kind::Internal, error.to_string()))?;
        }
        let after = Arc::new(running);
        self.running.store(Arc::clone(&after));
        self.metrics.retain(&after.snapshot);
        self.metrics.generation_applied(&hash);
        after.start_upstreams();
        self.tell_sessions(&before, &after);
        retire(&before, &after);
        self.verify_if_wanted();
        Ok(hash)
    }

    /// Where there is an operator, it wants to know what the backends are.
    fn verify_if_wanted(&self) {
        if self.running().channels.is_some() {
            self.verifier.start(self.weak());
            self.verifier.wake();
        }
    }

    /// Reaches backends at these addresses from now on, in this generation and in those to come; a backend without any, where the
    /// snapshot says.
    pub fn set_endpoints(&self, backends: &Told) {
        let mut told = self.endpoints.lock();
        told.clone_from(backends);
        for (id, upstream) in &self.running().upstreams {
            upstream.set_endpoints(told.get(id));
        }
        self.verifier.wake();
    }

    /// Ends the streams that would never end by themselves; calls in flight go on.
    pub fn close_streams(&self) {
        self.closing.cancel();
        self.closing_since.get_or_init(Instant::now);
        for session in self.sessions.all() {
            // The stream of the oldest clients carries the answers to their calls, too.
            if session.unsolicited().number().is_some() {
                session.unsolicited().detach();
            }
        }
        for channel in &self.channels {
            Arc::clone(channel.value()).close_when_idle();
        }
    }

    /// Cancelled when standing streams are to end.
    pub(crate) fn closing(&self) -> CancellationToken {
        self.closing.clone()
    }

    /// Takes nothing on any more, and hands the sessions over to other replicas, if there are any.
    pub async fn leave(&self) {
        if let Some(this) = self.this.upgrade() {
            this.hand_over_sessions().await;
        }
    }

    /// A session is at another replica now.
    pub(crate) fn let_go(&self, session: &Arc<Session>, holder: SocketAddr) {
        if let Some(peers) = self.peers() {
            peers.retire(session, holder);
        }
        if self.sessions.remove(session.id()).is_some() {
            self.metrics.sessions_open.dec();
        }
    }

    /// Ends every session and every connection and process towards servers, once what is in flight for other replicas' clients
    /// has ended too.
    pub async fn shutdown(&self) {
        if let (Some(peers), Some(this)) = (self.peers(), self.this.upgrade()) {
            let patience = Duration::from_millis(self.running().snapshot.drain.timeout_ms);
            let deadline = *self.closing_since.get_or_init(Instant::now) + patience;
            this.hand_over_rest(deadline).await;
            peers.finish(deadline).await;
            for session in peers.retired() {
                session.close_in_background();
            }
        }
        for session in self.sessions.all() {
            self.end_session(session.id());
        }
        let running = self.running.load_full();
        futures_util::future::join_all(running.upstreams.values().map(|upstream| upstream.shutdown())).await;
        if let Some(tracer) = &running.tracer {
            tracer.flush(LAST_SPANS).await;
        }
    }

    pub(crate) fn running(&self) -> arc_swap::Guard<Arc<Running>> {
        self.running.load()
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        Weak::clone(&self.this)
    }

    /// The route of this id as it is now.
    pub(crate) fn route(&self, id: &ObjectId) -> Option<Arc<RouteState>> {
        self.running().routes.iter().find(|route| route.id() == id).cloned()
    }

    /// Finds the other replicas of this gateway, and is found by them. Until then, every session is this one's own.
    pub fn join(&self, peering: Peering) -> Result<(), JoinError> {
        let Some(this) = self.this.upgrade() else { return Ok(()) };
        let joined = Joined::new(peering, self.running().channels.as_ref(), &this)?;
        // A second time is nobody's intention.
        let _ = self.joined.set(joined);
        Ok(())
    }

    /// These are the peer ports of this gateway's replicas from now on, this one's among them or not.
    pub fn set_peers(&self, peers: &BTreeSet<Endpoint>) {
        if let Some(joined) = self.joined.get() {
            joined.tell(peers);
        }
    }

    /// The other replicas, if there is a way to speak to them.
    pub(crate) fn peers(&self) -> Option<&Arc<Peers>> {
        self.joined.get().map(|joined| &joined.peers).filter(|peers| peers.is_open())
    }

    /// Takes a session in, unless there is one of its id already: that one is given back then, with false.
    pub(crate) fn admit(&self, session: Arc<Session>, limit: usize) -> Result<(Arc<Session>, bool), GatewayError> {
        let Inserted { session, is_new, evicted } = self.sessions.insert(session, limit)?;
        if is_new {
            self.metrics.sessions_open.inc();
        }
        if let Some(evicted) = evicted {
            self.over(evicted);
        }
        Ok((session, is_new))
    }

    /// Ends a session; false when there is none of this id.
    pub(crate) fn end_session(&self, id: &str) -> bool {
        let Some(session) = self.sessions.remove(id) else { return false };
        self.over(session);
        true
    }

    /// A session is out of the table for good.
    fn over(&self, session: Arc<Session>) {
        self.metrics.sessions_open.dec();
        if let Some(peers) = self.peers() {
            peers.note_end(SessionKey::of(session.id()));
        }
        session.close_in_background();
    }

    /// Sessions of routes that changed hear that every list may have; sessions of routes that are gone end.
    fn tell_sessions(&self, before: &Running, after: &Running) {
        for session in self.sessions.all() {
            let of = |running: &Running| running.routes.iter().find(|route| route.id() == session.route()).cloned();
            match (of(before), of(after)) {
                (_, None) => {
                    self.end_session(session.id());
                }
                (Some(old), Some(new)) if old.offers_the_same(&new) => {}
                (_, Some(new)) => {
                    session.leave_servers_not_in(&new);
                    session.announce_lists();
                }
            }
        }
    }
}

impl Running {
    fn compile(
        generation: &Generation,
        before: Option<&Self>,
        told: &Told,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, GatewayError> {
        let snapshot = &generation.snapshot;
        let keyring = Keyring::new(&generation.credentials.keyring)
            .map_err(|error| GatewayError::new(Kind::Internal, format!("the session keyring is unusable: {error}")))?;
        let mut upstreams = BTreeMap::new();
        for (id, backend) in &snapshot.backends {
            let fresh =
                Upstream::new(id.clone(), backend, &generation.credentials, &snapshot.limits, metrics.backend(id))?;
            let kept = before.and_then(|before| before.upstreams.get(id)).filter(|old| old.same_as(&fresh));
            let upstream = kept.map_or_else(
                || {
                    fresh.set_endpoints(told.get(id));
                    Arc::clone(&fresh)
                },
                Arc::clone,
            );
            upstreams.insert(id.clone(), upstream);
        }
        let routes = snapshot
            .routes
            .iter()
            .map(|route| RouteState::compile(route, snapshot, &upstreams, before, metrics).map(Arc::new))
            .collect::<Result<_, _>>()?;
        let tracer = Tracer::of_generation(
            snapshot.tracing.as_ref(),
            &generation.credentials,
            &snapshot.gateway,
            &metrics.spans(),
            before.and_then(|before| before.tracer.as_ref()),
        );
        Ok(Self {
            hash: generation.hash(),
            tracer,
            router: Router::new(&snapshot.routes),
            snapshot: Arc::new(snapshot.clone()),
            routes,
            keyring,
            channels: generation.credentials.channels.clone(),
            versions: snapshot.protocol.versions.iter().filter_map(|version| Version::parse(version)).collect(),
            upstreams,
        })
    }
}

impl Running {
    /// Every backend.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.upstreams.values()
    }

    /// Starts what should be ready before the first call: warm processes. What cannot start is tried again when it is needed.
    fn start_upstreams(&self) {
        for (id, upstream) in &self.upstreams {
            if let Err(error) = upstream.start() {
                tracing::warn!(backend = %id, %error, "a backend could not be started");
            }
        }
    }
}

impl RouteState {
    fn compile(
        route: &Route,
        snapshot: &Snapshot,
        upstreams: &BTreeMap<ObjectId, Arc<Upstream>>,
        before: Option<&Running>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, GatewayError> {
        let servers = route
            .servers
            .iter()
            .map(|server| {
                Ok(ServerState {
                    name: server.name.as_str().into(),
                    group: Group::new(server, upstreams),
                    metrics: metrics.server(&route.id, &server.name),
                    spec: server.clone(),
                })
            })
            .collect::<Result<Vec<_>, GatewayError>>()?;
        let mut state = Self {
            spec: route.clone(),
            servers,
            catalogs: Arc::new(Catalogs::new()),
            timeouts: route.timeouts.clone(),
            limits: snapshot.limits.clone(),
            metrics: metrics.server(&route.id, ""),
        };
        // The same servers list the same things: nobody waits for a list after a reload that did not touch them.
        if let Some(old) = before.and_then(|before| before.routes.iter().find(|old| old.id() == state.id()))
            && old.offers_the_same(&state)
        {
            state.catalogs = Arc::clone(&old.catalogs);
        }
        Ok(state)
    }
}

impl ServerState {
    /// Whether what one of its backends made must go back to that one.
    pub(crate) fn has_several_backends(&self) -> bool {
        self.group.backends().nth(1).is_some()
    }

    /// The only backend there is, if there is only one: whatever the server tells, that one told.
    pub(crate) fn only_backend(&self) -> Option<&Arc<Upstream>> {
        let mut backends = self.group.backends();
        backends.next().filter(|_| backends.next().is_none())
    }

    /// Counts a listing of what the server offers.
    pub(crate) fn count_refresh(&self, outcome: Result<(), Kind>) {
        for backend in self.group.backends().take(1) {
            backend.metrics().catalog_refreshed(outcome);
        }
    }
}

/// Lets go of upstreams that no generation uses any more, once calls that began on them have had their time.
fn retire(before: &Running, after: &Running) {
    let gone: Vec<Arc<Upstream>> = before
        .upstreams
        .values()
        .filter(|old| !after.upstreams.values().any(|new| Arc::ptr_eq(old, new)))
        .cloned()
        .collect();
    if gone.is_empty() {
        return;
    }
    let patience = before.routes.iter().map(|route| route.response_timeout()).max().unwrap_or_default();
    tokio::spawn(async move {
        tokio::time::sleep(patience).await;
        futures_util::future::join_all(gone.iter().map(|upstream| upstream.shutdown())).await;
    });
}

async fn sweep(gateway: Weak<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(gateway) = gateway.upgrade() else { return };
        let idle = Duration::from_millis(gateway.running().snapshot.sessions.idle_timeout_ms);
        for session in gateway.sessions.remove_idle(idle) {
            gateway.over(session);
        }
    }
}

/// Makes edits of a body; that they overlap is a mistake of the gateway's own.
pub(crate) fn edited(edits: Edits<'_>, body: &Bytes) -> Result<Bytes, GatewayError> {
    edits
        .apply(body)
        .map_err(|error| GatewayError::new(Kind::Internal, format!("the body could not be edited: {error}")))
}
