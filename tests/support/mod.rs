//! What tests of the running gateway share: the gateway as a process, generations to feed it, raw HTTP towards it, MCP
//! clients in front of it and scripted MCP servers behind it. Everything is on the loopback and ends with its test.

// Each test binary uses what it needs of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]
// Messages are written where they are sent.
#![allow(clippy::needless_pass_by_value)]

pub mod balancer;
pub mod channel;
pub mod collector;
pub mod generation;
pub mod http;
pub mod mcp;
pub mod notifier;
#[cfg(feature = "operator")]
pub mod objects;
pub mod process;
pub mod replicas;
pub mod upstream;

use std::time::Duration;

/// How long a test waits for something that must happen: far beyond what a busy machine needs, so that only a defect ends
/// there.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a future, and names what did not happen otherwise.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let Ok(output) = tokio::time::timeout(PATIENCE, future).await else {
        panic!("{what}: not within {PATIENCE:?}");
    };
    output
}
