//! What stateless clients of 2026-07-28 are promised behind one route of several servers.

use crate::support::generation::{backend, generation, id, tier};
use crate::support::http::Connection;
use crate::support::mcp::{LegacyClient, ModernClient, text};
use crate::support::process::Gateway;
use crate::support::upstream::{McpServer, Reply};
use crate::support::within;
use serde_json::{Value, json};

const TASKS: &str = "io.modelcontextprotocol/tasks";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

#[tokio::test]
async fn a_task_is_asked_after_at_the_server_that_runs_it() {
    let a = McpServer::scripted("a", |received| match received.method() {
        "tools/call" => Reply::Result(json!({"resultType": "task", "taskId": "t:1", "status": "working"})),
        "tasks/get" => Reply::Result(json!({"resultType": "complete", "taskId": "t:1", "status": "completed"})),
        _ => Reply::Default,
    })
    .await;
    let b = McpServer::start("b").await;
    let gateway = Gateway::serve(&generation(&[("a", a.address), ("b", b.address)])).await;
    let mut client = ModernClient::connect(gateway.address("http").await, "/mcp").await;
    client.capabilities = json!({"extensions": {TASKS: {}}});
    let started = client.call("a_echo", json!({})).await.unwrap();
    let task = started["result"]["taskId"].as_str().unwrap().to_owned();
    assert_ne!(task, "t:1", "the id says whose it is");
    let state = client.request("tasks/get", json!({"taskId": task})).await.unwrap();
    assert_eq!(state["result"]["status"], "completed", "{state}");
    assert_eq!(state["result"]["taskId"], task.as_str(), "the client knows one id only");
    let asked = a.received().into_iter().find(|received| received.method() == "tasks/get").unwrap();
    assert_eq!((asked.body["params"]["taskId"].as_str(), asked.header("mcp-name")), (Some("t:1"), Some("t:1")));
    assert_eq!(b.count("tasks/get"), 0);

    for unknown in ["t:1", "c:t:1", ""] {
        let answer = client.request("tasks/get", json!({"taskId": unknown})).await.unwrap();
        assert_eq!(answer["error"]["code"], -32602, "{unknown}: {answer}");
    }
}

#[tokio::test]
async fn request_state_goes_back_to_the_backend_that_made_it() {
    let asking = |name: &'static str| {
        McpServer::scripted(name, move |received| {
            let params = &received.body["params"];
            match received.method() {
                "tools/call" if params.get("requestState").is_none() => {
                    Reply::Result(json!({"resultType": "input_required", "requestState": format!("state of {name}")}))
                }
                "tools/call" => {
                    let seen = params["requestState"].as_str().unwrap_or_default();
                    Reply::Result(json!({"content": [{"type": "text", "text": format!("{name} got {seen}")}]}))
                }
                _ => Reply::Default,
            }
        })
    };
    let (a, b) = (asking("a").await, asking("b").await);
    let mut generation = generation(&[("search", a.address)]);
    generation.snapshot.backends.insert(id("search-b"), backend(b.address));
    generation.snapshot.routes[0].servers[0].tiers = vec![tier(0, &[("search", 1), ("search-b", 1)])];
    let gateway = Gateway::serve(&generation).await;
    let mut client = ModernClient::connect(gateway.address("http").await, "/mcp").await;
    let mut answered = Vec::new();
    for _ in 0..6 {
        let first = client.call("echo", json!({})).await.unwrap();
        let state = first["result"]["requestState"].as_str().unwrap_or_else(|| panic!("no state: {first}")).to_owned();
        let params = json!({"name": "echo", "arguments": {}, "requestState": state});
        let second = client.request("tools/call", params).await.unwrap();
        let text = text(&second).to_owned();
        let (name, seen) = text.split_once(" got ").unwrap();
        assert_eq!(seen, format!("state of {name}"));
        answered.push(name.to_owned());
    }
    assert!(answered.contains(&"a".to_owned()) && answered.contains(&"b".to_owned()), "{answered:?}");

    let forged = json!({"name": "echo", "arguments": {}, "requestState": "made up"});
    let answer = client.request("tools/call", forged).await.unwrap();
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
}

