//! Runs stdio MCP servers as child processes and serves them over Streamable HTTP.
//!
//! So the gateway has HTTP upstreams only: on a laptop it reaches a [`Shim`] through an in-memory connection
//! ([`Shim::connect`]); in a pod the same code stands behind a port ([`pod`]).
//!
//! | file | its job |
//! |---|---|
//! | `server`, `reply` | HTTP: which request is what, answers as JSON or event stream |
//! | `session` | clients of the legacy era: sessions, and which child each one uses |
//! | `modern` | clients of the modern era: no sessions, one child for all of them |
//! | `link`, `routes`, `subscriptions`, `outlet` | one child in use: whose message is whose, ids kept apart, bounded queues |
//! | `pool` | how many children, warm ones, pauses between crashes |
//! | `child`, `spawn`, `framing`, `stderr` | one process: start, pipes, end |
//! | `strays`, `reap` | what processes leave behind, and whose exit status is whose |
//! | `handshake` | whether the command is an MCP server at all |
//! | [`pod`] | the port of a pod: token, readiness, metrics, the way out |
//!
//! A child serves one era only, since some servers break when both are tried on one process. Of the gateway only the pure
//! protocol code (`gateway::mcp`) is used here.

mod child;
mod framing;
mod handshake;
mod link;
mod message;
mod modern;
mod outlet;
pub mod pod;
mod pool;
mod reap;
mod reply;
mod routes;
mod server;
mod session;
mod spawn;
mod stderr;
mod strays;
mod subscriptions;
#[cfg(test)]
mod tests;

pub use spawn::exec_entry;

use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{Isolation, Process};
use modern::Modern;
use pool::Pool;
use session::Sessions;
use spawn::Launch;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where a shim runs: what its children get of its own environment, and what becomes of what they leave behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surroundings {
    /// On a user's machine children get what programs cannot do without. A daemon that one of them starts is the user's.
    Laptop,
    /// A pod's environment is written for the server that runs in it, and nothing outlives the child that started it.
    Pod,
}

/// Bytes in flight in each direction of an in-memory connection.
const DUPLEX_BUFFER: usize = 64 * 1024;

/// How long open connections may take to write their last answers once the children are gone.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// Beyond the children's own grace, how long a shutdown waits for the kernel to end what was killed.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(5);

/// Why a server cannot be started, or not now.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    /// The definition is empty.
    #[error("no command is given")]
    NoCommand,
    /// A variable names a secret that did not come with the generation.
    #[error("the variable {variable} needs the secret {key}, which was not given")]
    MissingSecret {
        /// The variable's name.
        variable: String,
        /// `namespace/name/key` of the secret.
        key: String,
    },
    /// The operating system does not take such a variable.
    #[error("the variable {variable:?} has a name or a value that no environment can hold")]
    InvalidVariable {
        /// The variable's name.
        variable: String,
    },
    /// The working directory does not exist.
    #[error("the working directory {directory:?} does not exist")]
    NoDirectory {
        /// The directory.
        directory: String,
    },
    /// The program does not exist.
    #[error("the command {command:?} was not found: install it, or give its full path")]
    CommandNotFound {
        /// The command's name.
        command: String,
    },
    /// The program may not be executed.
    #[error("the command {command:?} is not executable")]
    NotExecutable {
        /// The command's name.
        command: String,
    },
    /// The operating system refused.
    #[error("the command {command:?} cannot be started: {source}")]
    Spawn {
        /// The command's name.
        command: String,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// All processes are in use and none became free.
    #[error("all {max} processes of this server are in use (pool.max)")]
    PoolExhausted {
        /// The bound.
        max: u32,
    },
    /// It keeps ending by itself.
    #[error("the server keeps failing and is started again in {} s: {reason}", pause.as_secs() + 1)]
    Crashing {
        /// The time to wait.
        pause: Duration,
        /// How it ended last.
        reason: String,
    },
    /// Too many clients.
    #[error("all {max} sessions of this server are in use")]
    TooManySessions {
        /// The bound.
        max: usize,
    },
    /// Too many requests wait for one child.
    #[error("too many requests are in flight at this server")]
    TooManyRequests,
    /// It does not answer the first request.
    #[error("the server did not answer the handshake within {} s", limit.as_secs())]
    HandshakeTimeout {
        /// The time it had.
        limit: Duration,
    },
    /// It ended before the request was sent or during the handshake.
    #[error("the server's process ended during the handshake")]
    Gone,
    /// The operating system gives no random bytes, so no session can be named.
    #[error("the system gives no random numbers")]
    NoRandomness,
    /// The gateway stops this server.
    #[error("the server is being shut down")]
    Closing,
}

