//! The protocol on the wire: envelopes, edits, event streams, headers, versions. Pure.

pub mod envelope;
pub mod json;
pub mod message;
pub mod peek;
mod scan;
pub mod splice;
pub mod sse;
pub mod sse_write;
