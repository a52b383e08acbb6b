//! Sends spans in batches, away from the request path: what the collector does not take in time is lost and counted.

use super::SpanCounts;
use crate::ir::secrets::PrivateBytes;
use crate::ir::snapshot::Tracing;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Spans that wait at the most, about 2 MiB: OpenTelemetry's default.
pub(super) const QUEUE: usize = 2048;
/// Spans that are sent at once: OpenTelemetry's default.
const BATCH: usize = 512;
/// How long a span waits for others to be sent with.
const GATHER: Duration = Duration::from_secs(1);
/// How often a batch is sent before it is given up: one that the collector cannot take must not hold the others up for ever.
const TRIES: u32 = 5;
/// The waits after failures in a row: the first and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// All of one attempt: the exporter's own limit is ten seconds for each of its steps.
const ATTEMPT: Duration = Duration::from_secs(30);
/// Failures are logged this often at the most.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// How much of an error is logged, in characters.
const MAX_ERROR: usize = 200;

/// Where batches go.
pub(super) trait Sink: Send {
    fn send(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send;
}

impl Sink for SpanExporter {
    fn send(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        self.export(batch)
    }
}

/// The exporting side of a tracer.
pub(super) struct Export<S> {
    endpoint: String,
    /// What must not be in a log, whoever says it.
    secrets: Vec<PrivateBytes>,
    sink: S,
    counts: SpanCounts,
    /// Failures in a row.
    failures: u32,
    logged: Option<Instant>,
}

impl<S: Sink> Export<S> {
    pub(super) fn new(spec: &Tracing, secrets: &[PrivateBytes], sink: S, counts: SpanCounts) -> Self {
        Self { endpoint: spec.endpoint.clone(), secrets: secrets.to_vec(), sink, counts, failures: 0, logged: None }
    }

    /// Sends what comes until nobody makes spans any more, or until what there is was sent once `flushing` is cancelled.
    pub(super) async fn run(mut self, mut spans: mpsc::Receiver<SpanData>, flushing: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let got = tokio::select! {
                got = spans.recv_many(&mut batch, BATCH) => got,
                () = flushing.cancelled(), if !spans.is_closed() => {
                    spans.close();
                    continue;
                }
            };
            if got == 0 {
                return;
            }
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                tokio::select! {
                    more = timeout_at(until, spans.recv_many(&mut batch, room)) => match more {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => break,
                    },
                    () = flushing.cancelled() => break,
                }
            }
            self.send(std::mem::take(&mut batch), &flushing).await;
        }
    }

    async fn send(&mut self, batch: Vec<SpanData>, flushing: &CancellationToken) {
        let spans = batch.len() as u64;
        for attempt in 1..=TRIES {
            let sent = timeout(ATTEMPT, self.sink.send(batch.clone())).await;
            let error = match sent {
                Ok(Ok(())) => {
                    self.succeeded();
                    self.counts.exported.inc_by(spans);
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "no answer".to_owned(),
            };
            self.failed(&error);
            let ends = flushing.is_cancelled();
            if attempt == TRIES || ends {
                self.counts.failed.inc_by(spans);
            }
            if ends {
                return;
            }
            let wait = (BACKOFF.0 * (1 << (self.failures - 1).min(5))).min(BACKOFF.1);
            tokio::select! {
                () = sleep(wait) => {}
                // One more time, and no more waiting.
                () = flushing.cancelled() => {}
            }
        }
    }

    fn succeeded(&mut self) {
        if std::mem::take(&mut self.failures) > 0 {
            self.logged = None;
            tracing::info!(endpoint = self.endpoint, "traces are exported again");
        }
    }

    fn failed(&mut self, error: &str) {
        self.failures = self.failures.saturating_add(1);
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY) {
            return;
        }
        self.logged = Some(Instant::now());
        let (failures, error) = (self.failures, self.without_secrets(error));
        tracing::warn!(
            endpoint = self.endpoint,
            failures,
            error,
            "traces cannot be exported; what does not fit the queue is lost"
        );
    }

    /// A collector may repeat what it was shown.
    fn without_secrets(&self, error: &str) -> String {
        let secrets = self.secrets.iter().filter_map(|secret| std::str::from_utf8(secret.expose()).ok());
        let hidden = secrets
            .map(str::trim)
            .filter(|secret| !secret.is_empty())
            .fold(error.to_owned(), |error, secret| error.replace(secret, "[redacted]"));
        hidden.chars().take(MAX_ERROR).collect()
    }
}
