//! The operator: the only code that talks to the Kubernetes API server.
//!
//! gather -> translate -> build -> apply -> push -> publish, each step in a room of its own. Watches keep [`watch`]'s caches; a change
//! of them has the world gathered and translated again ([`world`]); what differs from before is built, applied and pushed
//! object by object, and what comes of it is published as statuses.

mod apply;
pub mod build;
mod client;
mod context;
mod gather;
mod health;
mod keys;
mod lease;
mod metrics;
mod observe;
mod owner;
mod push;
mod queue;
mod scope;
mod target;
mod watch;
mod world;

/// Who writes: the field manager of every server-side apply.
const FIELD_MANAGER: &str = "mcp-operator";

/// Who holds `spec.replicas` while an autoscaler decides about it; see [`apply`].
const SCALE_MANAGER: &str = "mcp-operator-scale";
