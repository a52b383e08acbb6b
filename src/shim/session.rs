//! Clients of the legacy era: sessions, and the child each of them talks to.
//!
//! A gateway may name the client's session when it opens one here. If it has one here already, in the name of another replica
//! that is gone, that one's child is taken over, with all it remembers: the child is initialized already, so what it answered then
//! is answered again.
//!
//! Who shares a child shares what the child keeps for its one client: the log level that was set last is everyone's.

use super::link::{Link, initialized};
use super::message::{self, Message};
use super::outlet::{Inlet, Outlet, Said, outlet};
use super::reply::{self, Hold, Reply};
use super::routes::{Audience, ClientKey, Hears, Refusal};
use super::{Shim, ShimError};
use crate::ir::snapshot::Isolation;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// Whether something is in use, and since when not.
pub(super) struct Activity(Mutex<(u32, Instant)>);

/// Marks a use for as long as it lives.
pub(super) struct InUse(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new((0, Instant::now()))))
    }

    pub(super) fn begin(self: &Arc<Self>) -> InUse {
        self.0.lock().0 += 1;
        InUse(Arc::clone(self))
    }

    pub(super) fn is_idle_for(&self, timeout: Duration) -> bool {
        let (users, since) = *self.0.lock();
        users == 0 && since.elapsed() >= timeout
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        *state = (state.0 - 1, Instant::now());
    }
}

/// All sessions of one server.
#[derive(Default)]
pub(super) struct Sessions {
    by_id: Mutex<HashMap<String, Arc<Session>>>,
    /// The child of all sessions, where they share one. Locked while it starts, so that it starts once.
    shared: tokio::sync::Mutex<Option<Arc<SharedChild>>>,
}

/// One child for all sessions, and what it said of itself when it was initialised.
struct SharedChild {
    link: Arc<Link>,
    result: Bytes,
    sessions: Arc<Activity>,
}

/// One client.
pub(super) struct Session {
    id: String,
    key: ClientKey,
    activity: Arc<Activity>,
    binding: Binding,
    /// What the gateway knows it by, and the result of `initialize`: for when another replica takes it over.
    named: Option<(String, Bytes)>,
    /// Whether it was taken over, so that its child has had its handshake.
    taken_over: bool,
}

/// What a session talks to.
enum Binding {
    /// A child of its own.
    Own(Arc<Link>),
    /// Everyone's child.
    Shared { child: Arc<SharedChild>, _in_use: InUse },
    /// A new child for each request.
    PerRequest(Box<PerRequest>),
}

struct PerRequest {
    initialize: Message,
    /// The last `logging/setLevel`, repeated for each child.
    log_level: Mutex<Option<Message>>,
    links: Mutex<HashMap<u64, Weak<Link>>>,
    /// The session's stream. Nothing is ever said on it, since no child outlives its request.
    stream: Mutex<Option<Outlet>>,
}

/// A request's answer on its way, and what must live until it is through.
pub(super) struct Call {
    pub(super) inlet: Inlet,
    pub(super) hold: Hold,
}

