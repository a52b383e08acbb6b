//! The shim's own handshake: it tells whether the command is an MCP server at all, before any client asks.

use super::message::{LEGACY_VERSIONS, Message, PROCESS_FAILED};
use super::{Shim, ShimError, link, modern, session};
use bytes::Bytes;
use std::sync::Arc;

/// Why no handshake came about.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    #[error(transparent)]
    Shim(#[from] ShimError),
    /// The process ended before it answered.
    #[error("{0}")]
    Ended(String),
    /// It answered, and not as a server of either era does.
    #[error("it refused the handshake: {0}")]
    Refused(String),
}

impl Shim {
    /// Makes a handshake of the legacy era, and of the modern one with a server that refuses that: some old servers are stuck after
    /// anything before `initialize`, and new ones are not. A process that may serve others afterwards is kept: the one that
    /// sessions share, and the one of the modern era. Any other has its client's own words to come, and is ended.
    pub(super) async fn handshake(self: &Arc<Self>) -> Result<(), HandshakeError> {
        let (session, answer) = session::open(Arc::clone(self), hello()?, None).await?;
        if let Some(session) = session {
            let initialized = Message::decode(link::initialized()).map_err(|_| ShimError::Gone)?;
            // It may have ended by now, but it has answered.
            let _ = session.notify(&initialized).await;
            return Ok(());
        }
        let answer = Message::decode(answer).map_err(|_| ShimError::Gone)?;
        let said = answer.error_message().unwrap_or_else(|| "its answer has neither result nor error".to_owned());
        if answer.error_code() == Some(i64::from(PROCESS_FAILED)) {
            return Err(HandshakeError::Ended(said));
        }
        if modern::speaks(self).await? { Ok(()) } else { Err(HandshakeError::Refused(said)) }
    }
}

fn hello() -> Result<Message, ShimError> {
    let newest = LEGACY_VERSIONS[LEGACY_VERSIONS.len() - 1];
    let client = format!(r#"{{"name":"mcp-gateway","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
    let params = format!(r#"{{"protocolVersion":"{newest}","capabilities":{{}},"clientInfo":{client}}}"#);
    let hello = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{params}}}"#);
    Message::decode(Bytes::from(hello)).map_err(|_| ShimError::Gone)
}
