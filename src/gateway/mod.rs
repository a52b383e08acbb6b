//! The data plane: serves MCP to clients, in front of many MCP servers.
//!
//! A request passes these rooms in order; `docs/architecture.md` walks through them:
//! [`listener`] accepts it, [`downstream`] speaks the client's transport, [`mcp`] reads the envelope, [`session`] finds who
//! it is, [`catalog`] finds whose tool it is, [`adapter`] maps the client's protocol era onto the server's, [`upstream`]
//! calls the server. [`config`] brings generations in, [`admin`] shows what happens, [`trace`] tells a collector of it, [`peers`] is
//! where replicas meet.

pub mod adapter;
pub mod admin;
pub mod balance;
pub mod catalog;
pub mod channel;
pub mod config;
pub mod downstream;
mod engine;
pub mod error;
pub mod listener;
pub mod mcp;
pub mod metrics;
pub mod peers;
pub(crate) mod router;
pub mod session;
pub mod state;
mod status;
pub mod telemetry;
pub(crate) mod trace;
pub mod upstream;
mod verify;

/// A final answer that may still have to be looked at or edited as a whole is held up to this size, in bytes (256 KiB);
/// beyond it the bytes are passed on as they come.
pub const HOLD_BYTES: usize = 256 * 1024;
