//! The gateway against MCP servers and clients from npm and PyPI, and against the conformance suite.
//!
//! Needs the network once, for `tests/tools/install.sh`.

#![allow(clippy::needless_pass_by_value, reason = "`json!` values are made to be passed on")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed, and says where")]

mod clients;
mod compare;
mod conformance;
mod gateway;
mod quickstart;
mod replicas;
mod servers;
#[path = "../support/mod.rs"]
mod support;
mod tools;
mod wire;
mod workspace;

use tokio::sync::{Mutex, MutexGuard};

/// Tests that start many processes take turns: on two cores they would only slow each other down, and time out.
async fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}
