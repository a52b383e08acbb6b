//! Links against a gateway's side of the channel, played here.

use super::super::client::ChannelClient;
use super::super::error::ChannelError;
use super::*;
use crate::ir::channel::{self, Refused, SERVER_NAME};
use crate::ir::secrets::{Channels, Credentials, PrivateBytes};
use crate::ir::snapshot::Endpoint;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::AUTHORIZATION;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

fn channels(token: &str) -> Channels {
    let issued = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()]).unwrap();
    Channels {
        certificate: PrivateBytes::new(issued.cert.pem()),
        private_key: PrivateBytes::new(issued.signing_key.serialize_pem()),
        admin_token: PrivateBytes::new(token),
        peer_token: PrivateBytes::new("peer"),
    }
}

/// A gateway that takes every generation whose snapshot is not `bad`.
struct Gateway {
    token: Mutex<String>,
    report: watch::Sender<Report>,
    pushes: AtomicUsize,
}

impl Gateway {
    async fn start(channels: &Channels) -> (SocketAddr, Arc<Self>) {
        let token = String::from_utf8(channels.admin_token.expose().to_vec()).unwrap();
        let report = Report { sequence: 1, generation: "mounted".into(), ..Report::default() };
        let gateway = Arc::new(Self {
            token: Mutex::new(token),
            report: watch::Sender::new(report),
            pushes: AtomicUsize::new(0),
        });
        let chain = CertificateDer::pem_slice_iter(channels.certificate.expose()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(channels.private_key.expose()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route(channel::REPORT_PATH, get(report_page))
            .route(channel::GENERATION_PATH, put(take_generation))
            .route(channel::ENDPOINTS_PATH, put(take_endpoints))
            .layer(middleware::from_fn_with_state(Arc::clone(&gateway), authenticate))
            .with_state(Arc::clone(&gateway));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        (address, gateway)
    }

    fn change(&self, change: impl FnOnce(&mut Report)) {
        self.report.send_modify(|report| {
            change(report);
            report.sequence += 1;
        });
    }
}

async fn authenticate(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let expected = format!("Bearer {}", gateway.token.lock());
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown == Some(&expected) { next.run(request).await } else { StatusCode::UNAUTHORIZED.into_response() }
}

async fn report_page(State(gateway): State<Arc<Gateway>>, uri: Uri) -> Json<Report> {
    let after = uri.query().and_then(|query| query.strip_prefix("after=")?.split('&').next()?.parse::<u64>().ok());
    let mut reports = gateway.report.subscribe();
    let report = reports.wait_for(|report| after.is_none_or(|after| report.sequence > after)).await.unwrap().clone();
    Json(report)
}

async fn take_generation(State(gateway): State<Arc<Gateway>>, Json(pushed): Json<Generation>) -> Response {
    gateway.pushes.fetch_add(1, Ordering::Relaxed);
    let hash = pushed.snapshot;
    if hash == "bad" {
        gateway.change(|report| {
            report.refused = Some(Refused { generation: Some(hash), reason: "no such backend".into() });
        });
        return (StatusCode::UNPROCESSABLE_ENTITY, Json(gateway.report.borrow().clone())).into_response();
    }
    gateway.change(|report| report.generation = hash);
    if let Some(channels) = pushed.credentials.channels {
        *gateway.token.lock() = String::from_utf8(channels.admin_token.expose().to_vec()).unwrap();
    }
    Json(gateway.report.borrow().clone()).into_response()
}

async fn take_endpoints(State(gateway): State<Arc<Gateway>>, Json(endpoints): Json<Endpoints>) -> Json<Report> {
    gateway.change(|report| report.endpoints = endpoints.hash());
    Json(gateway.report.borrow().clone())
}

/// A generation whose snapshot is its name, for a gateway that does not look into it.
fn desired(hash: &str, channels: &[&Channels]) -> Desired {
    let credentials =
        Credentials { channels: channels.first().map(|&channels| channels.clone()), ..Credentials::default() };
    Desired {
        hash: hash.to_owned(),
        generation: Arc::new(Generation { snapshot: hash.to_owned(), credentials, revision: 1 }),
        endpoints: Arc::default(),
        clients: channels.iter().map(|channels| Arc::new(ChannelClient::new(channels).unwrap())).collect(),
    }
}

struct Test {
    link: Link,
    desired: watch::Sender<Desired>,
}

fn link(address: SocketAddr, first: Desired) -> Test {
    let (desired, receiver) = watch::channel(first);
    Test { link: Link::start(address, receiver, |_| ()), desired }
}

impl Test {
    async fn reached(&self, is_it: impl Fn(&Report) -> bool) -> Report {
        let wanted = |state: &ChannelState| matches!(state, ChannelState::Reached(report) if is_it(report));
        match self.until(wanted).await {
            ChannelState::Reached(report) => Report::clone(&report),
            other => panic!("{other:?}"),
        }
    }

    async fn failed(&self) -> ChannelError {
        match self.until(|state| matches!(state, ChannelState::Failed(_))).await {
            ChannelState::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    async fn until(&self, is_it: impl Fn(&ChannelState) -> bool) -> ChannelState {
        let mut state = self.link.state.clone();
        let waited = tokio::time::timeout(Duration::from_secs(20), state.wait_for(|state| is_it(state))).await;
        waited.unwrap_or_else(|_| panic!("{:?}", self.link.state())).unwrap().clone()
    }
}

#[tokio::test]
async fn what_a_pod_lacks_is_pushed_once_and_its_reports_are_followed() {
    let channels = channels("secret");
    let (address, gateway) = Gateway::start(&channels).await;
    let test = link(address, desired("one", &[&channels]));
    let endpoints = Endpoints::default().hash();
    let report = test.reached(|report| report.generation == "one" && report.endpoints == endpoints).await;
    assert_eq!(report.refused, None);

    gateway.change(|report| report.boot = "b".to_owned());
    test.reached(|report| report.boot == "b").await;
    test.desired.send_replace(desired("two", &[&channels]));
    test.reached(|report| report.generation == "two").await;
    let mut moved = desired("two", &[&channels]);
    moved.endpoints =
        Arc::new(Endpoints { peers: [Endpoint { host: "10.0.0.1".into(), port: 1 }].into(), ..Endpoints::default() });
    let hash = moved.endpoints.hash();
    test.desired.send_replace(moved);
    test.reached(|report| report.endpoints == hash).await;
    assert_eq!(gateway.pushes.load(Ordering::Relaxed), 2, "addresses are no generation");

    gateway.change(|report| report.draining = true);
    test.reached(|report| report.draining).await;
    test.desired.send_replace(desired("three", &[&channels]));
    gateway.change(|report| report.boot = "c".to_owned());
    test.reached(|report| report.boot == "c" && report.generation == "two").await;
    assert_eq!(gateway.pushes.load(Ordering::Relaxed), 2, "a pod that leaves takes nothing");
}

#[tokio::test]
async fn a_refused_generation_is_not_pushed_again_and_the_next_one_is() {
    let channels = channels("secret");
    let (address, gateway) = Gateway::start(&channels).await;
    let test = link(address, desired("bad", &[&channels]));
    let report = test.reached(|report| report.refused.is_some()).await;
    assert_eq!((report.generation.as_str(), report.refused.unwrap().reason.as_str()), ("mounted", "no such backend"));
    gateway.change(|report| report.version = "x".into());
    test.reached(|report| report.version == "x").await;
    assert_eq!(gateway.pushes.load(Ordering::Relaxed), 1);
    test.desired.send_replace(desired("good", &[&channels]));
    test.reached(|report| report.generation == "good").await;
}

#[tokio::test]
async fn a_pod_with_the_previous_credentials_is_reached_with_them() {
    let (old, new) = (channels("old"), Channels { admin_token: PrivateBytes::new("new"), ..channels("old") });
    let (address, _gateway) = Gateway::start(&old).await;
    let rotated =
        Channels { certificate: old.certificate.clone(), private_key: old.private_key.clone(), ..new.clone() };
    let test = link(address, desired("one", &[&rotated, &old]));
    test.reached(|report| report.generation == "one").await;
    test.desired.send_replace(desired("two", &[&rotated]));
    test.reached(|report| report.generation == "two").await;

    // Another certificate is no obstacle either; this gateway keeps its own.
    let (address, _gateway) = Gateway::start(&old).await;
    let mut first = desired("one", &[&new, &old]);
    first.generation =
        Arc::new(Generation { snapshot: "one".into(), credentials: Credentials::default(), revision: 1 });
    let test = link(address, first);
    test.until(|state| matches!(state, ChannelState::Reached(report) if report.generation == "one")).await;
}

#[tokio::test]
async fn each_failure_is_told_apart() {
    let (ours, theirs) = (channels("secret"), channels("secret"));
    let (address, _gateway) = Gateway::start(&theirs).await;
    let wrong = link(address, desired("one", &[&ours])).failed().await;
    assert!(matches!(wrong, ChannelError::Certificate(_)), "{wrong:?}");
    let stranger = Channels { admin_token: PrivateBytes::new("other"), ..theirs.clone() };
    assert_eq!(link(address, desired("one", &[&stranger])).failed().await, ChannelError::Unauthorized);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(link(closed, desired("one", &[&ours])).failed().await, ChannelError::Refused);
    let names: Vec<&str> =
        [wrong, ChannelError::Unauthorized, ChannelError::Refused].iter().map(ChannelError::name).collect();
    assert_eq!(names, ["certificate", "unauthorized", "refused"]);
}

#[tokio::test]
async fn a_pod_that_comes_late_is_reached_when_it_comes() {
    let channels = channels("secret");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let test = link(address, desired("one", &[&channels]));
    assert_eq!(test.failed().await, ChannelError::Refused);
    // Another gateway at the same address.
    let (other, _gateway) = Gateway::start(&channels).await;
    let proxy = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut from, _) = proxy.accept().await.unwrap();
            tokio::spawn(async move {
                let mut to = tokio::net::TcpStream::connect(other).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    test.reached(|report| report.generation == "one").await;
}
