//! A shim behind a port: what runs in a pod as its first process.
//!
//! | file | its job |
//! |---|---|
//! | `door` | the token that callers must know |
//! | `listener` | connections: how many, how slow |
//! | `pages` | which path is what |
//! | `readiness` | the first handshake, and when to give up |
//! | `metrics` | what is counted |

mod door;
mod listener;
mod metrics;
mod pages;
mod readiness;

pub use door::TokenError;

use super::reap::Reaper;
use super::{LAST_ANSWERS, Shim, ShimError, ShimLimits, Surroundings, strays};
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::Process;
use crate::net::signals::Signals;
use crate::net::socket::{self, Bind};
use door::Door;
use listener::Connections;
use metrics::Metrics;
use readiness::Readiness;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Of the time to leave, what is kept back for what comes after the children's end.
const LAST_STEPS: Duration = Duration::from_secs(1);

/// What a pod's shim is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to accept connections; `::` means every address of either family.
    pub listen: SocketAddr,
    /// The path at which the server is.
    pub path: &'static str,
    /// The server.
    pub process: Process,
    /// The token that callers must know. Without it, only this machine may reach the port.
    pub token_file: Option<PathBuf>,
    /// From the signal to leave to the end.
    pub drain_timeout: Duration,
    /// Bounds.
    pub limits: ShimLimits,
}

/// Why a shim cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    /// Everyone could call the server.
    #[error("{0} can be reached from outside: give a --token-file, or listen on a loopback address")]
    Open(SocketAddr),
    /// No token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Signals or orphans cannot be handled, or a metric not registered.
    #[error("cannot start: {0}")]
    Start(String),
    /// The server cannot be started.
    #[error(transparent)]
    Server(#[from] ShimError),
    /// The server runs, and is none.
    #[error("{0}")]
    NoHandshake(String),
    /// A second signal.
    #[error("left at once, as a second signal asked")]
    Interrupted,
}

impl PodError {
    /// The exit code: a shell's for a command that it cannot run, 2 for wrong arguments, 130 after a second signal, 1 otherwise.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Open(_) => 2,
            Self::Server(ShimError::CommandNotFound { .. }) => 127,
            Self::Server(ShimError::NotExecutable { .. }) => 126,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// What all connections share.
struct Pod {
    shim: Arc<Shim>,
    path: &'static str,
    door: Option<Door>,
    readiness: Readiness,
    metrics: Metrics,
}

/// Serves until a signal asks to leave, or until it turns out that there is nothing to serve. Must be called inside a runtime.
pub async fn serve(options: Options) -> Result<(), PodError> {
    let Options { listen, path, process, token_file, drain_timeout, limits } = options;
    let bind = Bind::from(listen.ip());
    let door = token_file.map(Door::open).transpose()?;
    if door.is_none() && !bind.is_loopback() {
        return Err(PodError::Open(listen));
    }
    let start = |error: io::Error| PodError::Start(error.to_string());
    let mut signals = Signals::new().map_err(start)?;
    let reaper = Reaper::new().map_err(start)?;
    let metrics = Metrics::new(reaper.reaped()).map_err(|error| PodError::Start(error.to_string()))?;
    tokio::spawn(reaper.run());

    let bound = |source| PodError::Listen { address: listen, source };
    let listener = socket::listen(bind, listen.port()).map_err(bound)?;
    let address = listener.local_addr().map_err(bound)?;
    let children = limits.grace.after_stdin + limits.grace.after_term;
    let name = process.command.first().cloned().unwrap_or_default();
    let shim = Shim::start(&name, &process, &Credentials::default(), Surroundings::Pod, limits)?;
    let pod = Arc::new(Pod { shim, path, door, readiness: Readiness::default(), metrics });
    let connections = Connections::default();
    let accepting = tokio::spawn(listener::accept(listener, Arc::clone(&pod), connections.clone()));
    tracing::info!(listener = "mcp", %address, "listening");

    let watching = pod.door.as_ref().map(Door::watch);
    let ended = tokio::select! {
        failure = readiness::establish(&pod.shim, &pod.readiness, &name) => Err(failure),
        () = signals.next() => Ok(()),
    };
    if ended.is_ok() {
        tracing::info!("leaving");
    }
    pod.readiness.leave();
    let leaving = async {
        let calls = drain_timeout.saturating_sub(children + LAST_STEPS);
        pod.shim.drain(calls).await;
        accepting.abort();
        pod.shim.shutdown().await;
        connections.finish(LAST_ANSWERS).await;
        strays::end_descendants().await;
    };
    let left = tokio::select! {
        () = leaving => ended,
        () = signals.next() => Err(PodError::Interrupted),
    };
    drop(watching);
    left
}
