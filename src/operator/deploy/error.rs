//! Why something could not be deployed.

use crate::ir::generation::GenerationError;
use crate::operator::apply::{ApplyError, Problem};
use crate::operator::client::ApiError;
use crate::operator::keys::{KeysError, NoMaterial};
use crate::operator::observe::seen::Apply;
use crate::operator::tokens::TokenError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeployError {
    /// An object could not be made so.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A Secret could not be read or written.
    #[error("Secret {name}: {source}")]
    Secret {
        /// Its name.
        name: String,
        /// What went wrong.
        source: ApiError,
    },
    /// The keys that the operator made up once cannot be used any more.
    #[error("Secret {name}: {source}; restore it, or delete it to have new keys made, which ends every session")]
    Keys {
        /// The Secret.
        name: String,
        /// What is wrong with it.
        source: KeysError,
    },
    /// Nothing secret can be made up.
    #[error(transparent)]
    Material(#[from] NoMaterial),
    /// The generation cannot be written down.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// The credentials do not fit into a Secret.
    #[error(
        "the credentials that the gateway needs have {bytes} bytes, of which {most} fit into a Secret; spread its routes over several gateways"
    )]
    CredentialsTooLarge {
        /// What they have.
        bytes: usize,
        /// The most they may have.
        most: usize,
    },
    /// The channel's own credentials cannot be used.
    #[error(transparent)]
    Channel(#[from] crate::operator::push::ChannelError),
}

impl From<TokenError> for DeployError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Secret(error) => Self::Apply(error),
            TokenError::Material(error) => Self::Material(error),
        }
    }
}

impl DeployError {
    /// Whether the same work may well succeed in a moment. Nobody is told then.
    pub(super) fn is_busy(&self) -> bool {
        match self {
            Self::Apply(ApplyError::Api { source, .. }) | Self::Secret { source, .. } => source.is_busy(),
            _ => false,
        }
    }

    /// What the status says of it.
    pub(super) fn outcome(&self) -> Apply {
        let message = self.to_string();
        match self {
            Self::Apply(ApplyError::Problem(problem)) => match problem {
                Problem::Foreign { .. } => Apply::Conflict(message),
                Problem::Invalid { kind, .. } if kind == "Deployment" => Apply::PodTemplate(format!(
                    "{message}; correct spec.podTemplate, or a backend's resources and volumes"
                )),
                Problem::Invalid { .. } => Apply::Invalid(message),
                Problem::Forbidden { .. } => Apply::Forbidden(message),
                Problem::TooLarge { .. } => Apply::TooLarge(message),
            },
            Self::CredentialsTooLarge { .. } => Apply::TooLarge(message),
            Self::Keys { .. } => Apply::Invalid(message),
            Self::Apply(ApplyError::Api { .. } | ApplyError::Malformed { .. })
            | Self::Secret { .. }
            | Self::Material(_)
            | Self::Generation(_)
            | Self::Channel(_) => Apply::Failed(message),
        }
    }
}