/// A server that accepts every subscription and then says that its tools changed.
async fn announcing(name: &str) -> McpServer {
    McpServer::scripted(name, |received| {
        if received.method() != "subscriptions/listen" {
            return Reply::Default;
        }
        let meta = json!({SUBSCRIPTION: received.body["id"]});
        let accepted = &received.body["params"]["notifications"];
        let message = |method: &str, params: Value| json!({"jsonrpc": "2.0", "method": method, "params": params});
        Reply::Events(vec![
            message("notifications/subscriptions/acknowledged", json!({"notifications": accepted, "_meta": meta})),
            message("notifications/tools/list_changed", json!({"_meta": meta})),
        ])
    })
    .await
}

#[tokio::test]
async fn a_subscription_hears_every_server_on_one_stream() {
    let (a, b) = (announcing("a").await, announcing("b").await);
    let gateway = Gateway::serve(&generation(&[("a", a.address), ("b", b.address)])).await;
    let address = gateway.address("http").await;
    let mut client = ModernClient::connect(address, "/mcp").await;
    client.tools().await;
    let lists = (a.count("tools/list"), b.count("tools/list"));
    let (message, bytes) = client.prepare("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let mut stream = Connection::open(address).await.unwrap();
    stream.send(&bytes).await.unwrap();
    let head = stream.head().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    let mut pending = String::new();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(within("a message", stream.event(&mut pending)).await.unwrap().unwrap());
    }
    assert_eq!(seen[0]["method"], "notifications/subscriptions/acknowledged", "{seen:?}");
    assert_eq!(seen[0]["params"]["notifications"], json!({"toolsListChanged": true}));
    for message_seen in &seen {
        assert_eq!(message_seen["params"]["_meta"][SUBSCRIPTION], message["id"], "{message_seen}");
    }
    assert!(seen[1..].iter().all(|message| message["method"] == "notifications/tools/list_changed"), "{seen:?}");
    assert!(a.count("tools/list") > lists.0 && b.count("tools/list") > lists.1, "lists are read again first");
}

#[tokio::test]
async fn a_subscription_ends_with_its_result_when_the_gateway_leaves() {
    let a = announcing("a").await;
    let mut gateway = Gateway::serve(&generation(&[("a", a.address)])).await;
    let address = gateway.address("http").await;
    let mut client = ModernClient::connect(address, "/mcp").await;
    let (message, bytes) = client.prepare("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}));
    let mut stream = Connection::open(address).await.unwrap();
    stream.send(&bytes).await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);
    gateway.process.signal(rustix::process::Signal::TERM);
    let mut pending = String::new();
    let mut last = Value::Null;
    while let Some(message) = within("the stream's end", stream.event(&mut pending)).await.unwrap() {
        last = message;
    }
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&message["id"], &json!("complete")), "{last}");
    assert!(gateway.process.ended().await.success());
}

#[tokio::test]
async fn a_server_of_the_other_era_is_left_out_and_status_says_why() {
    let legacy_only = McpServer::scripted("old", |received| {
        let modern = received.header("mcp-protocol-version") == Some("2026-07-28");
        if modern { Reply::Error(-32601, "method not found".to_owned()) } else { Reply::Default }
    })
    .await;
    let modern_only = McpServer::scripted("new", |received| {
        let legacy = received.header("mcp-protocol-version") != Some("2026-07-28");
        if legacy { Reply::Error(-32601, "method not found".to_owned()) } else { Reply::Default }
    })
    .await;
    let gateway = Gateway::serve(&generation(&[("old", legacy_only.address), ("new", modern_only.address)])).await;
    let address = gateway.address("http").await;

    let mut modern = ModernClient::connect(address, "/mcp").await;
    assert_eq!(modern.tools().await, ["new_echo", "new_wait"]);
    let status = gateway.status().await.to_string();
    assert!(status.contains("server old speaks only protocol revisions up to 2025-11-25"), "{status}");

    let mut legacy = LegacyClient::connect(address, "/mcp").await;
    assert_eq!(legacy.tools().await, ["old_echo", "old_wait"]);
    let status = gateway.status().await.to_string();
    assert!(status.contains("server new speaks only protocol revisions from 2026-07-28 on"), "{status}");
}
