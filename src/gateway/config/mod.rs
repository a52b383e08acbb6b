//! Bringing generations in: directories in a pod, manifests on a laptop.
//!
//! Whatever the source, a [`Runtime`] applies what comes, whole or not at all, and keeps the last good generation.

pub mod consistency;
pub mod directory;
pub mod follow;
pub mod runtime;
pub mod watch;

pub use follow::{Source, follow};
pub use runtime::{Engine, Refused, Runtime};
pub use watch::Watch;

#[cfg(test)]
pub(crate) mod fake;
