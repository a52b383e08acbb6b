//! What can go wrong with a request, and what the client is told.
//!
//! Every error answers four questions: whose side, what kind, may the request be repeated, and which JSON-RPC and HTTP
//! codes does the client see. `docs/errors.md` lists them.

use std::borrow::Cow;

/// Whose doing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client sent something wrong.
    Client,
    /// The gateway itself refuses or cannot.
    Gateway,
    /// An MCP server behind the gateway failed.
    Upstream,
}

/// Whether the same request may be sent again, to another endpoint or the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// Nothing reached an upstream.
    Safe,
    /// Something was sent: only a call that is safe to repeat may go again.
    IfIdempotent,
    /// It would fail the same way.
    Never,
}

/// Stable words for metrics, logs and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each says what it is; `table` below says what follows from it
pub enum Kind {
    // client
    ParseError,
    InvalidRequest,
    InvalidParams,
    MethodNotFound,
    UnsupportedVersion,
    HeaderMismatch,
    MissingCapability,
    BodyTooLarge,
    ReadTimeout,
    UnsupportedMediaType,
    NotAcceptable,
    HttpMethodNotAllowed,
    HostRefused,
    OriginRefused,
    SessionRequired,
    SessionNotFound,
    StreamConflict,
    Cancelled,
    // gateway
    RouteNotFound,
    RouteUnavailable,
    ToolNotFound,
    PromptNotFound,
    ResourceNotFound,
    TaskNotFound,
    TooManySessions,
    TooManyStreams,
    Draining,
    ReplicaUnavailable,
    ReplicaLost,
    EraUnavailable,
    Internal,
    // upstream
    ConnectFailed,
    ConnectTimeout,
    AddressRefused,
    RequestTimeout,
    ResponseTimeout,
    ConnectionReset,
    BadAnswer,
    AnswerTooLarge,
    HttpStatus,
    Unauthorized,
    SessionLost,
    ProcessFailed,
    NoBackend,
}

/// JSON-RPC code for the gateway's and the upstreams' failures: implementation-defined, and outside the range that
/// 2026-07-28 reserves for the specification (-32020 to -32099).
pub const GATEWAY_ERROR: i32 = -32010;
/// JSON-RPC code when a server cannot be reached or failed before it answered.
pub const UPSTREAM_ERROR: i32 = -32011;
/// JSON-RPC code when a server did not answer in time.
pub const UPSTREAM_TIMEOUT: i32 = -32012;

/// A request's typed end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct GatewayError {
    /// What happened.
    pub kind: Kind,
    /// For the client: lowercase, without secrets, and with what to do where that is known.
    pub message: Cow<'static, str>,
    /// JSON for the error's `data`, already serialised.
    pub data: Option<Box<str>>,
    /// Overrides the kind's own answer, when more is known about what was sent.
    pub retry: Retry,
}

struct Answer {
    side: Side,
    retry: Retry,
    rpc: i32,
    http: u16,
    word: &'static str,
}

