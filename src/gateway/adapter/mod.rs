//! The four pairings of a client's and a server's protocol era, behind one interface.
//!
//! | client \ server | legacy (≤ 2025-11-25) | modern (≥ 2026-07-28) |
//! |---|---|---|
//! | legacy | [`legacy`]: sessions on both sides | [`legacy_to_modern`] |
//! | modern | [`modern_to_legacy`] | [`modern`]: stateless on both sides |
//!
//! A client is served in its own era by every server that speaks it. The two crossed pairings translate; until they do,
//! a server that speaks only the other era is left out of the client's lists, and status says why.

pub(crate) mod legacy;
pub(crate) mod legacy_to_modern;
pub(crate) mod modern;
pub(crate) mod modern_to_legacy;
pub(crate) mod owner;
pub(crate) mod reply;
