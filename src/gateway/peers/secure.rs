//! What secures the peer channel: a pinned certificate for both sides, and a bearer token.
//!
//! Generations reach the replicas one after the other. So what came with the generation before is still trusted: a replica that
//! is ahead can go on talking to one that is behind.

use super::protocol::TOKEN;
use crate::gateway::error::{GatewayError, Kind};
use crate::ir::secrets::Channels;
use http::{HeaderMap, HeaderValue};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// The two ends of a secured channel.
pub(crate) struct Secured {
    channels: Channels,
    /// For those who come.
    pub(super) acceptor: TlsAcceptor,
    /// For those we go to.
    pub(super) client: Arc<ClientConfig>,
    /// What we show.
    pub(super) token: HeaderValue,
    /// Digests of what we take: this generation's token and the one before. Digests, so that comparing them takes a time that
    /// tells nothing about the token.
    admitted: Vec<[u8; 32]>,
}

impl Secured {
    /// Reads a generation's channels. `before` is what secured the channel until now.
    pub(crate) fn new(channels: &Channels, before: Option<&Self>) -> Result<Self, GatewayError> {
        let unusable = |what: &str| GatewayError::new(Kind::Internal, format!("the peer channel: {what}"));
        let certificate = certificate(channels).ok_or_else(|| unusable("its certificate is not one"))?;
        let key = PrivateKeyDer::from_pem_slice(channels.private_key.expose())
            .map_err(|_| unusable("its private key is not one"))?;
        let provider = Arc::new(ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![certificate.clone()], key))
            .map_err(|error| unusable(&format!("its certificate cannot be served: {error}")))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];

        let mut roots = RootCertStore::empty();
        let earlier = before.and_then(|before| self::certificate(&before.channels));
        for trusted in [Some(certificate), earlier].into_iter().flatten() {
            roots.add(trusted).map_err(|error| unusable(&format!("its certificate cannot be trusted: {error}")))?;
        }
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];

        let mut token = HeaderValue::from_bytes(channels.peer_token.expose())
            .map_err(|_| unusable("its token cannot stand in a header"))?;
        token.set_sensitive(true);
        let earlier = before.map(|before| &before.channels.peer_token);
        let tokens = [Some(&channels.peer_token), earlier].into_iter().flatten();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            client: Arc::new(client),
            token,
            admitted: tokens.map(|token| Sha256::digest(token.expose()).into()).collect(),
            channels: channels.clone(),
        })
    }

    /// Whether these very channels are what is secured.
    pub(super) fn is_of(&self, channels: &Channels) -> bool {
        self.channels == *channels
    }

    /// Whether a request comes from a replica.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let shown: Option<[u8; 32]> = headers.get(TOKEN).map(|token| Sha256::digest(token.as_bytes()).into());
        shown.is_some_and(|shown| self.admitted.contains(&shown))
    }
}

fn certificate(channels: &Channels) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(channels.certificate.expose()).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ir::channel::SERVER_NAME;
    use crate::ir::secrets::PrivateBytes;

    pub(in super::super) fn channels(token: &str) -> Channels {
        let issued = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()]).unwrap();
        Channels {
            certificate: PrivateBytes::new(issued.cert.pem()),
            private_key: PrivateBytes::new(issued.signing_key.serialize_pem()),
            admin_token: PrivateBytes::new(*b"admin"),
            peer_token: PrivateBytes::new(token.as_bytes()),
        }
    }

    fn showing(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(TOKEN, HeaderValue::from_str(token).unwrap())])
    }

    #[test]
    fn this_token_and_the_one_before_open_the_door() {
        let first = Secured::new(&channels("one"), None).unwrap();
        let second = Secured::new(&channels("two"), Some(&first)).unwrap();
        let third = Secured::new(&channels("three"), Some(&second)).unwrap();
        assert!(first.admits(&showing("one")) && !first.admits(&showing("two")));
        assert!(second.admits(&showing("one")) && second.admits(&showing("two")));
        assert!(third.admits(&showing("two")) && !third.admits(&showing("one")));
        for stranger in ["", "admin", "on", "one "] {
            assert!(!first.admits(&showing(stranger)), "{stranger:?}");
        }
        assert!(!first.admits(&HeaderMap::new()));
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_shown() {
        let broken = |change: fn(&mut Channels)| {
            let mut channels = channels("token");
            change(&mut channels);
            Secured::new(&channels, None).err().unwrap().message.into_owned()
        };
        let message = broken(|channels| channels.private_key = PrivateBytes::new(*b"hunter2"));
        assert_eq!(message, "the peer channel: its private key is not one");
        let message = broken(|channels| channels.certificate = PrivateBytes::new(*b"hunter2"));
        assert_eq!(message, "the peer channel: its certificate is not one");
        let message = broken(|channels| channels.peer_token = PrivateBytes::new(*b"hunter\n2"));
        assert_eq!(message, "the peer channel: its token cannot stand in a header");
    }
}
