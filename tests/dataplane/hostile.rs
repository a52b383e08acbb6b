//! Bad input: upstreams that misbehave, and messages that are not what they should be. Each gets a clear error, and nobody
//! else notices.

use crate::support::generation::generation;
use crate::support::http::{Answer, Connection, post};
use crate::support::mcp::{LegacyClient, text};
use crate::support::process::Gateway;
use crate::support::upstream::{McpServer, Received, Reply, with_body};
use crate::support::within;
use serde_json::{Value, json};
use std::time::Duration;

const JSON: [(&str, &str); 2] =
    [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];

/// JSON-RPC codes as `docs/errors.md` lists them.
const UPSTREAM_ERROR: i64 = -32011;
const UPSTREAM_TIMEOUT: i64 = -32012;

/// A server that behaves until its tool `echo` is called.
async fn bad_at_calls(name: &str, misbehave: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> McpServer {
    McpServer::scripted(
        name,
        move |received| {
            if received.method() == "tools/call" { misbehave(received) } else { Reply::Default }
        },
    )
    .await
}

/// A gateway in front of one bad and one good server, with short timeouts, and a client of both.
async fn beside_a_good_one(bad: &McpServer) -> (McpServer, Gateway, LegacyClient) {
    let good = McpServer::start("good").await;
    let mut generation = generation(&[("bad", bad.address), ("good", good.address)]);
    for route in &mut generation.snapshot.routes {
        route.timeouts.request_ms = 500;
        route.timeouts.response_ms = 1_000;
    }
    let gateway = Gateway::serve(&generation).await;
    let client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    (good, gateway, client)
}

/// Calls the bad server and expects this error, then the good one and expects its answer.
async fn expect_error(client: &mut LegacyClient, code: i64, words: &str) {
    let answer = within("the bad server's error", client.call("bad_echo", json!({}))).await.unwrap();
    assert_eq!(answer["error"]["code"], code, "{answer}");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message:?} should contain {words:?}");
    let answer = client.call("good_echo", json!({"still": "here"})).await.unwrap();
    assert!(text(&answer).contains("good"), "{answer}");
}

#[tokio::test]
async fn an_upstream_that_hangs_is_given_up_in_time() {
    let bad = bad_at_calls("bad", |_| Reply::Hang).await;
    let (_good, _gateway, mut client) = beside_a_good_one(&bad).await;
    expect_error(&mut client, UPSTREAM_TIMEOUT, "within 500 ms").await;
}

#[tokio::test]
async fn an_upstream_that_hangs_from_the_start_holds_up_no_other() {
    let bad = McpServer::scripted("bad", |_| Reply::Hang).await;
    let (_good, _gateway, mut client) = beside_a_good_one(&bad).await;
    assert_eq!(client.tools().await, ["good_echo", "good_wait"]);
    let answer = client.call("good_echo", json!({})).await.unwrap();
    assert!(text(&answer).contains("good"), "{answer}");
    let answer = client.call("bad_echo", json!({})).await.unwrap();
    assert!(answer["error"]["message"].as_str().unwrap().contains("cannot be reached"), "{answer}");
}

