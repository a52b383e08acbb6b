//! Real sockets and real TLS, on the loopback, in front of a handler that says what it was asked.

use super::*;
use crate::gateway::error::Kind;
use crate::ir::ids::{ObjectId, SecretKey};
use crate::ir::secrets::{Credentials, PrivateBytes};
use crate::ir::snapshot::{CertificateRef, ListenerTls, Protocol, Sessions, Snapshot, Timeouts};
use bytes::Bytes;
use http::{Request, Response};
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsConnector;

/// Answers with the listener's name; `/wait` waits for a permit first, `/body` reads.
#[derive(Default)]
struct Echo {
    waiting: Notify,
    dropped: Notify,
    permits: Option<Semaphore>,
}

struct Dropped<'a>(&'a Notify);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Handler for Echo {
    async fn handle(self: Arc<Self>, request: Request<Incoming>, info: &ConnectionInfo) -> Response<ResponseBody> {
        let mut text = format!("{} {:?}", info.listener, info.server_name.as_deref());
        match request.uri().path() {
            "/wait" => {
                let _dropped = Dropped(&self.dropped);
                self.waiting.notify_one();
                if let Some(permits) = &self.permits {
                    permits.acquire().await.unwrap().forget();
                } else {
                    std::future::pending::<()>().await;
                }
            }
            "/body" => match body::read_body(request.into_body(), 10, tokio::time::Instant::now() + READ).await {
                Ok(body) => text = format!("{} bytes", body.len()),
                Err(error) => return refusal(&error),
            },
            _ => {}
        }
        Response::new(ResponseBody::Full(Bytes::from(text)))
    }
}

/// Short, so that a test of a slow client is a fast test.
const READ: Duration = Duration::from_millis(200);

fn generation(listeners: Vec<Listener>) -> Generation {
    let snapshot = Snapshot {
        version: 1,
        gateway: ObjectId::new("team", "gw"),
        listeners,
        routes: Vec::new(),
        backends: BTreeMap::new(),
        protocol: Protocol { versions: vec!["2025-11-25".to_owned()], legacy_sse: true },
        sessions: Sessions { idle_timeout_ms: 1000 },
        timeouts: Timeouts::default(),
        drain: Drain { min_duration_ms: 0, timeout_ms: 1000 },
        limits: Limits {
            client_read_ms: READ.as_millis().try_into().unwrap(),
            header_bytes: 8192,
            ..Limits::default()
        },
        tracing: None,
    };
    Generation { snapshot, credentials: Credentials::default() }
}

fn listener(name: &str) -> Listener {
    Listener { name: name.to_owned(), port: 0, hostname: None, tls: None }
}

fn listeners(handler: Echo) -> Listeners<Echo> {
    let loopback = Bind::Address(IpAddr::from(Ipv4Addr::LOCALHOST));
    Listeners::new(loopback, Arc::new(handler), Metrics::new().unwrap())
}

fn apply(listeners: &Listeners<Echo>, generation: &Generation) {
    listeners.commit(listeners.prepare(generation).unwrap());
}

fn address(listeners: &Listeners<Echo>, name: &str) -> SocketAddr {
    listeners.bound().into_iter().find(|bound| bound.name == name).unwrap().address
}

/// Writes, and reads until the other side closes or has sent a whole small answer.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    read_answer(stream).await
}

