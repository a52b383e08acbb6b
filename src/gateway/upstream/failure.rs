//! What a broken exchange is called. The messages name the backend and never an address.

use super::super::error::{GatewayError, Kind, Retry};
use super::connection::Broken;
use crate::ir::ids::ObjectId;
use std::time::Duration;

/// The connection broke after the request, or a part of it, was written.
pub(super) fn broken(backend: &ObjectId, broken: &Broken) -> GatewayError {
    match broken {
        Broken::Http(error) => {
            tracing::debug!(%backend, %error, cause = std::error::Error::source(error), "exchange failed");
            if error.is_parse_too_large() {
                GatewayError::new(
                    Kind::AnswerTooLarge,
                    format!("backend {backend} answered with headers beyond 64 KiB"),
                )
            } else if error.is_parse() || is_bad_framing(error) {
                GatewayError::new(
                    Kind::BadAnswer,
                    format!("backend {backend} answered with something that is not HTTP; it may speak TLS"),
                )
            } else {
                reset(backend)
            }
        }
        Broken::Ended => reset(backend),
    }
}

/// The connection broke before anything was written to it.
pub(super) fn unsent(backend: &ObjectId) -> GatewayError {
    GatewayError::new(Kind::ConnectFailed, format!("backend {backend} closed the connection before the request"))
        .with_retry(Retry::Safe)
}

/// No first byte in time.
pub(super) fn request_timeout(backend: &ObjectId, limit: Duration) -> GatewayError {
    GatewayError::new(
        Kind::RequestTimeout,
        format!("backend {backend} did not begin to answer within {} ms", limit.as_millis()),
    )
}

/// The answer is not what the protocol says it is.
pub(super) fn bad_answer(backend: &ObjectId, what: &str) -> GatewayError {
    GatewayError::new(Kind::BadAnswer, format!("backend {backend} {what}"))
}

pub(super) fn reset(backend: &ObjectId) -> GatewayError {
    GatewayError::new(Kind::ConnectionReset, format!("backend {backend} closed the connection before its answer ended"))
}

/// Malformed chunks and lengths reach the body as I/O errors of these kinds.
fn is_bad_framing(error: &hyper::Error) -> bool {
    std::error::Error::source(error)
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| matches!(error.kind(), std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData))
}
