//! The data plane.

use clap::{Parser, Subcommand};
use mcp_gateway_operator::cli;
use mcp_gateway_operator::cli::serve::{ServeArgs, serve};
use mcp_gateway_operator::gateway::state::Gateway;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "mcp-gateway", version, about = "Serves MCP to clients, in front of many MCP servers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve the generation in two mounted directories
    Serve(ServeArgs),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return cli::refuse_arguments(&error),
    };
    let Command::Serve(arguments) = arguments.command;
    serve::<Gateway>(arguments).unwrap_or_else(|failure| failure.exit())
}
