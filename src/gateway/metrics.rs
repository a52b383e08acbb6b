//! What the data plane counts, and how it is read: prometheus, on the admin port. `docs/metrics.md` lists every name.
//!
//! The hot path does no label look-up: a route's server and a backend resolve their handles once, when a generation is
//! applied, and time their calls through [`ServerMetrics`] and [`BackendMetrics`]. Every label is bounded by the
//! configuration or by a fixed list of words; names that clients or servers choose (tools, sessions) are no labels.

mod attempt;
mod channel;
mod method;
mod process;
mod request;
mod spans;

pub use attempt::{AttemptTimer, BackendMetrics};
pub use channel::ChannelRequest;
pub use method::MethodClass;
pub use request::{RequestTimer, ServerMetrics};
pub(crate) use spans::SpanCounts;

use super::error::Kind;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Snapshot;
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Upper bounds of the duration buckets, in seconds: 1 ms, where a proxied call starts, to 1 min, the default `response`
/// timeout. Few, because each costs a series per route, server and method.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The outcome of a call that ended well.
const OK: &str = "ok";
/// The outcome of a call whose client or session went away before the answer.
const CANCELLED: &str = "cancelled";

/// Every metric of one gateway.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    in_flight: IntGaugeVec,
    upstream_requests: IntCounterVec,
    upstream_seconds: HistogramVec,
    upstream_in_flight: IntGaugeVec,
    upstream_retries: IntCounterVec,
    verifications: IntCounterVec,
    catalog_refreshes: IntCounterVec,
    catalog_conflicts: IntGaugeVec,
    connections: IntCounterVec,
    connections_open: IntGaugeVec,
    reloads: IntCounterVec,
    generation: IntGaugeVec,
    channel_requests: IntCounterVec,
    /// Live sessions of legacy clients.
    pub sessions_open: IntGauge,
    /// Sessions ever begun.
    pub sessions: IntCounter,
    /// Sessions taken up from replicas that are gone.
    pub sessions_adopted: IntCounter,
    /// Sessions offered to another replica when this one left.
    sessions_handed_over: IntCounterVec,
    /// Requests sent to other replicas for their clients.
    peer_requests: IntCounterVec,
    /// Other replicas that are known and not leaving.
    pub peers: IntGauge,
    /// Open event streams to clients: answers that stream, GET streams, subscriptions.
    streams_open: IntGauge,
    /// 1 from the signal to leave until the end.
    pub draining: IntGauge,
    spans: IntCounterVec,
    servers: Mutex<HashMap<(ObjectId, String), Arc<ServerMetrics>>>,
    backends: Mutex<HashMap<ObjectId, Arc<BackendMetrics>>>,
}

/// Registers collectors and remembers their names.
struct Registrar {
    registry: Registry,
    names: Vec<String>,
}

impl Registrar {
    fn add<C: Collector + Clone + 'static>(&mut self, collector: C) -> prometheus::Result<C> {
        self.names.extend(collector.desc().into_iter().map(|desc| desc.fq_name.clone()));
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn durations(&mut self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<HistogramVec> {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()), labels)?)
    }
}

