//! Accepting connections: sockets, TLS, HTTP/1.1, limits, Host and Origin checks.
//!
//! [`Listeners`] holds one socket per port and follows the generations: a new one is [prepared](Listeners::prepare), with
//! its sockets bound and its certificates read, before anything of it takes effect, and then
//! [committed](Listeners::commit), which cannot fail. Ports that stay keep their socket and their connections.

pub mod body;
mod connection;
pub mod guard;
pub mod tls;

pub use connection::refusal;

use super::downstream::body::ResponseBody;
use super::metrics::Metrics;
use crate::ir::generation::Generation;
use crate::ir::snapshot::{Drain, Limits, Listener};
use crate::net::limit::{self, TURNED_AWAY_AT_ONCE};
use crate::net::socket::{self, Bind};
use arc_swap::ArcSwap;
use connection::{Ending, ListenerState, PortState};
use guard::Guard;
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tls::CertificateError;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What answers requests. The listener has checked Host and Origin before, and limits headers and connections; the body is
/// the handler's to read, with [`body::read_body`]. A client that leaves drops the future, or the answer's body.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        self: Arc<Self>,
        request: http::Request<Incoming>,
        connection: &ConnectionInfo,
    ) -> impl Future<Output = http::Response<ResponseBody>> + Send;
}

/// Facts about the connection that a request came on.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// Name of the listener that answers for the request's host.
    pub listener: Arc<str>,
    /// The other end: the client or the last proxy before the gateway.
    pub peer: SocketAddr,
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// The name the client asked for in the TLS handshake.
    pub server_name: Option<Arc<str>>,
}

/// A listener as it is bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BoundListener {
    /// Its name.
    pub name: String,
    /// The address it accepts on, with the port that was given for port 0.
    pub address: SocketAddr,
    /// The only host it answers for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Whether it speaks HTTPS.
    pub tls: bool,
}

/// Listeners that cannot serve a generation.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port cannot be had.
    #[error("listener {listener}: cannot listen on port {port}: {source}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// The port.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// A certificate cannot be served.
    #[error("listener {listener}: {source}")]
    Certificate {
        /// The listener's name.
        listener: String,
        /// Which and why.
        source: CertificateError,
    },
    /// HTTP and HTTPS on one port.
    #[error("listener {listener}: port {port} cannot serve both HTTP and HTTPS")]
    MixedPort {
        /// The listener's name.
        listener: String,
        /// The port.
        port: u16,
    },
}

/// Wait after a failed accept, in ms: long enough for a connection to end and give its descriptor back.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// What all connections share.
struct Shared<H> {
    handler: Arc<H>,
    metrics: Arc<Metrics>,
    limits: ArcSwap<ConnectionLimits>,
    open: AtomicU32,
    draining: AtomicBool,
    tasks: TaskTracker,
    turned_away: TaskTracker,
}

/// The part of [`Limits`] that concerns connections.
struct ConnectionLimits {
    header_bytes: u32,
    client_read_ms: u64,
    connections: u32,
}

impl ConnectionLimits {
    fn new(limits: &Limits) -> Self {
        let Limits { header_bytes, client_read_ms, connections, .. } = *limits;
        Self { header_bytes, client_read_ms, connections }
    }

    fn client_read(&self) -> Duration {
        Duration::from_millis(self.client_read_ms)
    }
}

/// Which socket a listener is on: its port, or itself where the port is any.
type PortKey = (u16, Option<String>);

struct Port {
    state: Arc<ArcSwap<PortState>>,
    bound: Vec<BoundListener>,
    address: SocketAddr,
    ending: Ending,
}

/// The sockets of a gateway.
pub struct Listeners<H> {
    bind: Bind,
    shared: Arc<Shared<H>>,
    ending: Ending,
    ports: Mutex<BTreeMap<PortKey, Port>>,
}

/// Listeners ready to take over. Dropped, it leaves everything as it was.
pub struct Prepared {
    ports: Vec<PreparedPort>,
    limits: ConnectionLimits,
    drain: Drain,
}

struct PreparedPort {
    key: PortKey,
    /// Only where there is none yet.
    socket: Option<TcpListener>,
    address: SocketAddr,
    state: PortState,
    bound: Vec<BoundListener>,
}

impl<H: Handler> Listeners<H> {
    /// No listener yet.
    pub fn new(bind: Bind, handler: Arc<H>, metrics: Arc<Metrics>) -> Self {
        let shared = Shared {
            handler,
            metrics,
            limits: ArcSwap::from_pointee(ConnectionLimits::new(&Limits::default())),
            open: AtomicU32::new(0),
            draining: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            turned_away: TaskTracker::new(),
        };
        let ending = Ending { graceful: CancellationToken::new(), now: CancellationToken::new() };
        Self { bind, shared: Arc::new(shared), ending, ports: Mutex::default() }
    }

    /// Binds what is not bound yet and reads all certificates, without effect on what is served.
    pub fn prepare(&self, generation: &Generation) -> Result<Prepared, ListenError> {
        let snapshot = &generation.snapshot;
        let mut by_port: BTreeMap<PortKey, Vec<&Listener>> = BTreeMap::new();
        for listener in &snapshot.listeners {
            let any_port = (listener.port == 0).then(|| listener.name.clone());
            by_port.entry((listener.port, any_port)).or_default().push(listener);
        }
        let ports = by_port.into_iter().map(|(key, listeners)| self.prepare_port(key, &listeners, generation));
        Ok(Prepared {
            ports: ports.collect::<Result<_, _>>()?,
            limits: ConnectionLimits::new(&snapshot.limits),
            drain: snapshot.drain.clone(),
        })
    }

