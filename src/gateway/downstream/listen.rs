//! `subscriptions/listen`: one stream to the client, fed by one stream from each server that has something to say.
//!
//! The servers' streams carry the client's own request id, so that every notification already has the subscription id that the
//! client knows. A server's stream that breaks is opened again, and what may have been missed is announced.

use super::body::{LogBody, ResponseBody};
use super::respond;
use super::service::Inbound;
use crate::gateway::adapter::modern::{AnswerEdits, ModernRequest};
use crate::gateway::adapter::owner;
use crate::gateway::catalog::{Catalog, ListKind, ModernClient};
use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::mcp::envelope::{self, Kind as MessageKind};
use crate::gateway::mcp::message;
use crate::gateway::mcp::meta::SUBSCRIPTION_ID;
use crate::gateway::mcp::splice::Edits;
use crate::gateway::session::log::EventLog;
use crate::gateway::state::{RouteState, edited};
use crate::gateway::upstream::{Answer, Event, EventStream, ModernCall};
use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Waits before a broken stream is opened again: doubled from the first to the last.
const RECONNECT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Resources and tasks that one stream may name.
const MAX_NAMES: usize = 1024;

/// One server's part of a subscription.
struct Part {
    server: usize,
    call: ModernCall,
    edits: AnswerEdits,
    /// The kinds of lists whose changes the client wants to hear of.
    lists: Vec<ListKind>,
}

/// What all parts share.
struct Subscription {
    route: Arc<RouteState>,
    catalog: Arc<Catalog>,
    client: ModernClient,
    log: Arc<EventLog>,
    /// The client's request id, as JSON text: the subscription's id.
    id: String,
}

/// Opens the stream: first what was accepted, then what happens.
pub(crate) async fn open(
    inbound: &Inbound<'_>,
    request: &ModernRequest<'_>,
) -> Result<Response<ResponseBody>, GatewayError> {
    let filter = filter(request)?;
    let catalog = request.catalog().await;
    let parts = parts(request, &catalog, &filter)?;
    let opening: Vec<_> = parts.iter().map(|part| connect(inbound.route, part)).collect();
    let opened = join_all(opening).await;

    let accepted = opened.iter().flatten().map(|(_, accepted)| accepted);
    let log = EventLog::anonymous();
    log.offer(&acknowledgement(request.id, &merge(accepted)));

    let closed = CancellationToken::new();
    let subscription = Arc::new(Subscription {
        route: Arc::clone(inbound.route),
        catalog,
        client: request.client(),
        log: Arc::clone(&log),
        id: request.id.to_owned(),
    });
    for (part, opened) in parts.into_iter().zip(opened) {
        let (subscription, closed) = (Arc::clone(&subscription), closed.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = subscription.follow(part, opened.map(|(stream, _)| stream)) => {}
            }
        });
    }
    tokio::spawn(end_with_gateway(Arc::clone(&subscription), inbound.gateway.closing(), closed.clone()));
    let body = LogBody::new(None, log.read(), inbound.gateway.metrics.open_stream()).with_guard(closed.drop_guard());
    Ok(respond::events(ResponseBody::Log(body)))
}

/// When the gateway leaves, the subscription ends as the specification wants: with its result.
async fn end_with_gateway(subscription: Arc<Subscription>, closing: CancellationToken, closed: CancellationToken) {
    tokio::select! {
        () = closed.cancelled() => {}
        () = closing.cancelled() => {
            let id = &subscription.id;
            let result = format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#);
            subscription.log.offer(&message::result(id, &result));
            subscription.log.finish();
        }
    }
}

impl Subscription {
    /// Passes one server's notifications on for as long as the client listens.
    async fn follow(&self, part: Part, mut stream: Option<EventStream>) {
        let (mut wait, longest) = RECONNECT;
        // A server that refused the first time does not listen; one that was lost later is asked again.
        while let Some(mut open) = stream.take() {
            while let Some(Ok(event)) = open.next().await {
                if let Event::Message(message) = event
                    && !self.pass(&part, message).await
                {
                    break;
                }
            }
            drop(open);
            loop {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(longest);
                if let Some((reopened, _)) = connect(&self.route, &part).await {
                    wait = RECONNECT.0;
                    self.announce(&part).await;
                    stream = Some(reopened);
                    break;
                }
            }
        }
    }

    /// Passes one message on; false when it ends the stream.
    async fn pass(&self, part: &Part, message: Bytes) -> bool {
        let Ok(envelope) = envelope::decode(&message) else { return true };
        match envelope.kind() {
            MessageKind::Response { .. } => return false,
            MessageKind::Request => return true,
            MessageKind::Notification => {}
        }
        if envelope.method() == "notifications/subscriptions/acknowledged" {
            return true;
        }
        if let Some(kind) = ListKind::of_notification(envelope.method()) {
            self.catalog.refresh_modern(&self.route, part.server, kind, &self.client).await;
        }
        match part.edits.apply(&message, &envelope) {
            Ok(message) => self.log.write(&message).await,
            Err(error) => tracing::warn!(%error, "a notification could not be passed on"),
        }
        true
    }

