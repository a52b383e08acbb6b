//! Calls to the API server, each with a deadline.

use std::time::Duration;

/// The longest that one call may take: an API server that does not answer within it is as good as gone.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    /// The API server, or the way to it, says no.
    #[error("{}", told(.0))]
    Kube(#[from] kube::Error),
    /// Nobody answered.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
}

impl ApiError {
    pub(super) fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    /// Whether the same call may well succeed in a moment: others were faster, or there are too many.
    pub(super) fn is_busy(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.code, 409 | 429))
    }

    /// Whether what should be made was there already.
    pub(super) fn is_already_there(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_already_exists)
    }

    pub(super) fn is_not_found(&self) -> bool {
        self.status().is_some_and(kube::core::Status::is_not_found)
    }
}

/// What the API server says, without its answer's other fields.
fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("{} (HTTP status {})", status.message, status.code),
        other => other.to_string(),
    }
}

/// Waits for a call, but not for ever.
pub(super) async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> Result<T, ApiError> {
    within_time(DEADLINE, call).await
}

/// Waits for a call that must not take longer than this.
pub(super) async fn within_time<T>(
    deadline: Duration,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(ApiError::Deadline(deadline)),
    }
}
