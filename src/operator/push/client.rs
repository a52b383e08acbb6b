//! One request to a gateway: HTTPS, with a pinned certificate and a bearer token.

use super::error::ChannelError;
use crate::ir::channel::{
    ENDPOINTS_PATH, Endpoints, GENERATION_PATH, Generation, MAX_WAIT_SECONDS, REPORT_PATH, Report, SERVER_NAME,
};
use crate::ir::secrets::Channels;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For a connection, TLS included.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// For a push: a large generation takes the gateway a second to compile.
const PUSH_WITHIN: Duration = Duration::from_secs(15);

/// What a long poll may take beyond the wait that it asks for.
const POLL_SLACK: Duration = Duration::from_secs(10);

/// The longest report that is read, in bytes: a gateway with a thousand backends says about 300 bytes of each.
const MAX_REPORT_BYTES: usize = 4 * 1024 * 1024;

/// Speaks to the pods of one gateway.
pub(in crate::operator) struct ChannelClient {
    tls: TlsConnector,
    token: HeaderValue,
}

impl ChannelClient {
    /// Trusts the certificate of these channels and no other.
    pub(in crate::operator) fn new(channels: &Channels) -> Result<Self, ChannelError> {
        let unusable = |what: String| ChannelError::Credentials(what);
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(channels.certificate.expose()) {
            let certificate = certificate.map_err(|_| unusable("the certificate is not PEM".to_owned()))?;
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let bearer = [b"Bearer ", channels.admin_token.expose()].concat();
        let mut token =
            HeaderValue::from_bytes(&bearer).map_err(|_| unusable("the token is not printable".to_owned()))?;
        token.set_sensitive(true);
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), token })
    }

    /// Has a gateway serve a generation. Its report says whether it does.
    pub(super) async fn put_generation(&self, to: SocketAddr, generation: &Generation) -> Result<Report, ChannelError> {
        self.put(to, GENERATION_PATH, generation).await
    }

    /// Tells a gateway where its backends and its peers are.
    pub(super) async fn put_endpoints(&self, to: SocketAddr, endpoints: &Endpoints) -> Result<Report, ChannelError> {
        self.put(to, ENDPOINTS_PATH, endpoints).await
    }

    /// Asks a gateway how it is.
    pub(super) async fn report(&self, from: SocketAddr) -> Result<Report, ChannelError> {
        let request = self.request(Method::GET, REPORT_PATH, Bytes::new());
        self.send(from, request, PUSH_WITHIN).await
    }

    /// Asks a gateway for a report after this one, and waits for it.
    pub(super) async fn next_report(&self, from: SocketAddr, after: u64) -> Result<Report, ChannelError> {
        let path = format!("{REPORT_PATH}?after={after}&wait={MAX_WAIT_SECONDS}");
        let request = self.request(Method::GET, &path, Bytes::new());
        self.send(from, request, Duration::from_secs(MAX_WAIT_SECONDS) + POLL_SLACK).await
    }

    async fn put(&self, to: SocketAddr, path: &str, message: &impl Serialize) -> Result<Report, ChannelError> {
        let body = serde_json::to_vec(message).map_err(|error| ChannelError::Protocol(error.to_string()))?;
        self.send(to, self.request(Method::PUT, path, body.into()), PUSH_WITHIN).await
    }

    fn request(&self, method: Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // Paths are our own constants and numbers.
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static(SERVER_NAME));
        headers.insert(AUTHORIZATION, self.token.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request
    }

    /// One connection for each request: they are few, and none is kept open to a pod that has gone.
    async fn send(
        &self,
        to: SocketAddr,
        request: Request<Full<Bytes>>,
        within: Duration,
    ) -> Result<Report, ChannelError> {
        let connected = timeout(CONNECT_WITHIN, self.connect(to)).await;
        let mut sender = connected.map_err(|_| ChannelError::Timeout)??;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_REPORT_BYTES).collect().await;
            let body = body.map_err(|error| ChannelError::Connection(error.to_string()))?.to_bytes();
            read(status, &body)
        };
        timeout(within, exchange).await.map_err(|_| ChannelError::Timeout)?
    }

    async fn connect(&self, to: SocketAddr) -> Result<http1::SendRequest<Full<Bytes>>, ChannelError> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        // A constant, and a valid one.
        let name = ServerName::try_from(SERVER_NAME).map_err(|error| ChannelError::Credentials(error.to_string()))?;
        let stream = self.tls.connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its request.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// A refusal comes with a report too, which says why: it cannot serve it, has a later one, or takes its leave.
fn read(status: StatusCode, body: &[u8]) -> Result<Report, ChannelError> {
    match status {
        StatusCode::OK | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {
            serde_json::from_slice(body).map_err(|error| ChannelError::Protocol(error.to_string()))
        }
        StatusCode::UNAUTHORIZED => Err(ChannelError::Unauthorized),
        other => Err(ChannelError::Protocol(format!("HTTP status {other}"))),
    }
}