impl Metrics {
    /// Registers everything in a registry of its own, so that several gateways can live in one process.
    #[rustfmt::skip] // a table reads best as one
    pub fn new() -> prometheus::Result<Arc<Self>> {
        let mut r = Registrar { registry: Registry::new(), names: Vec::new() };
        let metrics = Self {
            requests: r.counters("mcp_gateway_requests_total", "Client requests, by how they ended.", &["route", "server", "method", "outcome"])?,
            request_seconds: r.durations("mcp_gateway_request_duration_seconds", "From a client request's envelope to the end of its answer.", &["route", "server", "method"])?,
            in_flight: r.gauges("mcp_gateway_requests_in_flight", "Client requests not yet answered.", &["route", "server"])?,
            upstream_requests: r.counters("mcp_gateway_upstream_requests_total", "Attempts at MCP servers, by how they ended.", &["backend", "outcome"])?,
            upstream_seconds: r.durations("mcp_gateway_upstream_request_duration_seconds", "From an attempt's start to the end of the server's answer.", &["backend"])?,
            upstream_in_flight: r.gauges("mcp_gateway_upstream_requests_in_flight", "Attempts not yet ended.", &["backend"])?,
            upstream_retries: r.counters("mcp_gateway_upstream_retries_total", "Attempts after a call's first one.", &["backend"])?,
            verifications: r.counters("mcp_gateway_upstream_verifications_total", "Handshakes made to learn what a backend is.", &["backend", "outcome"])?,
            catalog_refreshes: r.counters("mcp_gateway_catalog_refreshes_total", "Times a server's offers were listed anew.", &["backend", "outcome"])?,
            catalog_conflicts: r.gauges("mcp_gateway_catalog_conflicts", "Offers dropped because an earlier server has the name.", &["route", "server"])?,
            connections: r.counters("mcp_gateway_connections_total", "Client connections, by what became of them.", &["listener", "outcome"])?,
            connections_open: r.gauges("mcp_gateway_connections_open", "Open client connections.", &["listener"])?,
            reloads: r.counters("mcp_gateway_reloads_total", "Generations read, by whether they were applied.", &["outcome"])?,
            generation: r.gauges("mcp_gateway_generation_info", "1 for the generation that is served.", &["hash"])?,
            channel_requests: r.counters("mcp_gateway_channel_requests_total", "Requests of the operator over the admin channel.", &["request", "outcome"])?,
            sessions_open: r.add(IntGauge::new("mcp_gateway_sessions_open", "Live sessions of legacy clients.")?)?,
            sessions: r.add(IntCounter::new("mcp_gateway_sessions_total", "Sessions of legacy clients ever begun.")?)?,
            sessions_adopted: r.add(IntCounter::new("mcp_gateway_sessions_adopted_total", "Sessions taken up from replicas that are gone.")?)?,
            sessions_handed_over: r.counters("mcp_gateway_sessions_handed_over_total", "Sessions offered to another replica when this one left.", &["outcome"])?,
            peer_requests: r.counters("mcp_gateway_peer_requests_total", "Requests sent on to other replicas, by what came of it.", &["outcome"])?,
            peers: r.add(IntGauge::new("mcp_gateway_peers", "Other replicas that are known and not leaving.")?)?,
            streams_open: r.add(IntGauge::new("mcp_gateway_streams_open", "Open event streams to clients.")?)?,
            draining: r.add(IntGauge::new("mcp_gateway_draining", "1 from the signal to leave until the end.")?)?,
            spans: r.counters("mcp_gateway_trace_spans_total", "Spans, by what became of them.", &["outcome"])?,
            names: Vec::new(),
            registry: r.registry.clone(),
            servers: Mutex::default(),
            backends: Mutex::default(),
        };
        r.gauges("mcp_gateway_build_info", "1 for the running version.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let process = process::ProcessStats::new()?;
        r.names.extend(process.desc().into_iter().map(|desc| desc.fq_name.clone()));
        r.registry.register(Box::new(process))?;
        Ok(Arc::new(Self { names: r.names, ..metrics }))
    }

    /// The handles of one server of a route; the empty name is the route as a whole, for what is no one server's (lists,
    /// sessions). The same pair gives the same handles for as long as [`retain`](Self::retain) finds it configured.
    pub fn server(self: &Arc<Self>, route: &ObjectId, server: &str) -> Arc<ServerMetrics> {
        let mut servers = self.servers.lock();
        let entry = servers.entry((route.clone(), server.to_owned()));
        Arc::clone(entry.or_insert_with(|| Arc::new(ServerMetrics::resolve(Arc::clone(self), route, server))))
    }

    /// The handles of one backend.
    pub fn backend(self: &Arc<Self>, backend: &ObjectId) -> Arc<BackendMetrics> {
        let mut backends = self.backends.lock();
        let entry = backends.entry(backend.clone());
        Arc::clone(entry.or_insert_with(|| Arc::new(BackendMetrics::resolve(Arc::clone(self), backend))))
    }

    /// The handles of one listener.
    pub fn listener(&self, listener: &str) -> ListenerMetrics {
        let outcome = |word| self.connections.with_label_values(&[listener, word]);
        ListenerMetrics {
            open: self.connections_open.with_label_values(&[listener]),
            accepted: outcome("accepted"),
            refused: outcome("refused"),
            tls_failed: outcome("tls_failed"),
            timed_out: outcome("timed_out"),
        }
    }

    /// Counts an event stream to a client for as long as the returned guard lives.
    pub fn open_stream(&self) -> OpenStream {
        self.streams_open.inc();
        OpenStream(self.streams_open.clone())
    }

    /// The handles of what is exported.
    pub(crate) fn spans(&self) -> SpanCounts {
        SpanCounts::resolve(&self.spans)
    }

    /// Counts a request that was sent on to another replica.
    pub fn sent_to_peer(&self, outcome: PeerOutcome) {
        self.peer_requests.with_label_values(&[outcome.word()]).inc();
    }

    /// Counts a session that another replica took, or did not take, when this one left.
    pub fn handed_over(&self, taken: bool) {
        self.sessions_handed_over.with_label_values(&[if taken { OK } else { "failed" }]).inc();
    }

    /// Counts a request that ended before a route was found for it.
    pub fn unrouted(&self, method: MethodClass, kind: Kind) {
        self.requests.with_label_values(&["", "", method.word(), kind.word()]).inc();
    }

    /// Counts a generation that was applied, and makes it the one that `generation_info` names.
    pub fn generation_applied(&self, hash: &str) {
        self.reloads.with_label_values(&[OK]).inc();
        self.generation.reset();
        self.generation.with_label_values(&[hash]).set(1);
    }

    /// Counts a generation that was refused.
    pub fn generation_refused(&self) {
        self.reloads.with_label_values(&["refused"]).inc();
    }

    /// Counts a request over the admin channel.
    pub fn channel_request(&self, request: ChannelRequest, outcome: &str) {
        self.channel_requests.with_label_values(&[request.word(), outcome]).inc();
    }

    /// Forgets the series of routes, servers, backends and listeners that are no longer configured: without this, every
    /// object ever applied would stay in memory and on the page.
    pub fn retain(&self, snapshot: &Snapshot) {
        let routes: BTreeSet<(String, &str)> = snapshot
            .routes
            .iter()
            .flat_map(|route| {
                let servers = route.servers.iter().map(|server| server.name.as_str());
                servers.chain([""]).map(|server| (route.id.to_string(), server))
            })
            .collect();
        let backends: BTreeSet<String> = snapshot.backends.keys().map(ToString::to_string).collect();
        let listeners: BTreeSet<&str> = snapshot.listeners.iter().map(|listener| listener.name.as_str()).collect();

        self.servers.lock().retain(|(route, server), _| routes.contains(&(route.to_string(), server.as_str())));
        self.backends.lock().retain(|backend, _| backends.contains(&backend.to_string()));

        let route_kept = |labels: &Labels| {
            labels["route"].is_empty() || routes.contains(&(labels["route"].clone(), labels["server"].as_str()))
        };
        prune(&self.requests, &["route", "server", "method", "outcome"], route_kept);
        prune(&self.request_seconds, &["route", "server", "method"], route_kept);
        prune(&self.in_flight, &["route", "server"], route_kept);
        prune(&self.catalog_conflicts, &["route", "server"], route_kept);
        let backend_kept = |labels: &Labels| backends.contains(&labels["backend"]);
        prune(&self.upstream_requests, &["backend", "outcome"], backend_kept);
        prune(&self.upstream_seconds, &["backend"], backend_kept);
        prune(&self.upstream_in_flight, &["backend"], backend_kept);
        prune(&self.upstream_retries, &["backend"], backend_kept);
        prune(&self.verifications, &["backend", "outcome"], backend_kept);
        prune(&self.catalog_refreshes, &["backend", "outcome"], backend_kept);
        let listener_kept = |labels: &Labels| listeners.contains(labels["listener"].as_str());
        prune(&self.connections, &["listener", "outcome"], listener_kept);
        prune(&self.connections_open, &["listener"], listener_kept);
    }

    /// The name of every metric there is.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The page that prometheus reads.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

type Labels = HashMap<String, String>;

/// Removes the children of a vector whose labels are not to be kept.
fn prune<T: prometheus::core::MetricVecBuilder>(
    vec: &prometheus::core::MetricVec<T>,
    order: &[&str],
    kept: impl Fn(&Labels) -> bool,
) {
    for family in vec.collect() {
        for metric in family.get_metric() {
            let labels: Labels =
                metric.get_label().iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned())).collect();
            if !kept(&labels) {
                let values: Vec<&str> = order.iter().map(|name| labels[*name].as_str()).collect();
                // The only failure is that it is gone already.
                let _ = vec.remove_label_values(&values);
            }
        }
    }
}

