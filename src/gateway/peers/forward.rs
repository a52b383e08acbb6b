//! Sending a client's request on to the replica that answers it, and the answer back as it comes.

use super::protocol::{CLIENT, FORWARD, HOPS, INTENT, Intent, Owner, PREFIX, ROUTE};
use super::{Peers, Sent, boot_header, lost};
use crate::gateway::downstream::body::{KEEP_ALIVE, ResponseBody};
use crate::gateway::downstream::service::Inbound;
use crate::gateway::error::GatewayError;
use crate::gateway::mcp::{message, sse_write};
use crate::gateway::upstream::JsonBody;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// What belongs to one connection and not to the message.
const HOP_BY_HOP: [HeaderName; 10] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What an owner may need for the head of an answer beyond the route's own timeouts: the first handshake of a stdio server.
const PATIENCE: Duration = Duration::from_secs(150);

/// Three comments of a stream that did not come: whoever sends them is gone.
const SILENCE: Duration = KEEP_ALIVE.saturating_mul(3);

/// A client's request that may have to be answered elsewhere.
pub(crate) struct Parcel<'a> {
    pub(crate) inbound: &'a Inbound<'a>,
    /// The whole body; empty for GET and DELETE.
    pub(crate) body: &'a Bytes,
    /// The request's id, as JSON text, if it is a JSON-RPC request.
    pub(crate) id: Option<&'a str>,
    /// Whether it does no harm to send it again when nobody knows how far it came the first time.
    pub(crate) repeatable: bool,
}

impl<'a> Parcel<'a> {
    /// A request without a body: a stream to be opened, a session to be ended.
    pub(crate) fn without_body(inbound: &'a Inbound<'a>) -> Self {
        static NOTHING: Bytes = Bytes::new();
        Self { inbound, body: &NOTHING, id: None, repeatable: true }
    }

    fn request(&self, intent: Intent, owner: Option<&Owner>) -> Option<Request<Full<Bytes>>> {
        let Inbound { parts, route, client, hop, .. } = self.inbound;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let hops = hop.map_or(0, |hop| hop.count) + 1;
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = format!("{FORWARD}{path}").parse().ok()?;
        let headers = request.headers_mut();
        headers.clone_from(&parts.headers);
        strip(headers);
        headers.insert(ROUTE, HeaderValue::from_str(&route.id().to_string()).ok()?);
        headers.insert(CLIENT, HeaderValue::from_str(&client.to_string()).ok()?);
        headers.insert(INTENT, HeaderValue::from_static(intent.word()));
        headers.insert(HOPS, HeaderValue::from(u16::from(hops)));
        headers.extend(owner.and_then(boot_header).map(|(name, value)| (Some(name), value)));
        Some(request)
    }
}

impl Peers {
    /// Sends a client's request on to a replica.
    pub(super) async fn forward(
        &self,
        to: SocketAddr,
        intent: Intent,
        owner: Option<&Owner>,
        parcel: &Parcel<'_>,
    ) -> Sent {
        let Some(request) = parcel.request(intent, owner) else { return Sent::Unavailable(super::unavailable()) };
        let limit = parcel.inbound.route.response_timeout() * 2 + PATIENCE;
        let stands = parcel.inbound.parts.method == Method::GET;
        let sent = self.send(to, request, limit, stands).await;
        self.count_sent(&sent);
        sent
    }
}

/// Makes a replica's answer to the request `id` the client's.
pub(super) fn forwarded(head: Parts, body: JsonBody, id: Option<&str>) -> Response<ResponseBody> {
    let events = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let body = ForwardedBody { body, id: id.map(str::to_owned), events, silence: None, spoke: false, ended: false };
    let mut response = Response::new(ResponseBody::Forwarded(Box::new(body)));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    strip(response.headers_mut());
    response
}

/// Removes what is between two neighbours only.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in HOP_BY_HOP.iter().chain(&named) {
        headers.remove(name);
    }
    strip_internal(headers);
}

/// Removes what only replicas may say.
pub(super) fn strip_internal(headers: &mut HeaderMap) {
    let internal: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in internal {
        headers.remove(name);
    }
}

/// Another replica's answer as it comes. A stream that breaks off ends, so that its client opens it again; a call's stream ends
/// with an error in the place of the answer.
pub(crate) struct ForwardedBody {
    body: JsonBody,
    /// The request that is answered, if it is one.
    id: Option<String>,
    events: bool,
    /// Runs while a stream is silent.
    silence: Option<Pin<Box<Sleep>>>,
    spoke: bool,
    ended: bool,
}

impl ForwardedBody {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, GatewayError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if self.events && self.is_dead(context) => Poll::Ready(self.broken()),
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Err(_))) if self.events => Poll::Ready(self.broken()),
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(lost()))),
            Poll::Ready(frame) => {
                self.spoke = true;
                Poll::Ready(frame)
            }
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.events { SizeHint::default() } else { self.body.size_hint() }
    }

    /// Whether the stream has been silent for longer than it can be.
    fn is_dead(&mut self, context: &mut Context<'_>) -> bool {
        let silence = self.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(SILENCE)));
        while silence.as_mut().poll(context).is_ready() {
            if !std::mem::take(&mut self.spoke) {
                return true;
            }
            silence.as_mut().reset(Instant::now() + SILENCE);
        }
        false
    }

    fn broken(&mut self) -> Option<Result<Frame<Bytes>, GatewayError>> {
        self.ended = true;
        let id = self.id.as_deref()?;
        // The blank line ends an event that came in part.
        let event = sse_write::event(None, Some("message"), &message::error(Some(id), &lost()));
        let mut frame = BytesMut::with_capacity(event.len() + 2);
        frame.put_slice(b"\n\n");
        frame.put_slice(&event);
        Some(Ok(Frame::data(frame.freeze())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_neighbours_does_not_travel() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, x-private"),
            ("x-private", "1"),
            ("content-length", "3"),
            ("mcp-peer-token", "forged"),
            ("mcp-session-id", "kept"),
            ("authorization", "kept"),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "mcp-session-id"]);
    }
}
