//! The operator: the only code that talks to the Kubernetes API server.
//!
//! gather -> translate -> build -> apply -> push -> publish, each step in a room of its own.

pub mod observe;
