//! Secret values, and the map of them that goes with a snapshot.

use super::ids::SecretKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Bytes that never print: neither `Debug` nor an error nor a log shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateBytes(Arc<[u8]>);

impl PrivateBytes {
    /// Wraps secret bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into().into())
    }

    /// The bytes themselves. Whoever calls this keeps them out of logs, errors and metrics.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// As base64, like `data` of a Kubernetes Secret. Only the credentials file is ever written with it.
impl Serialize for PrivateBytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for PrivateBytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The decoder's error names an offset and a byte: enough to fix the file, too little to leak.
        STANDARD.decode(text).map(Self::new).map_err(|_| serde::de::Error::custom("a credential is not valid base64"))
    }
}

/// Every secret value that a snapshot refers to, by its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Values by `namespace/name/key`.
    #[serde(default)]
    pub values: BTreeMap<SecretKey, PrivateBytes>,
    /// Keys that seal session ids, newest first: the first one seals, every one opens. 32 bytes each.
    #[serde(default)]
    pub keyring: Vec<PrivateBytes>,
    /// What secures the gateway's own channels; absent where there are none, as on a laptop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
}

/// What secures the channels of a gateway: the admin channel, by which the operator speaks to it, and the peer channel, by
/// which its replicas speak to each other. One for all replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channels {
    /// Self-signed certificate for [`crate::ir::channel::SERVER_NAME`], PEM. Whoever connects trusts this one and no other.
    pub certificate: PrivateBytes,
    /// Its private key, PEM.
    pub private_key: PrivateBytes,
    /// What the operator shows to a gateway, as a bearer token: printable ASCII.
    pub admin_token: PrivateBytes,
    /// What a replica shows to another, as a bearer token: printable ASCII.
    pub peer_token: PrivateBytes,
}

impl Credentials {
    /// The value behind `key`, if it was delivered with this generation.
    pub fn get(&self, key: &SecretKey) -> Option<&PrivateBytes> {
        self.values.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print() {
        let mut credentials = Credentials::default();
        credentials.values.insert(SecretKey::new("a", "b", "c"), PrivateBytes::new(*b"hunter2"));
        let printed = format!("{credentials:?}");
        assert!(printed.contains('a') && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn credentials_survive_their_file_format() {
        let mut credentials = Credentials::default();
        credentials.values.insert(SecretKey::new("a", "b", "c"), PrivateBytes::new([0, 255, 7]));
        credentials.keyring.push(PrivateBytes::new([1; 32]));
        let text = serde_json::to_string(&credentials).unwrap();
        assert_eq!(serde_json::from_str::<Credentials>(&text).unwrap(), credentials);
    }
}
