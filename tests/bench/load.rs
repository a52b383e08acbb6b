//! The load generator: so many clients, each with a connection and (in the legacy era) a session of its own, call tools one
//! after the other and check every answer.

use crate::histogram::Histogram;
use crate::mcp::{self, Era};
use crate::{Result, process};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, watch};
use tokio::task::JoinSet;

const SESSION_HEADER: &str = "mcp-session-id";

/// What to call, how, and for how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the MCP endpoint `/mcp` listens
    #[arg(long)]
    pub(crate) to: SocketAddr,
    /// Clients at the same time
    #[arg(long, default_value_t = 16)]
    pub(crate) clients: usize,
    /// Size of the answers, in bytes
    #[arg(long, default_value_t = 200)]
    pub(crate) bytes: usize,
    /// Era that the clients speak
    #[arg(long, value_enum, default_value_t = Era::Legacy)]
    pub(crate) era: Era,
    /// Put before the tool's name; several: one after the other
    #[arg(long = "prefix", default_value = "")]
    pub(crate) prefixes: Vec<String>,
    /// How long to measure, in ms
    #[arg(long, default_value_t = 2000)]
    pub(crate) millis: u64,
    /// How long to call before that, in ms
    #[arg(long, default_value_t = 300)]
    pub(crate) warm_up_millis: u64,
    /// Print `warm` when warmed up, and wait for a line on stdin before measuring
    #[arg(long)]
    pub(crate) wait: bool,
}

/// What one run measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) calls: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Runs the load and prints [`Measured`] as JSON.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let measured = measure(options).await?;
    println!("{}", serde_json::to_string(&measured)?);
    Ok(())
}

async fn measure(options: &Options) -> Result<Measured> {
    let (go, _) = watch::channel(None::<Instant>);
    let warm = Arc::new(Barrier::new(options.clients + 1));
    let mut clients = JoinSet::new();
    for _ in 0..options.clients {
        let mut client = Client::connect(options).await?;
        let (mut go, warm, options) = (go.subscribe(), Arc::clone(&warm), options.clone());
        clients.spawn(async move {
            client.call_until(Instant::now() + Duration::from_millis(options.warm_up_millis)).await?;
            warm.wait().await;
            let end = go.wait_for(Option::is_some).await?.ok_or("no end was set")?;
            let latencies = client.call_until(end).await?;
            client.leave().await?;
            Result::Ok(latencies)
        });
    }
    tokio::select! {
        _ = warm.wait() => {}
        // Before the measurement a client only ends by failing.
        Some(ended) = clients.join_next() => { ended??; }
    }
    if options.wait {
        println!("warm");
        process::wait_for_line().await?;
    }
    let start = Instant::now();
    go.send_replace(Some(start + Duration::from_millis(options.millis)));
    let mut all = Histogram::new();
    while let Some(client) = clients.join_next().await {
        all.add(&client??);
    }
    Ok(Measured {
        calls: all.total(),
        seconds: start.elapsed().as_secs_f64(),
        p50_us: all.percentile_us(500),
        p99_us: all.percentile_us(990),
    })
}

/// One MCP client on one kept-alive connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    era: Era,
    bytes: usize,
    tools: Vec<String>,
    next_id: u64,
}

impl Client {
    /// Connects, and opens a session where the era has sessions.
    pub(crate) async fn connect(options: &Options) -> Result<Self> {
        let stream = TcpStream::connect(options.to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async { drop(connection.await) });
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(&options.to.to_string())?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        let tool = mcp::tool(options.bytes);
        let tools = options.prefixes.iter().map(|prefix| format!("{prefix}{tool}")).collect();
        let mut client = Self { sender, headers, era: options.era, bytes: options.bytes, tools, next_id: 1 };
        if options.era == Era::Legacy {
            client.initialize().await?;
        }
        client.headers.insert("mcp-protocol-version", HeaderValue::from_static(options.era.version()));
        Ok(client)
    }

    async fn initialize(&mut self) -> Result<()> {
        let (status, headers, body) = self.send(Method::POST, None, mcp::initialize_request()).await?;
        if status != StatusCode::OK {
            return Err(format!("initialize: HTTP {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        let session = headers.get(SESSION_HEADER).ok_or("initialize: the answer has no session")?;
        self.headers.insert(SESSION_HEADER, session.clone());
        let (status, ..) = self.send(Method::POST, None, mcp::INITIALIZED.to_owned()).await?;
        if status == StatusCode::ACCEPTED { Ok(()) } else { Err(format!("initialized: HTTP {status}").into()) }
    }

    /// Calls one tool after the other until `end`.
    async fn call_until(&mut self, end: Instant) -> Result<Histogram> {
        let mut latencies = Histogram::new();
        let mut start = Instant::now();
        while start < end {
            self.call().await?;
            let now = Instant::now();
            latencies.record(now - start);
            start = now;
        }
        Ok(latencies)
    }

    /// Calls one tool and checks its answer.
    pub(crate) async fn call(&mut self) -> Result<()> {
        let id = self.next_id;
        self.next_id += 1;
        // The remainder is below the number of tools, which came from a Vec.
        let tool = self.tools[usize::try_from(id % self.tools.len() as u64)?].clone();
        let body = mcp::call_request(self.era, id, &tool);
        let (status, headers, body) = self.send(Method::POST, Some(&tool), body).await?;
        if status != StatusCode::OK {
            return Err(format!("call of {tool}: HTTP {status}: {}", String::from_utf8_lossy(&body)).into());
        }
        let is_stream = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if is_stream {
            mcp::check_answer(self.era, id, self.bytes, &last_event(&body))
        } else {
            mcp::check_answer(self.era, id, self.bytes, &body)
        }
    }

    /// Ends the session; a server without sessions refuses, and that is fine.
    pub(crate) async fn leave(&mut self) -> Result<()> {
        if self.era == Era::Legacy {
            self.send(Method::DELETE, None, String::new()).await?;
        }
        Ok(())
    }

    async fn send(
        &mut self,
        method: Method,
        tool: Option<&str>,
        body: String,
    ) -> Result<(StatusCode, HeaderMap, Bytes)> {
        let mut request = Request::new(Full::from(body));
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static("/mcp");
        *request.headers_mut() = self.headers.clone();
        if let (Era::Modern, Some(tool)) = (self.era, tool) {
            request.headers_mut().insert("mcp-method", HeaderValue::from_static("tools/call"));
            request.headers_mut().insert("mcp-name", HeaderValue::from_str(tool)?);
        }
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok((head.status, head.headers, body.collect().await?.to_bytes()))
    }
}

/// The data of a stream's last event: the answer, which ends the stream.
fn last_event(stream: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(stream);
    let last = text.rsplit("\n\n").find(|event| event.contains("data:")).unwrap_or_default();
    let data: Vec<&str> = last
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    data.join("\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_of_a_stream_is_its_answer() {
        let stream = b"id: 1\ndata:\n\nevent: message\ndata: {\"a\":\ndata: 1}\n\n: bye\n\n";
        assert_eq!(last_event(stream), b"{\"a\":\n1}");
        assert_eq!(last_event(b""), b"");
    }
}
