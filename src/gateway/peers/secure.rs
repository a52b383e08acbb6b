//! What secures the peer channel: a pinned certificate for both sides, and a bearer token.
//!
//! Generations reach the replicas one after the other, so that one may be ahead of another. Therefore what came with the
//! generation before still counts: the one that is ahead trusts both certificates, shows both tokens, and presents the
//! certificate that the other one knows.

use super::protocol::TOKEN;
use crate::gateway::error::{GatewayError, Kind};
use crate::ir::secrets::{Channels, PrivateBytes};
use http::{HeaderMap, HeaderValue};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What is spoken on the channel.
const HTTP: &[u8] = b"http/1.1";

/// The two ends of a secured channel.
pub(crate) struct Secured {
    channels: Channels,
    /// For those who come.
    pub(super) acceptor: TlsAcceptor,
    /// For those we go to.
    pub(super) client: Arc<ClientConfig>,
    /// What we show: this generation's token and the one before.
    tokens: Vec<HeaderValue>,
    /// Digests of what we take. Digests, so that comparing them takes a time that tells nothing about the token.
    admitted: Vec<[u8; 32]>,
}

impl Secured {
    /// Reads a generation's channels. `before` is what secured the channel until now.
    pub(crate) fn new(channels: &Channels, before: Option<&Self>) -> Result<Self, GatewayError> {
        let provider = Arc::new(ring::default_provider());
        let both: Vec<&Channels> =
            [Some(channels), before.map(|before| &before.channels)].into_iter().flatten().collect();
        let known: Vec<Known> = both.iter().map(|channels| Known::new(channels)).collect::<Result<_, _>>()?;
        let unusable = |error: rustls::Error| unusable(&format!("its certificate cannot be used: {error}"));

        let mut roots = RootCertStore::empty();
        for known in &known {
            roots.add(known.certificate.clone()).map_err(unusable)?;
        }
        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = known.iter().map(Known::name).chain([HTTP.to_vec()]).collect();

        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Chooser(known)));
        server.alpn_protocols = vec![HTTP.to_vec()];

        let tokens: Vec<&PrivateBytes> = both.iter().map(|channels| &channels.peer_token).collect();
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            client: Arc::new(client),
            tokens: tokens.iter().map(|token| header(token)).collect::<Result<_, _>>()?,
            admitted: tokens.iter().map(|token| Sha256::digest(token.expose()).into()).collect(),
            channels: channels.clone(),
        })
    }

    /// Whether these very channels are what is secured.
    pub(super) fn is_of(&self, channels: &Channels) -> bool {
        self.channels == *channels
    }

    /// Shows that a request comes from a replica.
    pub(super) fn sign(&self, headers: &mut HeaderMap) {
        for token in &self.tokens {
            headers.append(TOKEN, token.clone());
        }
    }

    /// Whether a request comes from a replica.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let mut shown = headers.get_all(TOKEN).iter().take(2).map(|token| Sha256::digest(token.as_bytes()).into());
        shown.any(|shown: [u8; 32]| self.admitted.contains(&shown))
    }
}

/// A certificate with its key.
struct Known {
    certificate: CertificateDer<'static>,
    key: Arc<CertifiedKey>,
}

impl Known {
    fn new(channels: &Channels) -> Result<Self, GatewayError> {
        let certificate = CertificateDer::from_pem_slice(channels.certificate.expose())
            .map_err(|_| unusable("its certificate is not one"))?;
        let key = PrivateKeyDer::from_pem_slice(channels.private_key.expose())
            .map_err(|_| unusable("its private key is not one"))?;
        let key = CertifiedKey::from_der(vec![certificate.clone()], key, &ring::default_provider())
            .map_err(|error| unusable(&format!("its certificate cannot be served: {error}")))?;
        Ok(Self { certificate, key: Arc::new(key) })
    }

    /// By which a client says that it knows this certificate: among the protocols it offers, where TLS has room for words.
    fn name(&self) -> Vec<u8> {
        let digest: [u8; 32] = Sha256::digest(&self.certificate).into();
        [b"certificate-".as_slice(), &digest[..8]].concat()
    }
}

/// Presents the newest certificate that the client knows.
struct Chooser(Vec<Known>);

impl fmt::Debug for Chooser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chooser of {}", self.0.len())
    }
}

impl ResolvesServerCert for Chooser {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offered: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        let known = self.0.iter().find(|known| offered.contains(&known.name().as_slice()));
        known.or_else(|| self.0.first()).map(|known| Arc::clone(&known.key))
    }
}

fn header(token: &PrivateBytes) -> Result<HeaderValue, GatewayError> {
    let mut value =
        HeaderValue::from_bytes(token.expose()).map_err(|_| unusable("its token cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn unusable(what: &str) -> GatewayError {
    GatewayError::new(Kind::Internal, format!("the peer channel: {what}"))
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
        // Whoever is ahead is let in by whoever is behind.
        let mut signed = HeaderMap::new();
        second.sign(&mut signed);
        assert!(first.admits(&signed) && second.admits(&signed) && third.admits(&signed));
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
