//! The server side of the protocol: connections to MCP servers and the transports they speak.

use super::error::GatewayError;
use bytes::Bytes;
use std::time::Duration;

/// Where messages go that a server sends outside of any call's answer: on its GET stream, on its HTTP+SSE stream without a
/// call to belong to, or after the call's own stream is gone. Must not block.
pub trait SessionSink: Send + Sync {
    /// One whole JSON-RPC request or notification from the server.
    fn deliver(&self, message: Bytes);
    /// The session is gone and will answer nothing more: the server ended it or cannot be reached any more.
    fn lost(&self, error: GatewayError);
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
