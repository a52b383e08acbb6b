//! `mcp-operator check`: whether the operator of a cluster is well.

use super::Failure;
use crate::operator::{Check, Scope};
use http::Uri;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// Looks at an operator from beside it.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Where the operator tells whether it is ready: the URL of /readyz on its health port
    #[arg(long, value_name = "URL", value_parser = plain_http)]
    health: Uri,
    /// Namespace that the operator looks after; may be given several times [default: the whole cluster]
    #[arg(long = "watch-namespace", value_name = "NAME", env = "WATCH_NAMESPACES", value_delimiter = ',')]
    namespaces: Vec<String>,
    /// Namespace of the operator itself, and of its lease
    #[arg(long, value_name = "NAME", env = "POD_NAMESPACE", default_value = "mcp-system")]
    namespace: String,
    /// Name of the lease that says which replica leads
    #[arg(long, value_name = "NAME", default_value = "mcp-operator")]
    lease: String,
    /// How long the operator may take to get well, like 30s
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// The operator's own port speaks no TLS.
fn plain_http(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let is_whole = url.scheme_str() == Some("http") && url.host().is_some();
    if is_whole { Ok(url) } else { Err("must begin with http:// and name a host".to_owned()) }
}

/// Tells what it found, a line for each thing.
pub fn check(args: CheckArgs, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let check = Check {
        scope: Scope::of(args.namespaces),
        namespace: args.namespace,
        lease: args.lease,
        health: args.health,
        patience: args.timeout,
    };
    let threads = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let findings = threads.block_on(check.run()).map_err(Failure::new)?;
    let written = findings.iter().try_for_each(|finding| writeln!(out, "{finding}"));
    written.map_err(|error| Failure::new(format!("cannot write to standard output: {error}")))?;
    Ok(ExitCode::SUCCESS)
}
