//! The replicas of one gateway, among each other.
//!
//! A legacy session lives in one replica, its owner, which its sealed id names; whichever replica a request reaches, the request
//! is answered by the owner ([`place`], [`forward`]). When the owner is gone, the replica that rendezvous hashing chooses takes
//! the session up from what its id says ([`adopt`]); when it leaves in good order, it hands over what it knows ([`handover`]).
//!
//! Nothing here runs before [`Gateway::join`](super::state::Gateway::join), nor without the certificate and the token that
//! credentials hold for it; then every session is this replica's own.

pub(crate) mod adopt;
pub(crate) mod forward;
mod members;
pub(crate) mod place;
pub mod peering;
mod protocol;
mod recent;
mod secure;
mod server;

pub(crate) use members::SessionKey;
pub(crate) use protocol::Hop;

use super::error::{GatewayError, Kind, Retry};
use super::metrics::{Metrics, PeerOutcome};
use super::upstream::{JsonBody, PeerConnections};
use crate::ir::secrets::Channels;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::future::join_all;
use http::header::HOST;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use members::{Members, rendezvous};
use parking_lot::Mutex;
use protocol::{BOOT, ENDED, HOLDER, HOLDS, LEAVING, Owner, REFUSED, Refusal, TOKEN};
use recent::Recent;
use secure::Secured;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a replica may take to say whether it holds a session: it looks into a table.
const ASK: Duration = Duration::from_secs(1);

/// Sessions whose whereabouts, and whose end, are remembered: more than a gateway has by default.
const REMEMBERED: usize = 16 * 1024;

/// Searches at a time for sessions whose ids do not open here: anybody can make such ids up.
const SEARCHES: usize = 16;

/// Replicas to which connections are kept: the listed ones, and a few that left.
const MAX_CONNECTIONS: usize = 256;

/// The host in requests to peers. Nobody resolves it.
const PEER_HOST: HeaderValue = HeaderValue::from_static(crate::ir::channel::SERVER_NAME);

/// This replica among the others.
pub(crate) struct Peers {
    me: Owner,
    members: Members,
    secured: ArcSwapOption<Secured>,
    connections: Mutex<HashMap<SocketAddr, Arc<PeerConnections>>>,
    /// Where sessions turned out to be that are not where their ids say.
    holders: Mutex<Recent<SessionKey, SocketAddr>>,
    /// Sessions that must not be taken up again.
    ended: Mutex<Recent<SessionKey, ()>>,
    searches: Semaphore,
    leaving: AtomicBool,
    metrics: Arc<Metrics>,
}

/// What came of sending something to a replica.
enum Sent {
    /// It answered.
    Answered(Parts, JsonBody),
    /// It did nothing about it.
    Refused(Refusal),
    /// There is no such replica any more.
    Gone,
    /// It cannot be spoken to; nothing was sent.
    Unavailable(GatewayError),
    /// The connection broke after the request was sent.
    Lost,
}

impl Peers {
    /// This replica, by the address at which the others reach it.
    pub(crate) fn new(address: SocketAddr, metrics: Arc<Metrics>) -> Result<Self, GatewayError> {
        let mut boot = [0; 8];
        getrandom::fill(&mut boot)
            .map_err(|_| GatewayError::new(Kind::Internal, "the system has no random numbers"))?;
        Ok(Self {
            me: Owner { address, boot: format!("{:016x}", u64::from_be_bytes(boot)) },
            members: Members::default(),
            secured: ArcSwapOption::empty(),
            connections: Mutex::default(),
            holders: Mutex::new(Recent::new(REMEMBERED)),
            ended: Mutex::new(Recent::new(REMEMBERED)),
            searches: Semaphore::new(SEARCHES),
            leaving: AtomicBool::new(false),
            metrics,
        })
    }

    /// This start of this replica, as the ids of its sessions name it.
    pub(crate) fn me(&self) -> &Owner {
        &self.me
    }

    /// Takes what secures the channel from a generation's credentials; without it nobody is spoken to.
    pub(crate) fn secure(&self, channels: Option<&Channels>) -> Result<(), GatewayError> {
        let before = self.secured.load_full();
        let Some(channels) = channels else {
            self.secured.store(None);
            return Ok(());
        };
        if before.as_ref().is_some_and(|before| before.is_of(channels)) {
            return Ok(());
        }
        self.secured.store(Some(Arc::new(Secured::new(channels, before.as_deref())?)));
        // Connections of before go on; new ones are made with what is new.
        self.connections.lock().clear();
        Ok(())
    }

    pub(super) fn secured(&self) -> Option<Arc<Secured>> {
        self.secured.load_full()
    }

    /// Whether there is anybody to speak to, and a way to.
    pub(crate) fn is_open(&self) -> bool {
        self.secured.load().is_some()
    }

    /// These are the replicas from now on, this one among them or not.
    pub(crate) fn list(&self, mut addresses: BTreeSet<SocketAddr>) {
        addresses.remove(&self.me.address);
        self.connections.lock().retain(|address, _| addresses.contains(address));
        self.members.list(addresses);
        self.count();
    }

    fn count(&self) {
        self.metrics.peers.set(i64::try_from(self.members.staying().len()).unwrap_or(i64::MAX));
    }

