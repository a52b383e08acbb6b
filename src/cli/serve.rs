//! `mcp-gateway serve`: the data plane in a pod.

use super::Failure;
use super::host::Host;
use crate::gateway::config::Engine;
use crate::gateway::config::directory::Directories;
use crate::gateway::peers::peering::{Advertise, PeerName, Peering};
use crate::gateway::telemetry::{self, LogFormat};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

/// Serves the generation in two mounted directories, and follows their changes.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Directory with snapshot.json.gz, the key of a ConfigMap
    #[arg(long, value_name = "DIR")]
    snapshot_dir: PathBuf,
    /// Directory with credentials.json, the key of a Secret
    #[arg(long, value_name = "DIR")]
    credentials_dir: PathBuf,
    /// Address to accept clients on; :: means all, IPv4 too
    #[arg(long, value_name = "IP", default_value = "::")]
    bind: IpAddr,
    /// Address of the admin port: health, metrics, status
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9901")]
    admin: SocketAddr,
    /// Address of the peer port, for the other replicas; it exists where the credentials secure it
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9903")]
    peer: SocketAddr,
    /// What the other replicas reach the peer port by; without it, there are no others
    #[arg(long, value_name = "IP[:PORT]")]
    advertise: Option<Advertise>,
    /// Where the other replicas are: addresses, or names that stand for all of them
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    peers: Vec<PeerName>,
    /// What to log: error, warn, info, debug, trace, or a filter of tracing-subscriber [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Serves until a signal asks to leave.
pub fn serve<E: Engine>(args: ServeArgs) -> Result<ExitCode, Failure> {
    let ServeArgs { snapshot_dir, credentials_dir, bind, admin, peer, advertise, peers, log_level } = args;
    let source = Directories { snapshot: snapshot_dir, credentials: credentials_dir };
    telemetry::init(LogFormat::Json, log_level.as_deref())
        .map_err(|error| Failure::usage(format!("--log-level: {error}")))?;
    let advertise = advertise.map(|advertise| advertise.with_port(peer.port()));
    let peering = advertise.map(|advertise| Peering { bind: peer, advertise, peers });
    Host { bind, admin, admin_may_move: false, peering }.run::<E, _>(source, |_| {})
}
