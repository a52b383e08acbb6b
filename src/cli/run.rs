//! `mcp-gateway run`: the manifests of a cluster, or an `.mcp.json`, served on a laptop.

mod banner;
mod flags;
mod world;

use super::Failure;
use super::host::Host;
use crate::gateway::config::Engine;
use crate::gateway::telemetry::{self, LogFormat};
use flags::{BackendFlag, SecretFlag};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use world::World;

/// Where the admin port is unless told otherwise. If it is taken, any free port will do.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// What is served.
#[derive(Debug, clap::Args)]
pub struct WorldArgs {
    /// Manifests (YAML), or an .mcp.json
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where a backend is that needs a cluster (http, service, serverRef), or should be elsewhere than its manifest says
    #[arg(long = "backend", value_name = "NAME=URL")]
    backends: Vec<BackendFlag>,
    /// The value of a Secret's key, from a file or from the environment
    #[arg(long = "secret", value_name = "NAME.KEY=@FILE|$VARIABLE")]
    secrets: Vec<SecretFlag>,
    /// The MCPGateway to serve, if the files define several
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Address to accept clients on. Other than a loopback address, routes need an MCPAuthPolicy
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Port to accept clients on, instead of the listener's own; 0 takes a free one
    #[arg(long)]
    port: Option<u16>,
}

/// Serves manifests without a cluster, and follows their changes.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// Address of the admin port: health, metrics, status [default: 127.0.0.1:9901, or a free port]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// What to log: error, warn, info, debug, trace, or a filter of tracing-subscriber [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Checks what `run` would serve, and serves nothing.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    world: WorldArgs,
}

/// Serves until a signal asks to leave.
pub fn run<E: Engine>(args: RunArgs) -> Result<ExitCode, Failure> {
    let RunArgs { world, admin, log_level } = args;
    let bind = world.bind;
    telemetry::init(LogFormat::Auto, log_level.as_deref())
        .map_err(|error| Failure::usage(format!("--log-level: {error}")))?;
    let host = Host { bind, admin: admin.unwrap_or(ADMIN), admin_may_move: admin.is_none(), peering: None };
    host.run::<E, _>(World::new(world)?, banner::print)
}

/// Tells everything that is wrong with the files, a line each.
pub fn validate(args: ValidateArgs) -> Result<ExitCode, Failure> {
    let (generation, problems) = World::new(args.world)?.load().map_err(Failure::new)?;
    if !problems.is_empty() {
        return Err(Failure::new(problems.join("\n")));
    }
    let (routes, backends) = (generation.snapshot.routes.len(), generation.snapshot.backends.len());
    println!("good: {routes} route(s) to {backends} backend(s)");
    Ok(ExitCode::SUCCESS)
}