async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.is_none_or(|length| length.parse::<usize>().unwrap() == body.len()) {
                return text;
            }
        }
        if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
            return text;
        }
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const WAIT: &[u8] = b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn requests_on_one_connection_are_answered_in_turn() {
    let listeners = listeners(Echo::default());
    apply(&listeners, &generation(vec![listener("http")]));
    let mut stream = TcpStream::connect(address(&listeners, "http")).await.unwrap();
    for _ in 0..3 {
        assert!(exchange(&mut stream, GET).await.ends_with("http None"));
    }
    assert_eq!(listeners.shared.open.load(Ordering::Relaxed), 1);
    listeners.finish(READ).await;
    assert_eq!(listeners.shared.open.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_forged_host_or_origin_never_reaches_the_handler() {
    let listeners = listeners(Echo::default());
    apply(&listeners, &generation(vec![listener("http")]));
    let mut stream = TcpStream::connect(address(&listeners, "http")).await.unwrap();
    for (request, status, message) in [
        ("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, "host"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", 403, "origin"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "Host header is missing"),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400, "more than one Host"),
    ] {
        let answer = exchange(&mut stream, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(message), "{answer}");
    }
    let page = listeners.shared.metrics.render().unwrap();
    assert!(page.contains(r#"outcome="host_refused",route="",server=""} 1"#), "{page}");
    assert_eq!(Kind::HostRefused.word(), "host_refused");
}

#[tokio::test]
async fn slow_headers_close_the_connection_and_count() {
    let listeners = listeners(Echo::default());
    apply(&listeners, &generation(vec![listener("http")]));
    let address = address(&listeners, "http");
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut slow = TcpStream::connect(address).await.unwrap();
    // A whole exchange first, so that the second request's headers are the slow ones.
    exchange(&mut slow, GET).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: lo").await.unwrap();
    assert_eq!(read_answer(&mut silent).await, "");
    assert_eq!(read_answer(&mut slow).await, "");
    let page = listeners.shared.metrics.render().unwrap();
    assert!(page.contains(r#"mcp_gateway_connections_total{listener="http",outcome="timed_out"} 2"#), "{page}");
}

#[tokio::test]
async fn oversized_headers_and_bodies_are_refused() {
    let listeners = listeners(Echo::default());
    apply(&listeners, &generation(vec![listener("http")]));
    let address = address(&listeners, "http");
    let header = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(10_000));
    let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), header.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");

    for (request, status) in [
        ("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n0123456789", "200"),
        ("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n", "413"),
        ("POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n", "413"),
        ("POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n01", "408"),
    ] {
        let answer = exchange(&mut TcpStream::connect(address).await.unwrap(), request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_503_and_the_others_stay() {
    let listeners = listeners(Echo::default());
    let mut generation = generation(vec![listener("http")]);
    generation.snapshot.limits.connections = 1;
    apply(&listeners, &generation);
    let address = address(&listeners, "http");
    let mut first = TcpStream::connect(address).await.unwrap();
    exchange(&mut first, GET).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    assert!(exchange(&mut second, GET).await.starts_with("HTTP/1.1 503"));
    assert!(exchange(&mut first, GET).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let handler = Echo::default();
    let listeners = listeners(handler);
    apply(&listeners, &generation(vec![listener("http")]));
    let mut stream = TcpStream::connect(address(&listeners, "http")).await.unwrap();
    stream.write_all(WAIT).await.unwrap();
    listeners.shared.handler.waiting.notified().await;
    drop(stream);
    listeners.shared.handler.dropped.notified().await;
}

#[tokio::test]
async fn a_reload_keeps_what_stays_and_closes_what_goes() {
    let listeners = listeners(Echo::default());
    apply(&listeners, &generation(vec![listener("a"), listener("b")]));
    let (a, b) = (address(&listeners, "a"), address(&listeners, "b"));
    let mut on_a = TcpStream::connect(a).await.unwrap();
    let mut on_b = TcpStream::connect(b).await.unwrap();
    exchange(&mut on_a, GET).await;
    exchange(&mut on_b, GET).await;

    apply(&listeners, &generation(vec![listener("a"), listener("c")]));
    assert_eq!(address(&listeners, "a"), a);
    assert!(exchange(&mut on_a, GET).await.ends_with("a None"), "the same connection goes on");
    assert_eq!(read_answer(&mut on_b).await, "", "an idle connection of a listener that is gone is closed");
    TcpStream::connect(b).await.unwrap_err();
    let mut on_c = TcpStream::connect(address(&listeners, "c")).await.unwrap();
    assert!(exchange(&mut on_c, GET).await.ends_with("c None"));
}

#[tokio::test]
async fn a_generation_that_cannot_be_bound_changes_nothing() {
    let taken = socket::listen(Bind::Address(Ipv4Addr::LOCALHOST.into()), 0).unwrap();
    let listeners = listeners(Echo::default());
    apply(&listeners, &generation(vec![listener("a")]));
    let port = taken.local_addr().unwrap().port();
    let bad = generation(vec![listener("b"), Listener { port, ..listener("c") }]);
    let error = listeners.prepare(&bad).err().unwrap().to_string();
    assert!(error.starts_with(&format!("listener c: cannot listen on port {port}")), "{error}");
    let names: Vec<_> = listeners.bound().into_iter().map(|bound| bound.name).collect();
    assert_eq!(names, ["a"]);
}

#[tokio::test]
async fn a_drain_waits_for_what_is_in_flight_and_takes_nothing_new() {
    let listeners = listeners(Echo { permits: Some(Semaphore::new(0)), ..Echo::default() });
    apply(&listeners, &generation(vec![listener("http")]));
    let address = address(&listeners, "http");
    let mut idle = TcpStream::connect(address).await.unwrap();
    exchange(&mut idle, GET).await;
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(WAIT).await.unwrap();
    let handler = Arc::clone(&listeners.shared.handler);
    handler.waiting.notified().await;

    listeners.start_draining();
    let late = exchange(&mut TcpStream::connect(address).await.unwrap(), GET).await;
    assert!(late.contains("connection: close"), "still served, and sent elsewhere: {late}");

    let finish = tokio::spawn(async move { listeners.finish(Duration::from_secs(60)).await });
    assert_eq!(read_answer(&mut idle).await, "", "an idle connection is closed");
    TcpStream::connect(address).await.unwrap_err();
    assert!(!finish.is_finished());
    handler.permits.as_ref().unwrap().add_permits(1);
    let answer = read_answer(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    finish.await.unwrap();
}

#[tokio::test]
async fn a_drain_ends_at_its_timeout() {
    let listeners = listeners(Echo::default());
    apply(&listeners, &generation(vec![listener("http")]));
    let mut busy = TcpStream::connect(address(&listeners, "http")).await.unwrap();
    busy.write_all(WAIT).await.unwrap();
    listeners.shared.handler.waiting.notified().await;
    listeners.finish(Duration::from_millis(10)).await;
    assert_eq!(read_answer(&mut busy).await, "");
}

/// A certificate for these hosts, as credentials under `team/<name>`.
fn issue(credentials: &mut Credentials, name: &str, hosts: &[&str]) -> CertificateDer<'static> {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let issued = rcgen::generate_simple_self_signed(hosts).unwrap();
    let mut put =
        |key, pem: String| credentials.values.insert(SecretKey::new("team", name, key), PrivateBytes::new(pem));
    put("tls.crt", issued.cert.pem());
    put("tls.key", issued.signing_key.serialize_pem());
    issued.cert.der().clone()
}

fn https(name: &str, certificate: &str) -> Listener {
    let key = |key| SecretKey::new("team", certificate, key);
    let certificates = vec![CertificateRef { chain: key("tls.crt"), key: key("tls.key") }];
    Listener { tls: Some(ListenerTls { certificates }), ..listener(name) }
}

async fn connect_tls(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    name: &'static str,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name).unwrap(), stream).await
}

#[tokio::test]
async fn a_new_certificate_serves_new_connections_and_the_old_ones_go_on() {
    let listeners = listeners(Echo::default());
    let mut first = generation(vec![https("https", "cert")]);
    let old = issue(&mut first.credentials, "cert", &["localhost"]);
    apply(&listeners, &first);
    let address = address(&listeners, "https");
    let mut before = connect_tls(address, &old, "localhost").await.unwrap();
    assert!(exchange(&mut before, GET).await.ends_with(r#"https Some("localhost")"#));

    let mut second = first.clone();
    let new = issue(&mut second.credentials, "cert", &["localhost"]);
    apply(&listeners, &second);
    connect_tls(address, &old, "localhost").await.unwrap_err();
    let mut after = connect_tls(address, &new, "localhost").await.unwrap();
    assert!(exchange(&mut after, GET).await.starts_with("HTTP/1.1 200"));
    assert!(exchange(&mut before, GET).await.starts_with("HTTP/1.1 200"));

    let mut broken = second.clone();
    broken.credentials = Credentials::default();
    assert!(listeners.prepare(&broken).is_err());
    connect_tls(address, &new, "localhost").await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_shakes_hands_is_dropped() {
    let listeners = listeners(Echo::default());
    let mut generation = generation(vec![https("https", "cert")]);
    issue(&mut generation.credentials, "cert", &["localhost"]);
    apply(&listeners, &generation);
    let mut silent = TcpStream::connect(address(&listeners, "https")).await.unwrap();
    assert_eq!(read_answer(&mut silent).await, "");
    let page = listeners.shared.metrics.render().unwrap();
    assert!(page.contains(r#"mcp_gateway_connections_total{listener="https",outcome="tls_failed"} 1"#), "{page}");
}
