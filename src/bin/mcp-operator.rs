//! The operator: reconciles MCP gateways in a cluster.

use clap::{Parser, Subcommand};
use mcp_gateway_operator::cli::check::{CheckArgs, check};
use mcp_gateway_operator::cli::operate::{OperateArgs, operate};
use mcp_gateway_operator::cli::{Failure, crds, refuse_arguments};
use std::io;
use std::process::ExitCode;

/// An operator for Model Context Protocol gateways
#[derive(Parser)]
#[command(name = "mcp-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile the gateways of a cluster, or of some namespaces
    Run(OperateArgs),
    /// Say whether the operator of a cluster is well: ready, with a leader, and its definitions served
    Check(CheckArgs),
    /// Print the custom resource definitions that this version reconciles
    Crds(crds::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error),
    };
    let done = match cli.command {
        Command::Run(args) => operate(args),
        Command::Check(args) => check(args, &mut io::stdout().lock()),
        Command::Crds(args) => {
            crds::run(&args, &mut io::stdout().lock()).map(|()| ExitCode::SUCCESS).map_err(Failure::new)
        }
    };
    done.unwrap_or_else(|failure| failure.exit())
}
