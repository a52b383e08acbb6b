//! The client side of the protocol: Streamable HTTP for both eras, and HTTP+SSE.
//!
//! [`service`] takes each request in and decides by era; [`legacy`] and [`modern`] speak Streamable HTTP, [`sse_transport`]
//! the transport of 2024-11-05, [`multiplex`] puts several answers on one stream; [`respond`] gives answers their HTTP form, [`relay`] passes streams on.

pub mod body;
pub(crate) mod legacy;
pub(crate) mod listen;
pub(crate) mod modern;
pub(crate) mod multiplex;
pub(crate) mod relay;
pub(crate) mod respond;
pub mod service;
pub(crate) mod sse_transport;
