//! What a pod's shim counts, in the prometheus text format. No label has a value that a client or a server chose.

use super::super::ShimStats;
use super::super::reply::{self, Reply, ReplyBody};
use http::StatusCode;
use parking_lot::Mutex;
use prometheus::{Encoder as _, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See docs/metrics.md.
pub(super) struct Metrics {
    registry: Registry,
    pub(super) connections_open: IntGauge,
    pub(super) connections_refused: IntCounter,
    pub(super) unauthorized: IntCounter,
    processes: IntGaugeVec,
    calls: IntGauge,
    sessions: IntGauge,
    starts: IntCounter,
    crashes: IntCounter,
    handshake_failures: IntCounter,
    stderr_dropped: IntCounter,
    orphans: IntCounter,
    reaped: Arc<AtomicU64>,
    /// One page at a time, since counters are brought up to date for it.
    rendering: Mutex<()>,
}

impl Metrics {
    /// `reaped`: how many orphans have been reaped so far.
    pub(super) fn new(reaped: Arc<AtomicU64>) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        gauges("mcp_shim_build_info", "The running version.", "version")?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Ok(Self {
            connections_open: gauge("mcp_shim_connections_open", "Open connections.")?,
            connections_refused: counter("mcp_shim_connections_refused_total", "Connections over the limit.")?,
            unauthorized: counter("mcp_shim_unauthorized_total", "Requests without the server's token.")?,
            processes: gauges("mcp_shim_processes", "Processes of the server, by what they do.", "state")?,
            calls: gauge("mcp_shim_calls_in_flight", "Calls not yet answered.")?,
            sessions: gauge("mcp_shim_sessions_open", "Sessions of the legacy era.")?,
            starts: counter("mcp_shim_process_starts_total", "Processes started.")?,
            crashes: counter("mcp_shim_process_crashes_total", "Processes that ended by themselves.")?,
            handshake_failures: counter("mcp_shim_handshake_failures_total", "Handshakes that failed.")?,
            stderr_dropped: counter("mcp_shim_stderr_dropped_total", "Lines of standard error that were not logged.")?,
            orphans: counter("mcp_shim_orphans_reaped_total", "Processes reaped whose parents had gone.")?,
            reaped,
            rendering: Mutex::new(()),
            registry,
        })
    }

    /// The page.
    pub(super) fn page(&self, stats: &ShimStats) -> Reply {
        let mut page = Vec::new();
        let rendered = {
            let _one_at_a_time = self.rendering.lock();
            self.update(stats);
            TextEncoder::new().encode(&self.registry.gather(), &mut page)
        };
        match rendered {
            Ok(()) => {
                let body = ReplyBody::Whole(Some(page.into()));
                reply::with_type(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body)
            }
            Err(error) => reply::text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    fn update(&self, stats: &ShimStats) {
        for (state, count) in [("running", stats.running), ("idle", stats.idle), ("starting", stats.starting)] {
            self.processes.with_label_values(&[state]).set(i64::from(count));
        }
        self.calls.set(i64::try_from(stats.calls).unwrap_or(i64::MAX));
        self.sessions.set(i64::try_from(stats.sessions).unwrap_or(i64::MAX));
        let totals = [
            (&self.starts, stats.starts),
            (&self.crashes, stats.crashes),
            (&self.handshake_failures, stats.handshake_failures),
            (&self.stderr_dropped, stats.stderr_dropped),
            (&self.orphans, self.reaped.load(Ordering::Relaxed)),
        ];
        for (counter, total) in totals {
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use std::collections::BTreeSet;

    async fn page(metrics: &Metrics, stats: &ShimStats) -> String {
        let body = metrics.page(stats).into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn every_metric_is_documented_and_every_documented_one_exists() {
        let page = page(&Metrics::new(Arc::default()).unwrap(), &ShimStats::default()).await;
        let served: BTreeSet<&str> =
            page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let documented = include_str!("../../../docs/metrics.md").lines().filter_map(|line| line.strip_prefix("| `"));
        let documented = documented.filter_map(|rest| rest.split('`').next());
        assert_eq!(served, documented.filter(|name| name.starts_with("mcp_shim_")).collect());
    }

    #[tokio::test]
    async fn totals_never_fall() {
        let metrics = Metrics::new(Arc::new(AtomicU64::new(3))).unwrap();
        page(&metrics, &ShimStats { starts: 5, ..ShimStats::default() }).await;
        let page = page(&metrics, &ShimStats { starts: 4, idle: 2, ..ShimStats::default() }).await;
        for line in [
            "mcp_shim_process_starts_total 5",
            r#"mcp_shim_processes{state="idle"} 2"#,
            "mcp_shim_orphans_reaped_total 3",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
        }
    }
}
