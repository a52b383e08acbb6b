//! A legacy session over Streamable HTTP (2025-03-26 and later).

use super::super::error::{GatewayError, Kind};
use super::super::mcp::headers::GATEWAY_SESSION;
use super::super::trace::Traced;
use super::answer::{self, Answer, Media};
use super::body::Body;
use super::endpoint::{EndpointClient, Template};
use super::events::EventStream;
use super::failure;
use super::initialize::{self, Initialized};
use super::pool::Use;
use crate::ir::snapshot::Timeouts;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// How long the end of a session may take: the client has left already, and a reload waits for it.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// A session with one endpoint.
pub(super) struct Streamable {
    pub(super) endpoint: Arc<EndpointClient>,
    post: Template,
    get: Template,
    /// Whether the server gave the session an id; without one it keeps no session, and 404 means something else.
    has_id: bool,
    lost: AtomicBool,
    timeouts: Timeouts,
}

impl Streamable {
    /// Sends `initialize` and `notifications/initialized`. `key`: for our shim, whose session it is.
    pub(super) async fn open(
        endpoint: &Arc<EndpointClient>,
        initialize: Traced,
        key: Option<&str>,
        sink: &dyn super::SessionSink,
        timeouts: &Timeouts,
    ) -> Result<(Arc<Self>, Initialized), GatewayError> {
        let backend = endpoint.backend();
        let mut request = endpoint.post.post(&initialize);
        if let Some(key) = key.and_then(|key| HeaderValue::from_str(key).ok()) {
            request.headers_mut().insert(GATEWAY_SESSION, key);
        }
        let (head, body) = endpoint.exchange(request, timeouts, Use::Call).await?;
        let answer =
            answer::read(backend, &head, body, timeouts, false, |body| EventStream::from_body(backend, body, None))
                .await?;
        let initialized = initialize::read(backend, answer, sink, timeouts).await?;

        let id = head.headers.get(SESSION_ID);
        let endpoint = if id.is_some() { &endpoint.settle(&head) } else { endpoint };
        let session = Self::new(endpoint, id, &initialized.version_header(backend)?, timeouts);
        session.notify(initialize::initialized()).await?;
        Ok((session, initialized))
    }

    /// A session that is open already.
    pub(super) fn new(
        endpoint: &Arc<EndpointClient>,
        id: Option<&HeaderValue>,
        version: &HeaderValue,
        timeouts: &Timeouts,
    ) -> Arc<Self> {
        let (mut post, mut get) = (endpoint.post.clone(), endpoint.get.clone());
        for template in [&mut post, &mut get] {
            if let Some(id) = id {
                template.headers.insert(SESSION_ID, id.clone());
            }
            template.headers.insert(PROTOCOL_VERSION, version.clone());
        }
        Arc::new(Self {
            endpoint: Arc::clone(endpoint),
            post,
            get,
            has_id: id.is_some(),
            lost: AtomicBool::new(false),
            timeouts: timeouts.clone(),
        })
    }

    /// What the server calls the session.
    pub(super) fn id(&self) -> Option<&str> {
        self.post.headers.get(SESSION_ID)?.to_str().ok()
    }

    /// Sends a request.
    pub(super) async fn call(self: &Arc<Self>, message: Traced, timeouts: &Timeouts) -> Result<Answer, GatewayError> {
        let backend = self.endpoint.backend();
        let request = self.post.post(&message);
        let exchanged = self.endpoint.exchange(request, timeouts, Use::Call).await;
        let (head, body) = exchanged.map_err(|error| self.gone_or(error)).inspect_err(|error| self.note(error))?;
        let answer = answer::read(backend, &head, body, timeouts, self.has_id, |body| {
            EventStream::from_body(backend, body, Some(Arc::clone(self)))
        });
        answer.await.inspect_err(|error| self.note(error))
    }

    /// Sends a notification or a response.
    pub(super) async fn notify(self: &Arc<Self>, body: Bytes) -> Result<(), GatewayError> {
        match self.call(body.into(), &self.timeouts).await? {
            // A few servers answer notifications with a body. There is nothing in it to wait for.
            Answer::Accepted | Answer::Json(_) | Answer::Events(_) => Ok(()),
            Answer::Rejected { status, .. } => Err(answer::http_status(self.endpoint.backend(), status)),
        }
    }

    /// Opens the stream on which the server speaks unasked. `None` when it has none.
    pub(super) async fn listen(&self, last_event_id: Option<&str>) -> Result<Option<Body>, GatewayError> {
        // Some servers send the head of this stream with its first event: that may take hours.
        let patient = Timeouts { request_ms: u64::MAX, ..self.timeouts.clone() };
        let (head, body) = self.get(last_event_id, &patient).await?;
        match head.status.as_u16() {
            200 if Media::of(&head.headers) == Media::Events => Ok(Some(body)),
            404 if self.has_id => {
                self.lost.store(true, Ordering::Relaxed);
                Err(answer::session_lost(self.endpoint.backend()))
            }
            // What server-busy and the server's own restarts look like from here; all else says that there is no stream.
            status @ (408 | 409 | 429 | 500..) => Err(answer::http_status(self.endpoint.backend(), status)),
            _ => Ok(None),
        }
    }

    /// Opens the rest of a call's stream that the server closed early.
    pub(super) async fn resume(&self, last_event_id: &str) -> Result<Body, GatewayError> {
        let backend = self.endpoint.backend();
        let (head, body) = self.get(Some(last_event_id), &self.timeouts).await?;
        let outcome = match head.status.as_u16() {
            200 if Media::of(&head.headers) == Media::Events => Ok(body),
            200 => Err(failure::bad_answer(backend, "did not resume its answer with an event stream")),
            404 if self.has_id => Err(answer::session_lost(backend)),
            status => Err(answer::http_status(backend, status)),
        };
        outcome.inspect_err(|error| self.note(error))
    }

    async fn get(
        &self,
        last_event_id: Option<&str>,
        timeouts: &Timeouts,
    ) -> Result<(http::response::Parts, Body), GatewayError> {
        let mut request = self.get.request(Method::GET, Bytes::new());
        // An id that cannot stand in a header cannot be resumed from.
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().insert(LAST_EVENT_ID, id);
        }
        self.endpoint.exchange(request, timeouts, Use::Stream).await
    }

    /// A server that is gone has taken its sessions with it, and another one behind its name may take a new one.
    fn gone_or(&self, error: GatewayError) -> GatewayError {
        let is_gone = matches!(error.kind, Kind::ConnectFailed | Kind::ConnectTimeout);
        if is_gone && self.endpoint.is_one_of_several() {
            return answer::session_lost(self.endpoint.backend());
        }
        error
    }

    fn note(&self, error: &GatewayError) {
        if error.kind == Kind::SessionLost {
            self.lost.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Tells the server that the session is over. Best effort: 405 is a server's right, and a dead one has forgotten it.
    pub(super) async fn close(&self) {
        if !self.has_id || self.lost.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut request = self.get.request(Method::DELETE, Bytes::new());
        request.headers_mut().remove(CONTENT_TYPE);
        let closed = timeout(CLOSE_LIMIT, self.endpoint.exchange(request, &self.timeouts, Use::Stream)).await;
        if let Ok(Ok((_head, body))) = closed {
            body.finish();
        }
    }
}
