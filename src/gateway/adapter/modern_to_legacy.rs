//! A modern client in front of a server that speaks only revisions up to 2025-11-25.
//!
//! The translation itself (pooled server sessions, server requests as `input_required`) is not there yet; what is here
//! decides what such a client is told, and that the pairing is recognised.

use crate::gateway::error::{GatewayError, Kind};

/// What status and the client's errors say of such a server.
pub(crate) fn unavailable(server: &str) -> GatewayError {
    GatewayError::new(
        Kind::EraUnavailable,
        format!("server {server} speaks only protocol revisions up to 2025-11-25, and this client speaks a newer one"),
    )
}
