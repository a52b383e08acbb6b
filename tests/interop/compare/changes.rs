//! What servers say by themselves: that a list changed, that a resource changed. And the tasks of 2025-11-25, which are
//! followed over several requests.

use serde_json::{Value, json};

use super::{
    blur::{Blur, blur},
    everything::greets,
    record::in_comparable_order,
};
use crate::{
    gateway::{Gateway, Route},
    one_at_a_time,
    servers::{Server, everything},
    tools::tool,
    wire::{Address, Answers, Era, Exchange, Message, Wire},
};

const WATCHED: &str = "test://watched-resource";

const LISTS: [&str; 3] =
    ["notifications/prompts/list_changed", "notifications/resources/list_changed", "notifications/tools/list_changed"];

/// Makes the fixture announce every kind of change.
async fn trigger(wire: &mut Wire) {
    for (name, arguments) in [
        ("test_trigger_prompt_change", json!({})),
        ("trigger_resource_change", json!({})),
        ("test_trigger_tool_change", json!({})),
        ("trigger_resource_update", json!({ "uri": WATCHED })),
    ] {
        let exchange = wire.request("tools/call", json!({ "name": name, "arguments": arguments }), &[]).await;
        assert!(exchange.answer.result().is_some(), "{name}: {}", exchange.answer.0);
        wire.set_aside(exchange.seen);
    }
}

/// A legacy client hears of changes in its session; of a resource only while it is subscribed.
async fn hear_in_a_session(address: &Address) {
    let (mut wire, _) = Wire::connect(address, Era::Legacy, Answers { root: "/work".to_owned() }).await;
    wire.request("resources/subscribe", json!({ "uri": WATCHED }), &[]).await;
    trigger(&mut wire).await;
    wire.until_changed(&LISTS).await;
    let mut seen = Vec::new();
    wire.collect(1, &mut seen).await;
    assert_eq!(seen[0].payload(), format!("notifications/resources/updated {{\"uri\":\"{WATCHED}\"}}"));
    wire.close().await;
}

/// A modern client hears of what it listens to, on the stream of that request, marked with the request's id.
async fn hear_by_listening(address: &Address) {
    let (mut wire, _) = Wire::connect(address, Era::Modern, Answers { root: "/work".to_owned() }).await;
    let filter = json!({
        "toolsListChanged": true,
        "promptsListChanged": true,
        "resourcesListChanged": true,
        "resourceSubscriptions": [WATCHED],
    });
    let id = wire.open("subscriptions/listen", json!({ "notifications": filter })).await;
    let meta = json!({ "io.modelcontextprotocol/subscriptionId": id });
    let mut seen = Vec::new();
    wire.collect(1, &mut seen).await;
    assert_eq!(seen[0].method().unwrap(), "notifications/subscriptions/acknowledged");
    let params: Value = serde_json::from_str(seen[0].params().unwrap()).unwrap();
    assert_eq!(params, json!({ "notifications": filter, "_meta": meta }));

    trigger(&mut wire).await;
    wire.until_changed(&LISTS).await;
    wire.collect(2, &mut seen).await;
    assert_eq!(seen[1].method().unwrap(), "notifications/resources/updated");
    let params: Value = serde_json::from_str(seen[1].params().unwrap()).unwrap();
    assert_eq!(params, json!({ "uri": WATCHED, "_meta": meta }));
    wire.close().await;
}

#[tokio::test]
async fn clients_hear_of_changes() {
    let _turn = one_at_a_time().await;
    let server = Server::fixture();
    let fixture = Address::Http(server.url.clone());
    hear_in_a_session(&fixture).await;
    hear_by_listening(&fixture).await;
    let gateway = Gateway::start(&[Route { path: "/mcp", servers: vec![("", &fixture)] }]);
    let proxy = Address::Http(gateway.url("/mcp"));
    hear_in_a_session(&proxy).await;
    hear_by_listening(&proxy).await;
}

/// Runs a tool as a task of 2025-11-25 and answers what it asks; returns all that came, without ids and times.
async fn task(address: &Address, name: &str) -> Vec<String> {
    let (mut wire, _) = Wire::connect(address, Era::Legacy, Answers { root: "/work".to_owned() }).await;
    wire.noise = greets;
    let arguments = json!({ "topic": "python", "ambiguous": true });
    let call = json!({ "name": name, "arguments": arguments, "task": { "ttl": 60_000 } });
    let Exchange { seen, answer: created } = wire.request("tools/call", call, &[]).await;
    let task: Value = serde_json::from_str(created.result().unwrap_or_else(|| panic!("{}", created.0))).unwrap();
    let id = json!({ "taskId": task["task"]["taskId"] });
    // The task may tell its first state before the answer that creates it, or after.
    let mut came: Vec<String> = seen.iter().map(Message::payload).collect();
    came.push(created.payload());
    // This waits for the task's end; the question of the task comes while it does.
    let result = wire.request("tasks/result", id.clone(), &[]).await;
    came.extend(result.seen.iter().map(Message::payload));
    came.push(result.answer.payload());
    came.push(wire.request("tasks/get", id.clone(), &[]).await.answer.payload());
    came.push(wire.request("tasks/cancel", id, &[]).await.answer.payload());
    wire.close().await;
    let volatile = [Blur::Member("taskId"), Blur::Timestamp, Blur::Member("text")];
    in_comparable_order(came.iter().map(|text| blur(text, &volatile)).collect())
}

#[tokio::test]
async fn tasks_of_2025_11_25_pass() {
    let _turn = one_at_a_time().await;
    let stdio = Address::Stdio(vec![tool("bin/node"), everything()]);
    let direct = task(&stdio, "simulate-research-query").await;
    let gateway = Gateway::start(&[Route { path: "/mcp", servers: vec![("es_", &stdio)] }]);
    let proxied = task(&Address::Http(gateway.url("/mcp")), "es_simulate-research-query").await;
    assert_eq!(direct, proxied);
}
