//! A gateway as a process: its threads, its signals, its way out.

use super::Failure;
use crate::gateway::admin;
use crate::gateway::config::{Engine, Runtime, Source, Watch, follow};
use crate::gateway::listener::socket::Bind;
use crate::gateway::telemetry::{self, LogFormat};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a process that a second signal ended before it was drained: 128 and SIGINT.
const INTERRUPTED: u8 = 130;

/// What does not depend on where the generations come from.
pub(super) struct Host {
    pub(super) bind: IpAddr,
    pub(super) admin: SocketAddr,
    pub(super) log_format: LogFormat,
    pub(super) log_level: Option<String>,
}

impl Host {
    /// Serves what `source` holds, follows its changes, and leaves on a signal. `started` is told once everything listens.
    pub(super) fn run<E: Engine, S: Source>(
        self,
        source: S,
        started: impl FnOnce(&Arc<Runtime<E>>),
    ) -> Result<ExitCode, Failure> {
        telemetry::init(self.log_format, self.log_level.as_deref())
            .map_err(|error| Failure::usage(format!("--log-level: {error}")))?;
        let threads = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
        let code = threads.block_on(self.serve(source, started));
        // Nothing is left that would have to be waited for.
        threads.shutdown_background();
        code
    }

    async fn serve<E: Engine, S: Source>(
        self,
        source: S,
        started: impl FnOnce(&Arc<Runtime<E>>),
    ) -> Result<ExitCode, Failure> {
        let mut signals = Signals::new().map_err(|error| Failure::new(format!("cannot handle signals: {error}")))?;
        let source = Arc::new(source);
        // Watched before it is read, so that no change falls between the two.
        let watch = Watch::new(source.directories());
        let generation = source.read().map_err(Failure::new)?;
        let admin = admin::bind(self.admin).map_err(|error| {
            Failure::new(format!("the admin port {} cannot be had: {error}; choose another with --admin", self.admin))
        })?;
        let runtime = Runtime::<E>::start(&generation, Bind::from(self.bind)).map_err(Failure::new)?;
        drop(generation);
        if let Ok(address) = admin.local_addr() {
            tracing::info!(listener = "admin", %address, tls = false, "listening");
        }
        tokio::spawn(admin::serve(admin, Arc::clone(&runtime)));
        let following = tokio::spawn(follow(Arc::clone(&runtime), source, watch));
        started(&runtime);

        signals.next().await;
        following.abort();
        tokio::select! {
            () = runtime.drain() => Ok(ExitCode::SUCCESS),
            () = signals.next() => {
                tracing::warn!("leaving at once");
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    }
}

/// The signals that ask a process to leave.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
