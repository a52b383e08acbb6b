//! Decides which client stream each message of a child belongs to, and keeps the ids apart.
//!
//! Every request gets an id of the shim's own on its way to the child, and the same number as its progress token, so clients
//! with equal ids can share a child; on the way back the client's own id and token are put in their places. Questions of the
//! child get an id of the shim's own too: a client may be asked by several children.
//!
//! What belongs where: a response and a progress notification name their request. Anything else goes to the only request in
//! flight if there is exactly one, otherwise to the session's stream if it is open, otherwise to the newest request in
//! flight, and otherwise waits, bounded, for the session's stream. News of the whole session (`list_changed` and the like)
//! prefers the session's stream.
//!
//! Pure: nothing here waits.

use super::child::Exit;
use super::message::{self, Kind, Message, PROCESS_FAILED};
use super::outlet::{Inlet, Outlet, Said, outlet};
use super::subscriptions::Subscriptions;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Messages, and bytes of them, that wait for a session's stream to open.
const WAITING_MESSAGES: usize = 32;
const WAITING_BYTES: usize = 1024 * 1024;

/// Questions of one child that nobody has answered yet.
const MAX_QUESTIONS: usize = 256;

/// Finished requests whose progress tokens are remembered: a task of 2025-11-25 reports progress after its call's answer.
const FINISHED_TOKENS: usize = 64;

/// The notification that names a resource.
const RESOURCE_UPDATED: &str = "notifications/resources/updated";

/// A client of one child: a session. Unique in the process.
pub(super) type ClientKey = u64;

/// Who may hear what of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    /// One session; everything is for it.
    Own,
    /// One request of a session. There is no news of the session: what such a child says of its lists on every start would
    /// have them read again, from a child that says so again.
    Once,
    /// Many sessions: news of the lists is for all, of a resource for its followers; what else cannot be attributed is for
    /// nobody.
    Shared,
    /// Many requests without sessions.
    Modern,
}

/// Where something is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The answer to the request that the child knows by this id.
    Request(u64),
    /// The stream of a session.
    Stream(ClientKey),
}

/// What to do with a message of the child, in this order.
pub(super) enum Step {
    /// Hand it to a client.
    Deliver(Target, Outlet, Said),
    /// Write this to the child.
    Reply(Bytes),
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The child is gone.
    Dead,
    /// Too many requests are in flight.
    Full,
    /// The session already has a stream.
    StreamTaken,
}

struct InFlight {
    client: ClientKey,
    /// The client's own id and progress token, as they were written.
    id: String,
    token: Option<String>,
    outlet: Outlet,
    hears: Hears,
    wants_logs: bool,
    cancelled: bool,
}

/// What a request's stream carries besides its own progress and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hears {
    /// Whatever belongs to it by the rule above.
    All,
    /// Nothing: the answer to a handshake is one JSON document.
    AnswerOnly,
    /// What is tagged with its subscription.
    Subscription,
}

impl InFlight {
    fn listens(&self) -> bool {
        self.hears == Hears::All && !self.cancelled && !self.outlet.is_closed()
    }
}

#[derive(Default)]
struct Client {
    stream: Option<Outlet>,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
}

struct Question {
    /// The child's own id, as it was written.
    id: String,
    client: ClientKey,
    target: Target,
}

/// The state of one child's conversations.
pub(super) struct Routes {
    /// Tells this child's questions from those of the client's other children.
    child: u64,
    audience: Audience,
    max_in_flight: usize,
    last_id: u64,
    in_flight: BTreeMap<u64, InFlight>,
    clients: HashMap<ClientKey, Client>,
    questions: BTreeMap<u64, Question>,
    finished: VecDeque<(u64, ClientKey, String)>,
    subscriptions: Subscriptions,
    dead: bool,
}

impl Routes {
    pub(super) fn new(child: u64, audience: Audience, max_in_flight: usize) -> Self {
        Self {
            child,
            audience,
            max_in_flight,
            last_id: 0,
            in_flight: BTreeMap::new(),
            clients: HashMap::new(),
            questions: BTreeMap::new(),
            finished: VecDeque::new(),
            subscriptions: Subscriptions::default(),
            dead: false,
        }
    }

