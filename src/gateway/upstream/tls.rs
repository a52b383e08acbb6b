//! TLS towards upstreams: rustls with the ring provider, named explicitly; no process-wide default is set or read.

use super::super::error::{GatewayError, Kind};
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::UpstreamTls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::sync::Arc;

/// How one backend's certificates are verified.
#[derive(Clone)]
pub(super) struct Tls {
    /// Shared by all connections of the backend, so that they resume each other's TLS sessions.
    pub(super) config: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    /// Reads the trust anchors of `tls`.
    pub(super) fn new(id: &ObjectId, tls: &UpstreamTls, credentials: &Credentials) -> Result<Self, GatewayError> {
        let invalid = |what: String| GatewayError::new(Kind::Internal, format!("backend {id}: {what}"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(format!("TLS cannot be set up: {error}")))?;
        let builder = match &tls.ca {
            None => builder
                .with_platform_verifier()
                .map_err(|error| invalid(format!("the system's certificate authorities cannot be read: {error}")))?,
            Some(key) => {
                let bundle = credentials.get(key).ok_or_else(|| invalid(format!("the CA bundle {key} is missing")))?;
                let roots = read_bundle(bundle.expose())
                    .ok_or_else(|| invalid(format!("the CA bundle {key} holds no usable certificate")))?;
                builder.with_root_certificates(roots)
            }
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let server_name = match &tls.server_name {
            None => None,
            Some(name) => Some(parse_name(name).ok_or_else(|| invalid(format!("{name:?} is not a server name")))?),
        };
        Ok(Self { config: Arc::new(config), server_name })
    }

    /// The name to verify for an endpoint at `host`.
    pub(super) fn name_for(&self, host: &str) -> Option<ServerName<'static>> {
        self.server_name.clone().or_else(|| parse_name(host))
    }
}

fn parse_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}

/// Every certificate of a PEM bundle; none when the bundle is malformed or empty.
fn read_bundle(pem: &[u8]) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    (!roots.is_empty()).then_some(roots)
}
