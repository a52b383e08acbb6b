//! A legacy client in front of a server that speaks only 2026-07-28 or later.
//!
//! The translation itself (answering `initialize`, `input_required` as server requests, `subscriptions/listen` as the GET
//! stream) is not there yet; what is here decides what such a client is told, and that the pairing is recognised.

use crate::gateway::error::{GatewayError, Kind};

/// What status and the client's errors say of such a server.
pub(crate) fn unavailable(server: &str) -> GatewayError {
    GatewayError::new(
        Kind::EraUnavailable,
        format!(
            "server {server} speaks only protocol revisions from 2026-07-28 on, and this client speaks an older one"
        ),
    )
}
