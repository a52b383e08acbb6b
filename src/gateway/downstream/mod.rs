//! The client side of the protocol: Streamable HTTP for both eras, and HTTP+SSE.

pub mod body;
