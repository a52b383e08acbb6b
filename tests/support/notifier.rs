//! An MCP server that keeps sessions and says things of its own accord: numbered notifications on the GET stream of each
//! session, with event ids, so that whoever goes on with the stream misses none.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures_util::{Stream, stream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// Names sessions in which a gateway only looks what this is.
const LOOK: &str = "look";

/// A running server. It ends when this is dropped.
pub struct Notifier {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    /// MCP methods and HTTP's GET and DELETE, in their order, each with its session.
    received: Mutex<Vec<(String, String)>>,
    answers: Mutex<Vec<Value>>,
    permits: Semaphores,
}

struct Semaphores(Semaphore);

impl Default for Semaphores {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

#[derive(Default)]
struct Session {
    said: watch::Sender<Vec<String>>,
    /// How much of it went out: a stream without `Last-Event-ID` begins there.
    sent: Mutex<usize>,
}

impl Drop for Notifier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notifier {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let router = Router::new().route("/mcp", get(listen).post(post).delete(delete)).with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    /// Says something to every session.
    pub fn notify(&self, data: Value) {
        let note =
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": data}});
        self.say(&note);
    }

    /// Sends every session a message of any kind.
    pub fn say(&self, message: &Value) {
        for session in self.shared.sessions.lock().values() {
            session.said.send_modify(|said| said.push(message.to_string()));
        }
    }

    /// How often it got a method, but for what gateways ask to learn whether it is an MCP server.
    pub fn count(&self, method: &str) -> usize {
        let received = self.shared.received.lock();
        received.iter().filter(|(received, session)| received == method && !session.starts_with(LOOK)).count()
    }

    /// Waits until it got a method so often.
    pub async fn got(&self, method: &str, times: usize) {
        super::within(&format!("{method} arrives"), async {
            while self.count(method) < times {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// What clients answered to what it asked.
    pub fn answers(&self) -> Vec<Value> {
        self.shared.answers.lock().clone()
    }

    /// Lets so many calls of `wait` be answered.
    pub fn release(&self, calls: usize) {
        self.shared.permits.0.add_permits(calls);
    }
}

impl Shared {
    fn session(&self, headers: &HeaderMap, method: &str) -> Option<Arc<Session>> {
        let id = headers.get("mcp-session-id")?.to_str().ok()?.to_owned();
        let session = self.sessions.lock().get(&id).cloned();
        self.received.lock().push((method.to_owned(), id));
        session
    }
}

async fn post(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Response {
    let message: Value = serde_json::from_str(&body).unwrap();
    let method = message["method"].as_str().unwrap_or_default();
    if method == "initialize" {
        let mut sessions = shared.sessions.lock();
        let is_look = message["params"]["clientInfo"]["name"] == "mcp-gateway";
        let id = format!("{}-{}", if is_look { LOOK } else { "session" }, sessions.len());
        sessions.insert(id.clone(), Arc::default());
        shared.received.lock().push((method.to_owned(), id.clone()));
        let capabilities = json!({"tools": {}, "logging": {}, "resources": {"subscribe": true}});
        let result = json!({
            "protocolVersion": message["params"]["protocolVersion"], "capabilities": capabilities,
            "serverInfo": {"name": "notifier", "version": "1"},
        });
        let answer = axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
        return ([("mcp-session-id", id)], answer).into_response();
    }
    let Some(_session) = shared.session(&headers, method) else { return StatusCode::NOT_FOUND.into_response() };
    if message.get("method").is_none() {
        shared.answers.lock().push(message);
        return StatusCode::ACCEPTED.into_response();
    }
    if message.get("id").is_none() {
        return StatusCode::ACCEPTED.into_response();
    }
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
    let result = match method {
        "tools/list" => json!({"tools": [tool("echo"), tool("wait")]}),
        "resources/list" => json!({"resources": [{"uri": "a:1", "name": "a"}]}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        "tools/call" => {
            if message["params"]["name"] == "wait" {
                shared.permits.0.acquire().await.unwrap().forget();
            }
            json!({"content": [{"type": "text", "text": message["params"]["arguments"].to_string()}]})
        }
        _ => json!({}),
    };
    axum::Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
}

async fn delete(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> StatusCode {
    shared.session(&headers, "DELETE");
    StatusCode::OK
}

async fn listen(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let Some(session) = shared.session(&headers, "GET") else { return StatusCode::NOT_FOUND.into_response() };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse::<usize>().ok());
    let start = last.unwrap_or_else(|| *session.sent.lock());
    Sse::new(events(session, start)).into_response()
}

fn events(session: Arc<Session>, start: usize) -> impl Stream<Item = Result<Event, Infallible>> {
    let said = session.said.subscribe();
    stream::unfold((session, said, start), |(session, mut said, at)| async move {
        let message = said.wait_for(|said| said.len() > at).await.ok()?[at].clone();
        *session.sent.lock() = at + 1;
        Some((Ok(Event::default().id((at + 1).to_string()).data(message)), (session, said, at + 1)))
    })
}
