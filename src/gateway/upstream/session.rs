//! A legacy session with one server, over either HTTP transport.

use super::super::error::GatewayError;
use super::super::metrics::{AttemptTimer, BackendMetrics};
use super::answer::Answer;
use super::endpoint::EndpointClient;
use super::http_sse::HttpSse;
use super::initialize::Initialized;
use super::streamable::Streamable;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Timeouts;
use bytes::Bytes;
use std::sync::Arc;
use tokio::task::AbortHandle;

/// A legacy session with one server.
///
/// [`close`](Self::close) it when it is not needed any more; dropped without, the server finds out by its own timeout.
pub struct UpstreamSession {
    pub(super) backend: ObjectId,
    pub(super) transport: Transport,
    pub(super) initialized: Initialized,
    pub(super) metrics: Arc<BackendMetrics>,
}

pub(super) enum Transport {
    Streamable {
        session: Arc<Streamable>,
        /// The task that reads the server's own stream.
        listener: AbortHandle,
    },
    HttpSse(Arc<HttpSse>),
}

impl UpstreamSession {
    /// The backend the session is with.
    pub fn backend(&self) -> &ObjectId {
        &self.backend
    }

    pub(super) fn endpoint(&self) -> &Arc<EndpointClient> {
        match &self.transport {
            Transport::Streamable { session, .. } => &session.endpoint,
            Transport::HttpSse(session) => &session.endpoint,
        }
    }

    /// The raw result object of the server's answer to `initialize`.
    pub fn initialize_result(&self) -> &Bytes {
        &self.initialized.result
    }

    /// The negotiated protocol revision.
    pub fn protocol_version(&self) -> &str {
        &self.initialized.version
    }

    /// Sends a request, its id included. Over HTTP+SSE ids must be unique among the session's calls in flight.
    pub async fn call(&self, body: Bytes, timeouts: &Timeouts) -> Result<Answer, GatewayError> {
        let timer = self.metrics.start();
        let answer = match &self.transport {
            Transport::Streamable { session, .. } => session.call(body, timeouts).await,
            Transport::HttpSse(session) => session.call(body, timeouts).await,
        };
        timed(answer, timer)
    }

    /// Sends a notification, or a response to a request of the server's.
    pub async fn notify(&self, body: Bytes) -> Result<(), GatewayError> {
        match &self.transport {
            Transport::Streamable { session, .. } => session.notify(body).await,
            Transport::HttpSse(session) => session.notify(body).await,
        }
    }

    /// Whether the session answers nothing more: ended by the server or by [`close`](Self::close).
    pub fn is_lost(&self) -> bool {
        match &self.transport {
            Transport::Streamable { session, .. } => session.is_lost(),
            Transport::HttpSse(session) => session.is_lost(),
        }
    }

    /// Ends the session and tells the server so, which takes two seconds at the most.
    pub async fn close(&self) {
        match &self.transport {
            Transport::Streamable { session, listener } => {
                listener.abort();
                session.close().await;
            }
            Transport::HttpSse(session) => session.close(),
        }
    }
}

impl Drop for UpstreamSession {
    fn drop(&mut self) {
        if let Transport::Streamable { listener, .. } = &self.transport {
            listener.abort();
        }
    }
}

/// Lets an attempt's timer run on until its answer has ended.
pub(super) fn timed(answer: Result<Answer, GatewayError>, timer: AttemptTimer) -> Result<Answer, GatewayError> {
    match answer {
        Ok(Answer::Json(body)) => Ok(Answer::Json(body.timed(timer))),
        Ok(Answer::Events(stream)) => Ok(Answer::Events(stream.timed(timer))),
        Ok(answer @ (Answer::Rejected { .. } | Answer::Accepted)) => {
            timer.ok();
            Ok(answer)
        }
        Err(error) => {
            timer.failed(error.kind);
            Err(error)
        }
    }
}
