//! The shim from outside: real processes behind real HTTP, over in-memory connections.

mod legacy;
mod lifecycle;
mod modern;

use super::*;
use crate::ir::ids::SecretKey;
use crate::ir::secrets::PrivateBytes;
use crate::ir::snapshot::{EnvValue, EnvVar, ProcessPool};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustix::process::Pid;
use serde_json::{Value, json};

const SERVER: &str = include_str!("server.sh");

/// No single step of a test takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A fake server under a shim, to be adjusted before it starts.
struct Fake {
    process: Process,
    credentials: Credentials,
    surroundings: Surroundings,
    limits: ShimLimits,
}

impl Fake {
    fn new(isolation: Isolation) -> Self {
        let process = Process {
            command: vec!["sh".to_owned(), "-c".to_owned(), SERVER.to_owned()],
            args: Vec::new(),
            env: Vec::new(),
            working_dir: None,
            isolation,
            pool: ProcessPool { min: 0, max: 4, idle_timeout_ms: 600_000 },
        };
        let grace = Grace { after_stdin: Duration::from_millis(500), after_term: Duration::from_millis(500) };
        let limits = ShimLimits { grace, acquire: Duration::from_millis(200), ..ShimLimits::default() };
        Self { process, credentials: Credentials::default(), surroundings: Surroundings::Laptop, limits }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.process.env.push(EnvVar { name: name.to_owned(), value: EnvValue::Literal(value.to_owned()) });
        self
    }

    fn secret(mut self, name: &str, value: &str) -> Self {
        let key = SecretKey::new("default", "secret", name);
        self.credentials.values.insert(key.clone(), PrivateBytes::new(value));
        self.process.env.push(EnvVar { name: name.to_owned(), value: EnvValue::Secret(key) });
        self
    }

    fn pool(mut self, min: u32, max: u32) -> Self {
        (self.process.pool.min, self.process.pool.max) = (min, max);
        self
    }

    fn limits(mut self, change: impl FnOnce(&mut ShimLimits)) -> Self {
        change(&mut self.limits);
        self
    }

    fn start(self) -> Arc<Shim> {
        Shim::start("default/fake", &self.process, &self.credentials, self.surroundings, self.limits).unwrap()
    }
}

/// An HTTP answer, perhaps not read to its end. Dropping it disconnects.
struct Answer {
    response: Response<Incoming>,
    unread: BytesMut,
    _connection: tokio_util::task::AbortOnDropHandle<()>,
}

impl Answer {
    fn status(&self) -> StatusCode {
        self.response.status()
    }

    fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn is_stream(&self) -> bool {
        self.header("content-type") == "text/event-stream"
    }

    /// The whole body, which must be one JSON document.
    async fn json(self) -> Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&in_time(self.response.into_body().collect()).await.unwrap().to_bytes()).unwrap()
    }

    /// The next event's data; `None` at the end of the stream.
    async fn event(&mut self) -> Option<Value> {
        assert!(self.is_stream());
        loop {
            if let Some(end) = memchr::memmem::find(&self.unread, b"\n\n") {
                let event = self.unread.split_to(end + 2);
                let data =
                    event.as_ref().split(|byte: &u8| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: "));
                return Some(serde_json::from_slice(data.unwrap()).unwrap());
            }
            let frame = in_time(self.response.body_mut().frame()).await?.unwrap();
            self.unread.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    async fn events(mut self) -> Vec<Value> {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        events
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("a step of the test takes too long")
}

/// Sends one request on a connection of its own and waits for the head of the answer.
async fn http(shim: &Arc<Shim>, method: Method, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(shim.connect())).await.unwrap();
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let mut request =
        Request::builder().method(method).uri("http://fake/mcp").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = in_time(sender.send_request(request.body(Full::new(body.into())).unwrap())).await.unwrap();
    Answer { response, unread: BytesMut::new(), _connection: connection }
}

/// A legacy client with a session.
#[derive(Clone)]
struct Client {
    shim: Arc<Shim>,
    session: String,
    /// The result of `initialize`.
    server: Value,
}

fn initialize_request() -> String {
    r#"{"id":0,"jsonrpc":"2.0","method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"test","version":"1"}}}"#.to_owned()
}

impl Client {
    async fn open(shim: &Arc<Shim>) -> Self {
        Self::open_with(shim, &[]).await
    }

    async fn open_with(shim: &Arc<Shim>, headers: &[(&str, &str)]) -> Self {
        let answer = http(shim, Method::POST, headers, initialize_request()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let session = answer.header("mcp-session-id").to_owned();
        assert_eq!(session.len(), 32);
        let mut body = answer.json().await;
        let client = Self { shim: Arc::clone(shim), session, server: body["result"].take() };
        client.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string()).await;
        client
    }

    async fn post(&self, body: String) -> Answer {
        http(&self.shim, Method::POST, &[("mcp-session-id", &self.session)], body).await
    }

    async fn call(&self, id: impl Into<Value>, tool: &str) -> Answer {
        self.post(call(id, tool)).await
    }

    /// Calls a tool that answers with JSON.
    async fn result(&self, tool: &str) -> Value {
        let mut answer = self.call(1, tool).await.json().await;
        assert_eq!(answer["id"], 1, "{answer}");
        answer["result"].take()
    }

    async fn stream(&self) -> Answer {
        http(&self.shim, Method::GET, &[("mcp-session-id", &self.session)], "").await
    }

    async fn delete(&self) -> StatusCode {
        http(&self.shim, Method::DELETE, &[("mcp-session-id", &self.session)], "").await.status()
    }
}

/// A call of a tool, with the id first, as the fake server wants it, and a progress token.
fn call(id: impl Into<Value>, tool: &str) -> String {
    let id = id.into();
    format!(
        r#"{{"id":{id},"jsonrpc":"2.0","method":"tools/call","params":{{"name":"{tool}","_meta":{{"progressToken":{id}}}}}}}"#
    )
}

fn pid(value: &Value) -> Pid {
    let pid = value["pid"].as_i64().expect("a process id");
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// Waits until a condition holds. What it waits for happens in other processes, so there is no event to wait on.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{what} does not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the process neither runs nor waits for us to reap it.
fn is_over(process: Pid) -> bool {
    remains(|stat| stat.pid == process.as_raw_nonzero().get()) == 0
}

/// The same of every process of a group.
fn group_is_over(leader: Pid) -> bool {
    remains(|stat| stat.group == leader.as_raw_nonzero().get()) == 0
}

struct Stat {
    pid: i32,
    state: char,
    parent: i32,
    group: i32,
}

/// Counts processes that run, or are zombies of ours. A grandchild's zombie is its new parent's business.
fn remains(matches: impl Fn(&Stat) -> bool) -> usize {
    let own = i32::try_from(std::process::id()).unwrap();
    let stats = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        // "pid (name) state parent group …", where the name may hold anything.
        let (pid, rest) = (text.split_once(' ')?.0, text.rsplit_once(") ")?.1);
        let mut fields = rest.split(' ');
        let state = fields.next()?.chars().next()?;
        let mut number = || fields.next()?.parse().ok();
        Some(Stat { pid: pid.parse().ok()?, state, parent: number()?, group: number()? })
    });
    stats.filter(|stat| matches(stat) && (stat.state != 'Z' || stat.parent == own)).count()
}
