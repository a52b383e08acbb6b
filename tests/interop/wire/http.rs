//! Streamable HTTP, of both eras.

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::{sync::mpsc::UnboundedSender, task::JoinSet};

use super::{
    Era, LEGACY, MODERN, Message,
    sse::{Events, HttpClient, http_client},
};

pub(super) struct HttpLink {
    http: HttpClient,
    url: String,
    era: Era,
    session: Option<String>,
    outbox: UnboundedSender<Message>,
    /// The responses that are still being read.
    readers: JoinSet<()>,
}

impl HttpLink {
    pub(super) fn new(url: &str, era: Era, outbox: UnboundedSender<Message>) -> Self {
        Self { http: http_client(), url: url.to_owned(), era, session: None, outbox, readers: JoinSet::new() }
    }

    /// Posts a message. The answer is read in the background: servers ask questions before they answer.
    pub(super) async fn send(&mut self, message: &Value, headers: &[(&str, &str)]) {
        let mut request = self
            .request(Method::POST)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if self.era == Era::Modern {
            let params = &message["params"];
            request = request.header("mcp-method", message["method"].as_str().unwrap_or_default());
            if let Some(name) = ["name", "uri", "taskId"].iter().find_map(|key| params[key].as_str()) {
                request = request.header("mcp-name", name);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(message.to_string())).unwrap();
        let response = self.http.request(request).await.expect("the server answers the POST");
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = Some(session.to_str().unwrap().to_owned());
        }
        self.readers.spawn(read(response, self.outbox.clone()));
    }

    /// Opens the stream on which a legacy server sends what belongs to no request.
    pub(super) async fn listen(&mut self) {
        let request = self.request(Method::GET).header("accept", "text/event-stream").body(Full::default()).unwrap();
        let response = self.http.request(request).await.expect("the server answers the GET");
        assert_eq!(response.status(), StatusCode::OK, "GET {}", self.url);
        self.readers.spawn(read(response, self.outbox.clone()));
    }

    pub(super) async fn close(mut self) {
        if self.session.is_some() {
            let request = self.request(Method::DELETE).body(Full::default()).unwrap();
            let response = self.http.request(request).await.expect("the server answers the DELETE");
            assert!(response.status().is_success(), "DELETE {}: {}", self.url, response.status());
        }
        self.readers.shutdown().await;
    }

    fn request(&self, method: Method) -> hyper::http::request::Builder {
        let mut request = Request::builder().method(method).uri(&self.url);
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        match self.era {
            Era::Modern => request.header("mcp-protocol-version", MODERN),
            Era::Legacy if self.session.is_some() => request.header("mcp-protocol-version", LEGACY),
            Era::Legacy => request,
        }
    }
}

/// Passes every message of a response on.
async fn read(response: Response<Incoming>, outbox: UnboundedSender<Message>) {
    let status = response.status();
    let media_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if media_type.starts_with("text/event-stream") {
        let mut events = Events::new(response);
        while let Some(event) = events.next().await {
            if outbox.send(Message(event.data)).is_err() {
                return;
            }
        }
        return;
    }
    let is_json = media_type.starts_with("application/json");
    let Ok(body) = response.into_body().collect().await else { return };
    let body = String::from_utf8(body.to_bytes().into()).expect("bodies are UTF-8");
    if is_json && !body.is_empty() {
        let _ = outbox.send(Message(body));
    } else {
        assert!(status.is_success(), "{status}: {body}");
    }
}
