//! A legacy session over HTTP+SSE (2024-11-05): one stream from the server, on which all answers come, and an endpoint of
//! the server's choice to send messages to.

use super::super::error::{GatewayError, Kind};
use super::super::mcp::sse::{Decoder, Item};
use super::super::metrics::AttemptTimer;
use super::super::trace::Traced;
use super::answer::{self, Answer, Media};
use super::body::Body;
use super::endpoint::{EndpointClient, Template};
use super::events::{EventStream, is_answer};
use super::http_sse_router::{Calls, Large, Router};
use super::initialize::{self, Initialized};
use super::pool::Use;
use super::{Event, SessionSink, failure};
use crate::gateway::HOLD_BYTES;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Timeouts;
use bytes::Bytes;
use http::{Method, Uri};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use url::Url;

/// A session with one endpoint.
pub(super) struct HttpSse {
    pub(super) endpoint: Arc<EndpointClient>,
    /// Where this session's messages go.
    post: Template,
    calls: Arc<Calls>,
    timeouts: Timeouts,
    reader: AbortHandle,
}

/// The server's stream, from its first byte on.
struct ServerStream {
    body: Body,
    decoder: Decoder,
}

impl ServerStream {
    async fn next(&mut self, backend: &ObjectId) -> Result<Option<Item>, GatewayError> {
        loop {
            let item = self
                .decoder
                .next_item()
                .map_err(|error| failure::bad_answer(backend, &format!("sent a malformed event stream: {error}")))?;
            if item.is_some() {
                return Ok(item);
            }
            match poll_fn(|cx| self.body.poll_data(cx)).await.transpose()? {
                Some(chunk) => self.decoder.push(chunk),
                None => return Ok(None),
            }
        }
    }
}

impl HttpSse {
    /// Opens the stream, learns where to send messages, and does the handshake.
    pub(super) async fn open(
        endpoint: &Arc<EndpointClient>,
        initialize: Traced,
        sink: Arc<dyn SessionSink>,
        timeouts: &Timeouts,
    ) -> Result<(Arc<Self>, Initialized), GatewayError> {
        let backend = endpoint.backend();
        let limit = Duration::from_millis(timeouts.request_ms);
        let (endpoint, mut stream) = Self::connect(endpoint, timeouts).await?;
        let uri = timeout(limit, Self::message_endpoint(&endpoint, &mut stream))
            .await
            .map_err(|_elapsed| failure::request_timeout(backend, limit))??;
        let calls = Arc::new(Calls::default());
        let router = Router {
            backend: backend.clone(),
            calls: Arc::clone(&calls),
            sink: Arc::clone(&sink),
            large: Large::default(),
        };
        let reader = tokio::spawn(read(stream, router)).abort_handle();
        let post = Template { uri, headers: endpoint.post.headers.clone() };
        let session =
            Arc::new(Self { endpoint: Arc::clone(&endpoint), post, calls, timeouts: timeouts.clone(), reader });
        let answer = session.call(initialize, timeouts).await?;
        let initialized = initialize::read(backend, answer, &*sink, timeouts).await?;
        session.notify(initialize::initialized()).await?;
        Ok((session, initialized))
    }

    /// The stream, and the very server that it comes from.
    async fn connect(
        endpoint: &Arc<EndpointClient>,
        timeouts: &Timeouts,
    ) -> Result<(Arc<EndpointClient>, ServerStream), GatewayError> {
        let request = endpoint.get.request(Method::GET, Bytes::new());
        let (head, body) = endpoint.exchange(request, timeouts, Use::Stream).await?;
        let backend = endpoint.backend();
        match head.status.as_u16() {
            200 if Media::of(&head.headers) == Media::Events => {
                Ok((endpoint.settle(&head), ServerStream { body, decoder: Decoder::new(HOLD_BYTES) }))
            }
            200 => Err(failure::bad_answer(backend, "did not open an event stream")),
            status @ (401 | 403) => Err(answer::unauthorized(backend, status)),
            status => Err(answer::http_status(backend, status)),
        }
    }

    /// The `endpoint` event is the stream's first.
    async fn message_endpoint(endpoint: &EndpointClient, stream: &mut ServerStream) -> Result<Uri, GatewayError> {
        let backend = endpoint.backend();
        while let Some(item) = stream.next(backend).await? {
            if let Item::Event(event) = item
                && event.name.as_deref() == Some("endpoint")
            {
                return resolve(&endpoint.base, &event.data).ok_or_else(|| {
                    failure::bad_answer(backend, "names a message endpoint that is not an address of its own")
                });
            }
        }
        Err(failure::bad_answer(backend, "ended its stream before it named a message endpoint"))
    }

    /// Sends a request; its answer comes on the session's stream.
    pub(super) async fn call(self: &Arc<Self>, request: Traced, timeouts: &Timeouts) -> Result<Answer, GatewayError> {
        let registration = self.register(&request.body)?;
        match self.post(request, timeouts).await? {
            // Taken; or answered at once by a server that is not of this revision, and answers on the stream all the same.
            Answer::Accepted | Answer::Json(_) | Answer::Events(_) => {
                Ok(Answer::Events(EventStream::from_queue(registration)))
            }
            rejected @ Answer::Rejected { .. } => Ok(rejected),
        }
    }

