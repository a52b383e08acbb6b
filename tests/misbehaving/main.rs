//! An MCP server that does on demand what bad servers do by accident: the end-to-end tests run it in pods.
//!
//! Flags decide how it starts and what it serves; tools do harm once it runs (see [`server`]).

mod http;
mod orphans;
mod processes;
mod server;

use std::{
    io::{BufRead as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use clap::Parser;
use rmcp::{ServiceExt as _, transport::stdio};
use tokio::signal::unix::{SignalKind, signal};

use server::Misbehaving;

/// Serves MCP over stdio, or over HTTP, and misbehaves as asked.
#[derive(Parser)]
#[command(name = "misbehaving-server")]
struct Args {
    /// End at once with this exit code
    #[arg(long, value_name = "CODE")]
    exit: Option<u8>,
    /// Do nothing at all for so long, then start
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    start_after: Option<Duration>,
    /// Take so many MiB of memory before serving
    #[arg(long, value_name = "MIB")]
    allocate: Option<usize>,
    /// Speak something that is no MCP: prose over stdio, a web page over HTTP
    #[arg(long)]
    no_mcp: bool,
    /// Go on when a signal asks to end
    #[arg(long)]
    ignore_term: bool,
    /// Serve Streamable HTTP at this address instead of stdio
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// The path of MCP over HTTP; any other is not found
    #[arg(long, default_value = "/mcp", requires = "http")]
    path: String,
    /// Serve HTTPS with a certificate that nobody trusts
    #[arg(long, requires = "http")]
    self_signed: bool,
    #[command(subcommand)]
    part: Option<orphans::Part>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    if let Some(part) = args.part {
        return Ok(part.play()?);
    }
    if let Some(code) = args.exit {
        eprintln!("ending at once with code {code}, as asked");
        std::process::exit(code.into());
    }
    if args.ignore_term {
        // Whoever listens for a signal does not die of it.
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::spawn(async move { while terminate.recv().await.is_some() {} });
    }
    if let Some(time) = args.start_after {
        tokio::time::sleep(time).await;
    }
    if let Some(mebibytes) = args.allocate {
        server::take(mebibytes);
    }
    match args.http {
        Some(address) => http::serve(address, &args.path, args.no_mcp, args.self_signed).await?,
        None if args.no_mcp => chat()?,
        None => {
            Misbehaving.serve(stdio()).await?.waiting().await?;
        }
    }
    Ok(())
}

/// Answers each line with prose, as a program would that a user named by mistake.
fn chat() -> std::io::Result<()> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "Welcome! Type help for help.")?;
    for line in std::io::stdin().lock().lines() {
        writeln!(stdout, "{} characters, and I understand none of them.", line?.len())?;
    }
    Ok(())
}
