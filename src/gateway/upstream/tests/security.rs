//! Who is dialled, who is trusted, what is never shown.

use super::*;
use crate::gateway::error::{Kind, Retry};
use crate::ir::ids::SecretKey;
use crate::ir::secrets::PrivateBytes;
use crate::ir::snapshot::UpstreamTls;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

fn token() -> (SecretKey, Credentials, HeaderAuth) {
    let key = SecretKey::new("team", "search", "token");
    let mut credentials = Credentials::default();
    credentials.values.insert(key.clone(), PrivateBytes::new(*b"hunter2\n"));
    let auth = HeaderAuth { header: "authorization".into(), prefix: Some("Bearer ".into()), value: key.clone() };
    (key, credentials, auth)
}

#[tokio::test]
async fn the_backends_header_is_sent_and_a_clients_cannot_replace_it() {
    let (_, credentials, auth) = token();
    let server = TestServer::start(|seen| handshake(seen).unwrap_or_else(|| json(ANSWER))).await;
    let upstream = upstream_named("search", &with_auth(backend(server.address), auth), &credentials);
    let mut call = call(CALL);
    call.extra = vec![(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer of-the-client"))];
    text(upstream.call(&call, &TIMEOUTS).await.unwrap()).await;
    let session = upstream.open_session(b"{}", Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    session.close().await;
    let seen = server.seen();
    assert!(seen.len() >= 4);
    for request in seen {
        assert_eq!(request.header("authorization"), Some("Bearer hunter2"), "{request:?}");
    }
}

#[tokio::test]
async fn the_secret_never_prints() {
    let (key, credentials, auth) = token();
    let backend = with_auth(backend(closed_port().await), auth);
    let upstream = upstream_named("search", &backend, &credentials);
    let client = upstream.endpoint_for_tests();
    let endpoint = &client.post;
    let shown = format!("{:?} {:?}", endpoint.headers, endpoint.request(Method::POST, Bytes::new()));
    assert!(shown.contains("authorization") && !shown.contains("hunter2"), "{shown}");

    let mut bad = Credentials::default();
    bad.values.insert(key, PrivateBytes::new(*b"hunter2\nx"));
    for credentials in [&bad, &Credentials::default()] {
        let error = try_upstream("search", &backend, credentials).map(|_| ()).unwrap_err();
        assert!(error.message.contains("team/search/token") && !error.message.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_header_that_frames_messages_is_refused() {
    let (_, credentials, auth) = token();
    for header in ["host", "content-length", "transfer-encoding", "connection", "not a header"] {
        let auth = HeaderAuth { header: header.into(), ..auth.clone() };
        let backend = with_auth(backend(closed_port().await), auth);
        assert!(try_upstream("search", &backend, &credentials).is_err(), "{header}");
    }
}

#[tokio::test]
async fn a_private_address_is_refused_where_only_public_ones_are_allowed() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    // By address, and by a name that resolves to one.
    for host in ["127.0.0.1", "localhost"] {
        let mut backend = backend(server.address);
        let Target::Http { endpoints, addresses, .. } = &mut backend.target else { unreachable!() };
        *addresses = AddressPolicy::PublicOnly;
        host.clone_into(&mut endpoints[0].host);
        let error = upstream(&backend).call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.retry), (Kind::AddressRefused, Retry::Safe), "{host}");
        assert!(!error.message.contains("127."), "{error}");
    }
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn only_what_talks_to_another_server_makes_another_backend() {
    let (key, credentials, auth) = token();
    let plain = backend(closed_port().await);
    let spec = with_auth(plain.clone(), auth);
    let one = upstream_named("search", &spec, &credentials);
    let mut more = credentials.clone();
    more.values.insert(SecretKey::new("team", "other", "token"), PrivateBytes::new(*b"unrelated"));
    assert!(one.same_as(&upstream_named("search", &spec, &more)));
    let mut rotated = credentials.clone();
    rotated.values.insert(key, PrivateBytes::new(*b"hunter3"));
    assert!(!one.same_as(&upstream_named("search", &spec, &rotated)));
    assert!(!one.same_as(&upstream_named("search", &plain, &credentials)));
    assert!(!one.same_as(&upstream_named("other", &spec, &credentials)));
}

/// A TLS server that answers every request on a connection, and the CA that signed it.
pub(super) async fn tls_server(name: &str) -> (SocketAddr, String, JoinSet<()>) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = rcgen::Issuer::from_params(&ca, &ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let pem = ca.self_signed(&ca_key).unwrap().pem();

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], private).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                // A client that does not trust the certificate leaves during the handshake.
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let service = service_fn(|_: Request<Incoming>| async { Ok::<_, io::Error>(json(ANSWER)) });
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, pem, serving)
}

#[tokio::test]
async fn a_server_is_verified_against_the_given_ca_and_name() {
    let (address, pem, _serving) = tls_server("tools.example").await;
    let ca = SecretKey::new("team", "ca", "ca.crt");
    let mut credentials = Credentials::default();
    credentials.values.insert(ca.clone(), PrivateBytes::new(pem));
    let with = |tls: UpstreamTls| {
        let mut backend = backend(address);
        let Target::Http { tls: slot, .. } = &mut backend.target else { unreachable!() };
        *slot = Some(tls);
        upstream_named("search", &backend, &credentials)
    };
    let right = UpstreamTls { server_name: Some("tools.example".into()), ca: Some(ca.clone()) };
    let upstream = with(right.clone());
    for _ in 0..2 {
        assert_eq!(text(upstream.call(&call(CALL), &TIMEOUTS).await.unwrap()).await, ANSWER);
    }
    assert_eq!(upstream.stats().connections, 1);

    for wrong in [
        UpstreamTls { server_name: Some("other.example".into()), ..right.clone() },
        UpstreamTls { server_name: None, ..right.clone() },
        UpstreamTls { ca: None, ..right },
    ] {
        let error = with(wrong).call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
        assert_eq!((error.kind, error.retry), (Kind::ConnectFailed, Retry::Safe), "{error}");
        assert!(error.message.contains("TLS"), "{error}");
    }
}

#[tokio::test]
async fn a_ca_bundle_without_a_certificate_is_refused() {
    let ca = SecretKey::new("team", "ca", "ca.crt");
    let mut backend = backend(closed_port().await);
    let Target::Http { tls, .. } = &mut backend.target else { unreachable!() };
    *tls = Some(UpstreamTls { server_name: None, ca: Some(ca.clone()) });
    for bundle in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let mut credentials = Credentials::default();
        credentials.values.insert(ca.clone(), PrivateBytes::new(bundle));
        let error = try_upstream("search", &backend, &credentials).map(|_| ()).unwrap_err();
        assert!(error.message.contains("holds no usable certificate"), "{error}");
    }
}