    /// Whether this replica takes its leave.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// Tells the others that this replica takes nothing on any more.
    pub(crate) async fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        self.tell_all(LEAVING, self.me.address.to_string()).await;
    }

    /// Takes note that another replica leaves.
    pub(super) fn leaves(&self, address: SocketAddr) {
        self.members.leaves(address);
        self.count();
    }

    // --- sessions ---

    /// Takes note that a session is over, so that nobody takes it up again.
    pub(crate) fn note_end(&self, session: SessionKey) {
        self.holders.lock().remove(&session);
        self.ended.lock().insert(session, ());
    }

    /// Tells the others that a client ended its session.
    pub(crate) async fn announce_end(&self, session: SessionKey) {
        self.tell_all(ENDED, session.to_hex()).await;
    }

    fn has_ended(&self, session: SessionKey) -> bool {
        self.ended.lock().get(&session).is_some()
    }

    fn holder(&self, session: SessionKey) -> Option<SocketAddr> {
        self.holders.lock().get(&session).copied()
    }

    fn note_holder(&self, session: SessionKey, address: SocketAddr) {
        if address != self.me.address {
            self.holders.lock().insert(session, address);
        }
    }

    fn forget_holder(&self, session: SessionKey) {
        self.holders.lock().remove(&session);
    }

    /// The replica that says it holds this session.
    async fn search(&self, session: SessionKey, sealed: &str) -> Option<SocketAddr> {
        let asked = self.members.reachable().into_iter().map(|address| async move {
            let sent = self.send(address, control(HOLDS, sealed.to_owned())?, ASK, false).await;
            matches!(sent, Sent::Answered(head, _) if head.status == StatusCode::OK).then_some(address)
        });
        let found = join_all(asked).await.into_iter().flatten().next()?;
        self.note_holder(session, found);
        Some(found)
    }

    /// Who is to take a session up, the first choice first; this replica is among them unless it leaves.
    fn successors(&self, session: SessionKey) -> Vec<SocketAddr> {
        let mut candidates = self.members.staying();
        if !self.is_leaving() {
            candidates.push(self.me.address);
        }
        rendezvous(session, candidates)
    }

    // --- speaking ---

    async fn tell_all(&self, path: &'static str, message: String) {
        let told = self.members.reachable().into_iter().map(|address| {
            let request = control(path, message.clone());
            async move {
                if let Some(request) = request
                    && !matches!(self.send(address, request, ASK, false).await, Sent::Answered(..))
                {
                    tracing::debug!(peer = %address, path, "a replica did not hear a notice");
                }
            }
        });
        join_all(told).await;
    }

    /// Sends a request to a replica and waits for the head of its answer. `stands` says that the answer is a stream without an
    /// end of its own.
    async fn send(&self, to: SocketAddr, mut request: Request<Full<Bytes>>, limit: Duration, stands: bool) -> Sent {
        let Some(secured) = self.secured() else {
            return Sent::Unavailable(unavailable());
        };
        request.headers_mut().insert(TOKEN, secured.token.clone());
        let answered = self.connection(to, &secured).exchange(request, limit, stands).await;
        let (head, body) = match answered {
            Ok(answer) => answer,
            Err(error) => return self.failed(to, &error),
        };
        self.members.trust(to);
        if let Some(refused) = head.headers.get(REFUSED) {
            return Sent::Refused(Refusal::parse(refused.as_bytes()));
        }
        if head.status == StatusCode::UNAUTHORIZED {
            tracing::warn!(peer = %to, "a replica does not take our token: it has another generation");
            return Sent::Unavailable(unavailable());
        }
        Sent::Answered(head, body)
    }

    fn failed(&self, to: SocketAddr, error: &GatewayError) -> Sent {
        tracing::debug!(peer = %to, %error, "a replica did not answer");
        match error.kind {
            Kind::ConnectFailed | Kind::ConnectTimeout => {
                self.members.suspect(to);
                Sent::Gone
            }
            // Somebody else has that address by now.
            Kind::ReplicaUnavailable if !self.members.is_listed(to) => Sent::Gone,
            _ if error.retry == Retry::Safe => Sent::Unavailable(unavailable()),
            _ => Sent::Lost,
        }
    }

    fn connection(&self, to: SocketAddr, secured: &Secured) -> Arc<PeerConnections> {
        let mut connections = self.connections.lock();
        if connections.len() >= MAX_CONNECTIONS {
            connections.retain(|address, _| self.members.is_listed(*address));
        }
        let fresh = || Arc::new(PeerConnections::new(to, Arc::clone(&secured.client)));
        Arc::clone(connections.entry(to).or_insert_with(fresh))
    }

    fn count_sent(&self, sent: &Sent) {
        self.metrics.sent_to_peer(match sent {
            Sent::Answered(..) => PeerOutcome::Ok,
            Sent::Refused(_) => PeerOutcome::NotThere,
            Sent::Gone => PeerOutcome::Gone,
            Sent::Unavailable(_) => PeerOutcome::Unavailable,
            Sent::Lost => PeerOutcome::Lost,
        });
    }
}

/// A message between replicas that no client sent.
fn control(path: &'static str, message: String) -> Option<Request<Full<Bytes>>> {
    let request = Request::builder().method(Method::POST).uri(Uri::from_static(path)).header(HOST, PEER_HOST);
    request.body(Full::new(message.into())).ok()
}

/// The replica that an answer names as the session's holder.
fn named_holder(headers: &HeaderMap) -> Option<SocketAddr> {
    headers.get(HOLDER)?.to_str().ok()?.parse().ok()
}

fn boot_header(owner: &Owner) -> Option<(http::HeaderName, HeaderValue)> {
    Some((BOOT, HeaderValue::from_str(&owner.boot).ok()?))
}

/// Nothing was done; it may go well in a moment.
fn unavailable() -> GatewayError {
    GatewayError::new(
        Kind::ReplicaUnavailable,
        "the replica that holds this session cannot be reached for the moment; try again",
    )
}

/// The replica that worked on a call is gone, and nobody knows how far it came.
fn lost() -> GatewayError {
    GatewayError::new(
        Kind::ReplicaLost,
        "the replica that worked on this call is gone; the session goes on, but the call may or may not have been carried out",
    )
}