#[tokio::test]
async fn garbage_is_not_passed_on() {
    let garbage: [(&str, &[u8]); 5] = [
        ("not json", b"<html>oops</html>"),
        ("another id", br#"{"jsonrpc":"2.0","id":"someone-else","result":{}}"#),
        ("a request", br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#),
        ("cut short", br#"{"jsonrpc":"2.0","id":1,"result":{"#),
        ("not utf-8", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\xff\"}}"),
    ];
    for (what, body) in garbage {
        let body = body.to_vec();
        let bad = bad_at_calls("bad", move |_| {
            Reply::Bytes(with_body("200 OK", "content-type: application/json\r\nconnection: close\r\n", &body))
        })
        .await;
        let (_good, _gateway, mut client) = beside_a_good_one(&bad).await;
        println!("{what}");
        expect_error(&mut client, UPSTREAM_ERROR, "answer").await;
    }
}

#[tokio::test]
async fn what_is_not_http_is_not_passed_on() {
    let bad = bad_at_calls("bad", |_| Reply::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec())).await;
    let (_good, _gateway, mut client) = beside_a_good_one(&bad).await;
    expect_error(&mut client, UPSTREAM_ERROR, "").await;
}

#[tokio::test]
async fn a_connection_that_closes_is_an_error_at_once() {
    let bad = bad_at_calls("bad", |_| Reply::Close).await;
    let (_good, _gateway, mut client) = beside_a_good_one(&bad).await;
    expect_error(&mut client, UPSTREAM_ERROR, "").await;
}

#[tokio::test]
async fn an_upstream_that_dies_mid_stream_ends_in_a_typed_error() {
    let progress = "event: message\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let cut = format!("{head}{:x}\r\n{progress}\r\n", progress.len());
    let bad = bad_at_calls("bad", move |_| Reply::Bytes(cut.clone().into_bytes())).await;
    let (_good, _gateway, mut client) = beside_a_good_one(&bad).await;
    expect_error(&mut client, UPSTREAM_ERROR, "").await;

    let half = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"jsonrpc\":\"2.0\""
        .to_vec();
    let bad = bad_at_calls("bad", move |_| Reply::Bytes(half.clone())).await;
    let (_good, _gateway, mut client) = beside_a_good_one(&bad).await;
    expect_error(&mut client, UPSTREAM_ERROR, "").await;
}

#[tokio::test]
async fn a_gigabyte_passes_through_without_being_kept() {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 1 << 10;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let huge = listener.local_addr().unwrap();
    let good = McpServer::start("good").await;
    let proxy = tokio::spawn(huge_answers(listener, good.address, PIECE, PIECES));
    let gateway = Gateway::serve(&generation(&[("huge", huge)])).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    client.tools().await;
    let before = gateway.metric("process_resident_memory_bytes").await;
    let call = client.message("tools/call", json!({"name": "echo", "arguments": {}}));
    client.send(&call).await.unwrap();
    let head = client.connection.head().await.unwrap();
    assert_eq!(head.status, 200);
    let mut read = 0;
    let mut peak = before;
    while let Some(chunk) = within("the next piece", client.connection.chunk()).await.unwrap() {
        read += chunk.len();
        if read % (64 * PIECE) < chunk.len() {
            peak = f64::max(peak, gateway.metric("process_resident_memory_bytes").await);
        }
    }
    assert!(read > PIECE * PIECES, "{read} bytes arrived");
    assert!(peak - before < 16.0 * 1024.0 * 1024.0, "{} bytes more were resident", peak - before);
    proxy.abort();
}

/// Passes everything on to `server`, but answers tool calls with a text of so many pieces.
async fn huge_answers(listener: tokio::net::TcpListener, server: std::net::SocketAddr, piece: usize, pieces: usize) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    while let Ok((mut client, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut request = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = client.read(&mut request).await {
                let received = String::from_utf8_lossy(&request[..length]).into_owned();
                if received.contains("tools/call") {
                    let id = received.split("\"id\":").nth(1).unwrap_or("0").split([',', '}']).next().unwrap_or("0");
                    let start =
                        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
                    let head =
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
                    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
                    client.write_all(format!("{head}{}", chunk(&start)).as_bytes()).await?;
                    let body = chunk(&"x".repeat(piece));
                    for _ in 0..pieces {
                        client.write_all(body.as_bytes()).await?;
                    }
                    client.write_all(format!("{}0\r\n\r\n", chunk("\"}]}}")).as_bytes()).await?;
                } else {
                    let mut upstream = tokio::net::TcpStream::connect(server).await?;
                    upstream.write_all(&request[..length]).await?;
                    upstream.shutdown().await?;
                    let mut answer = Vec::new();
                    upstream.read_to_end(&mut answer).await?;
                    client.write_all(&answer).await?;
                }
            }
            std::io::Result::Ok(())
        });
    }
}

