//! Sessions of legacy clients: sealed ids, live state, streams that can be resumed.

pub mod seal;
