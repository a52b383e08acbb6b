//! Connections to another replica of this gateway: the same pool as towards servers, with a dialer of its own.

use super::super::error::{GatewayError, Kind, Retry};
use super::body::JsonBody;
use super::dial::Dialer;
use super::pool::{Bound, Pool, Use};
use super::stream::Stream;
use crate::ir::channel::SERVER_NAME;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Timeouts;
use bytes::Bytes;
use http::Request;
use http::response::Parts;
use http_body_util::Full;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a replica may take to accept a connection: the kernel repeats a lost SYN after a second, and one is forgiven.
const CONNECT: Duration = Duration::from_millis(1500);

/// How long what was sent may stay unacknowledged before the connection counts as broken: a node that lost its power resets
/// nothing.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Connections to one replica, for calls bounded as those to a backend are.
pub(crate) struct PeerConnections(Arc<Pool>);

impl PeerConnections {
    /// Nothing is dialled before it is needed.
    pub(crate) fn new(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let dialer = Dialer::Peer(Box::new(Peer { address, config }));
        // The name stands in messages for the log only.
        let name = ObjectId::new("replica", address.to_string());
        Self(Pool::new(name, dialer, Arc::new(Bound::default()), 1))
    }

    /// Sends a request and waits for the head of its answer, at the most for `limit`. Of errors,
    /// [`ConnectFailed`](Kind::ConnectFailed) and [`ConnectTimeout`](Kind::ConnectTimeout) mean that there is no such replica any
    /// more; [`Retry::Safe`] means that nothing was sent.
    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
        stands: bool,
    ) -> Result<(Parts, JsonBody), GatewayError> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let timeouts =
            Timeouts { connect_ms: ms(CONNECT), request_ms: ms(limit), response_ms: ms(limit), ..Timeouts::default() };
        let purpose = if stands { Use::Stream } else { Use::Call };
        let (head, body) = self.0.exchange(request, &timeouts, purpose).await?;
        Ok((head, JsonBody::new(body)))
    }
}

/// Where a replica listens for its peers, and the one certificate it is known by.
pub(super) struct Peer {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Peer {
    pub(super) async fn dial(&self) -> Result<Stream, GatewayError> {
        let stream = TcpStream::connect(self.address).await.map_err(|error| self.unreachable(&error))?;
        watchful(&stream).map_err(|error| self.unreachable(&error))?;
        let name = ServerName::try_from(SERVER_NAME).map_err(|_| self.untrusted("its name is not one"))?;
        match TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            // Whoever is at this address is not the replica, or has another generation's certificate.
            Err(error) if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) => {
                Err(self.untrusted(&error.to_string()))
            }
            Err(error) => Err(self.unreachable(&error)),
        }
    }

    fn unreachable(&self, error: &io::Error) -> GatewayError {
        use io::ErrorKind as K;
        let gone = [K::ConnectionRefused, K::ConnectionReset, K::ConnectionAborted, K::HostUnreachable]
            .into_iter()
            .chain([K::TimedOut, K::UnexpectedEof, K::BrokenPipe])
            .any(|kind| kind == error.kind());
        // Anything else, such as no descriptor to spare, says nothing about the other side.
        let kind = if gone { Kind::ConnectFailed } else { Kind::ReplicaUnavailable };
        GatewayError::new(kind, format!("replica {} cannot be reached: {error}", self.address)).with_retry(Retry::Safe)
    }

    fn untrusted(&self, why: &str) -> GatewayError {
        let message = format!("replica {} cannot be trusted: {why}", self.address);
        GatewayError::new(Kind::ReplicaUnavailable, message)
    }

    pub(super) fn timed_out(&self) -> GatewayError {
        let message = format!("replica {} did not accept a connection within {} ms", self.address, CONNECT.as_millis());
        GatewayError::new(Kind::ConnectTimeout, message)
    }
}

/// Has the kernel notice when the other side is gone without a word.
pub(crate) fn watchful(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new().with_time(UNACKNOWLEDGED).with_interval(UNACKNOWLEDGED / 2).with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(())
}
