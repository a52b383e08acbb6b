//! The span of one attempt at a server.

use super::carry::Traced;
use super::describe::describe;
use super::{Ending, Link, SpanData, begin, put, put_text};
use crate::gateway::HOLD_BYTES;
use crate::gateway::mcp::envelope::{self, Kind};
use crate::gateway::mcp::version::Era;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Endpoint;
use bytes::Bytes;
use opentelemetry::trace::SpanKind;
use std::sync::Arc;

/// A request on its way to a server.
pub(crate) struct Outbound<'a> {
    pub(crate) backend: &'a ObjectId,
    /// Where the server is; `None` for a process of the gateway's own.
    pub(crate) address: Option<&'a Endpoint>,
    pub(crate) era: Era,
    /// The revision that is spoken, where that is agreed already.
    pub(crate) version: Option<&'a str>,
    /// Which attempt this is, from 1 on.
    pub(crate) number: u32,
}

/// An attempt that is recorded.
pub(crate) struct ClientSpan {
    link: Arc<Link>,
    span: Box<SpanData>,
    /// The answer, while it may still be looked at as a whole.
    answer: Answer,
}

enum Answer {
    Pieces { pieces: Vec<Bytes>, bytes: usize },
    TooLarge,
}

impl Link {
    /// An attempt begins: its span, if it is recorded, and the request with its place in the trace.
    pub(crate) fn attempt(self: &Arc<Self>, body: Bytes, outbound: &Outbound<'_>) -> (Option<Box<ClientSpan>>, Traced) {
        // The gateway wrote or checked it; what is no request after all goes as it is.
        let Some(envelope) = envelope::decode(&body).ok().filter(|envelope| envelope.kind() == Kind::Request) else {
            return (None, body.into());
        };
        let context = self.tracer.context(Some(&self.context));
        let span = context.sampled.then(|| {
            let mut span = begin(&context, Some(&self.context), false, SpanKind::Client);
            describe(&mut span, &envelope);
            outbound.describe(&mut span);
            let answer = Answer::Pieces { pieces: Vec::with_capacity(1), bytes: 0 };
            Box::new(ClientSpan { link: Arc::clone(self), span, answer })
        });
        let traced = Traced::new(&context, &body, &envelope);
        (span, traced)
    }
}

impl Outbound<'_> {
    fn describe(&self, span: &mut SpanData) {
        put(span, "mcp_gateway.backend", self.backend.to_string());
        put(span, "mcp_gateway.attempt", i64::from(self.number));
        put(
            span,
            "mcp_gateway.era",
            match self.era {
                Era::Legacy => "legacy",
                Era::Modern => "modern",
            },
        );
        if let Some(version) = self.version {
            put_text(span, "mcp.protocol.version", version);
        }
        let Some(Endpoint { host, port }) = self.address else {
            put(span, "network.transport", "pipe");
            return;
        };
        put(span, "network.transport", "tcp");
        put(span, "network.protocol.name", "http");
        put_text(span, "server.address", host);
        put(span, "server.port", i64::from(*port));
    }
}

impl ClientSpan {
    /// A piece of the answer came. Kept until its end, as far as a whole answer would be held anyway.
    pub(crate) fn saw(&mut self, piece: &Bytes) {
        if let Answer::Pieces { pieces, bytes } = &mut self.answer {
            *bytes += piece.len();
            if *bytes <= HOLD_BYTES {
                pieces.push(piece.clone());
            } else {
                self.answer = Answer::TooLarge;
            }
        }
    }

    /// The answer ended.
    pub(crate) fn answered(self) {
        let ending = match &self.answer {
            Answer::Pieces { pieces, .. } => match pieces.as_slice() {
                [] => Ending::Ok,
                [whole] => Ending::of_answer(whole),
                pieces => Ending::of_answer(&pieces.concat()),
            },
            Answer::TooLarge => Ending::Ok,
        };
        self.end(ending);
    }

    /// The attempt ended in another way.
    pub(crate) fn end(self, ending: Ending) {
        self.link.tracer.finish(*self.span, ending);
    }
}
