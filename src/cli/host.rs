//! A gateway as a process: its threads, its signals, its way out.

use super::Failure;
use crate::gateway::config::{Engine, Runtime, Source, Watch, first, follow};
use crate::gateway::peers::peering::Peering;
use crate::gateway::{admin, channel};
use crate::net::signals::Signals;
use crate::net::socket::Bind;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The exit code of a process that a second signal ended before it was drained: 128 and SIGINT.
const INTERRUPTED: u8 = 130;

/// What does not depend on where the generations come from.
pub(super) struct Host {
    pub(super) bind: IpAddr,
    pub(super) admin: SocketAddr,
    /// Whether any free port will do for `admin` where that one is taken.
    pub(super) admin_may_move: bool,
    /// Where the operator speaks to it, if credentials secure that.
    pub(super) channel: Option<SocketAddr>,
    /// How it meets the other replicas, where there may be any.
    pub(super) peering: Option<Peering>,
}

impl Host {
    /// Serves what `source` holds, follows its changes, and leaves on a signal. `started` is told once everything listens.
    pub(super) fn run<E: Engine, S: Source>(
        self,
        source: S,
        started: impl FnOnce(&Arc<Runtime<E>>),
    ) -> Result<ExitCode, Failure> {
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
        let found = first(&*source, &watch).await.map_err(Failure::new)?;
        let admin = self.bind_admin()?;
        let runtime =
            Runtime::<E>::start(&found.generation, found.rank, Bind::from(self.bind)).map_err(Failure::new)?;
        if let Some(address) = self.channel.filter(|_| found.generation.credentials.channels.is_some()) {
            let failed =
                |error| format!("the channel's port {address} cannot be had: {error}; choose another with --channel");
            channel::open(address, &runtime).map_err(failed).map_err(Failure::new)?;
        }
        drop(found);
        if let Some(peering) = self.peering {
            runtime.join(peering).map_err(Failure::new)?;
        }
        if let Ok(address) = admin.local_addr() {
            tracing::info!(listener = "admin", %address, tls = false, "listening");
        }
        tokio::spawn(admin::serve(admin, Arc::clone(&runtime)));
        let following = tokio::spawn(follow(Arc::clone(&runtime), source, watch));
        started(&runtime);

        signals.next().await;
        // From here on nothing changes any more.
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

impl Host {
    fn bind_admin(&self) -> Result<TcpListener, Failure> {
        let bound = match admin::bind(self.admin) {
            Err(error) if self.admin_may_move && error.kind() == io::ErrorKind::AddrInUse => {
                admin::bind(SocketAddr::new(self.admin.ip(), 0))
            }
            bound => bound,
        };
        let address = self.admin;
        let advice = "choose another with --admin";
        bound.map_err(|error| Failure::new(format!("the admin port {address} cannot be had: {error}; {advice}")))
    }
}
