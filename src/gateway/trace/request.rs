//! The span of a client's request.

use super::describe::describe;
use super::{Context, Ending, Link, SpanData, Tracer, begin, put, put_text};
use crate::gateway::mcp::envelope::Envelope;
use http::HeaderMap;
use opentelemetry::trace::{Link as SpanLink, SpanKind};
use sha2::{Digest as _, Sha256};
use std::net::SocketAddr;
use std::sync::Arc;

/// Where requests come from, as far as traces are about it. There is none without a tracer.
pub(crate) struct Origin {
    tracer: Arc<Tracer>,
    client: SocketAddr,
    /// The context of the HTTP request, which may carry several of MCP's.
    http: Option<Context>,
}

/// The session a request belongs to.
pub(crate) struct InSession<'a> {
    /// Its id, which is as good as a password and never leaves.
    pub(crate) id: &'a str,
    /// The agreed revision.
    pub(crate) version: &'a str,
}

/// A client's request being traced, be it recorded or not.
pub(crate) struct ServerSpan {
    link: Arc<Link>,
    /// Present when it is recorded.
    span: Option<Box<SpanData>>,
}

impl Origin {
    /// A connection's end and the headers of its request.
    pub(crate) fn new(tracer: &Arc<Tracer>, client: SocketAddr, headers: &HeaderMap) -> Self {
        Self { tracer: Arc::clone(tracer), client, http: Context::in_headers(headers) }
    }

    /// A request begins. Its parent is what its `_meta` names, or else what the HTTP request does.
    pub(crate) fn begin(&self, envelope: &Envelope<'_>, session: Option<&InSession<'_>>) -> ServerSpan {
        let own = Context::in_meta(envelope.meta().as_ref());
        let parent = own.as_ref().or(self.http.as_ref());
        let context = self.tracer.context(parent);
        let span = context.sampled.then(|| {
            let mut span = begin(&context, parent, true, SpanKind::Server);
            if let (Some(own), Some(http)) = (&own, &self.http)
                && own.span != http.span
            {
                span.links.links.push(SpanLink::with_context(http.for_export(true)));
            }
            self.describe(&mut span, envelope, session);
            span
        });
        ServerSpan { link: Arc::new(Link { tracer: Arc::clone(&self.tracer), context }), span }
    }

    fn describe(&self, span: &mut SpanData, envelope: &Envelope<'_>, session: Option<&InSession<'_>>) {
        describe(span, envelope);
        put(span, "network.transport", "tcp");
        put(span, "network.protocol.name", "http");
        put(span, "client.address", self.client.ip().to_canonical().to_string());
        put(span, "client.port", i64::from(self.client.port()));
        if let Some(InSession { id, version }) = session {
            put(span, "mcp.session.id", pseudonym(id));
            put_text(span, "mcp.protocol.version", version);
        }
    }
}

/// Tells sessions apart and opens none: 64 bits of a digest.
fn pseudonym(id: &str) -> String {
    let digest = Sha256::digest(id.as_bytes());
    digest.iter().take(8).fold(String::with_capacity(16), |text, byte| text + &format!("{byte:02x}"))
}

impl ServerSpan {
    /// What attempts hang on.
    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// It has become clear which revision the request is written in.
    pub(crate) fn speaks(&mut self, version: &str) {
        if let Some(span) = &mut self.span {
            put_text(span, "mcp.protocol.version", version);
        }
    }

    /// How an answer is, if anybody wants to know.
    pub(crate) fn look_at(&self, answer: &[u8]) -> Ending {
        if self.span.is_some() { Ending::of_answer(answer) } else { Ending::Ok }
    }

    /// The request ended, for this server of this route.
    pub(crate) fn end(self, ending: Ending, route: &str, server: &str) {
        let Some(mut span) = self.span else { return };
        put(&mut span, "mcp_gateway.route", route.to_owned());
        if !server.is_empty() {
            put(&mut span, "mcp_gateway.server", server.to_owned());
        }
        self.link.tracer.finish(*span, ending);
    }
}
