//! MCP clients, as small as they can be: one of each era, each with one connection.

use super::http::{Answer, Connection, post};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;

/// The newest version with sessions.
pub const LEGACY: &str = "2025-11-25";
/// The version without.
pub const MODERN: &str = "2026-07-28";

/// A client of 2025-11-25 or before, with a session.
pub struct LegacyClient {
    pub connection: Connection,
    pub path: String,
    pub version: String,
    pub session: Option<String>,
    next_id: u64,
}

impl LegacyClient {
    /// Connects, and initializes a session without capabilities.
    pub async fn connect(address: SocketAddr, path: &str) -> Self {
        Self::connect_with(address, path, LEGACY, json!({})).await
    }

    /// Connects, and initializes a session.
    pub async fn connect_with(address: SocketAddr, path: &str, version: &str, capabilities: Value) -> Self {
        let connection = Connection::open(address).await.unwrap();
        let mut client =
            Self { connection, path: path.to_owned(), version: version.to_owned(), session: None, next_id: 1 };
        let params = json!({
            "protocolVersion": version, "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "0"},
        });
        let initialize = client.message("initialize", params);
        let answer = client.post(&initialize).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        client.session = answer.header("mcp-session-id").map(str::to_owned);
        let accepted = client.notify("notifications/initialized", json!({})).await.unwrap();
        assert_eq!(accepted.status, 202, "{accepted:?}");
        client
    }

    /// The same client over another connection, perhaps to another replica.
    pub async fn over(&self, address: SocketAddr) -> Self {
        Self {
            connection: Connection::open(address).await.unwrap(),
            path: self.path.clone(),
            version: self.version.clone(),
            session: self.session.clone(),
            next_id: self.next_id + 1000,
        }
    }

    /// The bytes that open its stream of what servers say unasked, or go on with one after an event.
    pub fn stream_request(&self, last_event: Option<&str>) -> String {
        let (path, session) = (&self.path, self.session.as_deref().unwrap());
        let last = last_event.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n{last}\r\n"
        )
    }

    /// Ends its session.
    pub async fn delete(&mut self) -> io::Result<Answer> {
        let (path, session) = (&self.path, self.session.as_deref().unwrap());
        let request = format!("DELETE {path} HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {session}\r\n\r\n");
        self.connection.exchange(request).await
    }

    /// A request with the next id.
    pub fn message(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id;
        self.next_id += 1;
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// Sends a request and gives its answer's message: the one with its id.
    pub async fn request(&mut self, method: &str, params: Value) -> io::Result<Value> {
        let message = self.message(method, params);
        let answer = self.post(&message).await?;
        Ok(reply_to(&message, &answer))
    }

    pub async fn notify(&mut self, method: &str, params: Value) -> io::Result<Answer> {
        self.post(&json!({"jsonrpc": "2.0", "method": method, "params": params})).await
    }

    /// Posts any message and gives the whole answer.
    pub async fn post(&mut self, message: &Value) -> io::Result<Answer> {
        self.send(message).await?;
        self.connection.answer().await
    }

    /// Posts any message without waiting for its answer.
    pub async fn send(&mut self, message: &Value) -> io::Result<()> {
        let bytes = self.bytes(message);
        self.connection.send(bytes).await
    }

    fn bytes(&self, message: &Value) -> Vec<u8> {
        let mut headers = vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        if let Some(session) = &self.session {
            headers.extend([("mcp-session-id", session.as_str()), ("mcp-protocol-version", self.version.as_str())]);
        }
        post(&self.path, &headers, message.to_string().as_bytes())
    }

    /// The names of the tools it is offered.
    pub async fn tools(&mut self) -> Vec<String> {
        let list = self.request("tools/list", json!({})).await.unwrap();
        names(&list)
    }

    /// Calls a tool and gives the first text of its result.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> io::Result<Value> {
        self.request("tools/call", json!({"name": tool, "arguments": arguments})).await
    }
}

/// A client of 2026-07-28.
pub struct ModernClient {
    pub connection: Connection,
    pub path: String,
    pub capabilities: Value,
    next_id: u64,
}

impl ModernClient {
    pub async fn connect(address: SocketAddr, path: &str) -> Self {
        let connection = Connection::open(address).await.unwrap();
        Self { connection, path: path.to_owned(), capabilities: json!({}), next_id: 1 }
    }

    /// Sends a request with everything its version demands, and gives its answer's message.
    pub async fn request(&mut self, method: &str, params: Value) -> io::Result<Value> {
        let (message, bytes) = self.prepare(method, params);
        let answer = self.connection.exchange(bytes).await?;
        Ok(reply_to(&message, &answer))
    }

    /// A request and its bytes on the wire.
    pub fn prepare(&mut self, method: &str, mut params: Value) -> (Value, Vec<u8>) {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
        params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "0"});
        let named = ["name", "uri", "taskId"].into_iter().find_map(|key| params[key].as_str());
        let name = named.map(str::to_owned);
        let message = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
        self.next_id += 1;
        let mut headers = vec![
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", MODERN),
            ("mcp-method", method),
        ];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        let bytes = post(&self.path, &headers, message.to_string().as_bytes());
        (message, bytes)
    }

    /// The names of the tools it is offered.
    pub async fn tools(&mut self) -> Vec<String> {
        let list = self.request("tools/list", json!({})).await.unwrap();
        names(&list)
    }

    /// Calls a tool.
    pub async fn call(&mut self, tool: &str, arguments: Value) -> io::Result<Value> {
        self.request("tools/call", json!({"name": tool, "arguments": arguments})).await
    }
}

/// The message of an answer that has the request's id.
fn reply_to(request: &Value, answer: &Answer) -> Value {
    let messages = answer.messages();
    let reply = messages.iter().find(|message| message["id"] == request["id"] && message.get("method").is_none());
    reply.unwrap_or_else(|| panic!("no reply to {request} in {answer:?}")).clone()
}

fn names(list: &Value) -> Vec<String> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("no list: {list}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// The first text of a tool's result.
pub fn text(reply: &Value) -> &str {
    reply["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {reply}"))
}