#[tokio::test]
async fn an_endless_list_is_cut_off_with_the_limit_named() {
    let bad = McpServer::scripted("bad", |received| match received.method() {
        "tools/list" => {
            let tool = json!({"name": "x", "inputSchema": {"type": "object"}});
            Reply::Result(json!({"tools": [tool], "nextCursor": format!("{:?}", std::time::Instant::now())}))
        }
        _ => Reply::Default,
    })
    .await;
    let good = McpServer::start("good").await;
    let mut generation = generation(&[("bad", bad.address), ("good", good.address)]);
    generation.snapshot.limits.list_items = 50;
    let gateway = Gateway::serve(&generation).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    assert_eq!(client.tools().await, ["good_echo", "good_wait"]);
    assert!(bad.count("tools/list") <= 52, "{} pages were read", bad.count("tools/list"));
    let status = gateway.status().await.to_string();
    assert!(status.contains("exceeds 50 items"), "{status}");
}

// --- clients ---

async fn posted(gateway: &Gateway, body: &[u8]) -> Answer {
    let mut connection = Connection::open(gateway.address("http").await).await.unwrap();
    within("an answer", connection.exchange(post("/mcp", &JSON, body))).await.unwrap()
}

#[tokio::test]
async fn malformed_messages_are_told_apart_and_reach_nobody() {
    let server = McpServer::start("search").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let nested =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    let cases: [(&[u8], i64, &str); 10] = [
        (b"", -32700, "not valid JSON"),
        (b"{", -32700, "not valid JSON"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", -32700, "UTF-8"),
        (nested.as_bytes(), -32700, "nested deeper"),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#, -32700, "after"),
        (br#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#, -32600, "duplicate key"),
        (
            br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}"#,
            -32600,
            "duplicate key",
        ),
        (br#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600, "jsonrpc"),
        (br#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600, "id"),
        (b"17", -32600, "object"),
    ];
    for (body, code, words) in cases {
        let answer = posted(&gateway, body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(answer.status, 400, "{shown}");
        let message = answer.json();
        assert_eq!(message["error"]["code"], code, "{shown}: {message}");
        assert!(message["error"]["message"].as_str().unwrap().contains(words), "{shown}: {message}");
    }
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn sessions_that_are_not_ours_are_404_and_look_alike() {
    let server = McpServer::start("search").await;
    let mut generation = generation(&[("search", server.address)]);
    let mut other = generation.snapshot.routes[0].clone();
    other.id = crate::support::generation::id("other");
    other.matches[0].path = mcp_gateway_operator::ir::snapshot::PathMatch::Exact("/other".to_owned());
    generation.snapshot.routes.push(other);
    let gateway = Gateway::serve(&generation).await;
    let address = gateway.address("http").await;
    let client = LegacyClient::connect(address, "/mcp").await;
    let ours = client.session.clone().unwrap();
    let mut forged = ours.clone();
    forged.replace_range(40..41, if &ours[40..41] == "A" { "B" } else { "A" });

    let ping = br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let mut answers: Vec<Value> = Vec::new();
    for (path, session) in [("/mcp", forged.as_str()), ("/mcp", "nonsense"), ("/other", ours.as_str())] {
        let headers = [JSON[0], JSON[1], ("mcp-session-id", session)];
        let mut connection = Connection::open(address).await.unwrap();
        let answer = connection.exchange(post(path, &headers, ping)).await.unwrap();
        assert_eq!(answer.status, 404, "{session} at {path}");
        answers.push(answer.json());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");

    let headers = [JSON[0], JSON[1]];
    let mut connection = Connection::open(address).await.unwrap();
    let answer = connection.exchange(post("/mcp", &headers, ping)).await.unwrap();
    assert_eq!(answer.status, 400, "no session at all");
    assert!(answer.text().contains("Mcp-Session-Id"), "{}", answer.text());
}

#[tokio::test]
async fn a_session_that_ended_is_gone_for_its_client_and_for_its_servers() {
    let server = McpServer::start("search").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    client.call("echo", json!({})).await.unwrap();
    let session = client.session.clone().unwrap();
    let delete = format!("DELETE /mcp HTTP/1.1\r\nhost: localhost\r\nmcp-session-id: {session}\r\n\r\n");
    let answer = client.connection.exchange(&delete).await.unwrap();
    assert_eq!(answer.status, 204);
    assert_eq!(client.connection.exchange(&delete).await.unwrap().status, 404);
    within("the server hears of it", async {
        while !server.received().iter().any(|received| received.http_method == "DELETE") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert!(gateway.metric("mcp_gateway_sessions_open").await.abs() < f64::EPSILON);
}
