//! Handing sessions over when this replica leaves.
//!
//! The successor gets what the session remembers and goes on with the servers' sessions where those are not bound to this
//! process; requests that come meanwhile wait for the outcome, a fraction of a second. What is in flight stays and ends here:
//! its cancellation and the answers to its questions are sent back as long as this replica is there, and what servers say
//! beside it is sent after the session.

use super::adopt::hello;
use super::protocol::{HANDOVER, LATE, MOVED, Refusal, moved_line};
use super::{Peers, Sent, SessionKey, control};
use crate::gateway::mcp::version::Version;
use crate::gateway::session::binding::Binding;
use crate::gateway::session::live::{Memory, Session};
use crate::gateway::session::log::{EventLog, LogState};
use crate::gateway::state::{Gateway, RouteState};
use crate::gateway::upstream::{Released, UpstreamSession};
use crate::ir::ids::ObjectId;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Sessions on their way at a time: enough to keep two processes busy, few enough not to flood the other one.
const AT_ONCE: usize = 16;

/// How long the successor may take for one session, which it only has to note.
const LIMIT: Duration = Duration::from_secs(5);

/// The largest answer to a hand-over, in bytes: names of servers.
const MAX_ANSWER: usize = 64 * 1024;

/// A session on its way.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handed {
    /// The sealed id.
    id: String,
    route: ObjectId,
    version: String,
    /// The client's own parameters of `initialize`, as JSON text.
    params: String,
    unsolicited: LogState,
    memory: Memory,
    /// Sessions with servers that the successor can go on with.
    servers: Vec<HandedServer>,
    /// Whoever hands it over.
    from: SocketAddr,
}

#[derive(Serialize, Deserialize)]
struct HandedServer {
    server: String,
    session: Released,
}

/// What the successor made of it: the servers whose sessions it goes on with.
#[derive(Default, Serialize, Deserialize)]
struct Taken {
    servers: Vec<String>,
}

/// Something that was said to a session after it went.
#[derive(Serialize, Deserialize)]
struct Late {
    id: String,
    message: String,
}

impl Gateway {
    /// Tells the others that this replica leaves, and hands over every session that can be.
    pub(crate) async fn hand_over_sessions(self: &Arc<Self>) {
        let Some(peers) = self.peers() else { return };
        peers.leave().await;
        let drain = self.running().snapshot.drain.clone();
        // The rest of the drain is for what is in flight.
        let limit = Duration::from_millis(drain.min_duration_ms.max(drain.timeout_ms / 2));
        self.hand_over_rest(Instant::now() + limit).await;
    }

