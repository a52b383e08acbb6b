//! Attempts at MCP servers, counted and timed to the end of the server's answer.

use super::{Metrics, OK, Outcome};
use crate::gateway::error::Kind;
use crate::gateway::trace::{ClientSpan, Ending, Link, Outbound, Traced};
use crate::ir::ids::ObjectId;
use bytes::Bytes;
use prometheus::{Histogram, IntCounter, IntGauge};
use std::sync::Arc;
use tokio::time::Instant;

/// Handles of one backend.
pub struct BackendMetrics {
    metrics: Arc<Metrics>,
    backend: String,
    ok: IntCounter,
    seconds: Histogram,
    in_flight: IntGauge,
    /// Attempts at this backend that follow a failed one, here or at another.
    pub retries: IntCounter,
}

impl BackendMetrics {
    pub(super) fn resolve(metrics: Arc<Metrics>, backend: &ObjectId) -> Self {
        let backend = backend.to_string();
        let labels = [backend.as_str()];
        Self {
            ok: metrics.upstream_requests.with_label_values(&[backend.as_str(), OK]),
            seconds: metrics.upstream_seconds.with_label_values(&labels),
            in_flight: metrics.upstream_in_flight.with_label_values(&labels),
            retries: metrics.upstream_retries.with_label_values(&labels),
            backend,
            metrics,
        }
    }

    /// Starts to time one attempt.
    pub fn start(self: &Arc<Self>) -> AttemptTimer {
        self.in_flight.inc();
        AttemptTimer { backend: Arc::clone(self), started: Instant::now(), span: None, ended: false }
    }

    /// Counts a handshake that no client asked for.
    pub fn verified(&self, result: Result<(), Kind>) {
        let word = result.err().map_or(OK, Kind::word);
        self.metrics.verifications.with_label_values(&[self.backend.as_str(), word]).inc();
    }

    /// Counts a listing of the backend's offers, made at a fill, after `list_changed` or when it went stale.
    pub fn catalog_refreshed(&self, result: Result<(), Kind>) {
        let word = result.err().map_or(OK, Kind::word);
        self.metrics.catalog_refreshes.with_label_values(&[self.backend.as_str(), word]).inc();
    }

    fn end(&self, started: Instant, outcome: Outcome) {
        self.in_flight.dec();
        self.seconds.observe(started.elapsed().as_secs_f64());
        match outcome.failure() {
            None => self.ok.inc(),
            Some(word) => self.metrics.upstream_requests.with_label_values(&[self.backend.as_str(), word]).inc(),
        }
    }
}

/// An attempt at a backend being timed. Dropped without a word, it counts as cancelled.
#[must_use = "dropping it counts the attempt as cancelled"]
pub struct AttemptTimer {
    backend: Arc<BackendMetrics>,
    started: Instant,
    /// The same for whoever reads traces.
    span: Option<Box<ClientSpan>>,
    ended: bool,
}

impl AttemptTimer {
    /// Traces the attempt, if what it is made for is traced. Yields the request as it goes out.
    pub(crate) fn traced<'a>(
        &mut self,
        trace: Option<&Arc<Link>>,
        body: Bytes,
        outbound: impl FnOnce() -> Outbound<'a>,
    ) -> Traced {
        let Some(trace) = trace else { return body.into() };
        let (span, traced) = trace.attempt(body, &outbound());
        self.span = span;
        traced
    }

    /// A piece of the answer came, or all of it.
    pub(crate) fn saw(&mut self, piece: &Bytes) {
        if let Some(span) = &mut self.span {
            span.saw(piece);
        }
    }

    /// The server answered, be it with a result or an error of its own.
    pub fn ok(mut self) {
        if let Some(span) = self.span.take() {
            span.answered();
        }
        self.end(Outcome::Ok);
    }

    /// The attempt failed in this way.
    pub fn failed(mut self, kind: Kind) {
        self.end(Outcome::Failed(kind));
    }

    fn end(&mut self, outcome: Outcome) {
        if !std::mem::replace(&mut self.ended, true) {
            self.backend.end(self.started, outcome);
            if let Some(span) = self.span.take() {
                span.end(match outcome {
                    Outcome::Ok => Ending::Ok,
                    Outcome::Failed(kind) => Ending::Failed(kind),
                    Outcome::Cancelled => Ending::Cancelled,
                });
            }
        }
    }
}

impl Drop for AttemptTimer {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled);
    }
}
