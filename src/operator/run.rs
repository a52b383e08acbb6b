//! The operator's life: it watches, waits until it leads, works, and leaves.

use super::context::{Context, Options};
use super::health::{self, Health};
use super::lease::{Election, Leadership, Lost, fenced};
use super::metrics::Metrics;
use super::queue::Queue;
use super::target::Target;
use super::watch::{self, Caches, OptionalKinds, Triggers};
use super::world::translate_forever;
use super::{deploy, publish};
use kube::{Client, Config};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Objects deployed at a time.
const DEPLOY_WIDTH: usize = 8;

/// Statuses written at a time.
const PUBLISH_WIDTH: usize = 16;

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Nobody said where the API server is.
    #[error("no API server is known: run it in a pod, or set KUBECONFIG ({0})")]
    Config(#[from] kube::config::InferConfigError),
    /// The client could not be set up.
    #[error("the client of the API server cannot be set up: {0}")]
    Client(#[from] kube::Error),
    /// The health port cannot be had.
    #[error("--health {address}: {source}")]
    Health {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Signals cannot be waited for.
    #[error("signals cannot be received: {0}")]
    Signal(io::Error),
    /// A metric cannot be set up: a mistake of ours.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Another replica may lead now.
    #[error("another replica may lead now: the lease was not renewed in time")]
    Lost,
    /// A watch or a step of the work ended, which none should.
    #[error("a task that should go on for ever ended: {0}")]
    Ended(String),
}

/// Runs until a signal asks to leave, or leadership is lost.
pub async fn run(options: Options) -> Result<(), OperatorError> {
    let config = Config::infer().await?;
    // Reads and the lease are not fenced: who does not lead watches too, so that it can take over at once.
    let client = Client::try_from(config.clone())?;
    let leadership = Arc::new(Leadership::default());
    let writer = fenced(&config, &leadership)?;
    let metrics = Metrics::new()?;
    let triggers = Arc::new(Triggers::default());
    let health = Arc::new(Health {
        metrics: Arc::clone(&metrics),
        triggers: Arc::clone(&triggers),
        listed: AtomicBool::new(false),
    });
    let address = options.health;
    let bound = health::serve(address, Arc::clone(&health)).await;
    let address = bound.map_err(|source| OperatorError::Health { address, source })?;
    tracing::info!(%address, identity = options.identity, scope = ?options.scope, "started");

    let (caches, mut tasks) = watch::start(&client, &options.scope, &triggers, &metrics);
    let optional = OptionalKinds {
        client: client.clone(),
        scope: options.scope.clone(),
        caches: Arc::clone(&caches),
        triggers: Arc::clone(&triggers),
        metrics: Arc::clone(&metrics),
    };
    let (looked, first_look) = oneshot::channel();
    tasks.spawn(optional.run(options.server_kinds.clone(), options.gateway_api, looked));

    let mut election =
        Election::new(client, &options.namespace, &options.lease, &options.identity, Arc::clone(&leadership));
    let listed = listed(Arc::clone(&caches), first_look, Arc::clone(&health));
    let context = Context::new(options, writer, caches, triggers, metrics);
    // A task of its own, as every watch is: no amount of work delays the renewal of the lease here.
    tasks.spawn(lead(Arc::new(context), leadership, listed));
    let ended = tokio::select! {
        Lost = election.run() => Err(OperatorError::Lost),
        ended = tasks.join_next() => Err(OperatorError::Ended(format!("{ended:?}"))),
        left = asked_to_leave() => left,
    };
    tasks.shutdown().await;
    if ended.is_ok() {
        tracing::info!("leaving");
        if let Err(error) = election.release().await {
            tracing::warn!(%error, "the lease could not be given back; it ends by itself");
        }
    }
    ended
}

/// Nothing is decided before everything that there is has been listed.
async fn listed(caches: Arc<Caches>, first_look: oneshot::Receiver<()>, health: Arc<Health>) {
    caches.listed().await;
    // Its sender is only dropped with all watches.
    let _ = first_look.await;
    health.listed.store(true, Ordering::Relaxed);
    tracing::info!("everything that there is has been listed");
}

/// Waits for leadership, and then works for ever, on each step in a task of its own.
async fn lead(context: Arc<Context>, leadership: Arc<Leadership>, listed: impl Future<Output = ()>) {
    listed.await;
    leadership.acquired().await;
    context.metrics.leads(true);
    let deployed = {
        let context = Arc::clone(&context);
        Queue::run(Arc::clone(&context.triggers.deploy), DEPLOY_WIDTH, move |target: Target| {
            deploy::work(Arc::clone(&context), target)
        })
    };
    let published = {
        let context = Arc::clone(&context);
        Queue::run(Arc::clone(&context.triggers.publish), PUBLISH_WIDTH, move |target: Target| {
            publish::work(Arc::clone(&context), target)
        })
    };
    let mut steps = JoinSet::new();
    steps.spawn(deployed);
    steps.spawn(published);
    steps.spawn(translate_forever(context));
    // None ends, unless it panics.
    steps.join_next().await;
}

async fn asked_to_leave() -> Result<(), OperatorError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(OperatorError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(OperatorError::Signal)?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// A name for a replica that nobody named.
pub fn random_identity() -> String {
    let mut bytes = [0; 4];
    // Without randomness the name of the process has to do.
    let suffix = getrandom::fill(&mut bytes).map_or_else(|_| std::process::id(), |()| u32::from_be_bytes(bytes));
    format!("mcp-operator-{suffix:08x}")
}
