//! An MCP client that works on raw JSON-RPC, so that no SDK smooths over what a server really sends.
//!
//! It answers what servers ask (elicitation, sampling, roots) by fixed rules, and keeps every message it saw.

mod answers;
mod http;
mod message;
mod sse;
mod stdio;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

pub(crate) use answers::{Answers, input_responses};
pub(crate) use message::Message;

use http::HttpLink;
use sse::SseLink;
use stdio::StdioLink;

/// Nothing in these tests takes longer than this, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The protocol revision of each era that the tests speak.
pub(crate) const LEGACY: &str = "2025-11-25";
pub(crate) const MODERN: &str = "2026-07-28";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

/// Where an MCP server is.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// A program to start, with its arguments.
    Stdio(Vec<String>),
    /// A Streamable HTTP endpoint.
    Http(String),
    /// The event stream of an HTTP+SSE server.
    Sse(String),
}

/// What happened between a request and its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// Requests and notifications of the server that came meanwhile.
    pub(crate) seen: Vec<Message>,
    pub(crate) answer: Message,
}

enum Link {
    Stdio(StdioLink),
    Http(HttpLink),
    Sse(SseLink),
}

/// One connection to a server: a session in the legacy era, a sequence of requests in the modern one.
pub(crate) struct Wire {
    era: Era,
    link: Link,
    inbox: mpsc::UnboundedReceiver<Message>,
    answers: Answers,
    next_id: u64,
    /// What is answered and not kept, because nobody can tell when it comes.
    pub(crate) noise: fn(&Message) -> bool,
    /// Seen while waiting for something else.
    aside: Vec<Message>,
    /// How often each list was said to have changed. Counted and not kept: a server says so once or five times for the
    /// same change, and a proxy may say it once.
    pub(crate) list_changes: BTreeMap<String, usize>,
}

impl Wire {
    /// Connects, and in the legacy era shakes hands. Returns the answer to `initialize` or `server/discover`, too.
    pub(crate) async fn connect(address: &Address, era: Era, answers: Answers) -> (Self, Message) {
        let (outbox, inbox) = mpsc::unbounded_channel();
        let link = match address {
            Address::Stdio(command) => Link::Stdio(StdioLink::spawn(command, outbox)),
            Address::Http(url) => Link::Http(HttpLink::new(url, era, outbox)),
            Address::Sse(url) => Link::Sse(SseLink::connect(url, outbox).await),
        };
        let mut wire = Self {
            era,
            link,
            inbox,
            answers,
            next_id: 1,
            noise: |_| false,
            aside: Vec::new(),
            list_changes: BTreeMap::new(),
        };
        let hello = match era {
            Era::Modern => wire.request("server/discover", json!({}), &[]).await.answer,
            Era::Legacy => {
                let hello = json!({
                    "protocolVersion": LEGACY,
                    "capabilities": Answers::capabilities(),
                    "clientInfo": { "name": "interop", "version": "1.0.0" },
                });
                let answer = wire.request("initialize", hello, &[]).await.answer;
                wire.notify("notifications/initialized", json!({})).await;
                if let Link::Http(link) = &mut wire.link {
                    link.listen().await;
                }
                answer
            }
        };
        assert!(hello.result().is_some(), "the server refused the connection: {}", hello.0);
        (wire, hello)
    }

    /// Sends a request and waits for its answer; what the server asks meanwhile is answered.
    pub(crate) async fn request(&mut self, method: &str, mut params: Value, headers: &[(&str, &str)]) -> Exchange {
        let id = self.next_id;
        self.next_id += 1;
        if self.era == Era::Modern {
            Answers::stamp(&mut params);
        }
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&message, headers).await;
        let id = id.to_string();
        let mut seen = Vec::new();
        loop {
            let message = self.receive(method).await;
            if message.method().is_none() {
                if message.id() == Some(&id) {
                    return Exchange { seen, answer: message };
                }
                panic!("while waiting for the answer to {method} ({id}): {}", message.0);
            }
            self.keep(message, &mut seen);
        }
    }

    /// Sends a request and keeps it open; returns its id. For `subscriptions/listen`.
    pub(crate) async fn open(&mut self, method: &str, mut params: Value) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        Answers::stamp(&mut params);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(&message, &[]).await;
        id
    }

    pub(crate) async fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }), &[]).await;
    }

    /// Waits until `count` requests or notifications came in, on whatever stream.
    pub(crate) async fn collect(&mut self, count: usize, seen: &mut Vec<Message>) {
        seen.append(&mut self.aside);
        while seen.len() < count {
            let message = self.receive(&format!("message {} of {count}, after {seen:?}", seen.len() + 1)).await;
            assert!(message.method().is_some(), "an answer to nothing: {}", message.0);
            self.keep(message, seen);
        }
    }

    /// Waits until each of these lists was said to have changed.
    pub(crate) async fn until_changed(&mut self, methods: &[&str]) {
        while !methods.iter().all(|method| self.list_changes.contains_key(*method)) {
            let message = self.receive("a change").await;
            let mut seen = Vec::new();
            self.keep(message, &mut seen);
            self.aside.extend(seen);
        }
    }

    /// Keeps messages for a later [`Self::collect`].
    pub(crate) fn set_aside(&mut self, seen: Vec<Message>) {
        self.aside.extend(seen);
    }

    /// What came in and was not waited for.
    pub(crate) async fn leftovers(&mut self) -> Vec<Message> {
        let mut seen = std::mem::take(&mut self.aside);
        while let Ok(message) = self.inbox.try_recv() {
            self.react(&message).await;
            self.keep(message, &mut seen);
        }
        seen
    }

    fn keep(&mut self, message: Message, seen: &mut Vec<Message>) {
        if (self.noise)(&message) {
            return;
        }
        match message.method() {
            Some(method) if method.ends_with("/list_changed") => *self.list_changes.entry(method).or_default() += 1,
            _ => seen.push(message),
        }
    }

    async fn receive(&mut self, what: &str) -> Message {
        let message = timeout(PATIENCE, self.inbox.recv())
            .await
            .unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
            .unwrap_or_else(|| panic!("the server closed the connection before {what}"));
        self.react(&message).await;
        message
    }

    /// Answers `message` if it is a request.
    async fn react(&mut self, message: &Message) {
        if let (Some(method), Some(id)) = (message.method(), message.id()) {
            let params = message.params().map_or(Value::Null, |params| serde_json::from_str(params).unwrap());
            let answer = self.answers.answer(&method, &params);
            let id: Value = serde_json::from_str(id).unwrap();
            let answer = match answer {
                Some(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                None => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32601, "message": "unknown method" } }),
            };
            self.send(&answer, &[]).await;
        }
    }

    async fn send(&mut self, message: &Value, headers: &[(&str, &str)]) {
        match &mut self.link {
            Link::Stdio(link) => link.send(message).await,
            Link::Http(link) => link.send(message, headers).await,
            Link::Sse(link) => link.send(message).await,
        }
    }

    /// Ends the session; a child process ends with it.
    pub(crate) async fn close(self) {
        match self.link {
            Link::Stdio(link) => link.close().await,
            Link::Http(link) => link.close().await,
            Link::Sse(link) => link.close(),
        }
    }
}
