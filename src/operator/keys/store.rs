//! Keys as they are kept: one key of a Secret of their own.

use super::Keys;
use k8s_openapi::ByteString;
use std::collections::BTreeMap;

/// The format written. A build reads its own and older ones.
pub(super) const VERSION: u32 = 1;

/// The key of the Secret's data.
const KEYS_FILE: &str = "keys.json";

/// Kept keys that cannot be used. They are never replaced by new ones without somebody's doing: that would end every session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::operator) enum KeysError {
    /// The Secret lacks its key.
    #[error("it has no key {KEYS_FILE}")]
    Missing,
    /// What is there is malformed. The cause is left out: it may quote a key.
    #[error("{KEYS_FILE} is malformed at line {line}, column {column}")]
    Malformed {
        /// Line of the mistake, from 1.
        line: usize,
        /// Column of the mistake, from 1.
        column: usize,
    },
    /// A newer operator wrote it.
    #[error("{KEYS_FILE} has format {0}; this operator reads {VERSION}")]
    Version(u32),
    /// It reads well and cannot be used.
    #[error("{KEYS_FILE} holds no usable keyring")]
    Unsound,
}

impl Keys {
    /// Reads what a Secret holds.
    pub(in crate::operator) fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, KeysError> {
        let ByteString(bytes) = data.get(KEYS_FILE).ok_or(KeysError::Missing)?;
        let malformed = |error: serde_json::Error| KeysError::Malformed { line: error.line(), column: error.column() };
        let Versioned { version } = serde_json::from_slice(bytes).map_err(malformed)?;
        if version != VERSION {
            return Err(KeysError::Version(version));
        }
        let keys: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if keys.ring.is_sound() { Ok(keys) } else { Err(KeysError::Unsound) }
    }

    /// What the Secret should hold.
    pub(in crate::operator) fn data(&self) -> BTreeMap<String, ByteString> {
        // Strings, numbers and bytes: nothing that could not be written.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        BTreeMap::from([(KEYS_FILE.to_owned(), ByteString(bytes))])
    }
}

#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

#[cfg(test)]
mod tests {
    use super::super::Situation;
    use super::super::material::fake::Fake;
    use super::*;
    use k8s_openapi::jiff::{SignedDuration, Timestamp};

    #[test]
    fn what_is_kept_reads_back_and_damage_is_told() {
        let situation = Situation {
            now: Timestamp::UNIX_EPOCH,
            all_pods_have_them: false,
            idle_timeout: SignedDuration::from_mins(30),
            request: None,
        };
        let keys = Keys::generate(&Fake::default(), &situation).unwrap();
        assert_eq!(Keys::read(&keys.data()), Ok(keys.clone()));
        assert_eq!(Keys::read(&BTreeMap::new()), Err(KeysError::Missing));
        let with = |text: &str| BTreeMap::from([(KEYS_FILE.to_owned(), ByteString(text.as_bytes().to_vec()))]);
        assert_eq!(Keys::read(&with("hunter2")), Err(KeysError::Malformed { line: 1, column: 1 }));
        assert_eq!(Keys::read(&with(r#"{"version":9}"#)), Err(KeysError::Version(9)));
        let text = String::from_utf8(keys.data()[KEYS_FILE].0.clone()).unwrap();
        assert_eq!(Keys::read(&with(&text.replace("Active", "Retiring"))), Err(KeysError::Unsound));
        assert!(!format!("{keys:?}").contains(&text[60..80]));
    }
}
