//! Opens byte streams: names to addresses, the address policy, TCP, TLS.

use super::super::error::{GatewayError, Kind, Retry};
use super::address;
use super::peer::Peer;
use super::process::LocalProcess;
use super::stream::Stream;
use super::tls::Tls;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{AddressPolicy, Endpoint};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

/// Addresses of one name that are tried at most: a name with hundreds must not eat the deadline.
const MAX_ADDRESSES: usize = 8;

/// Opens byte streams to one endpoint of a backend.
pub(super) enum Dialer {
    /// Over the network.
    Network(Box<Network>),
    /// To child processes behind the shim, in memory.
    Process(Arc<LocalProcess>),
    /// To another replica of this gateway.
    Peer(Box<Peer>),
}

/// A network endpoint and the rules for reaching it.
pub(super) struct Network {
    pub(super) backend: ObjectId,
    pub(super) endpoint: Endpoint,
    pub(super) policy: AddressPolicy,
    pub(super) tls: Option<Tls>,
}

impl Dialer {
    /// Opens a stream within `limit`, TLS included. Nothing of a request has been sent when it fails.
    pub(super) async fn dial(&self, limit: Duration) -> Result<Stream, GatewayError> {
        match self {
            Self::Process(process) => process.connect().map(Stream::Memory),
            Self::Peer(peer) => timeout(limit, peer.dial()).await.unwrap_or_else(|_elapsed| Err(peer.timed_out())),
            Self::Network(network) => {
                let deadline = Instant::now() + limit;
                let dialled = timeout_at(deadline, network.dial(deadline)).await;
                dialled.unwrap_or_else(|_elapsed| Err(network.timed_out(limit)))
            }
        }
    }
}

impl Network {
    async fn dial(&self, deadline: Instant) -> Result<Stream, GatewayError> {
        let stream = self.connect(deadline).await?;
        // Requests are written whole; waiting to fill a segment only adds latency.
        stream.set_nodelay(true).map_err(|error| self.failed(&error))?;
        let Some(tls) = &self.tls else { return Ok(Stream::Tcp(stream)) };
        let name = tls.name_for(&self.endpoint.host).ok_or_else(|| {
            GatewayError::new(
                Kind::ConnectFailed,
                format!("backend {}: the host is not a name a certificate can have", self.backend),
            )
        })?;
        let stream =
            TlsConnector::from(tls.config.clone()).connect(name, stream).await.map_err(|error| self.failed(&error))?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// Connects to the first address that accepts, in the resolver's order (RFC 6724 puts the best first).
    ///
    /// Each gets an equal share of the time that is left, so that one that drops packets does not hide the others.
    async fn connect(&self, deadline: Instant) -> Result<TcpStream, GatewayError> {
        let (addresses, refused) = self.resolve().await?;
        let mut last = None;
        for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let share = (deadline - Instant::now()) / u32::try_from(left).unwrap_or(u32::MAX);
            last = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => Some(self.failed(&error)),
                Err(_elapsed) => Some(self.failed(&io::ErrorKind::TimedOut.into())),
            };
        }
        Err(last.unwrap_or_else(|| if refused { self.refused() } else { self.unresolved() }))
    }

    /// The addresses that may be dialled, and whether the policy left any out.
    async fn resolve(&self) -> Result<(Vec<SocketAddr>, bool), GatewayError> {
        let Endpoint { host, port } = &self.endpoint;
        let resolved: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, *port)],
            Err(_name) => {
                lookup_host((host.as_str(), *port)).await.map_err(|_| self.unresolved())?.take(MAX_ADDRESSES).collect()
            }
        };
        let found = resolved.len();
        let allowed: Vec<_> =
            resolved.into_iter().filter(|address| address::allowed(self.policy, address.ip())).collect();
        let refused = allowed.len() < found;
        Ok((allowed, refused))
    }

    // The client reads these messages: they name the backend, never an address inside the cluster.

    fn failed(&self, error: &io::Error) -> GatewayError {
        tracing::debug!(backend = %self.backend, host = %self.endpoint.host, port = self.endpoint.port, %error, "dial failed");
        let message = match error.kind() {
            io::ErrorKind::ConnectionRefused => format!("backend {} refuses connections", self.backend),
            _ if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) => {
                format!("backend {}: the TLS handshake failed: {error}", self.backend)
            }
            kind => format!("backend {} cannot be reached: {kind}", self.backend),
        };
        GatewayError::new(Kind::ConnectFailed, message)
    }

    fn unresolved(&self) -> GatewayError {
        GatewayError::new(Kind::ConnectFailed, format!("the host of backend {} cannot be resolved", self.backend))
    }

    fn refused(&self) -> GatewayError {
        GatewayError::new(
            Kind::AddressRefused,
            format!("backend {} resolves to an address that is not public, which the gateway refuses", self.backend),
        )
        // Another backend may well be reached: nothing was sent.
        .with_retry(Retry::Safe)
    }

    fn timed_out(&self, limit: Duration) -> GatewayError {
        GatewayError::new(
            Kind::ConnectTimeout,
            format!("backend {} did not accept a connection within {} ms", self.backend, limit.as_millis()),
        )
    }
}
