//! What legacy sessions promise: questions find their way back, streams can be resumed, lost servers are opened again.

use crate::support::generation::generation;
use crate::support::http::{Connection, post};
use crate::support::mcp::{LegacyClient, text};
use crate::support::process::Gateway;
use crate::support::upstream::{McpServer, Received, Reply, with_body};
use crate::support::within;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const EVENTS: &str = "content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n";

fn event(message: &Value) -> String {
    let event = format!("event: message\ndata: {message}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// A server that asks the client something, under the id 1, whenever its tool `echo` is called. It never hears the answer on
/// the same stream, so it leaves the stream open for as long as a test runs.
async fn asking(name: &str) -> McpServer {
    McpServer::scripted(name, |received| {
        if received.method() != "tools/call" {
            return Reply::Default;
        }
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": {"message": "name?"}});
        let answer = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": {"content": [{"type": "text", "text": "asked"}]}});
        let body = [event(&question), event(&answer), "0\r\n\r\n".to_owned()].concat();
        Reply::Bytes(format!("HTTP/1.1 200 OK\r\n{EVENTS}\r\n{body}").into_bytes())
    })
    .await
}

fn is_answer(received: &Received) -> bool {
    received.body.get("result").is_some()
}

#[tokio::test]
async fn equal_question_ids_of_two_servers_stay_apart() {
    let (a, b) = (asking("a").await, asking("b").await);
    let gateway = Gateway::serve(&generation(&[("a", a.address), ("b", b.address)])).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect_with(address, "/mcp", "2025-06-18", json!({"elicitation": {}})).await;
    let mut ids = Vec::new();
    for tool in ["a_echo", "b_echo"] {
        let call = client.message("tools/call", json!({"name": tool, "arguments": {}}));
        let answer = client.post(&call).await.unwrap();
        let messages = answer.messages();
        assert_eq!(messages[0]["method"], "elicitation/create", "{messages:?}");
        assert_eq!(messages[1]["id"], call["id"], "{messages:?}");
        ids.push(messages[0]["id"].clone());
    }
    assert_ne!(ids[0], ids[1]);
    let reply = json!({"jsonrpc": "2.0", "id": ids[1], "result": {"action": "accept", "content": {"name": "octocat"}}});
    assert_eq!(client.post(&reply).await.unwrap().status, 202);
    within("the answer arrives", async {
        while !b.received().iter().any(is_answer) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let received = b.received().into_iter().find(is_answer).unwrap();
    assert_eq!(
        received.body,
        json!({"jsonrpc": "2.0", "id": 1, "result": {"action": "accept", "content": {"name": "octocat"}}})
    );
    assert!(!a.received().iter().any(is_answer), "the other server hears nothing");
}

#[tokio::test]
async fn a_lost_server_session_is_opened_again_alone() {
    let lost = AtomicUsize::new(0);
    let a = McpServer::scripted("a", move |received| {
        let first = received.method() == "tools/call" && lost.fetch_add(1, Ordering::Relaxed) == 0;
        if first { Reply::Bytes(with_body("404 Not Found", "connection: close\r\n", b"")) } else { Reply::Default }
    })
    .await;
    let b = McpServer::start("b").await;
    let gateway = Gateway::serve(&generation(&[("a", a.address), ("b", b.address)])).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    client.call("b_echo", json!({})).await.unwrap();
    let answer = client.call("a_echo", json!({"n": 1})).await.unwrap();
    assert!(text(&answer).contains('a'), "{answer}");
    assert_eq!((a.count("initialize"), a.count("tools/call")), (2, 2));
    assert_eq!((b.count("initialize"), b.count("tools/call")), (1, 1));
}

#[tokio::test]
async fn a_server_that_is_opened_again_hears_what_the_client_has_set() {
    let lost = AtomicUsize::new(0);
    let server = McpServer::scripted("search", move |received| match received.method() {
        "tools/call" if lost.fetch_add(1, Ordering::Relaxed) == 0 => {
            Reply::Bytes(with_body("404 Not Found", "connection: close\r\n", b""))
        }
        "initialize" => {
            let capabilities = json!({"tools": {}, "logging": {}, "resources": {"subscribe": true}});
            let result = json!({
                "protocolVersion": "2025-11-25", "capabilities": capabilities,
                "serverInfo": {"name": "search", "version": "1"},
            });
            let message = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": result}).to_string();
            let headers = "content-type: application/json\r\nmcp-session-id: s\r\nconnection: close\r\n";
            Reply::Bytes(with_body("200 OK", headers, message.as_bytes()))
        }
        "resources/list" => {
            Reply::Result(json!({"resources": [{"uri": "a:1", "name": "a"}, {"uri": "a:2", "name": "b"}]}))
        }
        "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" => Reply::Result(json!({})),
        _ => Reply::Default,
    })
    .await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    client.request("logging/setLevel", json!({"level": "debug"})).await.unwrap();
    for uri in ["a:1", "a:2"] {
        client.request("resources/subscribe", json!({"uri": uri})).await.unwrap();
    }
    client.request("resources/unsubscribe", json!({"uri": "a:1"})).await.unwrap();
    let before = server.received().len();
    let reply = client.call("echo", json!({})).await.unwrap();
    assert_eq!(text(&reply), "search {}");
    let repeated: Vec<Value> = server.received()[before..]
        .iter()
        .filter(|received| ["resources/subscribe", "logging/setLevel"].contains(&received.method()))
        .map(|received| received.body["params"].clone())
        .collect();
    assert_eq!(repeated, [json!({"level": "debug"}), json!({"uri": "a:2"})]);
}

#[tokio::test]
async fn each_session_has_server_sessions_of_its_own_and_lists_are_read_once_per_kind_of_client() {
    let server = McpServer::start("search").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    for expected in 1..=3 {
        let mut client = LegacyClient::connect(address, "/mcp").await;
        client.tools().await;
        client.call("echo", json!({})).await.unwrap();
        assert_eq!(server.count("initialize"), expected);
    }
    assert_eq!(server.count("tools/list"), 1, "clients of one kind share a catalogue");
    let mut other = LegacyClient::connect_with(address, "/mcp", "2025-11-25", json!({"sampling": {}})).await;
    other.tools().await;
    assert_eq!(server.count("tools/list"), 2, "another kind of client may see other tools");
    let seen: Vec<Value> = server
        .received()
        .iter()
        .filter(|received| received.method() == "initialize")
        .map(|received| received.body["params"]["capabilities"].clone())
        .collect();
    assert_eq!(seen.last(), Some(&json!({"sampling": {}})), "servers hear what the client can do");
}

#[tokio::test]
async fn a_changed_list_is_read_again_before_the_client_hears_of_it() {
    let calls = AtomicUsize::new(0);
    let server = McpServer::scripted("search", move |received| match received.method() {
        "tools/list" => {
            let name = if calls.load(Ordering::Relaxed) == 0 { "echo" } else { "shout" };
            Reply::Result(json!({"tools": [{"name": name, "inputSchema": {"type": "object"}}]}))
        }
        "tools/call" => {
            calls.fetch_add(1, Ordering::Relaxed);
            let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            let answer = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": {"content": []}});
            Reply::Events(vec![changed, answer])
        }
        _ => Reply::Default,
    })
    .await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    assert_eq!(client.tools().await, ["echo"]);
    let mut stream = Connection::open(address).await.unwrap();
    stream.send(get(&client, None)).await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);

    let answer = client.post(&call("echo")).await.unwrap();
    let told_on_call = answer.messages().iter().any(|message| message["method"] == "notifications/tools/list_changed");
    if !told_on_call {
        let mut pending = String::new();
        let told = within("the notification", stream.event(&mut pending)).await.unwrap().unwrap();
        assert_eq!(told["method"], "notifications/tools/list_changed");
    }
    assert_eq!(client.tools().await, ["shout"]);
}

fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": "call", "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

fn get(client: &LegacyClient, last_event: Option<&str>) -> String {
    let session = client.session.as_deref().unwrap();
    let last = last_event.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
    format!(
        "GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n{last}\r\n"
    )
}

#[tokio::test]
async fn a_client_that_lost_its_connection_gets_the_answer_after_all() {
    let server = McpServer::scripted("search", |received| {
        if received.method() != "tools/call" {
            return Reply::Default;
        }
        let progress = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
        let answer = json!({"jsonrpc": "2.0", "id": received.body["id"], "result": {"content": [{"type": "text", "text": "late"}]}});
        Reply::Events(vec![progress, answer])
    })
    .await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    client.send(&call("echo")).await.unwrap();
    assert_eq!(client.connection.head().await.unwrap().status, 200);
    // The priming event's id is all that arrives before the connection breaks.
    let first = String::from_utf8(client.connection.chunk().await.unwrap().unwrap()).unwrap();
    let id = first.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    client.connection = Connection::open(address).await.unwrap();

    let mut stream = Connection::open(address).await.unwrap();
    stream.send(get(&client, Some(&id))).await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);
    let mut pending = String::new();
    let mut seen = Vec::new();
    while let Some(message) = within("the rest of the stream", stream.event(&mut pending)).await.unwrap() {
        seen.push(message);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert_eq!(seen[1]["result"]["content"][0]["text"], "late");
    assert_eq!(server.count("tools/call"), 1, "the call was not made again");
}

#[tokio::test]
async fn a_cancelled_call_ends_and_its_server_hears_of_it() {
    let server = McpServer::start("search").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    client.send(&call("wait")).await.unwrap();
    server.got("tools/call", 1).await;
    let mut connection = Connection::open(address).await.unwrap();
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "call"}});
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-session-id", client.session.as_deref().unwrap()),
    ];
    let answer = connection.exchange(post("/mcp", &headers, cancel.to_string().as_bytes())).await.unwrap();
    assert_eq!(answer.status, 202);
    server.got("notifications/cancelled", 1).await;
    let ended = within("the call's end", client.connection.answer()).await.unwrap();
    assert!(ended.messages().is_empty(), "{ended:?}");
}

