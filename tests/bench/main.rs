//! The benchmark: what does the gateway cost, compared with no proxy at all and with a proxy that knows nothing of MCP?
//!
//! `bench run` starts everything else as processes of its own (`upstream`, `hop`, `load`, and the gateway's release
//! build), so that each one's CPU time and memory are the kernel's own account of it. `make bench` is the way to call it;
//! `docs/performance.md` says how to read the numbers.

mod bars;
mod gateway;
mod histogram;
mod hop;
mod load;
mod mcp;
mod process;
mod report;
mod rounds;
mod upstream;

use clap::{Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// A benchmark is a tool: its errors are read by the person who started it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser)]
#[command(about = "Measures the gateway against a bare proxy hop and against no proxy")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a minimal MCP server; prints its address and ends when stdin closes
    Upstream,
    /// Serve a bare reverse proxy; prints its address and ends when stdin closes
    Hop {
        /// Where to pass requests on to
        #[arg(long)]
        to: SocketAddr,
    },
    /// Call tools in a closed loop; prints one line of JSON
    Load(load::Options),
    /// Measure everything and print the report
    Run(rounds::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    // The hop runs as the gateway does, on all cores. The others share the machine with what is measured: one thread
    // each keeps them out of its way.
    let runtime = match command {
        Command::Hop { .. } => tokio::runtime::Builder::new_multi_thread().enable_all().build()?,
        _ => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
    };
    runtime.block_on(async {
        match command {
            Command::Upstream => process::serve_until_stdin_closes(upstream::serve).await,
            Command::Hop { to } => process::serve_until_stdin_closes(move |listener| hop::serve(listener, to)).await,
            Command::Load(options) => load::run(&options).await,
            Command::Run(options) => rounds::run(&options).await,
        }
    })
}

/// Where the reports go when nothing else is said.
fn default_out() -> PathBuf {
    PathBuf::from("target/bench")
}