    /// Sends a notification or a response.
    pub(super) async fn notify(&self, body: Bytes) -> Result<(), GatewayError> {
        match self.post(body.into(), &self.timeouts).await? {
            Answer::Rejected { status, .. } => Err(answer::http_status(self.endpoint.backend(), status)),
            Answer::Accepted | Answer::Json(_) | Answer::Events(_) => Ok(()),
        }
    }

    async fn post(&self, message: Traced, timeouts: &Timeouts) -> Result<Answer, GatewayError> {
        let backend = self.endpoint.backend();
        if self.is_lost() {
            return Err(answer::session_lost(backend));
        }
        let request = self.post.post(&message);
        let (head, body) = self.endpoint.exchange(request, timeouts, Use::Call).await?;
        if head.status.is_success() {
            // Whatever it says in words ("Accepted", as text), the answer is on the stream.
            body.finish();
            return Ok(Answer::Accepted);
        }
        answer::read(backend, &head, body, timeouts, true, |body| EventStream::from_body(backend, body, None))
            .await
            .inspect_err(|error| {
                if error.kind == Kind::SessionLost {
                    self.calls.lost.store(true, Ordering::Relaxed);
                }
            })
    }

    fn register(self: &Arc<Self>, body: &[u8]) -> Result<Registration, GatewayError> {
        let (key, events) = self.calls.register(self.endpoint.backend(), body)?;
        Ok(Registration { session: Arc::clone(self), key, events, last: Bytes::new(), timer: None })
    }

    pub(super) fn is_lost(&self) -> bool {
        self.calls.lost.load(Ordering::Relaxed)
    }

    /// Ends the session, which in this revision is to close its stream.
    pub(super) fn close(&self) {
        self.calls.lost.store(true, Ordering::Relaxed);
        self.reader.abort();
    }
}

impl Drop for HttpSse {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Reads the stream until it ends, and hands on what comes.
async fn read(mut stream: ServerStream, mut router: Router) {
    let error = loop {
        match stream.next(&router.backend).await {
            Ok(Some(item)) => router.route(item).await,
            Ok(None) => break answer::session_lost(&router.backend),
            Err(error) => break error,
        }
    };
    router.end(&error).await;
}

/// Where messages go: on the very origin that was configured, whatever else the server says.
fn resolve(base: &Url, reference: &[u8]) -> Option<Uri> {
    let reference = std::str::from_utf8(reference).ok()?.trim();
    let resolved = base.join(reference).ok()?;
    if resolved.origin() != base.origin() || !resolved.username().is_empty() || resolved.password().is_some() {
        return None;
    }
    resolved[url::Position::BeforePath..url::Position::AfterQuery].parse().ok()
}

/// A call's place on the session's stream. Dropping it gives the place up.
pub(super) struct Registration {
    session: Arc<HttpSse>,
    key: String,
    events: mpsc::Receiver<Result<Event, GatewayError>>,
    last: Bytes,
    pub(super) timer: Option<AttemptTimer>,
}

impl Registration {
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, GatewayError>>> {
        let event = ready!(self.events.poll_recv(cx));
        match &event {
            Some(Ok(Event::Message(message))) => self.last = message.clone(),
            Some(Ok(Event::Part { last: true, .. })) => self.end(None),
            Some(Err(error)) => self.end(Some(error.kind)),
            Some(Ok(_)) => {}
            None => self.end(Some(Kind::ConnectionReset)),
        }
        Poll::Ready(event)
    }

    fn end(&mut self, failure: Option<Kind>) {
        if let Some(mut timer) = self.timer.take() {
            timer.saw(&self.last);
            match failure {
                None => timer.ok(),
                Some(kind) => timer.failed(kind),
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if is_answer(&self.last) {
            self.end(None);
        }
        self.session.calls.forget(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_endpoint_stays_on_the_configured_origin() {
        let base = Url::parse("http://tools.example:8080/a/sse?x=1").unwrap();
        let resolved = |reference: &str| resolve(&base, reference.as_bytes()).map(|uri| uri.to_string());
        assert_eq!(resolved("/messages?sessionId=7").as_deref(), Some("/messages?sessionId=7"));
        assert_eq!(resolved("messages?sessionId=7").as_deref(), Some("/a/messages?sessionId=7"));
        assert_eq!(resolved("http://tools.example:8080/m").as_deref(), Some("/m"));
        for foreign in [
            "http://other.example:8080/m",
            "https://tools.example:8080/m",
            "http://tools.example/m",
            "//other.example/m",
            "http://user:pass@tools.example:8080/m",
            "javascript:alert(1)",
        ] {
            assert_eq!(resolved(foreign), None, "{foreign}");
        }
    }
}
