//! What the operator counts.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::sync::Arc;
use std::time::Duration;

/// Every metric of the operator.
pub(super) struct Metrics {
    registry: Registry,
    translations: Histogram,
    work: IntCounterVec,
    applies: IntCounterVec,
    statuses: IntCounterVec,
    pushes: IntCounterVec,
    channel_failures: IntCounterVec,
    watch_failures: IntCounterVec,
    waiting: IntGaugeVec,
    leader: IntGauge,
}

/// Upper bounds of the buckets, in seconds: a translation takes from a millisecond to a second.
const BUCKETS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Metrics {
    /// Sets up every metric.
    pub(super) fn new() -> prometheus::Result<Arc<Self>> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let work = counter(
            "mcp_operator_work_total",
            "Pieces of work, by what they were for and how they ended",
            &["step", "outcome"],
        )?;
        let applies = counter("mcp_operator_applies_total", "Objects sent to the API server", &["kind", "outcome"])?;
        let statuses = counter("mcp_operator_status_writes_total", "Statuses written", &["kind", "outcome"])?;
        let pushes =
            counter("mcp_operator_pushes_total", "What gateway pods were given over their admin channels", &["what"])?;
        let channel_failures = counter(
            "mcp_operator_channel_failures_total",
            "Admin channels of gateway pods that failed, by the reason",
            &["reason"],
        )?;
        let watch_failures =
            counter("mcp_operator_watch_failures_total", "Watches that failed and started again", &["resource"])?;
        let translations = Histogram::with_opts(
            HistogramOpts::new("mcp_operator_translation_seconds", "Time to translate the whole world")
                .buckets(BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(translations.clone()))?;
        let leader = IntGauge::new("mcp_operator_leader", "1 while this replica leads")?;
        registry.register(Box::new(leader.clone()))?;
        let waiting =
            IntGaugeVec::new(Opts::new("mcp_operator_waiting", "Objects that wait to be worked on"), &["step"])?;
        registry.register(Box::new(waiting.clone()))?;
        Ok(Arc::new(Self {
            registry,
            translations,
            work,
            applies,
            statuses,
            pushes,
            channel_failures,
            watch_failures,
            waiting,
            leader,
        }))
    }

    pub(super) fn translated(&self, took: Duration) {
        self.translations.observe(took.as_secs_f64());
    }

    /// A piece of work ended.
    pub(super) fn worked(&self, step: &str, outcome: &str) {
        self.work.with_label_values(&[step, outcome]).inc();
    }

    pub(super) fn applied(&self, kind: &str, well: bool) {
        self.applies.with_label_values(&[kind, outcome(well)]).inc();
    }

    pub(super) fn status_written(&self, kind: &str, well: bool) {
        self.statuses.with_label_values(&[kind, outcome(well)]).inc();
    }

    pub(super) fn pushed(&self, what: &str) {
        self.pushes.with_label_values(&[what]).inc();
    }

    pub(super) fn channel_failed(&self, reason: &str) {
        self.channel_failures.with_label_values(&[reason]).inc();
    }

    /// So many objects wait for a step now.
    pub(super) fn waits(&self, step: &str, objects: usize) {
        self.waiting.with_label_values(&[step]).set(i64::try_from(objects).unwrap_or(i64::MAX));
    }

    pub(super) fn watch_failed(&self, resource: &str) {
        self.watch_failures.with_label_values(&[resource]).inc();
    }

    pub(super) fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// The page that is scraped.
    pub(super) fn render(&self) -> prometheus::Result<String> {
        let mut page = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut page)?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }
}

fn outcome(well: bool) -> &'static str {
    if well { "ok" } else { "error" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_document_and_the_program_agree() {
        let metrics = Metrics::new().unwrap();
        // A metric with labels shows once it has a value.
        metrics.worked("deploy", "ok");
        metrics.applied("Service", true);
        metrics.status_written("MCPGateway", true);
        metrics.pushed("generation");
        metrics.channel_failed("timeout");
        metrics.watch_failed("pods");
        metrics.waits("deploy", 0);
        let page = metrics.render().unwrap();
        let served: BTreeSet<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let document = include_str!("../../docs/metrics.md");
        let documented: BTreeSet<&str> =
            document.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        let ours = documented.into_iter().filter(|name| name.starts_with("mcp_operator_")).collect::<BTreeSet<_>>();
        assert_eq!(served, ours);
    }
}
