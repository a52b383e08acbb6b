//! Byte streams to a collector of telemetry: dialled as backends are, for clients of its own.

use super::super::error::{GatewayError, Kind};
use super::dial::{Dialer, Network};
use super::stream::Stream;
use super::tls::Tls;
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{AddressPolicy, Endpoint, UpstreamTls};
use http::Uri;
use std::sync::Arc;
use std::time::Duration;

/// Opens streams to one collector.
#[derive(Clone)]
pub(crate) struct CollectorDialer(Arc<Dialer>);

impl CollectorDialer {
    /// For `http` and `https`; TLS agrees on this protocol.
    pub(crate) fn new(uri: &Uri, protocol: &[u8]) -> Result<Self, GatewayError> {
        let invalid = || GatewayError::new(Kind::Internal, "the collector's address is not an http or https URL");
        // The name stands in messages for the log only.
        let id = ObjectId::new("telemetry", "otlp");
        let (tls, default_port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let mut tls = Tls::new(&id, &UpstreamTls::default(), &Credentials::default())?;
                Arc::make_mut(&mut tls.config).alpn_protocols = vec![protocol.to_vec()];
                (Some(tls), 443)
            }
            _ => return Err(invalid()),
        };
        let host = uri.host().ok_or_else(invalid)?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let endpoint = Endpoint { host: host.clone(), port: uri.port_u16().unwrap_or(default_port) };
        // The gateway's owner names it, and nothing that it answers reaches anybody.
        let policy = AddressPolicy::Any;
        Ok(Self(Arc::new(Dialer::Network(Box::new(Network { backend: id, endpoint, name: host, policy, tls })))))
    }

    /// Opens a stream within `limit`.
    pub(crate) async fn dial(&self, limit: Duration) -> Result<Stream, GatewayError> {
        self.0.dial(limit).await
    }
}
