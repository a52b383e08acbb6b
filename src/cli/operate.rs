//! `mcp-operator run`: the operator, in a pod or beside a cluster.

use super::Failure;
use crate::operator::{self, Options, Scope};
use crate::translate::facts::{Cluster, GroupKind};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// Reconciles gateways, backends, routes and policies until a signal asks to leave.
#[derive(Debug, clap::Args)]
pub struct OperateArgs {
    /// Namespace to look after; may be given several times [default: the whole cluster]
    #[arg(long = "watch-namespace", value_name = "NAME", env = "WATCH_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Image of the data plane, where an MCPGateway names none
    #[arg(long, value_name = "IMAGE", env = "GATEWAY_IMAGE", default_value = operator::DEFAULT_GATEWAY_IMAGE)]
    gateway_image: String,
    /// Kind of another operator that a serverRef may name, as Kind.group; may be given several times [default: MCPServer.mcp.x-k8s.io]
    #[arg(long = "server-kind", value_name = "KIND", value_delimiter = ',')]
    server_kinds: Vec<GroupKind>,
    /// Let a serverRef name no kind at all
    #[arg(long, conflicts_with = "server_kinds")]
    no_server_kinds: bool,
    /// Leave Gateway API alone: no gateway is exposed by a route of it
    #[arg(long)]
    no_gateway_api: bool,
    /// Namespace whose pods may scrape the gateways' metrics; may be given several times [default: none]
    #[arg(long = "scraper-namespace", value_name = "NAME", value_delimiter = ',')]
    scrapers: Vec<String>,
    /// Namespace of the operator itself, and of its lease
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "mcp-system")]
    namespace: String,
    /// Name of the lease that says which replica leads
    #[arg(long, value_name = "NAME", default_value = "mcp-operator")]
    lease: String,
    /// This replica's own name, unique among all [default: a random one]
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    identity: Option<String>,
    /// Address of health, readiness and metrics
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    health: SocketAddr,
    /// What to log: error, warn, info, debug, trace, or a filter of tracing-subscriber [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

/// Runs the operator.
pub fn operate(args: OperateArgs) -> Result<ExitCode, Failure> {
    let filter = EnvFilter::try_new(args.log_level.as_deref().unwrap_or("info"))
        .map_err(|error| Failure::usage(format!("--log-level: {error}")))?;
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_writer(std::io::stderr).init();
    let named: BTreeSet<GroupKind> = args.server_kinds.into_iter().collect();
    let is_default = named.is_empty() && !args.no_server_kinds;
    let options = Options {
        scope: Scope::of(args.namespaces),
        server_kinds: if is_default { Cluster::default().server_kinds } else { named },
        gateway_api: !args.no_gateway_api,
        scrapers: args.scrapers.into_iter().collect(),
        gateway_image: args.gateway_image,
        namespace: args.namespace,
        lease: args.lease,
        identity: args.identity.unwrap_or_else(operator::random_identity),
        health: args.health,
    };
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start threads: {error}")))?;
    let done = threads.block_on(operator::run(options)).map_err(Failure::new);
    // What still runs is of no use without the rest.
    threads.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}
