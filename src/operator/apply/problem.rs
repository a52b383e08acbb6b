//! What can come in the way of applying an object: a mistake to tell the user about, or something that passes.

use crate::api::conditions::cut;
use crate::ir::ids::ObjectId;
use crate::operator::client::ApiError;
use kube::core::Status;

/// The longest text of the API server that is passed on, in bytes.
const MAX_TEXT: usize = 512;

/// An object that is not as it should be, for a reason that stays until somebody does something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::operator) enum Problem {
    /// Somebody else has an object of this name.
    #[error("{kind} {name} exists and is not this object's: rename or delete it, or rename this object")]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server refuses the object as it was built: by then it is the overlay that is wrong.
    #[error("{kind} {name} is refused: {text}")]
    Invalid {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server says.
        text: String,
    },
    /// The object is larger than the API server takes.
    #[error("{kind} {name} is too large: {text}")]
    TooLarge {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server says.
        text: String,
    },
    /// The operator, or the namespace, may not have it: a missing role, a quota, an admission policy.
    #[error("{kind} {name} is forbidden: {text}")]
    Forbidden {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server says.
        text: String,
    },
}

/// Why an object could not be applied.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum ApplyError {
    /// It stays so until somebody does something.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// It may pass.
    #[error("{object}: {source}")]
    Api {
        /// Kind and name of the object.
        object: String,
        /// What went wrong.
        source: ApiError,
    },
    /// The object cannot be written down: a mistake of ours.
    #[error("{kind} cannot be serialised: {source}")]
    Malformed {
        /// The kind of the object.
        kind: String,
        /// What went wrong.
        source: serde_json::Error,
    },
}

impl Problem {
    pub(in crate::operator) fn foreign(kind: &str, id: &ObjectId) -> Self {
        Self::Foreign { kind: kind.to_owned(), name: id.name.clone() }
    }
}

impl ApplyError {
    pub(in crate::operator) fn from_api(error: ApiError, kind: &str, id: &ObjectId) -> Self {
        let (kind, name) = (kind.to_owned(), id.name.clone());
        let told = |status: &Status| cut(status.message.clone(), MAX_TEXT);
        match error.status() {
            // 413 from the API server; the store's own limit, which comes first for small objects, has no code of its own.
            Some(status) if status.code == 413 || is_too_large(&status.message) => {
                Problem::TooLarge { kind, name, text: told(status) }.into()
            }
            Some(status) if status.is_invalid() || status.code == 400 => {
                Problem::Invalid { kind, name, text: told(status) }.into()
            }
            Some(status) if status.is_forbidden() => Problem::Forbidden { kind, name, text: told(status) }.into(),
            // A new object that is not forced: someone else's stands in its place.
            Some(status) if status.is_conflict() && status.message.contains("Apply failed") => {
                Problem::Foreign { kind, name }.into()
            }
            _ => Self::Api { object: format!("{kind} {id}"), source: error },
        }
    }
}

fn is_too_large(message: &str) -> bool {
    message.contains("Too long") || message.contains("request is too large")
}