/// How long a child has to leave by itself.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// After its standard input closed, before SIGTERM to its group.
    pub after_stdin: Duration,
    /// After SIGTERM, before SIGKILL to its group.
    pub after_term: Duration,
}

/// Bounds on one server, apart from what its definition says.
#[derive(Clone, Debug)]
pub struct ShimLimits {
    /// The longest line a child may write, in bytes. A longer one ends the child.
    pub line_bytes: usize,
    /// The largest request body, in bytes.
    pub body_bytes: usize,
    /// For a request's body to come.
    pub body_within: Duration,
    /// How a child ends.
    pub grace: Grace,
    /// For the answer to `initialize`: long, since launchers download packages first.
    pub handshake: Duration,
    /// For the answer to the probe of the modern era, which a legacy server may leave unanswered.
    pub probe: Duration,
    /// A process younger than this may still be starting: the probe waits at least until it has this age.
    pub probe_young: Duration,
    /// How long a verdict on a server's era stands before it is probed again.
    pub verdict: Duration,
    /// How long to wait for a free process.
    pub acquire: Duration,
    /// The first pause after a crash; it doubles with each further one.
    pub restart_base: Duration,
    /// The longest pause.
    pub restart_max: Duration,
    /// A process that lived this long did not crash at its start.
    pub stable_after: Duration,
    /// Sessions at the most.
    pub sessions: usize,
    /// Requests in flight per child.
    pub in_flight: usize,
}

impl Default for ShimLimits {
    fn default() -> Self {
        Self {
            // What rmcp reads, too.
            line_bytes: 16 * 1024 * 1024,
            body_bytes: 16 * 1024 * 1024,
            body_within: Duration::from_secs(60),
            grace: Grace { after_stdin: Duration::from_secs(2), after_term: Duration::from_secs(2) },
            handshake: Duration::from_secs(120),
            probe: Duration::from_secs(3),
            probe_young: Duration::from_secs(10),
            verdict: Duration::from_secs(300),
            acquire: Duration::from_secs(5),
            restart_base: Duration::from_secs(1),
            restart_max: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            sessions: 10_000,
            in_flight: 1024,
        }
    }
}

/// What a server's processes are doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShimStats {
    /// Processes in use.
    pub running: u32,
    /// Processes kept ready.
    pub idle: u32,
    /// Processes being started.
    pub starting: u32,
    /// Processes started, since the shim started.
    pub starts: u64,
    /// Processes that ended by themselves.
    pub crashes: u64,
    /// Handshakes that failed: refused, not answered, or ended by a crash.
    pub handshake_failures: u64,
    /// Lines of standard error that were not logged, since they were too many.
    pub stderr_dropped: u64,
    /// Calls in flight.
    pub calls: usize,
    /// Sessions of the legacy era.
    pub sessions: usize,
    /// The last start or end that failed.
    pub last_error: Option<String>,
    /// The last lines of standard error, without the secrets of the environment.
    pub stderr_tail: Vec<String>,
}

/// One stdio server behind HTTP.
pub struct Shim {
    isolation: Isolation,
    idle_timeout: Duration,
    limits: ShimLimits,
    pool: Arc<Pool>,
    sessions: Sessions,
    modern: Modern,
    connections: TaskTracker,
    /// One token per call in flight.
    calls: TaskTracker,
    /// Cancelled when nothing new is to be begun.
    draining: CancellationToken,
    /// Ends the connections, after the children.
    closed: CancellationToken,
}

