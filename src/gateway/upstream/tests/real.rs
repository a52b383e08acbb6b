//! Against servers that are not ours: rmcp's HTTP server, and a child process.

use super::*;
use crate::gateway::error::{Kind, Retry};
use crate::ir::snapshot::{Isolation, Process, ProcessPool};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

#[path = "../../../../deploy/demo/server.rs"]
mod demo;

async fn rmcp_server() -> (SocketAddr, JoinSet<()>) {
    let service: StreamableHttpService<_, LocalSessionManager> = StreamableHttpService::new(
        || Ok(demo::DemoServer::new("real".to_owned(), "demo")),
        Arc::default(),
        StreamableHttpServerConfig::default(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await.unwrap();
    });
    (address, serving)
}

/// The answer at the end of whatever was answered, and how many messages came before it.
async fn answer_of(answer: Answer) -> (serde_json::Value, usize) {
    let mut stream = match answer {
        Answer::Json(body) => return (serde_json::from_slice(&body.collect(1 << 20).await.unwrap()).unwrap(), 0),
        Answer::Events(stream) => stream,
        Answer::Rejected { status, body } => unreachable!("{status} {body:?}"),
        Answer::Accepted => unreachable!("requests are answered"),
    };
    let mut before = 0;
    loop {
        let message: serde_json::Value = match stream.next().await.unwrap().unwrap() {
            Event::Message(message) => serde_json::from_slice(&message).unwrap(),
            Event::Paused(_) => continue,
            part @ Event::Part { .. } => unreachable!("{part:?}"),
        };
        if message.get("method").is_none() {
            return (message, before);
        }
        before += 1;
    }
}

fn tool_call(id: u32, tool: &str, arguments: &str, meta: &str) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{{meta}}}}}}}"#
    )
    .into()
}

const LEGACY: &[u8] = br#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;
const MODERN_META: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"c","version":"1"}"#;

#[tokio::test]
async fn rmcp_serves_a_legacy_session() {
    let (address, _serving) = rmcp_server().await;
    let upstream = upstream(&backend(address));
    let session = upstream.open_session(LEGACY, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    assert_eq!(session.protocol_version(), "2025-11-25");
    for id in 1..=3 {
        let body = tool_call(id, "whoami", "{}", "");
        let (answer, _) = answer_of(session.call(body, &TIMEOUTS).await.unwrap()).await;
        assert!(answer["id"] == id && answer["result"].to_string().contains("real"), "{answer}");
    }
    let body = tool_call(4, "countdown", r#"{"from":2}"#, r#""progressToken":"p""#);
    let (answer, progress) = answer_of(session.call(body, &TIMEOUTS).await.unwrap()).await;
    assert!(answer["result"].is_object() && progress >= 2, "{progress} {answer}");
    session.close().await;
    let error = session.call(tool_call(5, "whoami", "{}", ""), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::SessionLost);
}

#[tokio::test]
async fn rmcp_serves_modern_calls() {
    let (address, _serving) = rmcp_server().await;
    let upstream = upstream(&backend(address));
    let call = ModernCall {
        body: tool_call(1, "whoami", "{}", MODERN_META),
        name: Some(HeaderValue::from_static("whoami")),
        ..call(CALL)
    };
    for _ in 0..3 {
        let (answer, _) = answer_of(upstream.call(&call, &TIMEOUTS).await.unwrap()).await;
        assert!(answer["result"].to_string().contains("real"), "{answer}");
    }
    let lying = ModernCall { name: Some(HeaderValue::from_static("add")), ..call };
    let Answer::Rejected { status, body } = upstream.call(&lying, &TIMEOUTS).await.unwrap() else { unreachable!() };
    let error: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &error["error"]["code"]), (400, &serde_json::json!(-32020)));
}

/// A stdio server of the legacy era in the shell: it names its process in every answer.
const SHELL_SERVER: &str = r#"
while read -r line; do
  id=$(printf '%s' "$line" | sed -n 's/.*"id":\([^,}]*\).*/\1/p')
  case "$line" in
    *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"sh","version":"1"}}}' ;;
    *'"tools/call"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":{"content":[{"type":"text","text":"pid '$$'"}]}}' ;;
    *'"id"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"error":{"code":-32601,"message":"no"}}' ;;
  esac
done
"#;

fn shell(command: &[&str]) -> Backend {
    let target = Target::Process(Process {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        args: Vec::new(),
        env: Vec::new(),
        working_dir: None,
        isolation: Isolation::PerSession,
        pool: ProcessPool { min: 0, max: 4, idle_timeout_ms: 60_000 },
    });
    Backend::new(target, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_process_is_reached_like_any_server_and_ends_with_the_upstream() {
    let upstream = upstream(&shell(&["/bin/sh", "-c", SHELL_SERVER]));
    let session = upstream.open_session(LEGACY, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    let (first, _) = answer_of(session.call(tool_call(1, "x", "{}", ""), &TIMEOUTS).await.unwrap()).await;
    let (second, _) = answer_of(session.call(tool_call(2, "x", "{}", ""), &TIMEOUTS).await.unwrap()).await;
    assert_eq!(first["result"], second["result"], "one session has one process");
    let pid = first["result"]["content"][0]["text"].as_str().unwrap().strip_prefix("pid ").unwrap().to_owned();
    let process = std::path::Path::new("/proc").join(pid);
    assert!(process.exists());
    upstream.shutdown().await;
    assert!(!process.exists(), "the process is gone, and reaped");
    let error = upstream.open_session(LEGACY, Arc::<Inbox>::default(), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::ProcessFailed);
}

#[tokio::test]
async fn a_command_that_does_not_exist_says_so() {
    let upstream = upstream(&shell(&["/no/such/program"]));
    let error = upstream.open_session(LEGACY, Arc::<Inbox>::default(), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!((error.kind, error.retry), (Kind::ProcessFailed, Retry::Safe));
    assert!(error.message.contains("/no/such/program"), "{error}");
}
