//! The operator against a real API server (`make control-plane`). Everything runs in a network namespace of the suite's
//! own; there are no nodes.

// Tests say what they expect by failing.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)]

mod cel;
mod chart;
mod check;
mod cluster;
mod drift;
mod failover;
mod faults;
mod golden;
mod kubelet;
mod leaders;
mod life;
mod neighbours;
mod operator;
mod rotation;
mod scale;
mod smoke;
mod stage;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod trouble;
