//! Gateways for the Model Context Protocol (MCP) on Kubernetes.
//!
//! The crate is layered; each layer may use the ones above it in this list, and no other:
//!
//! | module | what it is | may do I/O |
//! |---|---|---|
//! | [`api`] | the custom resources, as people write them | no |
//! | [`ir`] | the domain: what a gateway serves ([`ir::snapshot`]), ids, secrets | no |
//! | [`translate`] | objects in, snapshots and statuses out; total and deterministic | no |
//! | `net` | listening sockets, and bounds on connections | network |
//! | [`shim`] | runs stdio MCP servers as child processes and serves them over HTTP | processes |
//! | [`gateway`] | the data plane: serves MCP to clients in front of many MCP servers | network |
//! | [`operator`] | reconciles the custom resources of a cluster | network |
//! | [`cli`] | what the binaries do, beyond parsing their arguments | files |
//!
//! `api`, `ir` and `translate` read no clock. Only the operator knows the Kubernetes API server; the
//! gateway and the shim never do. `tests/layering.rs` holds these rules.

pub mod api;
pub mod cli;
pub mod ir;
pub mod translate;

#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "gateway")]
pub mod net;
#[cfg(feature = "operator")]
pub mod operator;
#[cfg(feature = "gateway")]
pub mod shim;
