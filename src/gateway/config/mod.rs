//! Bringing generations in: directories and pushes in a pod, manifests on a laptop.
//!
//! Whatever the source, a [`Runtime`] applies what comes, whole or not at all, and keeps the last good generation.

pub mod consistency;
pub mod directory;
pub mod follow;
pub mod rank;
pub mod runtime;
pub mod watch;

pub use follow::{Found, Source, Unread, first, follow};
pub use rank::Rank;
pub use runtime::{Engine, EngineReport, Refused, Runtime, Verdict};
pub use watch::Watch;

#[cfg(test)]
pub(crate) mod fake;
