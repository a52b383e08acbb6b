//! An MCP server in the test's own process, which does what it is told, well or badly.
//!
//! By default it speaks both eras over Streamable HTTP and offers two tools: `echo` answers with its server's name and its
//! arguments; `wait` does so after [`McpServer::release`]. A script may answer anything else.

use parking_lot::Mutex;
use serde_json::{Value, json};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A request as the server got it.
#[derive(Clone, Debug)]
pub struct Received {
    pub http_method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub raw_body: Vec<u8>,
    /// Null when there is no JSON.
    pub body: Value,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub fn tool(&self) -> &str {
        self.body["params"]["name"].as_str().unwrap_or_default()
    }

    fn is_modern(&self) -> bool {
        self.header("mcp-protocol-version") == Some(super::mcp::MODERN)
    }
}

/// What to do about a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// What the server would do by itself.
    Default,
    /// A result in JSON.
    Result(Value),
    /// A JSON-RPC error.
    Error(i64, String),
    /// A stream of these messages, and its end.
    Events(Vec<Value>),
    /// These bytes, head and all; then the connection closes.
    Bytes(Vec<u8>),
    /// These bytes, and nothing more for ever.
    BytesThenHang(Vec<u8>),
    /// Nothing, for ever.
    Hang,
    /// The connection closes.
    Close,
}

type Script = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// A running server. It ends when this is dropped.
pub struct McpServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    name: String,
    script: Script,
    received: Mutex<Vec<Received>>,
    permits: Semaphore,
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl McpServer {
    /// A server that behaves.
    pub async fn start(name: &str) -> Self {
        Self::scripted(name, |_| Reply::Default).await
    }

    /// A server that follows a script.
    pub async fn scripted(name: &str, script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::scripted_at(name, (Ipv4Addr::LOCALHOST, 0).into(), script).await
    }

    /// A server that behaves, at an address that was free.
    pub async fn start_at(name: &str, address: SocketAddr) -> Self {
        Self::scripted_at(name, address, |_| Reply::Default).await
    }

    /// A server that follows a script, at an address that was free.
    pub async fn scripted_at(
        name: &str,
        address: SocketAddr,
        script: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            script: Arc::new(script),
            received: Mutex::default(),
            permits: Semaphore::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Everything it got so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().clone()
    }

    /// How often it got an MCP method.
    pub fn count(&self, method: &str) -> usize {
        self.shared.received.lock().iter().filter(|received| received.method() == method).count()
    }

    /// Waits until it got an MCP method this often.
    pub async fn got(&self, method: &str, times: usize) {
        super::within(&format!("{method} reaches {}", self.shared.name), async {
            while self.count(method) < times {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// Lets so many calls of `wait` be answered.
    pub fn release(&self, calls: usize) {
        self.shared.permits.add_permits(calls);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // The connections end with the accepting task.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A client that leaves is not this server's failure.
            let _ = serve(stream, &shared).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(received) = read_request(&mut stream, &mut buffer).await? {
        shared.received.lock().push(received.clone());
        match (shared.script)(&received) {
            Reply::Default => stream.write_all(&shared.by_itself(&received).await).await?,
            Reply::Result(result) => stream.write_all(&reply(&received, "result", result)).await?,
            Reply::Error(code, message) => {
                stream.write_all(&reply(&received, "error", json!({"code": code, "message": message}))).await?;
            }
            Reply::Events(messages) => stream.write_all(&events(&messages)).await?,
            Reply::Bytes(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::BytesThenHang(bytes) => {
                stream.write_all(&bytes).await?;
                std::future::pending::<()>().await;
            }
            Reply::Hang => std::future::pending::<()>().await,
            Reply::Close => return Ok(()),
        }
    }
    Ok(())
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Received>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head: Vec<u8> = buffer.drain(..end).collect();
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let mut request = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    while buffer.len() < length {
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let raw_body: Vec<u8> = buffer.drain(..length).collect();
    let body = serde_json::from_slice(&raw_body).unwrap_or(Value::Null);
    let (http_method, path) = (request.next().unwrap_or_default(), request.next().unwrap_or_default());
    Ok(Some(Received { http_method, path, headers, raw_body, body }))
}

/// A JSON answer to a request.
pub fn reply(received: &Received, kind: &str, value: Value) -> Vec<u8> {
    let message = json!({"jsonrpc": "2.0", "id": received.body["id"], kind: value});
    with_body("200 OK", "content-type: application/json\r\n", message.to_string().as_bytes())
}

/// A whole HTTP answer. Header lines end with CRLF.
pub fn with_body(status: &str, header_lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{header_lines}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A whole event stream.
pub fn events(messages: &[Value]) -> Vec<u8> {
    let events: Vec<String> = messages.iter().map(|message| format!("event: message\ndata: {message}\n\n")).collect();
    with_body("200 OK", "content-type: text/event-stream\r\n", events.concat().as_bytes())
}

impl Shared {
    async fn by_itself(&self, received: &Received) -> Vec<u8> {
        if received.http_method == "DELETE" {
            return with_body("200 OK", "", b"");
        }
        if received.http_method != "POST" {
            return with_body("405 Method Not Allowed", "", b"");
        }
        if received.body.get("id").is_none() {
            return with_body("202 Accepted", "", b"");
        }
        let info = json!({"name": self.name, "version": "1"});
        let mut result = match received.method() {
            "initialize" => {
                let result = json!({
                    "protocolVersion": super::mcp::LEGACY, "capabilities": {"tools": {}}, "serverInfo": info,
                });
                let message = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": result}).to_string();
                let headers = format!("content-type: application/json\r\nmcp-session-id: session-of-{}\r\n", self.name);
                return with_body("200 OK", &headers, message.as_bytes());
            }
            "server/discover" if received.is_modern() => json!({
                "supportedVersions": [super::mcp::MODERN], "capabilities": {"tools": {}},
                "ttlMs": 60_000, "cacheScope": "public",
            }),
            "ping" => json!({}),
            "tools/list" => {
                let tool = |name: &str, description: &str| json!({"name": name, "description": description, "inputSchema": {"type": "object"}});
                let tools = json!([tool("echo", "Says who answered what"), tool("wait", "The same, later")]);
                if received.is_modern() {
                    json!({"tools": tools, "ttlMs": 60_000, "cacheScope": "public"})
                } else {
                    json!({"tools": tools})
                }
            }
            "tools/call" => {
                if received.tool() == "wait" {
                    self.permits.acquire().await.unwrap().forget();
                }
                let text = format!("{} {}", self.name, received.body["params"]["arguments"]);
                json!({"content": [{"type": "text", "text": text}]})
            }
            method => {
                let error = json!({"code": -32601, "message": format!("no method {method}")});
                return reply(received, "error", error);
            }
        };
        if received.is_modern() {
            result["resultType"] = json!("complete");
            result["_meta"]["io.modelcontextprotocol/serverInfo"] = info;
        }
        reply(received, "result", result)
    }
}