#[tokio::test]
async fn batches_are_answered_where_the_revision_has_them() {
    let server = McpServer::start("search").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    let batch = json!([
        {"jsonrpc": "2.0", "id": 10, "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}},
        {"jsonrpc": "2.0", "id": 11, "method": "tools/call", "params": {"name": "echo", "arguments": {}}},
        {"jsonrpc": "2.0", "id": 12, "method": "nonsense/method"},
    ]);
    let mut client = LegacyClient::connect_with(address, "/mcp", "2025-03-26", json!({})).await;
    let answer = client.post(&batch).await.unwrap();
    let mut ids: Vec<i64> = answer.messages().iter().map(|message| message["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [10, 11, 12]);

    let quiet =
        json!([{"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}]);
    assert_eq!(client.post(&quiet).await.unwrap().status, 202);

    let mut newer = LegacyClient::connect_with(address, "/mcp", "2025-06-18", json!({})).await;
    let refused = newer.post(&batch).await.unwrap();
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["error"]["code"], -32600);
}

#[tokio::test]
async fn the_oldest_clients_are_served_over_one_event_stream() {
    let server = McpServer::start("search").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    let mut stream = Connection::open(address).await.unwrap();
    stream.send("GET /mcp HTTP/1.1\r\nhost: localhost\r\naccept: text/event-stream\r\n\r\n").await.unwrap();
    assert_eq!(stream.head().await.unwrap().status, 200);
    let first = String::from_utf8(stream.chunk().await.unwrap().unwrap()).unwrap();
    assert!(first.starts_with("event: endpoint\n"), "{first}");
    let endpoint = first.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned();

    let mut pending = String::new();
    let mut posts = Connection::open(address).await.unwrap();
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "old", "version": "0"},
    }});
    for message in [initialize, json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), call("echo")] {
        let answer = posts
            .exchange(post(&endpoint, &[("content-type", "application/json")], message.to_string().as_bytes()))
            .await
            .unwrap();
        assert_eq!(answer.status, 202, "{message}");
        if message.get("id").is_some() {
            let told = within("an answer on the stream", stream.event(&mut pending)).await.unwrap().unwrap();
            assert_eq!(told["id"], message["id"], "{told}");
            assert!(told.get("result").is_some(), "{told}");
        }
    }
    drop(stream);
    within("the session ends with its stream", async {
        while gateway.metric("mcp_gateway_sessions_open").await > 0.0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
