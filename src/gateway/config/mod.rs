//! Bringing generations in: directories in a pod, manifests on a laptop.
//!
//! Whatever the source, a [`Runtime`] applies what comes, whole or not at all, and keeps the last good generation.

pub mod directory;
pub mod runtime;
pub mod watch;

pub use runtime::{Engine, Refused, Runtime};

#[cfg(test)]
pub(crate) mod fake;