/// What came of sending a request on to another replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerOutcome {
    /// It answered for the session.
    Ok,
    /// It does not hold the session, or has been started anew since.
    NotThere,
    /// It is not there any more.
    Gone,
    /// It cannot be spoken to for another reason.
    Unavailable,
    /// It ended before its answer did.
    Lost,
}

impl PeerOutcome {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => OK,
            Self::NotThere => "not_there",
            Self::Gone => "gone",
            Self::Unavailable => "unavailable",
            Self::Lost => "lost",
        }
    }
}

/// An event stream that counts as open until this is dropped.
pub struct OpenStream(IntGauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    Failed(Kind),
    Cancelled,
}

impl Outcome {
    fn failure(self) -> Option<&'static str> {
        match self {
            Self::Ok => None,
            Self::Failed(kind) => Some(kind.word()),
            Self::Cancelled => Some(CANCELLED),
        }
    }
}

/// Handles of one listener.
#[derive(Clone)]
pub struct ListenerMetrics {
    /// Open connections.
    pub open: IntGauge,
    /// Connections taken.
    pub accepted: IntCounter,
    /// Connections turned away at the limit.
    pub refused: IntCounter,
    /// TLS handshakes that failed or took too long.
    pub tls_failed: IntCounter,
    /// Connections closed because the client was too slow with its headers, or idle for too long.
    pub timed_out: IntCounter,
}

#[cfg(test)]
mod tests;
