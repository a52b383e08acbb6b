//! A running gateway: the request path, its listeners, and the generation that both serve.

use super::consistency::{Inconsistent, check};
use crate::gateway::error::GatewayError;
use crate::gateway::listener::socket::Bind;
use crate::gateway::listener::{BoundListener, Handler, ListenError, Listeners};
use crate::gateway::metrics::Metrics;
use crate::gateway::peers::peering::{JoinError, Peering};
use crate::ir::generation::Generation;
use crate::ir::snapshot::{Endpoint, Snapshot};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

/// The request path, as what surrounds it sees it.
pub trait Engine: Handler + Sized {
    /// Begins with a first generation.
    fn start(generation: &Generation, metrics: Arc<Metrics>) -> Result<Arc<Self>, GatewayError>;
    /// Serves another one from now on and counts it, or changes nothing.
    fn apply(&self, generation: &Generation) -> Result<String, GatewayError>;
    /// Finds the other replicas of this gateway, and is found by them.
    fn join(&self, peering: Peering) -> Result<(), JoinError>;
    /// These are the peer ports of this gateway's replicas from now on, its own among them or not.
    fn set_peers(&self, peers: &BTreeSet<Endpoint>);
    /// Routes, their servers and backends, for people.
    fn status(&self) -> serde_json::Value;
    /// Takes nothing on that lasts, such as sessions; what is in flight goes on.
    fn drain(&self);
    /// Ends what would never end by itself, such as standing event streams; calls in flight go on.
    fn close_streams(&self);
    /// Ends everything.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

/// A generation that is not served.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Its listeners cannot be had.
    #[error(transparent)]
    Listeners(#[from] ListenError),
    /// Its routes or backends cannot be served.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// It contradicts itself.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    /// The metrics cannot be set up.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What is served, and what was refused last.
struct Applied {
    hash: String,
    snapshot: Arc<Snapshot>,
    since: SystemTime,
    refused: Option<LastRefused>,
}

/// The generation that came last, if it was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct LastRefused {
    /// Absent when it could not even be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<String>,
    reason: String,
    at: String,
}

/// What `/status` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    gateway: String,
    version: &'static str,
    generation: String,
    applied_at: String,
    draining: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_refused: Option<LastRefused>,
    listeners: Vec<BoundListener>,
    routes: serde_json::Value,
}

/// A running gateway.
pub struct Runtime<E> {
    engine: Arc<E>,
    listeners: Listeners<E>,
    metrics: Arc<Metrics>,
    /// Locked while a generation is applied: one after the other.
    applied: Mutex<Applied>,
    draining: AtomicBool,
}

impl<E: Engine> Runtime<E> {
    /// Serves a first generation. Must run inside a tokio runtime.
    pub fn start(generation: &Generation, bind: Bind) -> Result<Arc<Self>, Refused> {
        check(&generation.snapshot)?;
        let metrics = Metrics::new()?;
        let engine = E::start(generation, Arc::clone(&metrics))?;
        let listeners = Listeners::new(bind, Arc::clone(&engine), Arc::clone(&metrics));
        listeners.commit(listeners.prepare(generation)?);
        let applied = Applied {
            hash: generation.hash(),
            snapshot: Arc::new(generation.snapshot.clone()),
            since: SystemTime::now(),
            refused: None,
        };
        let draining = AtomicBool::new(false);
        Ok(Arc::new(Self { engine, listeners, metrics, applied: Mutex::new(applied), draining }))
    }

    /// Joins the other replicas of this gateway.
    pub fn join(&self, peering: Peering) -> Result<(), JoinError> {
        self.engine.join(peering)
    }

    /// These are the peer ports of this gateway's replicas from now on.
    pub fn set_peers(&self, peers: &BTreeSet<Endpoint>) {
        self.engine.set_peers(peers);
    }

    /// Serves this generation from now on, unless it is the one that is served, or was refused already. A refusal leaves
    /// everything as it was, and is logged, counted and shown.
    pub fn offer(&self, generation: &Generation) {
        let mut applied = self.applied.lock();
        let hash = generation.hash();
        if hash == applied.hash {
            // The source is back at what is served: nothing is wrong any more.
            applied.refused = None;
            return;
        }
        if applied.refused.as_ref().is_some_and(|refused| refused.generation.as_ref() == Some(&hash)) {
            return;
        }
        match self.apply(generation) {
            Ok(()) => {
                tracing::info!(generation = hash, before = applied.hash, "generation applied");
                let snapshot = Arc::new(generation.snapshot.clone());
                *applied = Applied { hash, snapshot, since: SystemTime::now(), refused: None };
            }
            Err(refused) => self.record(&mut applied, Some(hash), refused.to_string()),
        }
    }

    fn apply(&self, generation: &Generation) -> Result<(), Refused> {
        check(&generation.snapshot)?;
        let prepared = self.listeners.prepare(generation)?;
        self.engine.apply(generation)?;
        self.listeners.commit(prepared);
        Ok(())
    }

