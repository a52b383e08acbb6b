//! A running gateway: the request path, its listeners, and the generation that both serve.

use super::consistency::{Inconsistent, check};
use super::rank::Rank;
use crate::gateway::channel::door::{Door, DoorError};
use crate::gateway::error::GatewayError;
use crate::gateway::listener::{BoundListener, Handler, ListenError, Listeners};
use crate::gateway::metrics::Metrics;
use crate::gateway::peers::peering::{JoinError, Peering};
use crate::ir::channel::{self, BackendReport, Endpoints, Report, RouteReport};
use crate::ir::generation::Generation;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{Endpoint, Snapshot};
use crate::net::socket::Bind;
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;

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
    /// Reaches backends at these addresses from now on, and those that are not named, or have none, where their spec says.
    /// Connections and sessions with addresses that stay are kept.
    fn set_endpoints(&self, backends: &BTreeMap<ObjectId, BTreeSet<Endpoint>>);
    /// What is known of backends and routes, for the operator.
    fn report(&self) -> EngineReport;
    /// Routes, their servers and backends, for people.
    fn status(&self) -> serde_json::Value;
    /// Takes nothing on that lasts, such as sessions, and hands over what can be; what is in flight goes on.
    fn drain(&self) -> impl Future<Output = ()> + Send;
    /// Ends what would never end by itself, such as standing event streams; calls in flight go on.
    fn close_streams(&self);
    /// Ends everything.
    fn shutdown(&self) -> impl Future<Output = ()> + Send;
}

/// The part of a [`Report`] that the request path knows.
#[derive(Debug, Default)]
pub struct EngineReport {
    /// By backend of the generation.
    pub backends: BTreeMap<ObjectId, BackendReport>,
    /// By route of the generation.
    pub routes: BTreeMap<ObjectId, RouteReport>,
}

