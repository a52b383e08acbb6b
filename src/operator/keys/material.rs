//! Where keys, tokens and certificates come from.

use crate::ir::channel::SERVER_NAME;
use crate::ir::secrets::{Channels, PrivateBytes};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The system could not make up something secret.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum NoMaterial {
    /// It has no random numbers to give.
    #[error("no randomness available")]
    Randomness,
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Makes up secrets.
pub(in crate::operator) trait Material {
    /// A key: 32 random bytes.
    fn key(&self) -> Result<PrivateBytes, NoMaterial>;
    /// A bearer token: a key as printable ASCII.
    fn token(&self) -> Result<PrivateBytes, NoMaterial> {
        Ok(PrivateBytes::new(URL_SAFE_NO_PAD.encode(self.key()?.expose())))
    }
    /// A certificate with its key, and tokens.
    fn channels(&self) -> Result<Channels, NoMaterial>;
}

/// The system's own random numbers.
pub(in crate::operator) struct SystemMaterial;

impl Material for SystemMaterial {
    fn key(&self) -> Result<PrivateBytes, NoMaterial> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| NoMaterial::Randomness)?;
        Ok(PrivateBytes::new(bytes))
    }

    fn channels(&self) -> Result<Channels, NoMaterial> {
        // It is trusted by itself, not for its dates: it is replaced long before they matter.
        let issued = rcgen::generate_simple_self_signed(vec![SERVER_NAME.to_owned()])?;
        Ok(Channels {
            certificate: PrivateBytes::new(issued.cert.pem()),
            private_key: PrivateBytes::new(issued.signing_key.serialize_pem()),
            admin_token: self.token()?,
            peer_token: self.token()?,
        })
    }
}

#[cfg(test)]
pub(super) mod fake {
    use super::*;
    use std::cell::Cell;

    /// Counts instead of throwing dice.
    #[derive(Default)]
    pub(in crate::operator::keys) struct Fake(Cell<u8>);

    impl Material for Fake {
        fn key(&self) -> Result<PrivateBytes, NoMaterial> {
            self.0.set(self.0.get() + 1);
            Ok(PrivateBytes::new([self.0.get(); 32]))
        }

        fn channels(&self) -> Result<Channels, NoMaterial> {
            Ok(Channels {
                certificate: self.key()?,
                private_key: self.key()?,
                admin_token: self.key()?,
                peer_token: self.key()?,
            })
        }
    }

    #[test]
    fn no_two_are_alike() {
        let [one, two] = [(); 2].map(|()| SystemMaterial.channels().unwrap());
        assert_ne!(one.admin_token, two.admin_token);
        assert_ne!(one.admin_token, one.peer_token);
        assert_ne!(one.certificate, two.certificate);
        assert_eq!(SystemMaterial.key().unwrap().expose().len(), 32);
    }
}
