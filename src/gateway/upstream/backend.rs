//! One backend of a generation: its endpoints, its credentials, and the two ways to talk to it.

use super::super::error::{GatewayError, Kind};
use super::super::mcp::version::Era;
use super::super::metrics::{AttemptTimer, BackendMetrics};
use super::super::trace::{Link, Outbound, Traced};
use super::answer::{self, Answer};
use super::clients::Clients;
use super::endpoint::EndpointClient;
use super::events::EventStream;
use super::http_sse::HttpSse;
use super::initialize::{self, Initialized};
use super::knowledge::{Introduction, Knowledge, Known};
use super::listen::Ear;
use super::pool::{Bound, Use};
use super::process::LocalProcess;
use super::session::{Released, Transport as SessionTransport, UpstreamSession, timed};
use super::streamable::Streamable;
use super::{ModernCall, SessionSink};
use crate::ir::channel::BackendReport;
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{Backend, Endpoint, EnvValue, Limits, Target, Timeouts, Transport};
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The least time for a stdio server's handshake, in ms: what the shim gives it, and a little for its verdict to arrive.
const PROCESS_HANDSHAKE_MS: u64 = 125_000;

/// One backend of a generation. Kept over reloads for as long as nothing about it changes.
pub struct Upstream {
    id: ObjectId,
    spec: Backend,
    /// The secrets that the spec names, and no others.
    secrets: Credentials,
    max_message: usize,
    clients: Clients,
    process: Option<Arc<LocalProcess>>,
    bound: Arc<Bound>,
    turn: AtomicUsize,
    metrics: Arc<BackendMetrics>,
    seen: Seen,
    knowledge: Arc<Knowledge>,
}

/// One of several attempts at the same thing.
#[derive(Clone, Copy)]
pub(super) struct Attempt<'a> {
    /// Whose turn it is among the endpoints.
    pub(super) turn: usize,
    /// From 1 on.
    pub(super) number: u32,
    /// The place in a trace of what it is made for.
    pub(super) trace: Option<&'a Arc<Link>>,
}

/// What became known of a backend by talking to it.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) legacy: AtomicBool,
    pub(super) modern: AtomicBool,
    sessions: Mutex<Vec<Weak<UpstreamSession>>>,
    last_error: Mutex<Option<GatewayError>>,
}

/// A backend as the status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpstreamStats {
    /// Open connections that calls use or have used.
    pub connections: u32,
    /// Those of them that are idle.
    pub idle_connections: usize,
    /// Open legacy sessions.
    pub sessions: usize,
    /// Whether a legacy handshake has succeeded.
    pub legacy: bool,
    /// Whether a modern call was answered.
    pub modern: bool,
    /// The kind of the last failure, as a stable word.
    pub last_error: Option<&'static str>,
    /// The last failure in words.
    pub last_error_message: Option<String>,
    /// What handshakes told, as the operator hears of it.
    #[serde(flatten)]
    pub known: BackendReport,
}

impl Upstream {
    /// Prepares to talk to a backend. Nothing is dialled and no process is started before the first call.
    pub fn new(
        id: ObjectId,
        backend: &Backend,
        credentials: &Credentials,
        limits: &Limits,
        metrics: Arc<BackendMetrics>,
    ) -> Result<Arc<Self>, GatewayError> {
        let bound = Arc::new(Bound::default());
        let secrets = secrets(backend, credentials);
        let (clients, process) = match &backend.target {
            Target::Process(spec) => {
                let process = LocalProcess::new(&id, spec, secrets.clone());
                (Clients::of_process(&id, &process, &bound)?, Some(process))
            }
            Target::Http { .. } => (Clients::of_server(&id, backend, credentials, &bound)?, None),
        };
        Ok(Arc::new(Self {
            secrets,
            id,
            spec: backend.clone(),
            max_message: usize::try_from(limits.request_body_bytes).unwrap_or(usize::MAX),
            clients,
            process,
            bound,
            turn: AtomicUsize::new(0),
            metrics,
            seen: Seen::default(),
            knowledge: Arc::new(Knowledge::new()),
        }))
    }

    /// The backend this is.
    pub fn id(&self) -> &ObjectId {
        &self.id
    }