/// What became of a generation that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is served.
    Served,
    /// It is not, and the last good one is.
    Refused,
    /// Something newer was offered before.
    Superseded,
    /// Nothing changes any more: the gateway takes its leave.
    Leaving,
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
    /// The admin channel cannot be secured with its credentials.
    #[error(transparent)]
    Channel(#[from] DoorError),
    /// The start of the process cannot be named.
    #[error("the system has no random numbers")]
    Random,
    /// It contradicts itself.
    #[error(transparent)]
    Inconsistent(#[from] Inconsistent),
    /// The metrics cannot be set up.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What is served, and what was refused last.
struct Applied {
    /// Of the newest generation that was offered, served or not.
    rank: Rank,
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
    /// What secures the admin channel.
    door: ArcSwapOption<Door>,
    /// The hash of the addresses that were told last.
    endpoints: Mutex<String>,
    /// Names this start of the process.
    boot: String,
    /// Told when there is something to report at once.
    changed: Notify,
    draining: AtomicBool,
}

impl<E: Engine> Runtime<E> {
    /// Serves a first generation. Must run inside a tokio runtime.
    pub fn start(generation: &Generation, rank: Rank, bind: Bind) -> Result<Arc<Self>, Refused> {
        check(&generation.snapshot)?;
        let door = Door::of(generation, None)?;
        let mut boot = [0; 8];
        getrandom::fill(&mut boot).map_err(|_| Refused::Random)?;
        let metrics = Metrics::new()?;
        let engine = E::start(generation, Arc::clone(&metrics))?;
        let listeners = Listeners::new(bind, Arc::clone(&engine), Arc::clone(&metrics));
        listeners.commit(listeners.prepare(generation)?);
        let applied = Applied {
            rank,
            hash: generation.hash(),
            snapshot: Arc::new(generation.snapshot.clone()),
            since: SystemTime::now(),
            refused: None,
        };
        Ok(Arc::new(Self {
            engine,
            listeners,
            metrics,
            applied: Mutex::new(applied),
            door: ArcSwapOption::new(door),
            endpoints: Mutex::default(),
            boot: format!("{:016x}", u64::from_be_bytes(boot)),
            changed: Notify::new(),
            draining: AtomicBool::new(false),
        }))
    }

    /// Joins the other replicas of this gateway.
    pub fn join(&self, peering: Peering) -> Result<(), JoinError> {
        self.engine.join(peering)
    }

    /// Reaches backends and the other replicas at these addresses from now on.
    pub fn set_endpoints(&self, endpoints: &Endpoints) {
        // One after the other, so that what is reported is what came last.
        let mut hash = self.endpoints.lock();
        self.engine.set_endpoints(&endpoints.backends);
        self.engine.set_peers(&endpoints.peers);
        *hash = endpoints.hash();
        self.changed.notify_one();
    }

    /// Serves this generation from now on, unless it is the one that is served, was refused already, or is older than one that
    /// was offered. A refusal leaves everything as it was, and is logged, counted and shown.
    pub fn offer(&self, generation: &Generation, rank: Rank) -> Verdict {
        let mut applied = self.applied.lock();
        if let Some(verdict) = self.unheard(&mut applied, rank) {
            return verdict;
        }
        let hash = generation.hash();
        if hash == applied.hash {
            // The source is back at what is served: nothing is wrong any more.
            applied.refused = None;
            return Verdict::Served;
        }
        if applied.refused.as_ref().is_some_and(|refused| refused.generation.as_ref() == Some(&hash)) {
            return Verdict::Refused;
        }
        match self.apply(generation) {
            Ok(()) => {
                tracing::info!(generation = hash, before = applied.hash, "generation applied");
                let snapshot = Arc::new(generation.snapshot.clone());
                *applied = Applied { rank, hash, snapshot, since: SystemTime::now(), refused: None };
                Verdict::Served
            }
            Err(refused) => self.record(&mut applied, Some(hash), refused.to_string()),
        }
    }

    /// The answer to what is not even looked at; anything else is the newest from now on.
    fn unheard(&self, applied: &mut Applied, rank: Rank) -> Option<Verdict> {
        if self.draining.load(Ordering::Relaxed) {
            return Some(Verdict::Leaving);
        }
        if rank < applied.rank {
            tracing::debug!(?rank, newest = ?applied.rank, "an older generation came late; passed over");
            return Some(Verdict::Superseded);
        }
        applied.rank = rank;
        self.changed.notify_one();
        None
    }

    fn apply(&self, generation: &Generation) -> Result<(), Refused> {
        check(&generation.snapshot)?;
        let door = Door::of(generation, self.door.load_full())?;
        let prepared = self.listeners.prepare(generation)?;
        self.engine.apply(generation)?;
        self.listeners.commit(prepared);
        self.door.store(door);
        Ok(())
    }

    /// Takes note of a generation that could not be read.
    pub fn unreadable(&self, reason: String, rank: Rank) -> Verdict {
        let mut applied = self.applied.lock();
        if let Some(verdict) = self.unheard(&mut applied, rank) {
            return verdict;
        }
        if applied.refused.as_ref().is_some_and(|refused| refused.reason == reason) {
            return Verdict::Refused;
        }
        self.record(&mut applied, None, reason)
    }

    fn record(&self, applied: &mut Applied, generation: Option<String>, reason: String) -> Verdict {
        tracing::error!(generation, reason, serving = applied.hash, "generation refused; the last good one stays");
        self.metrics.generation_refused();
        applied.refused = Some(LastRefused { generation, reason, at: timestamp(SystemTime::now()) });
        Verdict::Refused
    }

    /// Whether clients should come here, and why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        // Generation and listeners are there from the start, or there is no runtime.
        if self.draining.load(Ordering::Relaxed) { Err("draining") } else { Ok(()) }
    }

    /// For the operator. Its sequence is not for this to know.
    pub fn report(&self) -> Report {
        // Held until the engine has been asked: no report names a generation or addresses, and tells of those before.
        let endpoints = self.endpoints.lock();
        let applied = self.applied.lock();
        let EngineReport { backends, routes } = self.engine.report();
        let refused = applied
            .refused
            .as_ref()
            .map(|refused| channel::Refused { generation: refused.generation.clone(), reason: refused.reason.clone() });
        Report {
            sequence: 0,
            boot: self.boot.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            generation: applied.hash.clone(),
            revision: applied.rank.revision(),
            refused,
            endpoints: endpoints.clone(),
            draining: self.draining.load(Ordering::Relaxed),
            backends,
            routes,
        }
    }

    /// Returns when something has changed that is worth a report at once. One at a time may wait for it.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What secures the admin channel, if anything does.
    pub(crate) fn door(&self) -> Option<Arc<Door>> {
        self.door.load_full()
    }

    /// For people.
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
        self.changed.notify_one();
        self.listeners.start_draining();
        // Said once it is true: whoever reads it may look at once.
        tracing::info!(min_duration_ms = drain.min_duration_ms, timeout_ms = drain.timeout_ms, "draining");
        tokio::join!(self.engine.drain(), tokio::time::sleep(Duration::from_millis(drain.min_duration_ms)));
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
        let runtime = Runtime::<Fake>::start(&first, Rank::default(), LOOPBACK).unwrap();
        assert_eq!(status(&runtime)["generation"], first.hash());

        // The listeners could serve it, the engine cannot: neither may have changed.
        runtime.offer(&generation(&["a", "refused"]), Rank::default());
        let after = status(&runtime);
        assert_eq!(after["generation"], first.hash());
        assert_eq!(after["lastRefused"]["reason"], "no such backend");
        assert_eq!(after["listeners"].as_array().unwrap().len(), 1);
        runtime.offer(&generation(&["a", "refused"]), Rank::default());

        runtime.unreadable("not gzip".to_owned(), Rank::default());
        runtime.unreadable("not gzip".to_owned(), Rank::default());
        assert_eq!(status(&runtime)["lastRefused"]["reason"], "not gzip");
        let page = runtime.metrics().render().unwrap();
        assert!(page.contains(r#"mcp_gateway_reloads_total{outcome="refused"} 2"#), "each counts once: {page}");

        runtime.offer(&first, Rank::default());
        assert!(status(&runtime).get("lastRefused").is_none(), "back at what is served");
        let second = generation(&["a", "b"]);
        runtime.offer(&second, Rank::default());
        let after = status(&runtime);
        assert_eq!((&after["generation"], runtime.bound().len()), (&second.hash().into(), 2));
    }

    #[tokio::test]
    async fn nothing_old_replaces_anything_new() {
        let named = |name| generation(&[name]);
        let runtime = Runtime::<Fake>::start(&named("1"), Rank::mounted(1), LOOPBACK).unwrap();
        let offer = |name, rank| (runtime.offer(&named(name), rank), runtime.report().generation);
        let served = |name| (Verdict::Served, named(name).hash());
        let superseded = |name| (Verdict::Superseded, named(name).hash());

        assert_eq!(offer("3", Rank::pushed(3)), served("3"));
        for (late, rank) in
            [("1", Rank::mounted(1)), ("2", Rank::mounted(2)), ("2", Rank::pushed(2)), ("0", Rank::mounted(0))]
        {
            assert_eq!(offer(late, rank), superseded("3"), "{late} at {rank:?}");
        }
        // The mounts catch up, and overtake an operator that cannot push.
        assert_eq!(offer("3", Rank::mounted(3)), superseded("3"));
        assert_eq!(offer("4", Rank::mounted(4)), served("4"));
        assert_eq!(offer("4", Rank::pushed(4)), served("4"));
        // Back to what was served before, as a new revision.
        assert_eq!(offer("3", Rank::pushed(5)), served("3"));
        assert_eq!(offer("4", Rank::mounted(4)), superseded("3"));

        // What was refused is not forgotten because of what was there before it.
        assert_eq!(offer("refused", Rank::pushed(6)), (Verdict::Refused, named("3").hash()));
        assert_eq!(offer("3", Rank::mounted(5)), superseded("3"));
        assert_eq!(runtime.unreadable("not gzip".to_owned(), Rank::mounted(5)), Verdict::Superseded);
        let report = runtime.report();
        assert_eq!((report.refused.unwrap().reason, report.revision), ("no such backend".to_owned(), 6));
        assert_eq!(offer("refused", Rank::mounted(7)), (Verdict::Refused, named("3").hash()));
        assert_eq!(offer("3", Rank::pushed(8)), served("3"));
        assert_eq!(runtime.report().refused, None);
    }

    #[tokio::test]
    async fn what_nobody_numbered_yields_to_the_first_push() {
        let named = |name| generation(&[name]);
        let runtime = Runtime::<Fake>::start(&named("a"), Rank::mounted(0), LOOPBACK).unwrap();
        assert_eq!(runtime.offer(&named("b"), Rank::mounted(0)), Verdict::Served);
        assert_eq!(runtime.offer(&named("c"), Rank::pushed(0)), Verdict::Served);
        assert_eq!(runtime.offer(&named("d"), Rank::mounted(0)), Verdict::Superseded);
        assert_eq!(runtime.offer(&named("d"), Rank::pushed(0)), Verdict::Served);
        runtime.drain().await;
        assert_eq!(runtime.offer(&named("e"), Rank::pushed(9)), Verdict::Leaving);
    }

    #[tokio::test]
    async fn a_drain_goes_through_its_phases_in_order() {
        let mut generation = generation(&["a"]);
        generation.snapshot.drain.min_duration_ms = 20;
        let runtime = Runtime::<Fake>::start(&generation, Rank::default(), LOOPBACK).unwrap();
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
        let refused = Runtime::<Fake>::start(&generation(&["refused"]), Rank::default(), LOOPBACK).err().unwrap();
        assert_eq!(refused.to_string(), "no such backend");
    }
}
