//! `kubectl mcp status`: the gateways, routes, backends and policies of a cluster, what is wrong and since when.
//!
//! The operator's [`inspect`](crate::operator::inspect) reads the cluster; everything after that is pure: what each object's
//! state is ([`state`]), what is told of each kind ([`kinds`]), and how that comes on a screen ([`text`], [`layout`]).

mod json;
mod kinds;
mod layout;
mod select;
mod state;
#[cfg(test)]
mod tests;
mod text;

use super::Failure;
use crate::operator::inspect::{Inspected, Namespaces, Query, collect};
use k8s_openapi::jiff::Timestamp;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use terminal_size::{Height, Width, terminal_size_of};
use text::Screen;

/// Columns where nothing says how many there are.
const DEFAULT_WIDTH: usize = 100;

/// Arguments of `kubectl mcp status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show only the MCPGateway of this name, its routes and their backends [default: all]
    #[arg(value_name = "GATEWAY")]
    gateway: Option<String>,
    /// The namespace to look at [default: the one of the context]
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// Look at all namespaces
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
    /// The context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Print every object and whole messages, on as many lines as that takes
    #[arg(long)]
    full: bool,
    /// Exit with code 1 unless everything is as it should be
    #[arg(long)]
    fail: bool,
}

/// How the status is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// Tables, for people
    Text,
    /// One JSON object, for programs
    Json,
}

/// Looks at the cluster and prints what is there. Exit code 1 with `--fail` if something is wrong or waited for.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let mut seen = look(args)?;
    if let Some(gateway) = &args.gateway
        && !select::only_of_gateway(&mut seen, gateway)
    {
        let place = text::place(seen.namespace.as_deref());
        return Err(Failure::new(format!("there is no MCPGateway {gateway} {place}")));
    }
    let sections = kinds::sections(&seen);
    let text = match args.output {
        Output::Text => text::overview(&sections, seen.namespace.as_deref(), Timestamp::now(), &screen(args.full)),
        Output::Json => json::overview(&sections, seen.namespace.as_deref()),
    };
    out.write_all(text.as_bytes()).map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    let is_good = sections.iter().all(kinds::Section::is_good);
    Ok(if is_good || !args.fail { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look(args: &Args) -> Result<Inspected, Failure> {
    let query = Query {
        kubeconfig: args.kubeconfig.clone(),
        context: args.context.clone(),
        namespaces: match &args.namespace {
            _ if args.all_namespaces => Namespaces::All,
            Some(name) => Namespaces::One(name.clone()),
            None => Namespaces::Current,
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let seen = runtime.block_on(collect(&query)).map_err(Failure::new);
    // A look-up of a name that nobody answers is not waited for.
    runtime.shutdown_background();
    seen
}

/// The terminal's size; elsewhere `$COLUMNS`, and no end of lines to fit into.
fn screen(full: bool) -> Screen {
    let terminal = terminal_size_of(io::stdout());
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width = terminal.map(|(Width(width), _)| usize::from(width)).or_else(columns).unwrap_or(DEFAULT_WIDTH);
    let height = terminal.map(|(_, Height(height))| usize::from(height));
    Screen { width, height, full }
}
