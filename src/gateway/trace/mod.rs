//! Traces: a span for each client request and for each attempt at a server, exported over OTLP.
//!
//! Names and attributes follow OpenTelemetry's semantic conventions for MCP; `docs/tracing.md` lists them. A span lives in the
//! timer that counts the same thing ([`RequestTimer`](super::metrics::RequestTimer), [`AttemptTimer`](super::metrics::AttemptTimer)), so that
//! traces and metrics never disagree about how something ended. Without a [`Tracer`] there are no spans, and nothing is paid
//! for them but a look.
//!
//! What is exported is bounded and holds no secrets: no arguments, results, messages of errors, headers, or session ids.

mod attempt;
mod carry;
mod context;
mod describe;
mod ending;
mod export;
mod otlp;
mod request;

#[cfg(test)]
mod tests;

pub(crate) use attempt::{ClientSpan, Outbound};
pub(crate) use carry::Traced;
pub(crate) use ending::Ending;
pub(crate) use request::{InSession, Origin, ServerSpan};

use super::metrics::SpanCounts;
use crate::ir::ids::ObjectId;
use crate::ir::secrets::{Credentials, PrivateBytes};
use crate::ir::snapshot::Tracing;
use context::Context;
use opentelemetry::trace::{SpanKind, Status, TraceId};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest text of an attribute, in bytes: names of tools and URIs are the clients' choice.
const MAX_TEXT: usize = 256;

/// The whole of a ratio in millionths.
const MILLION: u32 = 1_000_000;

/// Makes spans and hands them to the exporter. Kept over generations for as long as its settings stay.
pub(crate) struct Tracer {
    spec: Tracing,
    /// The values of the headers that the spec names.
    secrets: Vec<PrivateBytes>,
    ids: RandomIdGenerator,
    queue: mpsc::Sender<SpanData>,
    counts: SpanCounts,
    /// Cancelled when what is queued is to go out at once.
    flushing: CancellationToken,
    /// The exporters of this tracer and of those before it.
    exporters: TaskTracker,
}

/// A request's place in its trace: what the attempts to answer it hang on.
pub(crate) struct Link {
    tracer: Arc<Tracer>,
    context: Context,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.context.fmt(f)
    }
}

impl Tracer {
    /// What makes the spans of a generation: the one before, if nothing changed. Settings that cannot be used are no reason not
    /// to serve: they are logged, and there are no spans.
    pub(crate) fn of_generation(
        spec: Option<&Tracing>,
        credentials: &Credentials,
        gateway: &ObjectId,
        counts: &SpanCounts,
        before: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let spec = spec?;
        let values: Option<Vec<PrivateBytes>> =
            spec.headers.iter().map(|header| credentials.get(&header.value).cloned()).collect();
        let Some(secrets) = values else {
            tracing::error!(endpoint = spec.endpoint, "no traces are exported: the value of a header is missing");
            return None;
        };
        if let Some(before) = before.filter(|before| before.spec == *spec && before.secrets == secrets) {
            return Some(Arc::clone(before));
        }
        let exporter = otlp::exporter(spec, &secrets, gateway)
            .inspect_err(|error| tracing::error!(endpoint = spec.endpoint, %error, "no traces are exported"))
            .ok()?;
        let exporters = before.map_or_else(TaskTracker::new, |before| before.exporters.clone());
        let flushing = CancellationToken::new();
        let (queue, spans) = mpsc::channel(export::QUEUE);
        let export = export::Export::new(spec, &secrets, exporter, counts.clone());
        exporters.spawn(export.run(spans, flushing.clone()));
        tracing::info!(endpoint = spec.endpoint, "traces are exported");
        let (spec, counts) = (spec.clone(), counts.clone());
        Some(Arc::new(Self { spec, secrets, ids: RandomIdGenerator::default(), queue, counts, flushing, exporters }))
    }

    /// Sends what is queued, within a time.
    pub(crate) async fn flush(&self, limit: Duration) {
        self.flushing.cancel();
        self.exporters.close();
        if tokio::time::timeout(limit, self.exporters.wait()).await.is_err() {
            tracing::warn!(endpoint = self.spec.endpoint, "the last spans could not be exported in time");
        }
    }

    /// The context of a new span: in its parent's trace, or in a new one. A parent that is not recorded stays as it is.
    fn context(&self, parent: Option<&Context>) -> Context {
        match parent {
            Some(parent) if !parent.sampled => parent.clone(),
            Some(parent) => Context { span: self.ids.new_span_id(), ..parent.clone() },
            None => {
                let trace = self.ids.new_trace_id();
                let sampled = is_sampled(trace, self.spec.sampled_per_million);
                Context { trace, span: self.ids.new_span_id(), sampled, state: None }
            }
        }
    }

    /// Hands a span over; one too many is lost and counted, and nobody waits.
    fn finish(&self, mut span: SpanData, ending: Ending) {
        ending.write(&mut span);
        span.end_time = SystemTime::now();
        if self.queue.try_send(span).is_err() {
            self.counts.queue_full.inc();
        }
    }
}

/// Whether a new trace is recorded. By its id, as OpenTelemetry's own sampler decides, so that whoever else samples by the same
/// ratio decides alike.
fn is_sampled(trace: TraceId, per_million: u32) -> bool {
    if per_million >= MILLION {
        return true;
    }
    let low = u64::from_be_bytes(trace.to_bytes()[8..].try_into().unwrap_or_default());
    // 63 bits, as there.
    u128::from(low >> 1) * u128::from(MILLION) < u128::from(per_million) << 63
}

/// A span that begins now.
fn begin(context: &Context, parent: Option<&Context>, parent_is_remote: bool, kind: SpanKind) -> Box<SpanData> {
    let now = SystemTime::now();
    Box::new(SpanData {
        span_context: context.for_export(false),
        parent_span_id: parent.map_or(opentelemetry::trace::SpanId::INVALID, |parent| parent.span),
        parent_span_is_remote: parent.is_some() && parent_is_remote,
        span_kind: kind,
        name: Cow::Borrowed(""),
        start_time: now,
        end_time: now,
        // As many as most spans have.
        attributes: Vec::with_capacity(16),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("mcp-gateway")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build(),
    })
}

fn put(span: &mut SpanData, key: &'static str, value: impl Into<Value>) {
    span.attributes.push(KeyValue::new(key, value));
}

/// A text that somebody else chose, cut to size.
fn put_text(span: &mut SpanData, key: &'static str, text: &str) {
    put(span, key, bounded(text).to_owned());
}

fn bounded(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}
