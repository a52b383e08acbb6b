//! The domain, pure: what a gateway serves, the names of things, secrets that do not print.
//!
//! [`snapshot::Snapshot`] is the contract between translation and the data plane, [`infra`] the one between translation and
//! the operator.

pub mod channel;
pub mod generation;
pub mod ids;
pub mod infra;
pub mod secrets;
pub mod snapshot;