    /// Says that lists may have changed while nobody was listening.
    async fn announce(&self, part: &Part) {
        for &kind in &part.lists {
            self.catalog.refresh_modern(&self.route, part.server, kind, &self.client).await;
            let params = format!(r#"{{"_meta":{{"{SUBSCRIPTION_ID}":{}}}}}"#, self.id);
            self.log.write(&message::notification(kind.changed_notification(), Some(&params))).await;
        }
    }
}

/// Opens one server's stream; its first message says what it accepts.
async fn connect(route: &RouteState, part: &Part) -> Option<(EventStream, Map<String, Value>)> {
    let server = route.servers.get(part.server)?;
    let (_, answer) = server.group.call(&part.call, &route.timeouts).await.ok()?;
    let Answer::Events(mut stream) = answer else { return None };
    let first =
        tokio::time::timeout(Duration::from_millis(route.timeouts.request_ms), stream.next()).await.ok()??.ok()?;
    let Event::Message(first) = first else { return None };
    let first: Value = serde_json::from_slice(&first).ok()?;
    let mut accepted = first.get("params")?.get("notifications")?.as_object()?.clone();
    if let Some(Value::Array(tasks)) = accepted.get_mut("taskIds") {
        for task in tasks {
            *task = json!(part.edits.task_id(task.as_str().unwrap_or_default()));
        }
    }
    Some((stream, accepted))
}

fn filter(request: &ModernRequest<'_>) -> Result<Map<String, Value>, GatewayError> {
    let params = request.envelope.params();
    let filter = params.as_ref().and_then(|params| params.get_object("notifications"));
    filter
        .and_then(|filter| serde_json::from_str::<Map<String, Value>>(filter.text()).ok())
        .ok_or_else(|| GatewayError::new(Kind::InvalidParams, "params.notifications must be an object"))
}

/// Divides a filter among the servers that can have something to say to it.
fn parts(
    request: &ModernRequest<'_>,
    catalog: &Catalog,
    filter: &Map<String, Value>,
) -> Result<Vec<Part>, GatewayError> {
    let view = catalog.view();
    let names = |key: &str| {
        filter.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).take(MAX_NAMES)
    };
    let mut parts = Vec::new();
    for (index, server) in request.route.servers.iter().enumerate() {
        let mut own = Map::new();
        let mut lists = Vec::new();
        for (key, value) in filter {
            let mine: Vec<&str> = match key.as_str() {
                "resourceSubscriptions" => {
                    names(key).filter(|uri| view.servers_for_uri(uri).first() == Some(&index)).collect()
                }
                "taskIds" => names(key)
                    .filter_map(|id| owner::of_task(request.route, id))
                    .filter_map(|(owner, _, task)| (owner == index).then_some(task))
                    .collect(),
                _ => {
                    own.insert(key.clone(), value.clone());
                    lists.extend(ListKind::of_filter(key).filter(|_| *value == Value::Bool(true)));
                    continue;
                }
            };
            if !mine.is_empty() {
                own.insert(key.clone(), json!(mine));
            }
        }
        if own.is_empty() && !filter.is_empty() {
            continue;
        }
        let body = body(request, &Value::Object(own))?;
        // Of a stream without an end there is no span: it would be told of when it is over.
        let call = ModernCall { trace: None, ..request.call(body, None) };
        parts.push(Part { server: index, call, edits: AnswerEdits::of_tasks(request.route, server), lists });
    }
    Ok(parts)
}

fn body(request: &ModernRequest<'_>, filter: &Value) -> Result<Bytes, GatewayError> {
    let params = request.envelope.params();
    let mut edits = Edits::new();
    if let Some(value) = params.as_ref().and_then(|params| params.get("notifications")) {
        edits.replace(value.span(), filter.to_string());
    }
    edited(edits, request.body)
}

/// What all servers together accept.
fn merge<'a>(accepted: impl Iterator<Item = &'a Map<String, Value>>) -> Map<String, Value> {
    let mut merged = Map::new();
    for part in accepted {
        for (key, value) in part {
            match (merged.get_mut(key), value) {
                (Some(Value::Array(all)), Value::Array(more)) => all.extend(more.iter().cloned()),
                (Some(Value::Bool(any)), Value::Bool(one)) => *any |= one,
                (Some(_), _) => {}
                (None, value) => {
                    merged.insert(key.clone(), value.clone());
                }
            }
        }
    }
    merged
}

fn acknowledgement(id: &str, accepted: &Map<String, Value>) -> Bytes {
    let accepted = Value::Object(accepted.clone());
    let params = format!(r#"{{"notifications":{accepted},"_meta":{{"{SUBSCRIPTION_ID}":{id}}}}}"#);
    message::notification("notifications/subscriptions/acknowledged", Some(&params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_server_accepts_is_accepted() {
        let a = json!({"toolsListChanged": false, "resourceSubscriptions": ["a:1"]});
        let b = json!({"toolsListChanged": true, "resourceSubscriptions": ["b:1"], "promptsListChanged": true});
        let merged = merge([&a, &b].into_iter().filter_map(Value::as_object));
        let expected =
            json!({"toolsListChanged": true, "resourceSubscriptions": ["a:1", "b:1"], "promptsListChanged": true});
        assert_eq!(Value::Object(merged), expected);
    }

    #[test]
    fn the_acknowledgement_names_the_subscription() {
        let message = acknowledgement("\"s\"", &Map::new());
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["params"]["_meta"][SUBSCRIPTION_ID], "s");
    }
}
