//! Accepting connections: sockets, TLS, HTTP/1.1, limits, Host and Origin checks.

pub mod body;
pub mod guard;

use super::downstream::body::ResponseBody;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::sync::Arc;

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