    /// Whether `other` would talk to the same backend in the same way, so that this one's connections, sessions and
    /// processes may stay.
    pub fn same_as(&self, other: &Self) -> bool {
        self.id == other.id
            && self.spec == other.spec
            && self.secrets == other.secrets
            && self.max_message == other.max_message
    }

    /// Whether `session` is with this very backend, and not with one of the same name before a reload.
    pub(super) fn owns(&self, session: &UpstreamSession) -> bool {
        let endpoint = session.endpoint();
        let is_there = |known: &Arc<EndpointClient>| Arc::ptr_eq(known, endpoint) || endpoint.is_at(known.address());
        Arc::ptr_eq(&self.knowledge, &session.knowledge) && self.clients.current().iter().any(is_there)
    }

    /// Addresses there are to try; a process counts as one.
    pub fn endpoints(&self) -> usize {
        self.clients.current().len()
    }

    /// Uses these addresses from now on, and those of the snapshot when there are none. Connections and sessions with addresses
    /// that stay are kept; a session with one that is gone is opened anew, elsewhere, when it is needed next.
    pub fn set_endpoints(&self, told: Option<&BTreeSet<Endpoint>>) {
        if self.clients.set(told) {
            self.knowledge.moved();
            tracing::debug!(backend = %self.id, addresses = self.endpoints(), "addresses changed");
        }
    }

    pub(crate) fn metrics(&self) -> &BackendMetrics {
        &self.metrics
    }

    /// What is known of it.
    pub(crate) fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Whose turn it is among the endpoints.
    pub(super) fn next_turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether calls can be sent to it: there is an address, and the last handshake did not fail.
    pub(crate) fn is_callable(&self) -> bool {
        self.endpoints() > 0 && self.knowledge.known().verified != Some(false)
    }

    /// As the operator hears of it.
    pub(crate) fn report(&self) -> BackendReport {
        let Known { verified, server, versions, tools, problem } = self.knowledge.known();
        let endpoints = u32::try_from(self.endpoints()).unwrap_or(u32::MAX);
        BackendReport {
            verified,
            server,
            versions: versions.into_iter().collect(),
            tools,
            endpoints,
            problem,
            ..BackendReport::default()
        }
    }

    /// Opens a legacy session: `initialize` with the client's own parameters (raw JSON), `notifications/initialized`, and
    /// in the background the stream on which the server speaks unasked.
    pub async fn open_session(
        self: &Arc<Self>,
        initialize_params: &[u8],
        sink: Arc<dyn SessionSink>,
        timeouts: &Timeouts,
    ) -> Result<Arc<UpstreamSession>, GatewayError> {
        let attempt = Attempt { turn: self.next_turn(), number: 1, trace: None };
        self.open_session_at(attempt, initialize_params, sink, timeouts).await
    }

    /// As [`open_session`](Self::open_session), in one of several attempts.
    pub(super) async fn open_session_at(
        &self,
        attempt: Attempt<'_>,
        initialize_params: &[u8],
        sink: Arc<dyn SessionSink>,
        timeouts: &Timeouts,
    ) -> Result<Arc<UpstreamSession>, GatewayError> {
        let mut timer = self.metrics.start();
        match self.handshake(attempt, &mut timer, initialize_params, sink, timeouts).await {
            Ok(session) => {
                timer.ok();
                self.remember(&session);
                self.knowledge.introduced(
                    Introduction::read(session.initialize_result()).unwrap_or_else(Introduction::unreadable),
                );
                Ok(session)
            }
            Err(error) => {
                timer.failed(error.kind);
                Err(self.noted(error))
            }
        }
    }

    async fn handshake(
        &self,
        attempt: Attempt<'_>,
        timer: &mut AttemptTimer,
        initialize_params: &[u8],
        sink: Arc<dyn SessionSink>,
        timeouts: &Timeouts,
    ) -> Result<Arc<UpstreamSession>, GatewayError> {
        let endpoint = self.endpoint(attempt.turn)?;
        let request = initialize::request(initialize_params)?;
        let request =
            timer.traced(attempt.trace, request, || self.outbound(&endpoint, Era::Legacy, None, attempt.number));
        let timeouts = &self.patience(timeouts);
        let (transport, initialized) = if self.speaks_http_sse() {
            let (session, initialized) = HttpSse::open(&endpoint, request, sink, timeouts).await?;
            (SessionTransport::HttpSse(session), initialized)
        } else {
            let key = sink.session_key().filter(|_| self.is_shim());
            let (session, initialized) = Streamable::open(&endpoint, request, key, &*sink, timeouts).await?;
            let ear = Ear::open(Arc::clone(&session), sink, self.max_message, None);
            (SessionTransport::Streamable { session, ear }, initialized)
        };
        let (backend, metrics) = (self.id.clone(), Arc::clone(&self.metrics));
        let knowledge = Arc::clone(&self.knowledge);
        Ok(Arc::new(UpstreamSession { backend, transport, initialized, metrics, knowledge }))
    }