impl Shim {
    /// Prepares a server. Starts `pool.min` processes ahead of need, and nothing else before the first request. Must be called
    /// inside a runtime.
    pub fn start(
        name: &str,
        process: &Process,
        credentials: &Credentials,
        surroundings: Surroundings,
        limits: ShimLimits,
    ) -> Result<Arc<Self>, ShimError> {
        let launch = Launch::resolve(process, credentials, surroundings)?;
        let pool = Arc::new(Pool::new(name.to_owned(), launch, process.pool.max, limits.clone()));
        let shim = Arc::new(Self {
            isolation: process.isolation,
            idle_timeout: Duration::from_millis(process.pool.idle_timeout_ms),
            limits,
            pool: Arc::clone(&pool),
            sessions: Sessions::default(),
            modern: Modern::default(),
            connections: TaskTracker::new(),
            calls: TaskTracker::new(),
            draining: CancellationToken::new(),
            closed: CancellationToken::new(),
        });
        let min = process.pool.min;
        let weak = Arc::downgrade(&shim);
        tokio::spawn(async move {
            pool.keep_warm(|| weak.upgrade().map_or(0, |shim| shim.warm_target(min))).await;
        });
        tokio::spawn(sweep(Arc::downgrade(&shim), shim.pool.closing().clone(), shim.idle_timeout));
        Ok(shim)
    }

    /// A new client connection: HTTP/1.1 with keep-alive. It ends when either side drops it or the shim is shut down.
    pub fn connect(self: &Arc<Self>) -> DuplexStream {
        let (client, server) = tokio::io::duplex(DUPLEX_BUFFER);
        self.connections.spawn(server::serve(Arc::clone(self), server));
        client
    }

    /// Begins nothing new from now on, and waits for the calls in flight, at the most for `limit`. Answers to questions of the
    /// server still reach it.
    pub async fn drain(&self, limit: Duration) {
        self.draining.cancel();
        self.calls.close();
        if tokio::time::timeout(limit, self.calls.wait()).await.is_err() {
            tracing::warn!(calls = self.calls.len(), "calls in flight are cut off");
        }
    }

    /// Ends every child and every connection, and waits for it: at the most the grace of the children and a few seconds.
    pub async fn shutdown(&self) {
        let Grace { after_stdin, after_term } = self.limits.grace;
        self.pool.closing().cancel();
        self.sessions.clear().await;
        self.modern.clear().await;
        if tokio::time::timeout(after_stdin + after_term + SHUTDOWN_SLACK, self.pool.close()).await.is_err() {
            tracing::warn!("a child could not be ended in time");
        }
        self.connections.close();
        // Answers that tell of the end are still on their way.
        let _ = tokio::time::timeout(LAST_ANSWERS, self.connections.wait()).await;
        self.closed.cancel();
        self.connections.wait().await;
    }

    /// What the processes are doing.
    pub fn stats(&self) -> ShimStats {
        let pool = self.pool.stats();
        ShimStats {
            running: pool.running,
            idle: pool.idle,
            starting: pool.starting,
            starts: pool.starts,
            crashes: pool.crashes,
            handshake_failures: pool.handshake_failures,
            stderr_dropped: pool.stderr_dropped,
            calls: self.calls.len(),
            sessions: self.sessions.len(),
            last_error: pool.last_error,
            stderr_tail: pool.stderr_tail,
        }
    }

    /// How many processes to keep ready. Clients that share a process need no second one.
    fn warm_target(&self, min: u32) -> u32 {
        match self.isolation {
            Isolation::Shared if self.sessions.shared_runs() || self.modern.runs() => 0,
            Isolation::Shared => min.min(1),
            Isolation::PerSession | Isolation::PerRequest => min,
        }
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.pool.closing().cancel();
        self.closed.cancel();
    }
}

/// Ends what has been idle for too long, until the shim is shut down.
async fn sweep(shim: std::sync::Weak<Shim>, closing: CancellationToken, idle_timeout: Duration) {
    // Often enough to be punctual within a quarter, and never a burden.
    let interval = (idle_timeout / 4).clamp(Duration::from_millis(20), Duration::from_secs(30));
    while closing.run_until_cancelled(tokio::time::sleep(interval)).await.is_some() {
        let Some(shim) = shim.upgrade() else { return };
        shim.sessions.sweep(shim.idle_timeout);
        shim.modern.sweep(shim.idle_timeout);
    }
}