    /// Hands over what is still here. Nothing is begun after `deadline`.
    pub(crate) async fn hand_over_rest(self: &Arc<Self>, deadline: Instant) {
        let Some(peers) = self.peers() else { return };
        let sessions = self.sessions.all();
        let (all, gateway) = (sessions.len(), self);
        let moves: Vec<String> = stream::iter(sessions)
            .map(|session| async move {
                if Instant::now() >= deadline {
                    return None;
                }
                let key = SessionKey::of(session.id());
                hand_over(gateway, peers, session).await.map(|holder| moved_line(key, holder))
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(|moved| async move { moved })
            .collect()
            .await;
        if all > 0 {
            tracing::info!(handed = moves.len(), kept = all - moves.len(), "sessions handed over");
        }
        if !moves.is_empty() {
            // Nobody has to come here first to learn where a session is.
            peers.tell_all(MOVED, moves.concat()).await;
        }
    }
}

/// A server's session that another replica may go on with.
struct Free {
    binding: Arc<Binding>,
    upstream: Arc<UpstreamSession>,
    released: Released,
}

/// Hands one session over, and says to whom; `None` when it stays.
async fn hand_over(gateway: &Arc<Gateway>, peers: &Arc<Peers>, session: Arc<Session>) -> Option<SocketAddr> {
    // The oldest clients' sessions end with their streams, which end here.
    session.unsolicited().number()?;
    session.set_moving(true);
    // First what servers say, then the stream that it goes to: nothing must overtake what was said before.
    let servers = free_servers(&session).await;
    let (unsolicited, late) = session.unsolicited().depart()?;
    let taken = offer(peers, &handed(peers, &session, unsolicited, &servers)).await;
    peers.metrics.handed_over(taken.is_some());
    let holder = if let Some((holder, taken)) = taken {
        settle(&servers, &taken);
        gateway.let_go(&session, holder);
        peers.work.spawn(send_late(Arc::clone(peers), holder, session.id().to_owned(), late));
        Some(holder)
    } else {
        session.unsolicited().stay(late);
        settle(&servers, &Taken::default());
        None
    };
    session.set_moving(false);
    holder
}

async fn free_servers(session: &Arc<Session>) -> Vec<Free> {
    let mut free = Vec::new();
    for binding in session.bindings() {
        let Some(upstream) = binding.peek() else { continue };
        if let Some(released) = upstream.release().await {
            free.push(Free { binding, upstream, released });
        }
    }
    free
}

fn handed(peers: &Peers, session: &Session, unsolicited: LogState, servers: &[Free]) -> Handed {
    let servers = servers.iter().map(|Free { binding, released, .. }| HandedServer {
        server: binding.server().to_owned(),
        session: released.clone(),
    });
    Handed {
        id: session.id().to_owned(),
        route: session.route().clone(),
        version: session.hello().version.as_str().to_owned(),
        params: String::from_utf8_lossy(&session.hello().params).into_owned(),
        unsolicited,
        memory: session.memory(),
        servers: servers.collect(),
        from: peers.me().address,
    }
}

/// What the successor goes on with is no longer ours to end; what it does not, it opens anew, and ours ends with us.
fn settle(servers: &[Free], taken: &Taken) {
    for Free { binding, upstream, released } in servers {
        if taken.servers.iter().any(|server| server == binding.server()) {
            binding.give_away();
        } else {
            upstream.retain(released);
        }
    }
}

/// Offers a session to its successors, one after the other.
async fn offer(peers: &Arc<Peers>, handed: &Handed) -> Option<(SocketAddr, Taken)> {
    let message = serde_json::to_string(handed).ok()?;
    for address in peers.successors(SessionKey::of(&handed.id)) {
        match peers.send(address, control(HANDOVER, message.clone())?, LIMIT, false).await {
            Sent::Answered(head, body) if head.status == StatusCode::OK => {
                let answer = body.collect(MAX_ANSWER).await.unwrap_or_default();
                return Some((address, serde_json::from_slice(&answer).unwrap_or_default()));
            }
            // It may have been taken all the same, and the next one would be a second holder.
            Sent::Lost if peers.holds(address, &handed.id).await == Some(true) => {
                return Some((address, Taken::default()));
            }
            // It hangs: the next session need not find out again.
            Sent::Lost => peers.members.suspect(address),
            _ => tracing::debug!(peer = %address, "a replica did not take a session"),
        }
    }
    None
}

/// Sends what is said to a session after it went, in its order.
async fn send_late(peers: Arc<Peers>, to: SocketAddr, id: String, mut late: mpsc::Receiver<Bytes>) {
    while let Some(message) = late.recv().await {
        let message = Late { id: id.clone(), message: String::from_utf8_lossy(&message).into_owned() };
        let request = serde_json::to_string(&message).ok().and_then(|message| control(LATE, message));
        let Some(request) = request else { continue };
        if !matches!(peers.send(to, request, LIMIT, false).await, Sent::Answered(..)) {
            tracing::warn!(peer = %to, "an event is lost: the replica that has its session now does not take it");
        }
    }
}

/// Takes a session over that another replica hands over.
pub(super) fn take(gateway: &Arc<Gateway>, peers: &Arc<Peers>, message: &Bytes) -> Result<Bytes, Refusal> {
    if peers.is_leaving() {
        return Err(Refusal::Leaving);
    }
    let handed: Handed = serde_json::from_slice(message).map_err(|error| {
        tracing::warn!(%error, "a session could not be taken over: its description is malformed");
        Refusal::Behind
    })?;
    let running = gateway.running();
    let route = running.routes.iter().find(|route| *route.id() == handed.route).cloned().ok_or(Refusal::Behind)?;
    let version = Version::parse(&handed.version).ok_or(Refusal::Behind)?;
    let hello = hello(&route, handed.params.into(), version);
    let unsolicited = EventLog::restore(handed.unsolicited);
    let session = Session::new(handed.id, handed.route, hello, gateway.weak(), unsolicited);
    let servers = resume(&session, &route, &handed.servers);
    session.remember(handed.memory, |server| servers.iter().any(|resumed| resumed == server));
    session.set_former(Some(handed.from));
    let limit = running.snapshot.limits.sessions as usize;
    let (_, is_new) = gateway.admit(Arc::clone(&session), limit).map_err(|_| Refusal::Leaving)?;
    peers.forget_holder(SessionKey::of(session.id()));
    let taken = if is_new {
        crate::gateway::adapter::legacy::open_servers(&session, &route);
        Taken { servers }
    } else {
        // It was taken up before, and its own servers' sessions are as good.
        Taken::default()
    };
    serde_json::to_vec(&taken).map(Bytes::from).map_err(|_| Refusal::Behind)
}

/// Goes on with the servers' sessions that this replica can reach, and names them.
fn resume(session: &Arc<Session>, route: &RouteState, servers: &[HandedServer]) -> Vec<String> {
    let resumed = servers.iter().filter(|handed| {
        let state = route.server(&handed.server).and_then(|index| route.servers.get(index));
        state.is_some_and(|state| session.binding(&handed.server).resume(&handed.session, state, route))
    });
    resumed.map(|handed| handed.server.clone()).collect()
}

/// Takes in what was said to a session where it was before.
pub(super) fn take_late(gateway: &Arc<Gateway>, message: &Bytes) -> bool {
    let Ok(Late { id, message }) = serde_json::from_slice(message) else { return false };
    let session = gateway.sessions.get(&id);
    if let Some(session) = &session {
        session.unsolicited().offer(message.as_bytes());
    }
    session.is_some()
}
