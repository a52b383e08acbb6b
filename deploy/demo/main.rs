//! A small MCP server that needs nothing else installed: what the quickstart puts behind the gateway.
//!
//! It speaks every protocol version that the gateway does, over stdio or Streamable HTTP. Give two of them the same
//! tools and different names and they are interchangeable; `whoami` tells which one answered.

mod server;

use std::net::SocketAddr;

use clap::Parser;
use rmcp::{
    ServiceExt as _,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService, stdio,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use server::DemoServer;

/// Serves a few tools, a prompt and a resource over MCP.
#[derive(Parser)]
#[command(name = "demo-mcp-server", version)]
struct Args {
    /// The name that `whoami` answers with
    #[arg(long, default_value = "demo")]
    name: String,
    /// The scheme of its resource's URI, `SCHEME://readme`: another one than that of a server behind the same route, unless the two are
    /// interchangeable
    #[arg(long, default_value = "demo")]
    scheme: String,
    /// Serve Streamable HTTP at this address, path /mcp, instead of stdio
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { name, scheme, http } = Args::parse();
    let server = DemoServer::new(name, &scheme);
    match http {
        Some(address) => serve_http(server, address).await,
        None => serve_stdio(server).await,
    }
}

/// Serves the one client that started this process, until it closes stdin.
async fn serve_stdio(server: DemoServer) -> Result<(), Box<dyn std::error::Error>> {
    server.serve(stdio()).await?.waiting().await?;
    Ok(())
}

/// Serves any number of clients until a signal asks the process to stop.
async fn serve_http(server: DemoServer, address: SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = StreamableHttpServerConfig::default();
    if !address.ip().is_loopback() {
        // A web page that rebinds a name reaches loopback servers only; in a cluster the server's names are not known to it.
        config = config.disable_allowed_hosts();
    }
    let stop = config.cancellation_token.clone();
    let service: StreamableHttpService<_, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(server.clone()), std::sync::Arc::default(), config);

    let listener = TcpListener::bind(address).await?;
    eprintln!("listening on http://{}/mcp", listener.local_addr()?);

    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        // Ends the sessions, and with them the open streams that would hold up the shutdown.
        stop.cancel();
    });
    let stopped = service.config.cancellation_token.clone();
    axum::serve(listener, axum::Router::new().nest_service("/mcp", service))
        .with_graceful_shutdown(stopped.cancelled_owned())
        .await?;
    Ok(())
}
