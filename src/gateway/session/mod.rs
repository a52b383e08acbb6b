//! Sessions of legacy clients: sealed ids, live state, streams that can be resumed.

pub(crate) mod binding;
pub(crate) mod hello;
pub(crate) mod inbound;
pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod questions;
pub mod seal;
pub(crate) mod table;