    /// A session begins to use the child.
    pub(super) fn attach(&mut self, client: ClientKey) {
        self.clients.entry(client).or_default();
    }

    /// A session is over; its streams end.
    pub(super) fn detach(&mut self, client: ClientKey) {
        self.clients.remove(&client);
        self.in_flight.retain(|_, request| request.client != client);
        self.questions.retain(|_, question| question.client != client);
        self.finished.retain(|(_, owner, _)| *owner != client);
        self.subscriptions.forget(client);
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead
    }

    /// Opens a session's stream, beginning with what waited for it.
    pub(super) fn open_stream(&mut self, key: ClientKey) -> Result<(Inlet, Vec<Bytes>), Refusal> {
        let client = self.clients.get_mut(&key).filter(|_| !self.dead).ok_or(Refusal::Dead)?;
        if client.stream.as_ref().is_some_and(|stream| !stream.is_closed()) {
            return Err(Refusal::StreamTaken);
        }
        let (stream, inlet) = outlet();
        client.stream = Some(stream);
        client.waiting_bytes = 0;
        Ok((inlet, client.waiting.drain(..).collect()))
    }

    /// Takes a client's request: the child's id for it, the message to write, and the stream of its answer.
    pub(super) fn request(
        &mut self,
        client: ClientKey,
        request: &Message,
        hears: Hears,
    ) -> Result<(u64, Bytes, Inlet), Refusal> {
        if self.dead {
            return Err(Refusal::Dead);
        }
        // A server need not answer what was cancelled, so such requests leave when their reader has.
        self.in_flight.retain(|_, request| !(request.cancelled && request.outlet.is_closed()));
        if self.in_flight.len() >= self.max_in_flight {
            return Err(Refusal::Full);
        }
        if let Some(uri) = request.uri.as_ref().filter(|_| request.method == "resources/subscribe") {
            self.subscriptions.add(client, uri);
        }
        self.last_id += 1;
        let number = self.last_id;
        let (outlet, inlet) = outlet();
        let entry = InFlight {
            client,
            id: request.id().unwrap_or("null").to_owned(),
            token: request.token().map(str::to_owned),
            outlet,
            hears,
            wants_logs: request.wants_logs,
            cancelled: false,
        };
        self.in_flight.insert(number, entry);
        let text = number.to_string();
        Ok((number, request.with_id_and_token(&text, &text), inlet))
    }

    /// Whether the child must hear that a client follows a resource no more: not while others do.
    pub(super) fn unsubscribe(&mut self, client: ClientKey, request: &Message) -> bool {
        request.uri.as_ref().is_none_or(|uri| self.subscriptions.remove(client, uri))
    }

    /// Rewrites a client's `notifications/cancelled`; `None` if that request is not in flight.
    pub(super) fn cancel(&mut self, client: ClientKey, cancelled: &Message) -> Option<Bytes> {
        let id = cancelled.cancelled()?;
        let (number, request) =
            self.in_flight.iter_mut().find(|(_, request)| request.client == client && request.id == id)?;
        request.cancelled = true;
        Some(cancelled.with_cancelled(&number.to_string()))
    }

    /// Gives a request up whose reader has left, if it is still in flight.
    pub(super) fn abandon(&mut self, number: u64) -> bool {
        self.in_flight.remove(&number).is_some()
    }

    /// Puts the child's own id into a client's answer; `None` if nothing was asked under that id.
    pub(super) fn answer(&mut self, client: ClientKey, number: u64, answer: &Message) -> Option<Bytes> {
        let question = self.questions.get(&number).filter(|question| question.client == client)?;
        let answer = answer.with_id(&question.id);
        self.questions.remove(&number);
        Some(answer)
    }

    /// A reader took nothing for too long: it is cut off.
    pub(super) fn cut(&mut self, target: Target) {
        match target {
            Target::Request(number) => drop(self.in_flight.remove(&number)),
            Target::Stream(key) => {
                if let Some(client) = self.clients.get_mut(&key) {
                    client.stream = None;
                }
            }
        }
    }

