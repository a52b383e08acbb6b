//! A load balancer as they stand in front of gateways: HTTP, request by request, round-robin, without affinity. A target that
//! takes no connection is passed over.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A running balancer. It ends when this is dropped.
pub struct Balancer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    targets: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    client: Client<HttpConnector, Body>,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Balancer {
    pub async fn start(targets: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            targets: Mutex::new(targets.to_vec()),
            turn: AtomicUsize::new(0),
            client: Client::builder(TokioExecutor::new()).build_http(),
        });
        let router = Router::new().fallback(pass).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    /// Sends to these from now on.
    pub fn set_targets(&self, targets: &[SocketAddr]) {
        *self.shared.targets.lock() = targets.to_vec();
    }
}

async fn pass(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let targets = shared.targets.lock().clone();
    let turn = shared.turn.fetch_add(1, Ordering::Relaxed);
    for step in 0..targets.len() {
        let target = targets[(turn + step) % targets.len()];
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::new(Body::from(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = format!("http://{target}{path}").parse().unwrap();
        // The host stays the client's.
        request.headers_mut().clone_from(&parts.headers);
        match shared.client.request(request).await {
            Ok(response) => return response.map(Body::new),
            Err(error) if error.is_connect() => {}
            Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
        }
    }
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}
