//! Objects in, snapshots and statuses out: pure, total and deterministic.

pub mod facts;
mod inputs;
pub mod manifests;
mod strict;

pub use inputs::{DEFAULT_NAMESPACE, InputError, Inputs, LaptopFlags};