impl Call {
    /// The same, with something more that must live until it is through.
    pub(super) fn holding(self, more: impl Send + 'static) -> Self {
        Self { inlet: self.inlet, hold: Box::new((self.hold, more)) }
    }
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.by_id.lock().len()
    }

    /// Whether there is a child for all sessions, or one is just being started.
    pub(super) fn shared_runs(&self) -> bool {
        self.shared.try_lock().map_or(true, |shared| shared.as_ref().is_some_and(|child| !child.link.is_gone()))
    }

    /// A living session, marked as in use.
    pub(super) fn find(&self, id: &str) -> Option<(Arc<Session>, InUse)> {
        let mut sessions = self.by_id.lock();
        let session = sessions.get(id)?;
        if session.is_gone() {
            sessions.remove(id);
            return None;
        }
        Some((Arc::clone(session), session.activity.begin()))
    }

    /// Ends a session. Whether there was one.
    pub(super) fn end(&self, id: &str) -> bool {
        let ended = self.by_id.lock().remove(id);
        ended.inspect(|session| session.end()).is_some()
    }

    pub(super) async fn clear(&self) {
        self.by_id.lock().clear();
        *self.shared.lock().await = None;
    }

    /// Ends the sessions that are gone or idle for too long, and the shared child that nobody has used for as long.
    pub(super) fn sweep(&self, idle_timeout: Duration) {
        self.by_id.lock().retain(|_, session| !session.is_gone() && !session.activity.is_idle_for(idle_timeout));
        // While it is being started it is not idle.
        if let Ok(mut shared) = self.shared.try_lock() {
            shared.take_if(|child| child.link.is_gone() || child.sessions.is_idle_for(idle_timeout));
        }
    }

    /// Gives the child of the session that a gateway knows by this name to a new session, and ends the one it had: whoever still
    /// speaks for that one has been replaced.
    fn take_over(&self, name: &str) -> Result<Option<(Arc<Session>, Bytes)>, ShimError> {
        let mut sessions = self.by_id.lock();
        let is_it = |session: &&Arc<Session>| session.named.as_ref().is_some_and(|(known, _)| known == name);
        let Some(before) = sessions.values().find(is_it).filter(|session| !session.is_gone()).cloned() else {
            return Ok(None);
        };
        let (Binding::Own(link), Some((_, result))) = (&before.binding, &before.named) else { return Ok(None) };
        let session = Arc::new(Session {
            id: random_id()?,
            key: next_key(),
            activity: Activity::new(),
            binding: Binding::Own(Arc::clone(link)),
            named: before.named.clone(),
            taken_over: true,
        });
        link.detach(before.key);
        link.attach(session.key);
        sessions.remove(&before.id);
        sessions.insert(session.id.clone(), Arc::clone(&session));
        Ok(Some((session, result.clone())))
    }

    fn insert(&self, session: &Arc<Session>, max: usize) -> Result<(), ShimError> {
        let mut sessions = self.by_id.lock();
        if sessions.len() >= max {
            return Err(ShimError::TooManySessions { max });
        }
        sessions.insert(session.id.clone(), Arc::clone(session));
        Ok(())
    }
}

/// Answers `initialize` with a new session. `name`: what the gateway knows it by.
pub(super) async fn initialize(shim: &Arc<Shim>, request: Message, name: Option<&str>) -> Reply {
    let id = request.id().map(str::to_owned);
    match name.map(|name| shim.sessions.take_over(name)).transpose() {
        Ok(None | Some(None)) => {}
        Ok(Some(Some((session, result)))) => {
            tracing::info!("a session is taken over by another replica of its gateway");
            let result = std::str::from_utf8(&result).unwrap_or("{}");
            return answer_with(&session, message::result(id.as_deref().unwrap_or("null"), result));
        }
        Err(error) => return reply::unavailable(id.as_deref(), &error),
    }
    let name = name.map(str::to_owned);
    // On its own, so that a slow first start (a package download) survives a client that gives up waiting: the next one
    // finds the package there. The session itself ends with the client that asked for it.
    let opening = tokio::spawn(open(Arc::clone(shim), request, name));
    let opened = opening.await.unwrap_or(Err(ShimError::Closing));
    let opened = opened.and_then(|(session, answer)| {
        if let Some(session) = &session {
            shim.sessions.insert(session, shim.limits.sessions)?;
        }
        Ok((session, answer))
    });
    match opened {
        Ok((Some(session), answer)) => answer_with(&session, answer),
        Ok((None, answer)) => reply::json(StatusCode::OK, answer),
        Err(error) => reply::unavailable(id.as_deref(), &error),
    }
}

/// The answer to `initialize`, with the session's id.
fn answer_with(session: &Session, answer: Bytes) -> Reply {
    let mut reply = reply::json(StatusCode::OK, answer);
    // It is made of digits.
    if let Ok(id) = HeaderValue::from_str(&session.id) {
        reply.headers_mut().insert(reply::SESSION_HEADER, id);
    }
    reply
}

/// A session and the answer to its `initialize`; no session where the server refuses.
pub(super) async fn open(
    shim: Arc<Shim>,
    request: Message,
    name: Option<String>,
) -> Result<(Option<Arc<Session>>, Bytes), ShimError> {
    let key = next_key();
    let (binding, answer) = match shim.isolation {
        Isolation::PerSession => {
            let (link, answer) = start_child(&shim, key, Audience::Own, &request).await?;
            (answer.result().map(|_| Binding::Own(link)), answer.bytes)
        }
        Isolation::Shared => share_child(&shim, key, &request).await?,
        Isolation::PerRequest => {
            // This child only tells what the server is; each request gets another.
            let (_, answer) = start_child(&shim, key, Audience::Once, &request).await?;
            let accepted = answer.result().is_some();
            (accepted.then(|| Binding::PerRequest(Box::new(PerRequest::new(request)))), answer.bytes)
        }
    };
    let Some(binding) = binding else { return Ok((None, answer)) };
    // Only a child of its own remembers anything for a session.
    let result = Message::decode(answer.clone()).ok().and_then(|answer| answer.result());
    let named = name.zip(result).filter(|_| matches!(binding, Binding::Own(_)));
    let session = Session { id: random_id()?, key, activity: Activity::new(), binding, named, taken_over: false };
    Ok((Some(Arc::new(session)), answer))
}