    /// Decides where a message of the child goes.
    pub(super) fn route(&mut self, message: &Message) -> Vec<Step> {
        match message.kind {
            Kind::Response { .. } => self.route_response(message).into_iter().collect(),
            Kind::Request => vec![self.route_question(message)].into_iter().flatten().collect(),
            Kind::Notification => self.route_notification(message),
        }
    }

    /// The child is gone: everything in flight fails, every stream ends.
    pub(super) fn fail(&mut self, exit: &Exit) -> Vec<Step> {
        self.dead = true;
        self.clients.clear();
        self.questions.clear();
        let text = format!("{exit} before it answered");
        let failed = std::mem::take(&mut self.in_flight).into_iter().map(|(number, request)| {
            let data = Some(r#"{"kind":"process_failed","retry":"if_idempotent"}"#);
            let error = message::error(Some(&request.id), PROCESS_FAILED, &text, data);
            Step::Deliver(Target::Request(number), request.outlet, Said::Last(error))
        });
        failed.collect()
    }

    fn route_response(&mut self, response: &Message) -> Option<Step> {
        let number = number(response.id()?)?;
        let request = self.in_flight.remove(&number)?;
        let answer = match request.hears {
            Hears::Subscription => response.with_id_and_result_subscription(&request.id),
            Hears::All | Hears::AnswerOnly => response.with_id(&request.id),
        };
        if let Some(token) = request.token.filter(|_| self.audience != Audience::Modern) {
            if self.finished.len() == FINISHED_TOKENS {
                self.finished.pop_front();
            }
            self.finished.push_back((number, request.client, token));
        }
        Some(Step::Deliver(Target::Request(number), request.outlet, Said::Last(answer)))
    }

    fn route_question(&mut self, question: &Message) -> Option<Step> {
        let id = question.id()?;
        if question.method == "ping" {
            // The child asks whether its client is there; its client is the shim.
            return Some(Step::Reply(message::result(id, "{}")));
        }
        let refuse = |code, text: &str| Some(Step::Reply(message::error(Some(id), code, text, None)));
        let one_client = matches!(self.audience, Audience::Own | Audience::Once);
        let Some(client) = self.clients.keys().next().copied().filter(|_| one_client) else {
            return refuse(-32601, "no client can be asked: this server's process is shared");
        };
        if self.questions.len() >= MAX_QUESTIONS {
            return refuse(-32603, "too many questions are unanswered");
        }
        self.last_id += 1;
        let number = self.last_id;
        let asked = question.with_id(&format!("\"{}-{number}\"", self.child));
        let Some((target, step)) = self.for_client(client, asked, false) else {
            return refuse(-32603, "no client listens");
        };
        self.questions.insert(number, Question { id: id.to_owned(), client, target });
        step
    }

    fn route_notification(&mut self, note: &Message) -> Vec<Step> {
        if let Some(number) = note.subscription().and_then(number) {
            return self.route_subscribed(number, note).into_iter().collect();
        }
        match note.method.as_str() {
            "notifications/progress" => self.route_progress(note).into_iter().collect(),
            "notifications/cancelled" => self.route_cancelled(note).into_iter().collect(),
            method => match self.audience {
                Audience::Once if is_news_of_the_session(method) => Vec::new(),
                Audience::Own | Audience::Once => {
                    let client = self.clients.keys().next().copied();
                    let routed = client
                        .and_then(|client| self.for_client(client, note.bytes.clone(), is_news_of_the_session(method)));
                    routed.and_then(|(_, step)| step).into_iter().collect()
                }
                Audience::Shared => self.route_shared(note),
                Audience::Modern => self.route_modern_log(note).into_iter().collect(),
            },
        }
    }

    fn route_progress(&mut self, note: &Message) -> Option<Step> {
        let number = number(note.token()?)?;
        if let Some(request) = self.in_flight.get(&number) {
            let note = note.with_token(request.token.as_deref()?);
            return Some(Step::Deliver(Target::Request(number), request.outlet.clone(), Said::More(note)));
        }
        let (_, client, token) = self.finished.iter().find(|(finished, ..)| *finished == number)?;
        let (client, note) = (*client, note.with_token(token));
        self.for_client(client, note, true)?.1
    }

    /// The child takes back a question, or (modern) ends a subscription.
    fn route_cancelled(&mut self, note: &Message) -> Option<Step> {
        let id = note.cancelled()?;
        if let Some((number, request)) = number(id).and_then(|number| Some((number, self.in_flight.remove(&number)?))) {
            let note = note.with_cancelled(&request.id);
            return Some(Step::Deliver(Target::Request(number), request.outlet, Said::More(note)));
        }
        let number = *self.questions.iter().find(|(_, question)| question.id == id)?.0;
        let Question { client, target, .. } = self.questions.remove(&number)?;
        let note = note.with_cancelled(&format!("\"{}-{number}\"", self.child));
        match target {
            Target::Request(asked) if self.in_flight.get(&asked).is_some_and(InFlight::listens) => {
                let outlet = self.in_flight.get(&asked)?.outlet.clone();
                Some(Step::Deliver(target, outlet, Said::More(note)))
            }
            _ => self.for_client(client, note, true)?.1,
        }
    }

    fn route_subscribed(&self, number: u64, note: &Message) -> Option<Step> {
        let request = self.in_flight.get(&number)?;
        let note = note.with_subscription(&request.id);
        Some(Step::Deliver(Target::Request(number), request.outlet.clone(), Said::More(note)))
    }

    /// News of the lists is for every session, of a resource for those who follow it. A log message may tell of one client's
    /// data, so it goes nowhere unless it is clear whose it is.
    fn route_shared(&mut self, note: &Message) -> Vec<Step> {
        let news = is_news_of_the_session(&note.method);
        let keys: BTreeSet<ClientKey> = match &note.uri {
            Some(uri) if note.method == RESOURCE_UPDATED => self.subscriptions.followers(uri),
            _ if news => self.clients.keys().copied().collect(),
            _ => self.in_flight.values().filter(|request| request.listens()).map(|request| request.client).collect(),
        };
        if !news && keys.len() > 1 {
            return Vec::new();
        }
        keys.into_iter().filter_map(|key| self.for_client(key, note.bytes.clone(), news)?.1).collect()
    }

    /// Without sessions, a log message belongs to the only request in flight that asked for any.
    fn route_modern_log(&self, note: &Message) -> Option<Step> {
        let mut asked = self.in_flight.iter().filter(|(_, request)| request.listens() && request.wants_logs);
        let (number, request) = asked.next()?;
        let only = asked.next().is_none();
        only.then(|| Step::Deliver(Target::Request(*number), request.outlet.clone(), Said::More(note.bytes.clone())))
    }

    /// Where a message for a client goes that names no request of its. `None`: nowhere. A target without a step: it waits
    /// for the stream.
    fn for_client(&mut self, key: ClientKey, message: Bytes, prefer_stream: bool) -> Option<(Target, Option<Step>)> {
        let mut requests = self.in_flight.iter().filter(|(_, request)| request.client == key && request.listens());
        let newest = requests.next_back();
        let only = requests.next_back().is_none();
        let newest = newest.map(|(number, request)| (Target::Request(*number), request.outlet.clone()));
        let client = self.clients.get_mut(&key)?;
        let stream = client.stream.as_ref().filter(|stream| !stream.is_closed());
        let stream = stream.map(|stream| (Target::Stream(key), stream.clone()));
        let chosen = if only && !prefer_stream { newest.or(stream) } else { stream.or(newest) };
        if let Some((target, outlet)) = chosen {
            return Some((target, Some(Step::Deliver(target, outlet, Said::More(message)))));
        }
        if client.waiting.len() >= WAITING_MESSAGES || client.waiting_bytes + message.len() > WAITING_BYTES {
            tracing::debug!("a message waits for no stream: too many do");
            return None;
        }
        client.waiting_bytes += message.len();
        client.waiting.push_back(message);
        Some((Target::Stream(key), None))
    }
}

/// Whether a notification tells of the session as a whole rather than of a call.
fn is_news_of_the_session(method: &str) -> bool {
    method.ends_with("/list_changed") || method == RESOURCE_UPDATED || method == "notifications/tasks/status"
}

/// An id or token of the shim's own, however the child writes it.
fn number(text: &str) -> Option<u64> {
    text.trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests;
