//! The protocol on the wire: envelopes, edits, event streams, headers, versions. Pure.
