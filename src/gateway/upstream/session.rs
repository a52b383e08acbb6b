//! A legacy session with one server, over either HTTP transport.

use super::super::error::GatewayError;
use super::super::mcp::version::Era;
use super::super::metrics::{AttemptTimer, BackendMetrics};
use super::super::trace::{Link, Outbound};
use super::answer::Answer;
use super::endpoint::EndpointClient;
use super::http_sse::HttpSse;
use super::initialize::Initialized;
use super::knowledge::Knowledge;
use super::listen::Ear;
use super::streamable::Streamable;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{Endpoint, Timeouts};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A legacy session with one server.
///
/// [`close`](Self::close) it when it is not needed any more; dropped without, the server finds out by its own timeout.
pub struct UpstreamSession {
    pub(super) backend: ObjectId,
    pub(super) transport: Transport,
    pub(super) initialized: Initialized,
    pub(super) metrics: Arc<BackendMetrics>,
    pub(super) knowledge: Arc<Knowledge>,
}

pub(super) enum Transport {
    Streamable {
        session: Arc<Streamable>,
        /// Reads the server's own stream.
        ear: Ear,
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
        self.call_for(None, 1, body, timeouts).await
    }

    /// As [`call`](Self::call), as this attempt at what has this place in a trace.
    pub(crate) async fn call_for(
        &self,
        trace: Option<&Arc<Link>>,
        number: u32,
        body: Bytes,
        timeouts: &Timeouts,
    ) -> Result<Answer, GatewayError> {
        let mut timer = self.metrics.start();
        let request = timer.traced(trace, body, || Outbound {
            backend: &self.backend,
            address: self.endpoint().address(),
            era: Era::Legacy,
            version: Some(&self.initialized.version),
            number,
        });
        let answer = match &self.transport {
            Transport::Streamable { session, .. } => session.call(request, timeouts).await,
            Transport::HttpSse(session) => session.call(request, timeouts).await,
        };
        match &answer {
            Ok(_) => self.knowledge.answered(),
            Err(error) => self.knowledge.failed(error),
        }
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
            Transport::Streamable { session, ear } => {
                ear.close();
                session.close().await;
            }
            Transport::HttpSse(session) => session.close(),
        }
    }
}

/// What another replica needs to go on with a server's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Released {
    pub(crate) backend: ObjectId,
    /// The address that keeps the session.
    pub(crate) endpoint: Endpoint,
    /// `Mcp-Session-Id`.
    pub(crate) id: String,
    /// The negotiated revision.
    pub(crate) version: String,
    /// The raw result of `initialize`.
    pub(crate) result: String,
    /// The last event of the server's own stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_event_id: Option<String>,
}

impl UpstreamSession {
    /// Stops listening to the server, so that another replica can go on with the session, and says what that one needs. `None`
    /// where nobody else can: the session hangs on a connection or on a process of this one's, or is no session at all.
    pub(crate) async fn release(&self) -> Option<Released> {
        let Transport::Streamable { session, ear } = &self.transport else { return None };
        let (endpoint, id) = (session.endpoint.address()?.clone(), session.id()?.to_owned());
        if session.is_lost() {
            return None;
        }
        Some(Released {
            backend: self.backend.clone(),
            endpoint,
            id,
            version: self.initialized.version.clone(),
            result: String::from_utf8(self.initialized.result.to_vec()).ok()?,
            last_event_id: ear.stop().await,
        })
    }

    /// Listens again: nobody else goes on with the session.
    pub(crate) fn retain(&self, released: &Released) {
        if let Transport::Streamable { ear, .. } = &self.transport {
            ear.listen(released.last_event_id.clone());
        }
    }
}

/// Lets an attempt's timer run on until its answer has ended.
pub(super) fn timed(answer: Result<Answer, GatewayError>, mut timer: AttemptTimer) -> Result<Answer, GatewayError> {
    match answer {
        Ok(Answer::Json(body)) => Ok(Answer::Json(body.timed(timer))),
        Ok(Answer::Events(stream)) => Ok(Answer::Events(stream.timed(timer))),
        Ok(answer @ (Answer::Rejected { .. } | Answer::Accepted)) => {
            if let Answer::Rejected { body, .. } = &answer {
                timer.saw(body);
            }
            timer.ok();
            Ok(answer)
        }
        Err(error) => {
            timer.failed(error.kind);
            Err(error)
        }
    }
}