impl Kind {
    #[rustfmt::skip] // a table reads best as one
    #[allow(clippy::use_self)] // the short name keeps the rows readable
    fn answer(self) -> Answer {
        use Kind as K;
        use Retry::{IfIdempotent, Never, Safe};
        use Side::{Client, Gateway, Upstream};
        let (side, retry, rpc, http, word) = match self {
            K::ParseError           => (Client, Never, -32700, 400, "parse_error"),
            K::InvalidRequest       => (Client, Never, -32600, 400, "invalid_request"),
            K::InvalidParams        => (Client, Never, -32602, 400, "invalid_params"),
            K::MethodNotFound       => (Client, Never, -32601, 404, "method_not_found"),
            K::UnsupportedVersion   => (Client, Never, -32022, 400, "unsupported_version"),
            K::HeaderMismatch       => (Client, Never, -32020, 400, "header_mismatch"),
            K::MissingCapability    => (Client, Never, -32021, 400, "missing_capability"),
            K::BodyTooLarge         => (Client, Never, -32600, 413, "body_too_large"),
            K::ReadTimeout          => (Client, Never, -32600, 408, "read_timeout"),
            K::UnsupportedMediaType => (Client, Never, -32600, 415, "unsupported_media_type"),
            K::NotAcceptable        => (Client, Never, -32600, 406, "not_acceptable"),
            K::HttpMethodNotAllowed => (Client, Never, -32600, 405, "http_method_not_allowed"),
            K::HostRefused          => (Client, Never, -32600, 403, "host_refused"),
            K::OriginRefused        => (Client, Never, -32600, 403, "origin_refused"),
            K::SessionRequired      => (Client, Never, -32600, 400, "session_required"),
            K::SessionNotFound      => (Client, Never, -32600, 404, "session_not_found"),
            K::StreamConflict       => (Client, Never, -32600, 409, "stream_conflict"),
            K::Cancelled            => (Client, Never, -32600, 200, "cancelled"),
            K::RouteNotFound        => (Gateway, Never, -32600, 404, "route_not_found"),
            K::RouteUnavailable     => (Gateway, Safe, GATEWAY_ERROR, 503, "route_unavailable"),
            K::ToolNotFound         => (Gateway, Never, -32602, 200, "tool_not_found"),
            K::PromptNotFound       => (Gateway, Never, -32602, 200, "prompt_not_found"),
            K::ResourceNotFound     => (Gateway, Never, -32002, 200, "resource_not_found"),
            K::TaskNotFound         => (Gateway, Never, -32602, 200, "task_not_found"),
            K::TooManySessions      => (Gateway, Safe, GATEWAY_ERROR, 503, "too_many_sessions"),
            K::TooManyStreams       => (Gateway, Safe, GATEWAY_ERROR, 429, "too_many_streams"),
            K::Draining             => (Gateway, Safe, GATEWAY_ERROR, 503, "draining"),
            K::ReplicaUnavailable   => (Gateway, Safe, GATEWAY_ERROR, 503, "replica_unavailable"),
            K::ReplicaLost          => (Gateway, IfIdempotent, GATEWAY_ERROR, 200, "replica_lost"),
            K::EraUnavailable       => (Gateway, Never, GATEWAY_ERROR, 200, "era_unavailable"),
            K::Internal             => (Gateway, IfIdempotent, -32603, 500, "internal"),
            K::ConnectFailed        => (Upstream, Safe, UPSTREAM_ERROR, 200, "connect_failed"),
            K::ConnectTimeout       => (Upstream, Safe, UPSTREAM_TIMEOUT, 200, "connect_timeout"),
            K::AddressRefused       => (Upstream, Never, UPSTREAM_ERROR, 200, "address_refused"),
            K::RequestTimeout       => (Upstream, IfIdempotent, UPSTREAM_TIMEOUT, 200, "request_timeout"),
            K::ResponseTimeout      => (Upstream, IfIdempotent, UPSTREAM_TIMEOUT, 200, "response_timeout"),
            K::ConnectionReset      => (Upstream, IfIdempotent, UPSTREAM_ERROR, 200, "connection_reset"),
            K::BadAnswer            => (Upstream, IfIdempotent, UPSTREAM_ERROR, 200, "bad_answer"),
            K::AnswerTooLarge       => (Upstream, Never, UPSTREAM_ERROR, 200, "answer_too_large"),
            K::HttpStatus           => (Upstream, IfIdempotent, UPSTREAM_ERROR, 200, "http_status"),
            K::Unauthorized         => (Upstream, Never, UPSTREAM_ERROR, 200, "unauthorized"),
            K::SessionLost          => (Upstream, Safe, UPSTREAM_ERROR, 200, "session_lost"),
            K::ProcessFailed        => (Upstream, IfIdempotent, UPSTREAM_ERROR, 200, "process_failed"),
            K::NoBackend            => (Upstream, Safe, UPSTREAM_ERROR, 200, "no_backend"),
        };
        Answer { side, retry, rpc, http, word }
    }

    /// The kind as a stable word, for labels and logs.
    pub fn word(self) -> &'static str {
        self.answer().word
    }

    /// Whose doing it is.
    pub fn side(self) -> Side {
        self.answer().side
    }

    /// The JSON-RPC error code.
    pub fn rpc_code(self) -> i32 {
        self.answer().rpc
    }
}

impl GatewayError {
    /// An error of a kind, with the message the client reads.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), data: None, retry: kind.answer().retry }
    }

    /// Adds the JSON text of the error's `data`.
    #[must_use]
    pub fn with_data(mut self, json: impl Into<Box<str>>) -> Self {
        self.data = Some(json.into());
        self
    }

    /// Says otherwise than the kind whether a repetition is safe.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The JSON-RPC error code.
    pub fn rpc_code(&self) -> i32 {
        self.kind.rpc_code()
    }

    /// The HTTP status of the answer that carries it.
    pub fn http_status(&self) -> u16 {
        self.kind.answer().http
    }
}
