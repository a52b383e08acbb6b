//! The admin port: health, readiness, metrics, status, and the running configuration. Nothing here changes anything, and
//! nothing here is secret, but it is not for the public either.

use super::config::{Engine, Runtime};
use super::listener::guard::{self, Guard};
use crate::net::socket::{self, Bind};
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at a time. Few programs ask, and they must not take what clients need.
const CONNECTIONS: usize = 64;

/// Time to send a request's headers, and to stay idle between two: longer than the usual scrape interval of 30 s.
const HEADERS_WITHIN: Duration = Duration::from_secs(60);

/// Binds the admin port. Must run inside a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    socket::listen(Bind::from(address.ip()), address.port())
}

/// Serves the admin port until it is dropped.
pub async fn serve<E: Engine>(listener: TcpListener, runtime: Arc<Runtime<E>>) {
    let loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let router = router(runtime, loopback);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting an admin connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            // Its peer is gone or sent nonsense; either way it is over.
            let _ = connection.await;
            drop(permit);
        });
    }
}

fn router<E: Engine>(runtime: Arc<Runtime<E>>, loopback: bool) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<E>))
        .route("/metrics", get(metrics::<E>))
        .route("/status", get(status::<E>))
        .route("/config", get(config::<E>))
        .with_state(runtime)
        .layer(middleware::from_fn_with_state(Arc::new(Guard::any_host(loopback)), check))
}

/// A page in the user's browser must not read the configuration of the user's gateway.
async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let checked = guard::requested_host(request.uri(), request.headers()).and_then(|host| {
        guard.rank(&host).ok_or_else(guard::host_refused)?;
        guard.check_origin(request.headers(), &host)
    });
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => {
            let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::FORBIDDEN);
            (status, format!("{error}\n")).into_response()
        }
    }
}

async fn ready<E: Engine>(State(runtime): State<Arc<Runtime<E>>>) -> Response {
    match runtime.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics<E: Engine>(State(runtime): State<Arc<Runtime<E>>>) -> Response {
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    match runtime.metrics().render() {
        Ok(page) => ([(CONTENT_TYPE, format)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn status<E: Engine>(State(runtime): State<Arc<Runtime<E>>>) -> Response {
    Json(runtime.status()).into_response()
}

async fn config<E: Engine>(State(runtime): State<Arc<Runtime<E>>>) -> Response {
    Json(&*runtime.snapshot()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::Rank;
    use crate::gateway::config::fake::{Fake, generation, get};
    use std::net::{IpAddr, Ipv4Addr};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn started() -> (SocketAddr, Arc<Runtime<Fake>>) {
        let runtime = Runtime::start(&generation(&["http"]), Rank::default(), Bind::Address(LOOPBACK)).unwrap();
        let listener = bind(SocketAddr::new(LOOPBACK, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::clone(&runtime)));
        (address, runtime)
    }

    #[tokio::test]
    async fn every_page_is_served() {
        let (address, runtime) = started();
        for (path, status, content) in [
            ("/healthz", 200, "ok"),
            ("/readyz", 200, "ready"),
            ("/metrics", 200, "mcp_gateway_build_info"),
            ("/status", 200, r#""generation":""#),
            ("/config", 200, r#""gateway":"team/gw""#),
            ("/other", 404, ""),
        ] {
            let answer = get(address, path).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(content), "{path}: {answer}");
        }
        let port = runtime.bound()[0].address.port();
        assert!(get(address, "/status").await.unwrap().contains(&format!("127.0.0.1:{port}")));
        assert!(!get(address, "/config").await.unwrap().contains("keyring"));
    }

    #[tokio::test]
    async fn a_draining_gateway_is_healthy_but_not_ready() {
        let (address, runtime) = started();
        runtime.drain().await;
        let ready = get(address, "/readyz").await.unwrap();
        assert!(ready.starts_with("HTTP/1.1 503") && ready.ends_with("draining\n"), "{ready}");
        assert!(get(address, "/healthz").await.unwrap().starts_with("HTTP/1.1 200"));
        assert!(get(address, "/metrics").await.unwrap().contains("mcp_gateway_draining 1"));
    }

    #[tokio::test]
    async fn a_rebound_name_reads_nothing() {
        let (address, _runtime) = started();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /config HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    }
}
