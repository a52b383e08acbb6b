//! Names of things that cross module borders.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A namespaced object, printed as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// The namespace the object lives in.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl ObjectId {
    /// Names an object.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The text is not `namespace/name`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not of the form namespace/name")]
pub struct NotAnObjectId(pub String);

impl FromStr for ObjectId {
    type Err = NotAnObjectId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::new(namespace, name))
            }
            _ => Err(NotAnObjectId(text.to_owned())),
        }
    }
}

impl Serialize for ObjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One key of one Secret, printed as `namespace/name/key`. It names a credential; it never holds one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretKey {
    /// The Secret.
    pub secret: ObjectId,
    /// The key inside the Secret's `data`.
    pub key: String,
}

impl SecretKey {
    /// Names one key of the Secret `namespace/name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, key: impl Into<String>) -> Self {
        Self { secret: ObjectId::new(namespace, name), key: key.into() }
    }
}

impl fmt::Display for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.secret, self.key)
    }
}

/// The text is not `namespace/name/key`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not of the form namespace/name/key")]
pub struct NotASecretKey(pub String);

impl FromStr for SecretKey {
    type Err = NotASecretKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || NotASecretKey(text.to_owned());
        let (secret, key) = text.rsplit_once('/').ok_or_else(malformed)?;
        let secret = secret.parse().map_err(|_| malformed())?;
        if key.is_empty() { Err(malformed()) } else { Ok(Self { secret, key: key.to_owned() }) }
    }
}

impl Serialize for SecretKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_back() {
        let key = SecretKey::new("team", "github", "token");
        assert_eq!(key.to_string(), "team/github/token");
        assert_eq!("team/github/token".parse(), Ok(key));
        assert_eq!("team/github".parse(), Ok(ObjectId::new("team", "github")));
    }

    #[test]
    fn malformed_ids_are_refused_with_their_text() {
        for text in ["", "a", "/a", "a/", "a/b/c"] {
            assert_eq!(text.parse::<ObjectId>(), Err(NotAnObjectId(text.to_owned())));
        }
        for text in ["", "a", "a/b", "a/b/", "/b/c"] {
            assert_eq!(text.parse::<SecretKey>(), Err(NotASecretKey(text.to_owned())));
        }
    }
}
