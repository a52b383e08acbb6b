//! Spans, by what became of them.

use prometheus::{IntCounter, IntCounterVec};

/// Handles of what is exported.
#[derive(Clone)]
pub(crate) struct SpanCounts {
    /// The collector took it.
    pub(crate) exported: IntCounter,
    /// Too many were waiting.
    pub(crate) queue_full: IntCounter,
    /// The collector did not take it.
    pub(crate) failed: IntCounter,
}

impl SpanCounts {
    pub(super) fn resolve(spans: &IntCounterVec) -> Self {
        let outcome = |word| spans.with_label_values(&[word]);
        Self { exported: outcome("exported"), queue_full: outcome("queue_full"), failed: outcome("failed") }
    }
}