/// A child of the pool, initialised with a client's parameters.
async fn start_child(
    shim: &Shim,
    key: ClientKey,
    audience: Audience,
    initialize: &Message,
) -> Result<(Arc<Link>, Message), ShimError> {
    let ready = shim.pool.take().await?;
    let link = Link::new(ready, audience, shim.limits.in_flight, shim.pool.tasks());
    link.attach(key);
    let answer = link.ask(key, initialize, shim.limits.handshake).await;
    if !answer.as_ref().is_ok_and(|answer| answer.result().is_some()) {
        shim.pool.handshake_failed();
    }
    Ok((link, answer?))
}

/// Binds a session to everyone's child. The first one's `initialize` starts it, without client capabilities, since a question
/// of the child could not be attributed to one of its clients; later ones get the recorded answer.
async fn share_child(shim: &Shim, key: ClientKey, request: &Message) -> Result<(Option<Binding>, Bytes), ShimError> {
    let mut shared = shim.sessions.shared.lock().await;
    let running = shared.as_ref().filter(|child| !child.link.is_gone());
    let child = if let Some(child) = running {
        Arc::clone(child)
    } else {
        let neutral = Message::decode(request.without_capabilities()).map_err(|_| ShimError::Gone)?;
        let (link, answer) = start_child(shim, key, Audience::Shared, &neutral).await?;
        let Some(result) = answer.result() else { return Ok((None, answer.bytes)) };
        link.write(initialized()).await?;
        let child = Arc::new(SharedChild { link, result, sessions: Activity::new() });
        shared.insert(child).clone()
    };
    child.link.attach(key);
    let id = request.id().unwrap_or("null");
    // It is a span of a decoded message, so it is text.
    let answer = message::result(id, std::str::from_utf8(&child.result).unwrap_or("{}"));
    let in_use = child.sessions.begin();
    Ok((Some(Binding::Shared { child, _in_use: in_use }), answer))
}

impl Binding {
    /// The child of every request; `None` where each has its own.
    fn link(&self) -> Option<&Arc<Link>> {
        match self {
            Self::Own(link) => Some(link),
            Self::Shared { child, .. } => Some(&child.link),
            Self::PerRequest(_) => None,
        }
    }
}

