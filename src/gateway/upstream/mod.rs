//! How the gateway reaches MCP servers: connections, the transports they carry, and the choice among servers.
//!
//! [`Group`] stands for one server of a route and chooses among its backends; [`Upstream`] is one backend. A legacy client
//! gets an [`UpstreamSession`] with it, a modern client's calls go out one by one ([`ModernCall`]). Either way there is an
//! [`Answer`], which is read as it comes; at its end its connection goes back to the pool.

mod address;
mod answer;
mod backend;
mod body;
mod clients;
mod collector;
mod connection;
mod dial;
mod endpoint;
mod events;
mod failure;
mod group;
mod http_sse;
mod http_sse_router;
mod initialize;
mod knowledge;
mod listen;
mod peer;
mod pool;
mod process;
mod select;
mod session;
mod stream;
mod streamable;
mod tls;
mod verify;

#[cfg(test)]
mod tests;

pub use answer::Answer;
pub use backend::{Upstream, UpstreamStats};
pub use body::JsonBody;
pub(crate) use collector::CollectorDialer;
pub use events::EventStream;
pub use group::Group;
pub(crate) use knowledge::Introduction;
pub(crate) use peer::{PeerConnections, watchful};
pub(crate) use session::Released;
pub use session::UpstreamSession;
pub(crate) use stream::Stream;

use super::error::GatewayError;
use super::trace::Link;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// Where messages go that a server sends outside of any call's answer: on its GET stream, on its HTTP+SSE stream without a
/// call to belong to, or after the call's own stream is gone. Must not block.
pub trait SessionSink: Send + Sync {
    /// One whole JSON-RPC request or notification from the server.
    fn deliver(&self, message: Bytes);
    /// The session is gone and will answer nothing more: the server ended it or cannot be reached any more.
    fn lost(&self, error: GatewayError);
    /// What our shim knows the client's session by. Every replica says the same, and nobody else can.
    fn session_key(&self) -> Option<&str> {
        None
    }
}

/// One step of a streamed answer.
#[derive(Debug)]
pub enum Event {
    /// A whole JSON-RPC message of at most [`HOLD_BYTES`](super::HOLD_BYTES).
    Message(Bytes),
    /// A piece of a message larger than that, in order; the first piece has at least `HOLD_BYTES`.
    Part {
        /// The piece.
        bytes: Bytes,
        /// Whether it is the message's last.
        last: bool,
    },
    /// The server closed the stream before the answer, as 2025-11-25 allows, and the upstream resumes it by itself
    /// (`Last-Event-ID`) after this wait.
    Paused(Duration),
}

/// One call of the modern era, with what its HTTP headers mirror.
#[derive(Clone, Debug)]
pub struct ModernCall {
    /// The JSON-RPC request.
    pub body: Bytes,
    /// `MCP-Protocol-Version`, as in `_meta`.
    pub protocol_version: HeaderValue,
    /// `Mcp-Method`.
    pub method: HeaderValue,
    /// `Mcp-Name`, encoded, where the method has one.
    pub name: Option<HeaderValue>,
    /// `Mcp-Param-*` and the like. They never replace a header of the gateway's own.
    pub extra: Vec<(HeaderName, HeaderValue)>,
    /// The place in a trace that it is made for.
    pub(crate) trace: Option<Arc<Link>>,
}

impl ModernCall {
    /// Whether the answer is a stream without an end of its own.
    fn is_subscription(&self) -> bool {
        self.method.as_bytes() == b"subscriptions/listen"
    }
}
