//! The data plane: `serve` in a pod, `run` on a laptop, `shim` in the pod of a stdio server.

use clap::{Parser, Subcommand};
use mcp_gateway_operator::cli::run::{RunArgs, ValidateArgs, run, validate};
use mcp_gateway_operator::cli::serve::{ServeArgs, serve};
use mcp_gateway_operator::cli::shim::{ShimArgs, shim};
use mcp_gateway_operator::cli::{Failure, refuse_arguments};
use mcp_gateway_operator::gateway::state::Gateway;
use mcp_gateway_operator::shim::exec_entry;
use std::process::ExitCode;

/// A gateway for the Model Context Protocol
#[derive(Parser)]
#[command(name = "mcp-gateway", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the generation in two mounted directories, as in a pod
    Serve(ServeArgs),
    /// Serve manifests, or an .mcp.json, on this machine, without a cluster
    Run(RunArgs),
    /// Check what `run` would serve, and serve nothing
    Validate(ValidateArgs),
    /// Serve a stdio MCP server on a port, as in a pod of its own
    Shim(ShimArgs),
}

fn main() -> ExitCode {
    if let Some(code) = exec_entry() {
        return code;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error),
    };
    let done = match cli.command {
        Command::Serve(args) => serve::<Gateway>(args),
        Command::Run(args) => run::<Gateway>(args),
        Command::Validate(args) => validate(args),
        Command::Shim(args) => shim(args),
    };
    done.unwrap_or_else(|failure: Failure| failure.exit())
}
