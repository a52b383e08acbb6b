//! The custom resources, as people write them: types, schemas, conditions. No I/O, no clock, no meaning.
//!
//! What a value means is decided in [`crate::translate`]; what the API server can check alone is written here, as
//! schema and CEL. Every field is enforced by something: a field arrives together with what enforces it.
//!
//! * one file per kind: [`gateway`] (with [`gateway_settings`] and [`telemetry`]), [`backend`] (with [`health`]), [`route`] (with
//!   [`failover`]), [`auth_policy`];
//! * what several kinds share: [`common`], [`duration`], [`pod`];
//! * [`conditions`]: the vocabulary of statuses;
//! * [`crd`]: the custom resource definitions, as they are installed; [`validate`]: what the API server refuses by them.

// The schema derive repeats each struct, `pub` and all, inside a function.
#![allow(unreachable_pub)]
// The doc comments become descriptions in the definitions, which `kubectl explain` shows as plain text.
#![allow(clippy::doc_markdown)]

#[macro_use]
mod group;

pub mod auth_policy;
pub mod backend;
pub mod common;
pub mod conditions;
pub mod crd;
pub mod duration;
mod egress;
pub mod failover;
pub mod gateway;
pub mod gateway_settings;
pub mod health;
mod patterns;
pub mod pod;
pub mod route;
mod schema;
pub mod telemetry;
pub mod validate;

pub use auth_policy::{McpAuthPolicy, McpAuthPolicySpec, McpAuthPolicyStatus};
pub use backend::{McpBackend, McpBackendSpec, McpBackendStatus};
pub use duration::Duration;
pub use gateway::{McpGateway, McpGatewaySpec, McpGatewayStatus};
pub use group::{
    API_VERSION, BACKEND_LABEL, CATEGORY, CONTROLLER_NAME, GATEWAY_LABEL, GENERATION_ANNOTATION, GROUP,
    PAUSED_ANNOTATION, RESTARTED_AT_ANNOTATION, ROTATE_KEYS_ANNOTATION, VERSION,
};
pub use route::{McpRoute, McpRouteSpec, McpRouteStatus};
