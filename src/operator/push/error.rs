//! Why a gateway cannot be reached over its admin channel.

use std::io;

/// What went wrong, told apart by what somebody has to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::operator) enum ChannelError {
    /// Nobody listens there.
    #[error("the connection is refused: nothing listens on its admin port")]
    Refused,
    /// The way there is broken, most often by a `NetworkPolicy`.
    #[error("no answer in time: allow the operator in the NetworkPolicies of the namespace")]
    Timeout,
    /// The connection broke, or could not be made for another reason.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// Whoever answers does not have the gateway's certificate.
    #[error("the certificate is not this gateway's ({0}): restart the pod if its Secret was replaced")]
    Certificate(String),
    /// The gateway does not know the operator's token.
    #[error("it does not accept the operator's token: restart the pod if its Secret was replaced")]
    Unauthorized,
    /// An answer that makes no sense.
    #[error("the answer makes no sense: {0}")]
    Protocol(String),
    /// The Secret with the channel's certificate and token cannot be used: a mistake of ours, or somebody changed it.
    #[error("the channel's own credentials cannot be used: {0}")]
    Credentials(String),
}

impl ChannelError {
    /// A short name that stays the same, for metrics.
    pub(in crate::operator) const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Connection(_) => "connection",
            Self::Certificate(_) => "certificate",
            Self::Unauthorized => "unauthorized",
            Self::Protocol(_) => "protocol",
            Self::Credentials(_) => "credentials",
        }
    }

    /// Whether other credentials may help: those that the pod still has.
    pub(super) const fn is_about_credentials(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::Unauthorized)
    }
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        // rustls wraps its own error in one of io's.
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::Certificate(tls.to_string());
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout,
            _ => Self::Connection(error.to_string()),
        }
    }
}

impl From<hyper::Error> for ChannelError {
    fn from(error: hyper::Error) -> Self {
        Self::Connection(error.to_string())
    }
}
