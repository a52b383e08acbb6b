//! Client requests, counted and timed from their envelope to the end of their answer.

use super::{MethodClass, Metrics, OK, Outcome};
use crate::gateway::error::Kind;
use crate::gateway::trace::{Ending, Link, ServerSpan};
use crate::ir::ids::ObjectId;
use parking_lot::Mutex;
use prometheus::{Histogram, IntCounter, IntGauge};
use std::sync::{Arc, OnceLock};
use tokio::time::Instant;

/// Handles of one server of one route.
pub struct ServerMetrics {
    metrics: Arc<Metrics>,
    route: String,
    server: String,
    /// One slot per method class, filled at its first call: most servers see few of them.
    methods: [OnceLock<MethodMetrics>; MethodClass::COUNT],
    in_flight: IntGauge,
    /// Offers of this server that are dropped because an earlier server has the name.
    pub conflicts: IntGauge,
}

struct MethodMetrics {
    ok: IntCounter,
    seconds: Histogram,
}

impl ServerMetrics {
    pub(super) fn resolve(metrics: Arc<Metrics>, route: &ObjectId, server: &str) -> Self {
        let route = route.to_string();
        let labels = [route.as_str(), server];
        Self {
            in_flight: metrics.in_flight.with_label_values(&labels),
            conflicts: metrics.catalog_conflicts.with_label_values(&labels),
            methods: std::array::from_fn(|_| OnceLock::new()),
            server: server.to_owned(),
            route,
            metrics,
        }
    }

    /// Starts to time one client request.
    pub fn start(self: &Arc<Self>, method: MethodClass) -> RequestTimer {
        self.in_flight.inc();
        RequestTimer { server: Mutex::new(Arc::clone(self)), method, started: Instant::now(), span: None, ended: false }
    }

    fn method(&self, method: MethodClass) -> &MethodMetrics {
        self.methods[method.index()].get_or_init(|| {
            let (route, server, word) = (self.route.as_str(), self.server.as_str(), method.word());
            MethodMetrics {
                ok: self.metrics.requests.with_label_values(&[route, server, word, OK]),
                seconds: self.metrics.request_seconds.with_label_values(&[route, server, word]),
            }
        })
    }

    fn end(&self, method: MethodClass, started: Instant, outcome: Outcome) {
        self.in_flight.dec();
        let handles = self.method(method);
        handles.seconds.observe(started.elapsed().as_secs_f64());
        if let Some(word) = outcome.failure() {
            self.metrics.requests.with_label_values(&[self.route.as_str(), &self.server, method.word(), word]).inc();
        } else {
            handles.ok.inc();
        }
    }
}

/// A client request being timed. Dropped without a word, it counts as cancelled.
#[must_use = "dropping it counts the request as cancelled"]
pub struct RequestTimer {
    /// Uncontended: a request is looked at by one task at a time.
    server: Mutex<Arc<ServerMetrics>>,
    method: MethodClass,
    started: Instant,
    /// The same for whoever reads traces.
    span: Option<ServerSpan>,
    ended: bool,
}

impl RequestTimer {
    /// It has become clear which of the route's servers the request is for.
    pub fn served_by(&self, server: &Arc<ServerMetrics>) {
        let mut current = self.server.lock();
        current.in_flight.dec();
        server.in_flight.inc();
        *current = Arc::clone(server);
    }

    /// Traces the request, if there is a span for it.
    pub(crate) fn traced(mut self, span: Option<ServerSpan>) -> Self {
        self.span = span;
        self
    }

    /// The request's place in its trace, for what is done to answer it.
    pub(crate) fn trace(&self) -> Option<&Arc<Link>> {
        self.span.as_ref().map(ServerSpan::link)
    }

    /// It has become clear which revision the request is written in.
    pub(crate) fn speaks(&mut self, version: &str) {
        if let Some(span) = &mut self.span {
            span.speaks(version);
        }
    }

    /// The answer went out whole, be it a result or an MCP server's own error.
    pub fn ok(mut self) {
        self.end(Outcome::Ok, Ending::Ok);
    }

    /// This answer, which is a result or an MCP server's own error, went out whole.
    pub(crate) fn answered(mut self, answer: &[u8]) {
        let ending = self.span.as_ref().map_or(Ending::Ok, |span| span.look_at(answer));
        self.end(Outcome::Ok, ending);
    }

    /// The gateway answered with an error of this kind.
    pub fn failed(mut self, kind: Kind) {
        self.end(Outcome::Failed(kind), Ending::Failed(kind));
    }

    fn end(&mut self, outcome: Outcome, ending: Ending) {
        if !std::mem::replace(&mut self.ended, true) {
            let server = self.server.lock();
            server.end(self.method, self.started, outcome);
            if let Some(span) = self.span.take() {
                span.end(ending, &server.route, &server.server);
            }
        }
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        self.end(Outcome::Cancelled, Ending::Cancelled);
    }
}
