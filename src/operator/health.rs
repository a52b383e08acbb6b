//! The operator's own port: health, readiness and metrics.

use super::metrics::Metrics;
use super::watch::Triggers;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

/// What the pages are made of.
pub(super) struct Health {
    pub(super) metrics: Arc<Metrics>,
    pub(super) triggers: Arc<Triggers>,
    /// Everything there was in the cluster has been listed.
    pub(super) listed: AtomicBool,
}

/// Binds the port, and serves it in the background for ever.
pub(super) async fn serve(address: SocketAddr, health: Arc<Health>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// A replica that does not lead is ready too: it could at once.
async fn ready(State(health): State<Arc<Health>>) -> Response {
    if health.listed.load(Ordering::Relaxed) {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the cluster's objects are not listed yet\n").into_response()
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    health.metrics.waits("deploy", health.triggers.deploy.len());
    health.metrics.waits("publish", health.triggers.publish.len());
    match health.metrics.render() {
        Ok(page) => ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