    fn prepare_port(
        &self,
        key: PortKey,
        listeners: &[&Listener],
        generation: &Generation,
    ) -> Result<PreparedPort, ListenError> {
        let (first, port) = (listeners[0], key.0);
        if let Some(other) = listeners.iter().find(|listener| listener.tls.is_some() != first.tls.is_some()) {
            return Err(ListenError::MixedPort { listener: other.name.clone(), port });
        }
        let tls = tls::acceptor(listeners, &generation.credentials)
            .map_err(|source| ListenError::Certificate { listener: first.name.clone(), source })?;
        let bind_failed = |source| ListenError::Bind { listener: first.name.clone(), port, source };
        let existing = self.ports.lock().get(&key).map(|port| port.address);
        let (socket, address) = if let Some(address) = existing {
            (None, address)
        } else {
            let socket = socket::listen(self.bind, port).map_err(bind_failed)?;
            let address = socket.local_addr().map_err(bind_failed)?;
            (Some(socket), address)
        };
        let state = PortState {
            listeners: listeners
                .iter()
                .map(|listener| ListenerState {
                    name: listener.name.as_str().into(),
                    guard: Guard::new(listener, &generation.snapshot, self.bind.is_loopback()),
                })
                .collect(),
            tls,
            metrics: self.shared.metrics.listener(&first.name),
        };
        let bound = listeners.iter().map(|listener| BoundListener {
            name: listener.name.clone(),
            address,
            hostname: listener.hostname.clone(),
            tls: listener.tls.is_some(),
        });
        Ok(PreparedPort { key, socket, address, state, bound: bound.collect() })
    }

    /// Makes what was prepared the truth: new sockets accept, ports that stay change under their connections, and ports
    /// that are gone drain.
    pub fn commit(&self, prepared: Prepared) {
        let Prepared { ports: prepared, limits, drain } = prepared;
        self.shared.limits.store(Arc::new(limits));
        let mut ports = self.ports.lock();
        let mut gone = std::mem::take(&mut *ports);
        for PreparedPort { key, socket, address, state, bound } in prepared {
            let port = match (gone.remove(&key), socket) {
                (Some(port), _) => {
                    port.state.store(Arc::new(state));
                    Port { bound, ..port }
                }
                (None, Some(socket)) => self.start(socket, address, state, bound),
                // Two preparations at a time; whoever applies generations does one after the other.
                (None, None) => continue,
            };
            ports.insert(key, port);
        }
        for port in gone.into_values() {
            tracing::info!(address = %port.address, "no longer listening");
            tokio::spawn(retire(port.ending, Duration::from_millis(drain.timeout_ms)));
        }
    }

    fn start(&self, socket: TcpListener, address: SocketAddr, state: PortState, bound: Vec<BoundListener>) -> Port {
        for listener in &bound {
            tracing::info!(listener = listener.name, %address, tls = listener.tls, "listening");
        }
        let state = Arc::new(ArcSwap::from_pointee(state));
        let ending = self.ending.child();
        self.shared.tasks.spawn(accept(socket, Arc::clone(&self.shared), Arc::clone(&state), ending.clone()));
        Port { state, bound, address, ending }
    }

    /// The listeners as they are bound.
    pub fn bound(&self) -> Vec<BoundListener> {
        self.ports.lock().values().flat_map(|port| port.bound.iter().cloned()).collect()
    }

    /// From now on every answer asks its client to connect anew, elsewhere. Connections are still accepted.
    pub fn start_draining(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// Accepts nothing more and waits for what is in flight, at the most for `timeout`; then closes everything.
    pub async fn finish(&self, timeout: Duration) {
        self.start_draining();
        self.ending.graceful.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(timeout, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!(open = self.shared.open.load(Ordering::Relaxed), "closing connections that did not finish");
        }
        self.ending.now.cancel();
        self.shared.tasks.wait().await;
    }
}

/// Lets the connections of a port that is gone finish, for a while.
async fn retire(ending: Ending, timeout: Duration) {
    ending.graceful.cancel();
    tokio::select! {
        () = tokio::time::sleep(timeout) => {}
        // Everything ends at once: then that end's own timeout counts.
        () = ending.now.cancelled() => {}
    }
    ending.now.cancel();
}

async fn accept<H: Handler>(
    socket: TcpListener,
    shared: Arc<Shared<H>>,
    port: Arc<ArcSwap<PortState>>,
    ending: Ending,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = ending.graceful.cancelled() => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // A client that left while it waited, or no descriptor to spare: neither is a reason to stop.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let metrics = port.load().metrics.clone();
        if shared.open.fetch_add(1, Ordering::Relaxed) >= shared.limits.load().connections {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            metrics.refused.inc();
            if shared.turned_away.len() < TURNED_AWAY_AT_ONCE {
                shared.turned_away.spawn(limit::turn_away(stream));
            }
            continue;
        }
        metrics.accepted.inc();
        metrics.open.inc();
        let (port, ending, serving) = (Arc::clone(&port), ending.clone(), Arc::clone(&shared));
        shared.tasks.spawn(async move {
            let _open = OpenConnection { open: metrics.open, shared: Arc::clone(&serving) };
            connection::serve(stream, peer, serving, port, ending).await;
        });
    }
}

/// Counts a connection for as long as it is open, however it ends.
struct OpenConnection<H> {
    open: prometheus::IntGauge,
    shared: Arc<Shared<H>>,
}

impl<H> Drop for OpenConnection<H> {
    fn drop(&mut self) {
        self.open.dec();
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
