//! Handshakes that no client asked for: so that it is known whether a backend is an MCP server before somebody needs it.
//!
//! Modern servers are asked what they are (`server/discover`), all others are given a session that is ended at once. Nothing is
//! asked that a server has not said it can answer, and nothing lasts.

use super::super::error::{GatewayError, Kind, Retry};
use super::super::mcp::headers::encode_value;
use super::super::mcp::meta;
use super::super::mcp::version::Version;
use super::super::mcp::{envelope, message};
use super::endpoint::EndpointClient;
use super::http_sse::HttpSse;
use super::initialize::{self, Initialized};
use super::knowledge::Introduction;
use super::streamable::Streamable;
use super::{Answer, ModernCall, SessionSink, Upstream};
use crate::ir::snapshot::Timeouts;
use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// A server that takes longer for its handshake is not one that clients can work with.
const TIMEOUTS: Timeouts =
    Timeouts { connect_ms: 5_000, request_ms: 10_000, response_ms: 15_000, progress_extends_request: false };

/// All of it, closing included.
const WITHIN: Duration = Duration::from_secs(60);

/// Addresses that are tried at most when one does not accept connections.
const MAX_TRIED: usize = 3;

/// Pages of tools that are counted at most, and the largest of them, in bytes (4 MiB).
const MAX_PAGES: usize = 100;
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The modern revision that servers are asked in.
const MODERN: Version = Version::V2026_07_28;

/// How much of a problem is told, in characters.
const MAX_PROBLEM: usize = 300;

impl Upstream {
    /// Makes a handshake, and takes note of what the server says of itself, or why it does not.
    pub(crate) async fn verify(&self) {
        let outcome = timeout(WITHIN, self.handshake_with_any()).await.unwrap_or_else(|_elapsed| {
            let message = format!("backend {} did not finish its handshake within {} s", self.id(), WITHIN.as_secs());
            Err(GatewayError::new(Kind::ResponseTimeout, message))
        });
        self.metrics().verified(outcome.as_ref().copied().map_err(|error| error.kind));
        let before = self.knowledge().known().verified;
        match &outcome {
            Ok(()) if before != Some(true) => tracing::info!(backend = %self.id(), "a backend is verified"),
            Err(error) if before != Some(false) => {
                tracing::warn!(backend = %self.id(), %error, "a backend cannot be verified");
            }
            _ => {}
        }
        self.knowledge().checked(outcome.map_err(|error| problem(&error)));
    }

    /// One address that does not accept connections says nothing of the others.
    async fn handshake_with_any(&self) -> Result<(), GatewayError> {
        let mut left = self.endpoints().clamp(1, MAX_TRIED);
        loop {
            left -= 1;
            match self.introduce().await {
                Err(error) if error.retry == Retry::Safe && left > 0 => {}
                outcome => return outcome,
            }
        }
    }

    /// A handshake with the endpoint whose turn it is, in the era that the server is known for, or else in both.
    async fn introduce(&self) -> Result<(), GatewayError> {
        let turn = self.next_turn();
        let (legacy, modern) = (&self.seen().legacy, &self.seen().modern);
        let is_known_legacy = legacy.load(Ordering::Relaxed)
            && !modern.load(Ordering::Relaxed)
            && self.knowledge().known().verified == Some(true);
        if is_known_legacy || self.speaks_http_sse() {
            return self.begin_session(turn).await;
        }
        match self.discover(turn).await {
            Err(error) if may_be_legacy(&error) => match self.begin_session(turn).await {
                // It knows sessions as little as discovery: what it said to the first question tells more.
                Err(second) if second.kind == Kind::EraUnavailable => Err(error),
                outcome => outcome,
            },
            outcome => outcome,
        }
    }

    async fn discover(&self, turn: usize) -> Result<(), GatewayError> {
        let answer = self.ask_modern(turn, "server/discover", None).await?;
        let introduction = Introduction::read(&answer).ok_or_else(|| self.bad("does not say what it is"))?;
        self.seen().modern.store(true, Ordering::Relaxed);
        let has_tools = introduction.has_tools;
        self.knowledge().introduced(introduction);
        if has_tools {
            self.count_tools(&Asker::Modern(turn)).await;
        }
        Ok(())
    }

    async fn begin_session(&self, turn: usize) -> Result<(), GatewayError> {
        let endpoint = self.endpoint(turn)?;
        let (session, initialized) = Session::open(&endpoint, self.speaks_http_sse()).await?;
        self.seen().legacy.store(true, Ordering::Relaxed);
        let introduction = Introduction::read(&initialized.result).unwrap_or_else(Introduction::unreadable);
        let has_tools = introduction.has_tools;
        self.knowledge().introduced(introduction);
        if has_tools {
            self.count_tools(&Asker::Legacy(&session)).await;
        }
        session.close().await;
        Ok(())
    }

    /// Counts the tools. A server that cannot list them is one all the same: whoever lists for a client will tell.
    async fn count_tools(&self, asker: &Asker<'_>) {
        let (mut count, mut cursor) = (0, None);
        for _ in 0..MAX_PAGES {
            let listed = match asker {
                Asker::Modern(turn) => self.ask_modern(*turn, "tools/list", cursor.as_deref()).await,
                Asker::Legacy(session) => session.ask(self, "tools/list", cursor.as_deref()).await,
            };
            let Ok(result) = listed else { return };
            let Ok(Page { tools, next_cursor }) = serde_json::from_slice(&result) else { return };
            count += tools.len();
            if next_cursor.is_none() || next_cursor == cursor {
                return self.knowledge().counted(count);
            }
            cursor = next_cursor;
        }
    }

