//! An API server that refuses, forgets and hangs up: the operator converges all the same.

use crate::cluster::ControlPlane;
use crate::operator::Operator;
use crate::stage::{Stage, gateway};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use axum::http::{Method, Request, Response, StatusCode};
use futures_util::StreamExt as _;
use kube::Client;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How often each kind of request fails before it is let through, by path.
const FAILURES: usize = 1;

/// How long a watch lasts.
const WATCH: Duration = Duration::from_secs(2);

/// Stands between an operator and the API server.
struct Proxy {
    client: Client,
    /// Faults injected so far, by what was asked and how it failed.
    injected: Mutex<BTreeMap<String, usize>>,
}

impl Proxy {
    /// Whether this is one of the first requests of its kind.
    fn injects(&self, kind: String) -> bool {
        let mut injected = self.injected.lock();
        let count = injected.entry(kind).or_default();
        let injects = *count < FAILURES;
        *count += usize::from(injects);
        injects
    }

    fn count(&self, fault: &str) -> usize {
        self.injected.lock().iter().filter(|(kind, _)| kind.starts_with(fault)).map(|(_, count)| count).sum()
    }
}

fn status(code: u16, reason: &str) -> Value {
    let message = format!("injected: {reason}");
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn refuse(code: u16, reason: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(status(code, reason).to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap();
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    response.headers_mut().insert(RETRY_AFTER, "1".parse().unwrap());
    response
}

async fn pass(State(proxy): State<Arc<Proxy>>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let is_lease = path.contains("/leases");
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    if is_watch && proxy.injects(format!("410 {path}")) {
        let event = json!({"type": "ERROR", "object": status(410, "Expired")});
        return Response::new(Body::from(format!("{event}\n")));
    }
    let is_write = matches!(*request.method(), Method::PATCH | Method::POST | Method::PUT | Method::DELETE);
    if is_write && !is_lease {
        if proxy.injects(format!("409 {path}")) {
            return refuse(409, "Conflict");
        }
        if proxy.injects(format!("429 {path}")) {
            return refuse(429, "TooManyRequests");
        }
    }
    forward(&proxy.client, request, is_watch).await
}

async fn forward(client: &Client, request: Request<Body>, is_watch: bool) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 16 * 1024 * 1024).await.unwrap();
    let path = parts.uri.path_and_query().unwrap().as_str().to_owned();
    parts.uri = path.parse().unwrap();
    parts.headers.remove(HOST);
    let sent = client.send(Request::from_parts(parts, kube::client::Body::from(body))).await;
    let Ok(response) = sent else { return refuse(503, "ServiceUnavailable") };
    let (parts, body) = response.into_parts();
    let stream = Body::new(body).into_data_stream();
    // A watch that is cut in the middle of wherever it is.
    let body = if is_watch {
        Body::from_stream(stream.take_until(tokio::time::sleep(WATCH)))
    } else {
        Body::from_stream(stream)
    };
    Response::from_parts(parts, body)
}

/// Starts a proxy, and gives the kubeconfig that leads to it.
async fn start(cluster: &ControlPlane, namespace: &str) -> (Arc<Proxy>, PathBuf) {
    let proxy = Arc::new(Proxy { client: cluster.client(), injected: Mutex::default() });
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(pass).with_state(Arc::clone(&proxy));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "proxy", "user": {}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
    });
    let path = cluster.kubeconfig().with_file_name(format!("{namespace}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    (proxy, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_throttling_and_expired_watches_are_got_over() {
    let stage = Stage::without_operator(ControlPlane::shared().await, "faults").await;
    let (proxy, kubeconfig) = start(stage.cluster, &stage.namespace).await;
    let arguments = ["--watch-namespace", &stage.namespace, "--namespace", &stage.namespace];
    let _operator = Operator::start(&kubeconfig, &arguments);
    stage.apply(&gateway("tools", json!({"replicas": 1}))).await;
    stage.until("MCPGateway", "tools", "Programmed=True Programmed").await;
    for (fault, least) in [("409", 10), ("429", 10), ("410", 10)] {
        let count = proxy.count(fault);
        println!("{fault}: {count} times");
        assert!(count >= least, "{fault}: {count} times only");
    }
    // Once more for what is there already. Every watch has been cut by then, some several times.
    proxy.injected.lock().clear();
    tokio::time::sleep(2 * WATCH).await;
    stage.patch("MCPGateway", "tools", json!({"spec": {"replicas": 2}})).await;
    stage.programmed("tools", 2).await;
    for (fault, least) in [("409", 2), ("429", 2), ("410", 10)] {
        assert!(proxy.count(fault) >= least, "{fault}: {} times only", proxy.count(fault));
    }
}
