//! The operator's side of a gateway's admin channel.

use super::http::{Answer, Connection};
use super::within;
use mcp_gateway_operator::ir::channel::{
    self, ENDPOINTS_PATH, Endpoints, GENERATION_PATH, MAX_WAIT_SECONDS, REPORT_PATH, Report, SERVER_NAME,
};
use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::ids::ObjectId;
use mcp_gateway_operator::ir::secrets::Channels;
use mcp_gateway_operator::ir::snapshot::Endpoint;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

/// Speaks to one gateway, with one connection for each request.
#[derive(Clone)]
pub struct Channel {
    pub address: SocketAddr,
    certificate: Vec<u8>,
    pub token: String,
}

impl Channel {
    pub fn new(address: SocketAddr, channels: &Channels) -> Self {
        let certificate = CertificateDer::from_pem_slice(channels.certificate.expose()).unwrap().to_vec();
        let token = String::from_utf8(channels.admin_token.expose().to_vec()).unwrap();
        Self { address, certificate, token }
    }

    /// The same, with another token.
    pub fn showing(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Sends one request, whatever its answer.
    pub async fn request(&self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        let (token, length) = (&self.token, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {SERVER_NAME}\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
        );
        self.connect().await?.exchange([head.as_bytes(), body].concat()).await
    }

    /// A connection, on which nothing has been said.
    pub async fn connect(&self) -> io::Result<Connection> {
        Connection::open_tls(self.address, &self.certificate, SERVER_NAME).await
    }

    /// Pushes a generation; the status with the report.
    pub async fn push(&self, generation: &Generation, revision: u64) -> (u16, Report) {
        let message = channel::Generation::pack(generation, revision).unwrap();
        let answer = self.request("PUT", GENERATION_PATH, &serde_json::to_vec(&message).unwrap()).await.unwrap();
        (answer.status, report(&answer))
    }

    /// Pushes addresses.
    pub async fn tell(&self, endpoints: &Endpoints) -> Report {
        let answer = self.request("PUT", ENDPOINTS_PATH, &serde_json::to_vec(endpoints).unwrap()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        report(&answer)
    }

    /// The report as it is now.
    pub async fn report(&self) -> Report {
        report(&self.request("GET", REPORT_PATH, b"").await.unwrap())
    }

    /// Waits for a report after this one.
    pub async fn after(&self, sequence: u64) -> Report {
        let path = format!("{REPORT_PATH}?after={sequence}&wait={MAX_WAIT_SECONDS}");
        report(&self.request("GET", &path, b"").await.unwrap())
    }

    /// Waits for a report that is as wanted, as the operator does.
    pub async fn report_where(&self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let mut last = self.report().await;
        let reports = within(what, async {
            while !wanted(&last) {
                last = self.after(last.sequence).await;
            }
        });
        reports.await;
        last
    }
}

fn report(answer: &Answer) -> Report {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// Addresses of backends, for a push.
pub fn endpoints(backends: &[(ObjectId, &[SocketAddr])]) -> Endpoints {
    let endpoint = |address: &SocketAddr| Endpoint { host: address.ip().to_string(), port: address.port() };
    let addresses = |addresses: &[SocketAddr]| addresses.iter().map(endpoint).collect::<BTreeSet<_>>();
    let backends = backends.iter().map(|(id, known)| (id.clone(), addresses(known)));
    Endpoints { backends: backends.collect(), ..Endpoints::default() }
}