    /// The result of a modern request.
    async fn ask_modern(&self, turn: usize, method: &str, cursor: Option<&str>) -> Result<Bytes, GatewayError> {
        let meta = serde_json::json!({
            meta::PROTOCOL_VERSION: MODERN.as_str(),
            meta::CLIENT_CAPABILITIES: {},
            meta::CLIENT_INFO: client_info(),
        });
        let mut params = serde_json::json!({"_meta": meta});
        if let Some(cursor) = cursor {
            params["cursor"] = cursor.into();
        }
        let call = ModernCall {
            body: message::request(initialize::INITIALIZE_ID, method, Some(&params.to_string())),
            protocol_version: HeaderValue::from_static(MODERN.as_str()),
            method: encode_value(method),
            name: None,
            extra: Vec::new(),
            trace: None,
        };
        let endpoint = self.endpoint(turn)?;
        let answer = self.post(&endpoint, &call, call.body.clone().into(), &TIMEOUTS).await?;
        self.result(method, answer).await
    }

    /// The result object of an answer.
    async fn result(&self, method: &str, answer: Answer) -> Result<Bytes, GatewayError> {
        let limit = Duration::from_millis(TIMEOUTS.response_ms);
        let whole = initialize::whole(self.id(), method, answer, &Deaf, MAX_PAGE_BYTES);
        let message = timeout(limit, whole).await.map_err(|_elapsed| {
            let message = format!("backend {} did not finish its answer to {method} in time", self.id());
            GatewayError::new(Kind::ResponseTimeout, message)
        })??;
        let not_json_rpc = || self.bad("answers with something that is not JSON-RPC");
        let envelope = envelope::decode(&message).map_err(|_| not_json_rpc())?;
        if let Some(error) = envelope.error() {
            let words: String = error.get_str("message").unwrap_or_default().chars().take(MAX_PROBLEM).collect();
            return Err(self.bad(&format!("refuses {method}: {words}")));
        }
        let result = envelope.result().ok_or_else(not_json_rpc)?;
        Ok(message.slice(result.span()))
    }

    fn bad(&self, what: &str) -> GatewayError {
        super::failure::bad_answer(self.id(), what)
    }
}

/// How a server is asked.
enum Asker<'a> {
    /// At the endpoint whose turn this is.
    Modern(usize),
    Legacy(&'a Session),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<IgnoredAny>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// A session that only the gateway itself needs, and on which the server is not listened to.
enum Session {
    Streamable(Arc<Streamable>),
    HttpSse(Arc<HttpSse>),
}

impl Session {
    async fn open(endpoint: &Arc<EndpointClient>, over_sse: bool) -> Result<(Self, Initialized), GatewayError> {
        let params = serde_json::json!({
            "protocolVersion": Version::LATEST_LEGACY.as_str(), "capabilities": {}, "clientInfo": client_info(),
        });
        let request = initialize::request(params.to_string().as_bytes())?.into();
        if over_sse {
            let (session, initialized) = HttpSse::open(endpoint, request, Arc::new(Deaf), &TIMEOUTS).await?;
            Ok((Self::HttpSse(session), initialized))
        } else {
            let (session, initialized) = Streamable::open(endpoint, request, None, &Deaf, &TIMEOUTS).await?;
            Ok((Self::Streamable(session), initialized))
        }
    }

    async fn ask(&self, upstream: &Upstream, method: &str, cursor: Option<&str>) -> Result<Bytes, GatewayError> {
        let params = cursor.map(|cursor| serde_json::json!({"cursor": cursor}).to_string());
        let body = message::request("1", method, params.as_deref());
        let answer = match self {
            Self::Streamable(session) => session.call(body.into(), &TIMEOUTS).await?,
            Self::HttpSse(session) => session.call(body.into(), &TIMEOUTS).await?,
        };
        upstream.result(method, answer).await
    }

    async fn close(&self) {
        match self {
            Self::Streamable(session) => session.close().await,
            Self::HttpSse(session) => session.close(),
        }
    }
}

/// Nobody is there for what a server says unasked.
struct Deaf;

impl SessionSink for Deaf {
    fn deliver(&self, _: Bytes) {}
    fn lost(&self, _: GatewayError) {}
}

fn client_info() -> serde_json::Value {
    serde_json::json!({"name": "mcp-gateway", "version": env!("CARGO_PKG_VERSION")})
}

/// Whether what a server said to a modern request may be what one of the legacy era says. It was asked outside of a session and
/// for something it does not know: there are many ways to say so.
fn may_be_legacy(error: &GatewayError) -> bool {
    !matches!(
        error.kind,
        Kind::ConnectFailed | Kind::ConnectTimeout | Kind::AddressRefused | Kind::Unauthorized | Kind::NoBackend
    )
}

/// What is wrong with a backend, in one line, told apart by what somebody has to look at.
fn problem(error: &GatewayError) -> String {
    let what = match error.kind {
        Kind::BadAnswer => "this is no MCP server, or its path is another one: ",
        _ => "",
    };
    let line = format!("{what}{}", error.message.split_whitespace().collect::<Vec<_>>().join(" "));
    line.chars().take(MAX_PROBLEM).collect()
}
