//! What secures the admin channel: a certificate of its own, and a bearer token.

use crate::ir::generation::Generation;
use crate::ir::secrets::Channels;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// A channel that cannot be secured. It names what is unusable, and shows nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// No PEM certificate.
    #[error("the admin channel: its certificate is not one")]
    Certificate,
    /// No PEM key.
    #[error("the admin channel: its private key is not one")]
    Key,
    /// Anybody could come in with an empty token.
    #[error("the admin channel: its token is empty")]
    NoToken,
    /// Key and certificate do not belong together, or their kind is not supported.
    #[error("the admin channel: its certificate cannot be served: {0}")]
    Unusable(#[from] rustls::Error),
}

/// One generation's way in. Whoever rotates what secures it knows both the old and the new, and tries.
pub(crate) struct Door {
    channels: Channels,
    pub(super) acceptor: TlsAcceptor,
    /// Digest of the only token that is taken. A digest, so that comparing it takes a time that tells nothing about the token.
    token: [u8; 32],
}

impl Door {
    /// The door of a generation, if it has one; `before` where nothing about it changed.
    pub(crate) fn of(generation: &Generation, before: Option<Arc<Self>>) -> Result<Option<Arc<Self>>, DoorError> {
        let Some(channels) = &generation.credentials.channels else { return Ok(None) };
        if before.as_ref().is_some_and(|before| before.channels == *channels) {
            return Ok(before);
        }
        Self::new(channels).map(|door| Some(Arc::new(door)))
    }

    fn new(channels: &Channels) -> Result<Self, DoorError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(channels.certificate.expose()).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(DoorError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(channels.private_key.expose()).map_err(|_| DoorError::Key)?;
        let token = channels.admin_token.expose();
        if token.is_empty() {
            return Err(DoorError::NoToken);
        }
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            token: Sha256::digest(token).into(),
            channels: channels.clone(),
        })
    }

    /// Whether a request comes from the operator.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let shown: Option<[u8; 32]> = shown.map(|token| Sha256::digest(token).into());
        shown == Some(self.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::fake::{channels, generation};
    use crate::ir::secrets::PrivateBytes;
    use http::HeaderValue;

    #[test]
    fn only_the_token_of_this_generation_opens_it() {
        let door = Door::new(&channels("open sesame")).unwrap();
        let admits =
            |text: &str| door.admits(&HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(text).unwrap())]));
        assert!(admits("Bearer open sesame"));
        for stranger in ["", "Bearer ", "open sesame", "Basic open sesame", "Bearer open", "Bearer open sesame "] {
            assert!(!admits(stranger), "{stranger:?}");
        }
        assert!(!door.admits(&HeaderMap::new()));
    }

    #[test]
    fn it_is_made_anew_only_when_it_changed() {
        let mut generation = generation(&["http"]);
        assert!(Door::of(&generation, None).unwrap().is_none());
        generation.credentials.channels = Some(channels("one"));
        let first = Door::of(&generation, None).unwrap().unwrap();
        let same = Door::of(&generation, Some(Arc::clone(&first))).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        generation.credentials.channels = Some(channels("two"));
        assert!(!Arc::ptr_eq(&first, &Door::of(&generation, Some(Arc::clone(&first))).unwrap().unwrap()));
    }

    #[test]
    fn what_cannot_be_used_is_named_and_not_shown() {
        let broken = |change: fn(&mut Channels)| {
            let mut channels = channels("token");
            change(&mut channels);
            Door::new(&channels).err().unwrap().to_string()
        };
        let message = broken(|channels| channels.private_key = PrivateBytes::new(*b"hunter2"));
        assert_eq!(message, "the admin channel: its private key is not one");
        let message = broken(|channels| channels.certificate = PrivateBytes::new(*b"hunter2"));
        assert_eq!(message, "the admin channel: its certificate is not one");
        let message = broken(|channels| channels.admin_token = PrivateBytes::new(*b""));
        assert_eq!(message, "the admin channel: its token is empty");
        let message = broken(|broken| broken.private_key = channels("other").private_key);
        assert!(message.starts_with("the admin channel: its certificate cannot be served"), "{message}");
    }
}
