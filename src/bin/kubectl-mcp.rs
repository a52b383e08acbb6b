//! `kubectl mcp`: checks manifests, prints definitions and client configuration, imports `.mcp.json`, tells
//! what is wrong in a cluster.

use clap::{Parser, Subcommand};
use mcp_gateway_operator::cli::{self, Failure};
use std::io::{self, Write};
use std::process::ExitCode;

/// MCP gateways: check manifests, print what clients and clusters need, import what you have.
#[derive(Parser)]
#[command(name = "kubectl-mcp", bin_name = "kubectl mcp", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check manifests without a cluster: exit code 1 if any would be refused
    Lint(cli::lint::Args),
    /// Print the custom resource definitions
    Crds(cli::crds::Args),
    /// Print what an MCP client needs to reach a gateway
    ClientConfig(cli::client_config::Args),
    /// Turn an .mcp.json into manifests, with references in the place of secrets
    Import(cli::import::Args),
    /// Show the gateways, routes and backends of a cluster, what is wrong and since when
    #[cfg(feature = "operator")]
    Status(cli::status::Args),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::refuse_arguments(&error),
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = run(&arguments.command, &mut out);
    match (done, out.flush()) {
        (Err(failure), _) => failure.exit(),
        // `kubectl mcp crds | head` closes the pipe, and means it.
        (Ok(code), Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => code,
        (Ok(_), Err(error)) => Failure::new(format!("cannot write to standard output: {error}")).exit(),
        (Ok(code), Ok(())) => code,
    }
}

fn run(command: &Command, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    match command {
        Command::Lint(args) => cli::lint::run(args, out),
        Command::ClientConfig(args) => cli::client_config::run(args, out).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "operator")]
        Command::Status(args) => cli::status::run(args, out),
        Command::Import(args) => cli::import::run(args, out).map(|()| ExitCode::SUCCESS),
        Command::Crds(args) => cli::crds::run(args, out).map(|()| ExitCode::SUCCESS).map_err(Failure::new),
    }
}
