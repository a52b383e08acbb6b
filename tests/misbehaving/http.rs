//! The same server over HTTP: at a path where nobody looks, behind a certificate that nobody trusts, or not MCP at all.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, response::Html, serve::Listener};
use rmcp::transport::{
    StreamableHttpServerConfig, StreamableHttpService, streamable_http_server::session::local::LocalSessionManager,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::server::Misbehaving;

/// A probe that connects and says nothing must not keep others out for longer.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// Serves until the process is ended.
pub(crate) async fn serve(
    address: SocketAddr,
    path: &str,
    no_mcp: bool,
    self_signed: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let router = if no_mcp {
        Router::new().fallback(|| async { Html("<h1>It works!</h1>") })
    } else {
        // Pods are called by their addresses.
        let config = StreamableHttpServerConfig::default().disable_allowed_hosts();
        let service: StreamableHttpService<_, LocalSessionManager> =
            StreamableHttpService::new(|| Ok(Misbehaving), Arc::default(), config);
        Router::new().route_service(path, service)
    };
    let listener = TcpListener::bind(address).await?;
    let scheme = if self_signed { "https" } else { "http" };
    eprintln!("listening on {scheme}://{}{path}", listener.local_addr()?);
    if self_signed {
        axum::serve(Secure { listener, acceptor: self_signed_acceptor()? }, router).await?;
    } else {
        axum::serve(listener, router).await?;
    }
    Ok(())
}

fn self_signed_acceptor() -> Result<TlsAcceptor, Box<dyn std::error::Error>> {
    let certified = rcgen::generate_simple_self_signed(["nobody.example".to_owned()])?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TCP connections that became TLS ones; the others are dropped.
struct Secure {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secure {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            match tokio::time::timeout(HANDSHAKE, self.acceptor.accept(stream)).await {
                Ok(Ok(stream)) => return (stream, address),
                Ok(Err(error)) => eprintln!("{address}: {error}"),
                Err(_) => eprintln!("{address}: no handshake"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}