    /// Takes note of a generation that could not be read.
    pub fn unreadable(&self, reason: String) {
        let mut applied = self.applied.lock();
        if applied.refused.as_ref().is_none_or(|refused| refused.reason != reason) {
            self.record(&mut applied, None, reason);
        }
    }

    fn record(&self, applied: &mut Applied, generation: Option<String>, reason: String) {
        tracing::error!(generation, reason, serving = applied.hash, "generation refused; the last good one stays");
        self.metrics.generation_refused();
        applied.refused = Some(LastRefused { generation, reason, at: timestamp(SystemTime::now()) });
    }

    /// Whether clients should come here, and why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        // Generation and listeners are there from the start, or there is no runtime.
        if self.draining.load(Ordering::Relaxed) { Err("draining") } else { Ok(()) }
    }

    /// For people and for the operator.
    pub fn status(&self) -> Status {
        let applied = self.applied.lock();
        Status {
            gateway: applied.snapshot.gateway.to_string(),
            version: env!("CARGO_PKG_VERSION"),
            generation: applied.hash.clone(),
            applied_at: timestamp(applied.since),
            draining: self.draining.load(Ordering::Relaxed),
            last_refused: applied.refused.clone(),
            listeners: self.listeners.bound(),
            routes: self.engine.status(),
        }
    }

    /// What is served. It holds no secrets.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.applied.lock().snapshot)
    }

    /// The listeners as they are bound.
    pub fn bound(&self) -> Vec<BoundListener> {
        self.listeners.bound()
    }

    /// Everything that is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Leaves: first not ready any more but still serving, while load balancers take note; then nothing new, and what is in
    /// flight has its time; then the end.
    pub async fn drain(&self) {
        let drain = self.snapshot().drain.clone();
        self.draining.store(true, Ordering::Relaxed);
        self.metrics.draining.set(1);
        self.engine.drain();
        self.listeners.start_draining();
        // Said once it is true: whoever reads it may look at once.
        tracing::info!(min_duration_ms = drain.min_duration_ms, timeout_ms = drain.timeout_ms, "draining");
        tokio::time::sleep(Duration::from_millis(drain.min_duration_ms)).await;
        self.engine.close_streams();
        self.listeners.finish(Duration::from_millis(drain.timeout_ms)).await;
        self.engine.shutdown().await;
        tracing::info!("drained");
    }
}

fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::fake::{Fake, generation, get};
    use std::net::Ipv4Addr;

    const LOOPBACK: Bind = Bind::Address(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn status(runtime: &Runtime<Fake>) -> serde_json::Value {
        serde_json::to_value(runtime.status()).unwrap()
    }

    #[tokio::test]
    async fn the_last_good_generation_stays_whatever_comes() {
        let first = generation(&["a"]);
        let runtime = Runtime::<Fake>::start(&first, LOOPBACK).unwrap();
        assert_eq!(status(&runtime)["generation"], first.hash());

        // The listeners could serve it, the engine cannot: neither may have changed.
        runtime.offer(&generation(&["a", "refused"]));
        let after = status(&runtime);
        assert_eq!(after["generation"], first.hash());
        assert_eq!(after["lastRefused"]["reason"], "no such backend");
        assert_eq!(after["listeners"].as_array().unwrap().len(), 1);
        runtime.offer(&generation(&["a", "refused"]));

        runtime.unreadable("not gzip".to_owned());
        runtime.unreadable("not gzip".to_owned());
        assert_eq!(status(&runtime)["lastRefused"]["reason"], "not gzip");
        let page = runtime.metrics().render().unwrap();
        assert!(page.contains(r#"mcp_gateway_reloads_total{outcome="refused"} 2"#), "each counts once: {page}");

        runtime.offer(&first);
        assert!(status(&runtime).get("lastRefused").is_none(), "back at what is served");
        let second = generation(&["a", "b"]);
        runtime.offer(&second);
        let after = status(&runtime);
        assert_eq!((&after["generation"], runtime.bound().len()), (&second.hash().into(), 2));
    }

    #[tokio::test]
    async fn a_drain_goes_through_its_phases_in_order() {
        let mut generation = generation(&["a"]);
        generation.snapshot.drain.min_duration_ms = 20;
        let runtime = Runtime::<Fake>::start(&generation, LOOPBACK).unwrap();
        let address = runtime.bound()[0].address;
        assert_eq!(runtime.ready(), Ok(()));
        let draining = tokio::spawn({
            let runtime = Arc::clone(&runtime);
            async move { runtime.drain().await }
        });
        while runtime.ready().is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(get(address, "/").await.unwrap().contains("connection: close"), "still served");
        draining.await.unwrap();
        assert!(get(address, "/").await.is_err(), "no longer served");
        assert_eq!(*runtime.engine.calls.lock(), ["drain", "close_streams", "shutdown"]);
    }

    #[tokio::test]
    async fn a_first_generation_that_cannot_be_served_is_an_error() {
        let refused = Runtime::<Fake>::start(&generation(&["refused"]), LOOPBACK).err().unwrap();
        assert_eq!(refused.to_string(), "no such backend");
    }
}
