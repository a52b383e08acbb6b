//! Direct and proxied answers, compared: everything that a server offers directly, it offers through the gateway.

pub(crate) mod blur;
pub(crate) mod cases;
pub(crate) mod everything;
pub(crate) mod fixture;
pub(crate) mod local;
pub(crate) mod record;

mod changes;
mod fixture_server;
mod real_servers;
