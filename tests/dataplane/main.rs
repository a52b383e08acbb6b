//! The data plane as a process, against servers and clients of our own.

// A test fails by panicking, helpers included.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod bytes;
mod channel;
mod channel_endpoints;
mod cli;
mod drain;
mod guard;
mod hostile;
mod limits;
mod modern;
mod reload;
mod replicas;
mod replicas_drained;
mod replicas_lost;
mod run;
mod sessions;
mod shim_pod;
mod stdio;
mod tls;
mod tracing;
mod verification;
