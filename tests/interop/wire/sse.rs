//! The HTTP+SSE transport of 2024-11-05, and the event streams of both HTTP transports.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    sync::{mpsc::UnboundedSender, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::{Message, PATIENCE};

pub(super) type HttpClient = Client<HttpConnector, Full<Bytes>>;

pub(super) fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build_http()
}

/// An event: its name (`message` by default) and its data.
pub(super) struct Event {
    pub(super) name: String,
    pub(super) data: String,
}

/// Reads the events of a response one by one.
pub(super) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    pub(super) fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next event that has data; none when the stream ends.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let (mut name, mut data) = ("message".to_owned(), Vec::new());
        while let Some(line) = self.line().await {
            if line.is_empty() {
                if !data.is_empty() && data != [""] {
                    return Some(Event { name, data: data.join("\n") });
                }
                (name, data) = ("message".to_owned(), Vec::new());
            } else if let Some(value) = field(&line, "data") {
                data.push(value.to_owned());
            } else if let Some(value) = field(&line, "event") {
                value.clone_into(&mut name);
            }
        }
        None
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8(line).expect("event streams are UTF-8");
                return Some(line.trim_end_matches(['\r', '\n']).to_owned());
            }
            // A stream that is cut ends like one that is closed: the request it belonged to then fails by its timeout.
            let frame = self.body.frame().await?.ok()?;
            if let Some(bytes) = frame.data_ref() {
                self.buffer.extend_from_slice(bytes);
            }
        }
    }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let value = line.strip_prefix(name)?.strip_prefix(':')?;
    Some(value.strip_prefix(' ').unwrap_or(value))
}

pub(super) struct SseLink {
    http: HttpClient,
    endpoint: String,
    reader: JoinHandle<()>,
}

impl SseLink {
    pub(super) async fn connect(url: &str, outbox: UnboundedSender<Message>) -> Self {
        let http = http_client();
        let request = Request::get(url).header("accept", "text/event-stream").body(Full::default()).unwrap();
        let response = http.request(request).await.expect("the event stream opens");
        assert_eq!(response.status(), StatusCode::OK, "GET {url}");
        let mut events = Events::new(response);
        let (found, endpoint) = oneshot::channel();
        let reader = tokio::spawn(async move {
            let mut found = Some(found);
            while let Some(event) = events.next().await {
                if event.name == "endpoint" {
                    if let Some(found) = found.take() {
                        let _ = found.send(event.data);
                    }
                } else if outbox.send(Message(event.data)).is_err() {
                    return;
                }
            }
        });
        let endpoint =
            timeout(PATIENCE, endpoint).await.expect("the endpoint is named").expect("the endpoint is named");
        let endpoint = url::Url::parse(url).unwrap().join(&endpoint).expect("the endpoint is a URL").to_string();
        Self { http, endpoint, reader }
    }

    pub(super) async fn send(&mut self, message: &Value) {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.endpoint)
            .header("content-type", "application/json")
            .body(Full::from(message.to_string()))
            .unwrap();
        let response = self.http.request(request).await.expect("the message is accepted");
        assert!(response.status().is_success(), "POST {}: {}", self.endpoint, response.status());
    }

    pub(super) fn close(self) {
        self.reader.abort();
    }
}
