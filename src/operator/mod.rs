//! The operator: the only code that talks to the Kubernetes API server.
//!
//! gather -> translate -> build -> apply -> push -> publish, each step in a room of its own. Watches keep [`watch`]'s caches; a change
//! of them has the world gathered and translated again ([`world`]); what differs from before is built, applied and pushed
//! object by object, and what comes of it is published as statuses.

mod apply;
pub mod build;
mod check;
mod client;
mod context;
mod deploy;
mod fleet;
mod gather;
mod health;
pub mod inspect;
mod keys;
mod lease;
#[cfg(test)]
mod manifests;
mod metrics;
mod observe;
mod owner;
mod publish;
mod push;
mod queue;
mod run;
mod scope;
mod target;
mod tokens;
mod watch;
mod world;

pub use check::{Check, NotWell};
pub use context::Options;
pub use run::{OperatorError, random_identity, run};
pub use scope::Scope;

/// The data plane's image of this version, where a gateway names none.
pub const DEFAULT_GATEWAY_IMAGE: &str = concat!("ghcr.io/mcp-gateway-operator/mcp-gateway:", env!("CARGO_PKG_VERSION"));

/// Who writes: the field manager of every server-side apply.
const FIELD_MANAGER: &str = "mcp-operator";

/// Who holds `spec.replicas` while an autoscaler decides about it; see [`apply`].
const SCALE_MANAGER: &str = "mcp-operator-scale";
