//! The protocol on the wire: envelopes, edits, event streams, headers, versions. Pure.

pub mod envelope;
pub mod headers;
pub mod json;
pub mod message;
pub mod meta;
pub mod modern;
pub mod param_headers;
pub mod peek;
mod scan;
pub mod splice;
pub mod sse;
pub mod sse_write;
pub mod uri_template;
pub mod version;