    /// Goes on with a session that another replica opened. `None` where its address is not one of this backend's.
    pub(super) fn resume_session(
        &self,
        released: &Released,
        sink: Arc<dyn SessionSink>,
        timeouts: &Timeouts,
    ) -> Option<Arc<UpstreamSession>> {
        let endpoint = &self.clients.find(&released.endpoint)?;
        let (id, version) = (HeaderValue::from_str(&released.id).ok()?, HeaderValue::from_str(&released.version).ok()?);
        let session = Streamable::new(endpoint, Some(&id), &version, timeouts);
        let ear = Ear::open(Arc::clone(&session), sink, self.max_message, released.last_event_id.clone());
        let initialized = Initialized { result: released.result.clone().into(), version: released.version.clone() };
        let session = Arc::new(UpstreamSession {
            backend: self.id.clone(),
            transport: SessionTransport::Streamable { session, ear },
            initialized,
            metrics: Arc::clone(&self.metrics),
            knowledge: Arc::clone(&self.knowledge),
        });
        self.remember(&session);
        Some(session)
    }

    fn remember(&self, session: &Arc<UpstreamSession>) {
        self.seen.legacy.store(true, Ordering::Relaxed);
        let mut sessions = self.seen.sessions.lock();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Arc::downgrade(session));
    }

    /// Sends one call of the modern era: no session, no handshake.
    pub async fn call(&self, call: &ModernCall, timeouts: &Timeouts) -> Result<Answer, GatewayError> {
        let attempt = Attempt { turn: self.next_turn(), number: 1, trace: call.trace.as_ref() };
        self.call_at(attempt, call, timeouts).await
    }

    /// As [`call`](Self::call), in one of several attempts.
    pub(super) async fn call_at(
        &self,
        attempt: Attempt<'_>,
        call: &ModernCall,
        timeouts: &Timeouts,
    ) -> Result<Answer, GatewayError> {
        let mut timer = self.metrics.start();
        let answer = match self.endpoint(attempt.turn) {
            Err(error) => Err(error),
            Ok(endpoint) => {
                let request = timer.traced(attempt.trace, call.body.clone(), || {
                    let version = call.protocol_version.to_str().ok();
                    self.outbound(&endpoint, Era::Modern, version, attempt.number)
                });
                self.post(&endpoint, call, request, timeouts).await
            }
        };
        let answer = answer.map_err(|error| self.noted(error));
        if let Ok(Answer::Json(_) | Answer::Events(_)) = answer {
            self.knowledge.answered();
        }
        if answer.is_ok() && !self.seen.modern.load(Ordering::Relaxed) {
            self.seen.modern.store(true, Ordering::Relaxed);
        }
        timed(answer, timer)
    }

    fn outbound<'a>(
        &'a self,
        endpoint: &'a EndpointClient,
        era: Era,
        version: Option<&'a str>,
        number: u32,
    ) -> Outbound<'a> {
        Outbound { backend: &self.id, address: endpoint.address(), era, version, number }
    }

    /// Sends `request`, which is the body of `call`, with what goes with it.
    pub(super) async fn post(
        &self,
        endpoint: &EndpointClient,
        call: &ModernCall,
        request: Traced,
        timeouts: &Timeouts,
    ) -> Result<Answer, GatewayError> {
        if self.speaks_http_sse() {
            return Err(GatewayError::new(
                Kind::EraUnavailable,
                format!("backend {} speaks HTTP+SSE, which has no modern era", self.id),
            ));
        }
        let mut request = endpoint.post.post(&request);
        add_headers(request.headers_mut(), call);
        let purpose = if call.is_subscription() { Use::Stream } else { Use::Call };
        let (head, body) = endpoint.exchange(request, timeouts, purpose).await?;
        answer::read(&self.id, &head, body, timeouts, false, |body| EventStream::from_body(&self.id, body, None)).await
    }

    #[cfg(test)]
    pub(super) fn endpoint_for_tests(&self) -> Arc<EndpointClient> {
        Arc::clone(&self.clients.current()[0])
    }

    pub(super) fn endpoint(&self, turn: usize) -> Result<Arc<EndpointClient>, GatewayError> {
        let known = self.clients.current();
        let index = turn.checked_rem(known.len());
        index.and_then(|index| known.get(index)).map(Arc::clone).ok_or_else(|| {
            GatewayError::new(Kind::NoBackend, format!("backend {} has no address to connect to", self.id))
        })
    }

    /// Whether our shim is there.
    pub(super) fn is_shim(&self) -> bool {
        matches!(self.spec.target, Target::Http { shim: true, .. })
    }

    /// How long a handshake may take: the first one of a stdio server includes the download of its packages.
    fn patience(&self, timeouts: &Timeouts) -> Timeouts {
        let least = if self.process.is_some() { PROCESS_HANDSHAKE_MS } else { 0 };
        Timeouts {
            request_ms: timeouts.request_ms.max(least),
            response_ms: timeouts.response_ms.max(least),
            ..timeouts.clone()
        }
    }

    pub(super) fn speaks_http_sse(&self) -> bool {
        matches!(self.spec.target, Target::Http { transport: Transport::Sse, .. })
    }

    fn noted(&self, error: GatewayError) -> GatewayError {
        self.knowledge.failed(&error);
        *self.seen.last_error.lock() = Some(error.clone());
        error
    }

    /// Starts the processes that a stdio backend wants ahead of need. Nothing else is started before the first call.
    pub fn start(&self) -> Result<(), GatewayError> {
        self.process.as_ref().map_or(Ok(()), |process| process.start())
    }

    /// Closes what idles and stops child processes. Calls under way to a server on the network end in their own time.
    pub async fn shutdown(&self) {
        for endpoint in self.clients.current().iter() {
            endpoint.pool.shut();
        }
        if let Some(process) = &self.process {
            process.stop().await;
        }
    }

    /// What the status shows.
    pub fn stats(&self) -> UpstreamStats {
        let last_error = self.seen.last_error.lock().clone();
        let open = |session: &Weak<UpstreamSession>| session.upgrade().is_some_and(|session| !session.is_lost());
        UpstreamStats {
            connections: self.bound.open(),
            idle_connections: self.clients.current().iter().map(|endpoint| endpoint.pool.idle()).sum(),
            sessions: self.seen.sessions.lock().iter().filter(|session| open(session)).count(),
            legacy: self.seen.legacy.load(Ordering::Relaxed),
            modern: self.seen.modern.load(Ordering::Relaxed),
            last_error: last_error.as_ref().map(|error| error.kind.word()),
            last_error_message: last_error.map(|error| error.message.into_owned()),
            known: self.report(),
        }
    }
}

fn add_headers(headers: &mut HeaderMap, call: &ModernCall) {
    headers.reserve(3 + call.extra.len());
    headers.insert(PROTOCOL_VERSION, call.protocol_version.clone());
    headers.insert(METHOD, call.method.clone());
    if let Some(name) = &call.name {
        headers.insert(NAME, name.clone());
    }
    for (name, value) in &call.extra {
        // What the gateway itself sends to this backend, its credentials first of all, is not for clients to replace.
        if !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// The secrets that a backend names, as far as they came.
fn secrets(backend: &Backend, credentials: &Credentials) -> Credentials {
    let auth = backend.auth.iter().map(|auth| &auth.value);
    let (ca, env) = match &backend.target {
        Target::Http { tls, .. } => (tls.as_ref().and_then(|tls| tls.ca.as_ref()), &[][..]),
        Target::Process(process) => (None, &process.env[..]),
    };
    let env = env.iter().filter_map(|variable| match &variable.value {
        EnvValue::Secret(key) => Some(key),
        EnvValue::Literal(_) => None,
    });
    let values = auth.chain(ca).chain(env).filter_map(|key| Some((key.clone(), credentials.get(key)?.clone())));
    Credentials { values: values.collect(), ..Credentials::default() }
}