impl Session {
    /// Whether its child is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.binding.link().is_some_and(|link| link.is_gone())
    }

    /// Ends its children at once, whatever is in flight.
    fn end(&self) {
        match &self.binding {
            Binding::Own(link) => link.stop(),
            Binding::Shared { child, .. } => child.link.detach(self.key),
            Binding::PerRequest(fresh) => {
                fresh.running().iter().for_each(|link| link.stop());
                *fresh.stream.lock() = None;
            }
        }
    }

    /// Sends a request.
    pub(super) async fn call(&self, shim: &Shim, request: &Message, in_use: InUse) -> Result<Call, ShimError> {
        match &self.binding {
            Binding::Own(link) => through(link, self.key, request, in_use).await,
            Binding::Shared { child, .. } => {
                if request.method == "resources/unsubscribe" && !child.link.unsubscribe(self.key, request) {
                    // Others follow that resource still.
                    return Ok(answered(message::result(request.id().unwrap_or("null"), "{}"), in_use).await);
                }
                through(&child.link, self.key, request, in_use).await
            }
            Binding::PerRequest(fresh) => fresh.call(shim, self.key, request, in_use).await,
        }
    }

    /// Sends a notification.
    pub(super) async fn notify(&self, note: &Message) -> Result<(), Refusal> {
        match &self.binding {
            Binding::Own(_) if self.taken_over && note.method == "notifications/initialized" => Ok(()),
            Binding::Own(link) => link.notify(self.key, note).await,
            // The shim has ended this handshake itself, and a shared child knows of no client's roots.
            Binding::Shared { .. } if is_about_one_client(&note.method) => Ok(()),
            Binding::Shared { child, .. } => child.link.notify(self.key, note).await,
            Binding::PerRequest(_) if note.method == "notifications/initialized" => Ok(()),
            Binding::PerRequest(fresh) => {
                for link in fresh.running() {
                    // One that has just ended has nothing left to be told.
                    let _ = link.notify(self.key, note).await;
                }
                Ok(())
            }
        }
    }

    /// Sends an answer to the child that asked.
    pub(super) async fn answer(&self, answer: &Message) -> Result<(), Refusal> {
        let Some((link, question)) = answer.id().and_then(question_id) else { return Ok(()) };
        match &self.binding {
            Binding::Own(own) if own.number == link => own.answer(self.key, question, answer).await,
            Binding::PerRequest(fresh) => match fresh.running().iter().find(|running| running.number == link) {
                Some(running) => running.answer(self.key, question, answer).await,
                None => Ok(()),
            },
            Binding::Own(_) | Binding::Shared { .. } => Ok(()),
        }
    }

    /// Opens the session's stream.
    pub(super) fn open_stream(&self) -> Result<(Inlet, Vec<Bytes>), Refusal> {
        match &self.binding {
            Binding::Own(link) => link.open_stream(self.key),
            Binding::Shared { child, .. } => child.link.open_stream(self.key),
            Binding::PerRequest(fresh) => {
                let mut stream = fresh.stream.lock();
                if stream.as_ref().is_some_and(|stream| !stream.is_closed()) {
                    return Err(Refusal::StreamTaken);
                }
                let (silent, inlet) = outlet();
                *stream = Some(silent);
                Ok((inlet, Vec::new()))
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Binding::Shared { child, .. } = &self.binding {
            child.link.detach(self.key);
        }
    }
}

impl PerRequest {
    fn new(initialize: Message) -> Self {
        Self { initialize, log_level: Mutex::default(), links: Mutex::default(), stream: Mutex::default() }
    }

    /// Starts a child, repeats the session's handshake, and sends it the request. The child ends with the answer.
    async fn call(&self, shim: &Shim, key: ClientKey, request: &Message, in_use: InUse) -> Result<Call, ShimError> {
        let (link, answer) = start_child(shim, key, Audience::Once, &self.initialize).await?;
        if answer.result().is_none() {
            return Err(ShimError::Gone);
        }
        link.write(initialized()).await?;
        if request.method == "logging/setLevel" {
            *self.log_level.lock() = Some(request.clone());
        }
        let log_level = self.log_level.lock().clone().filter(|_| request.method != "logging/setLevel");
        if let Some(log_level) = log_level {
            link.ask(key, &log_level, shim.limits.handshake).await?;
        }
        self.remember(&link);
        let (_, inlet) = link.request(key, request, Hears::All).await?;
        Ok(Call { inlet, hold: Box::new((link, in_use)) })
    }

    fn remember(&self, link: &Arc<Link>) {
        let mut links = self.links.lock();
        links.retain(|_, link| link.strong_count() > 0);
        links.insert(link.number, Arc::downgrade(link));
    }

    /// The children of the requests in flight.
    fn running(&self) -> Vec<Arc<Link>> {
        self.links.lock().values().filter_map(Weak::upgrade).collect()
    }
}

async fn through(link: &Link, key: ClientKey, request: &Message, in_use: InUse) -> Result<Call, ShimError> {
    let (_, inlet) = link.request(key, request, Hears::All).await?;
    Ok(Call { inlet, hold: Box::new(in_use) })
}

/// A call that needs no child.
async fn answered(answer: Bytes, in_use: InUse) -> Call {
    let (outlet, inlet) = outlet();
    // The queue is empty, so it takes one message at once.
    let _ = outlet.send(Said::Last(answer), Duration::MAX).await;
    Call { inlet, hold: Box::new(in_use) }
}

/// Notifications that a child shared by all must not get from one.
fn is_about_one_client(method: &str) -> bool {
    matches!(method, "notifications/initialized" | "notifications/roots/list_changed")
}

/// The child and the question that an answer's id names: see `routes`.
fn question_id(id: &str) -> Option<(u64, u64)> {
    let (link, question) = id.trim_matches('"').split_once('-')?;
    Some((link.parse().ok()?, question.parse().ok()?))
}

fn next_key() -> ClientKey {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// 128 bits that nobody can guess, in hexadecimal digits.
fn random_id() -> Result<String, ShimError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| ShimError::NoRandomness)?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
