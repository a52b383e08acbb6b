//! One endpoint of a backend: its pool, and the parts of a request that never change, built once.

use super::super::error::{GatewayError, Kind};
use super::super::trace::Traced;
use super::body::Body;
use super::pool::{Answering, Pool, Use};
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::{Endpoint, HeaderAuth, Timeouts};
use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use url::Url;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const JSON_OR_EVENTS: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("mcp-gateway/", env!("CARGO_PKG_VERSION")));

/// Where requests of one kind go, and the headers they all have.
#[derive(Clone)]
pub(super) struct Template {
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl Template {
    pub(super) fn request(&self, method: Method, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().clone_from(&self.headers);
        request
    }

    /// The request that brings a message.
    pub(super) fn post(&self, message: &Traced) -> Request<Full<Bytes>> {
        let mut request = self.request(Method::POST, message.body.clone());
        message.add_to(request.headers_mut());
        request
    }
}

/// One endpoint of a backend.
pub(super) struct EndpointClient {
    pub(super) pool: Arc<Pool>,
    /// For messages to the server.
    pub(super) post: Template,
    /// For event streams from the server.
    pub(super) get: Template,
    /// The address that was configured, as a URL.
    pub(super) base: Url,
    /// For one of the servers behind a name: the name.
    named: Option<Endpoint>,
    /// The servers behind this name that sessions are with.
    settled: Mutex<HashMap<SocketAddr, Weak<Self>>>,
}

impl EndpointClient {
    /// Prepares requests to `uri` with this `Host`.
    pub(super) fn new(pool: Arc<Pool>, base: Url, uri: &Uri, host: &HeaderValue, auth: Option<&AuthHeader>) -> Self {
        let template = |accept: HeaderValue| {
            let mut headers = HeaderMap::with_capacity(12);
            headers.insert(HOST, host.clone());
            headers.insert(USER_AGENT, AGENT);
            headers.insert(ACCEPT, accept);
            if let Some(AuthHeader { name, value }) = auth {
                headers.insert(name.clone(), value.clone());
            }
            Template { uri: uri.clone(), headers }
        };
        let mut post = template(JSON_OR_EVENTS);
        post.headers.insert(CONTENT_TYPE, JSON);
        Self { pool, post, get: template(EVENTS), base, named: None, settled: Mutex::default() }
    }

    pub(super) fn backend(&self) -> &ObjectId {
        &self.pool.backend
    }

    /// Where it is; `None` for a process of this one's.
    pub(super) fn address(&self) -> Option<&Endpoint> {
        self.pool.address()
    }

    /// Whether this is what is reached at this address or name.
    pub(super) fn is_at(&self, address: Option<&Endpoint>) -> bool {
        address.is_some() && (self.address() == address || self.named.as_ref() == address)
    }

    /// Whether this is one of the servers behind a name, and the others may do in its place.
    pub(super) fn is_one_of_several(&self) -> bool {
        self.named.is_some()
    }

    /// The server that gave this answer: a session is with that one, and the others behind the same name do not know it.
    pub(super) fn settle(self: &Arc<Self>, answer: &Parts) -> Arc<Self> {
        let answering = answer.extensions.get::<Answering>();
        answering.and_then(|Answering(server)| self.at(*server)).unwrap_or_else(|| Arc::clone(self))
    }

    /// One of the servers behind this name; `None` where this is no name.
    pub(super) fn at(self: &Arc<Self>, server: SocketAddr) -> Option<Arc<Self>> {
        if !self.pool.is_by_name() {
            return None;
        }
        let mut settled = self.settled.lock();
        if let Some(known) = settled.get(&server).and_then(Weak::upgrade) {
            return Some(known);
        }
        settled.retain(|_, known| known.strong_count() > 0);
        let one = Arc::new(Self {
            pool: self.pool.at(server)?,
            post: self.post.clone(),
            get: self.get.clone(),
            base: self.base.clone(),
            named: self.address().cloned(),
            settled: Mutex::default(),
        });
        settled.insert(server, Arc::downgrade(&one));
        Some(one)
    }

    pub(super) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        timeouts: &Timeouts,
        purpose: Use,
    ) -> Result<(Parts, Body), GatewayError> {
        self.pool.exchange(request, timeouts, purpose).await
    }
}

/// The header that authenticates the gateway to a backend. Its value does not print.
pub(super) struct AuthHeader {
    name: HeaderName,
    value: HeaderValue,
}

impl AuthHeader {
    /// Reads the value of `auth` from the credentials.
    pub(super) fn new(id: &ObjectId, auth: &HeaderAuth, credentials: &Credentials) -> Result<Self, GatewayError> {
        let invalid = |what: String| GatewayError::new(Kind::Internal, format!("backend {id}: {what}"));
        let name = HeaderName::from_bytes(auth.header.as_bytes())
            .ok()
            // These frame the message: another value would let the secret's owner smuggle requests.
            .filter(|name| ![HOST, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name))
            .ok_or_else(|| invalid(format!("{:?} cannot be used as a header", auth.header)))?;
        let secret =
            credentials.get(&auth.value).ok_or_else(|| invalid(format!("the secret {} is missing", auth.value)))?;
        let mut text = auth.prefix.clone().unwrap_or_default().into_bytes();
        // A file put into a Secret usually ends with a newline that is not part of the token.
        text.extend_from_slice(secret.expose().trim_ascii_end());
        let mut value = HeaderValue::from_bytes(&text)
            .map_err(|_| invalid(format!("the secret {} holds bytes a header cannot have", auth.value)))?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}
