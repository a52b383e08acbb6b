//! Handshakes that no client asked for.

use super::*;
use crate::ir::channel::{BackendReport, ServerInfo};
use crate::ir::ids::SecretKey;
use crate::ir::secrets::PrivateBytes;
use crate::ir::snapshot::UpstreamTls;

const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":0,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"new","version":"2"}}}}"#;

fn page(tools: usize, next: Option<&str>) -> Reply {
    let tools: Vec<_> = (0..tools).map(|number| serde_json::json!({"name": format!("t{number}")})).collect();
    let mut result = serde_json::json!({"tools": tools});
    if let Some(next) = next {
        result["nextCursor"] = next.into();
    }
    json(&serde_json::json!({"jsonrpc": "2.0", "id": 0, "result": result}).to_string())
}

/// Two pages of tools.
fn tools(seen: &Seen) -> Reply {
    if seen.body.contains("more") { page(1, None) } else { page(3, Some("more")) }
}

async fn verified(backend: &Backend) -> BackendReport {
    let upstream = upstream(backend);
    assert!(upstream.knowledge().begin_check());
    upstream.verify().await;
    upstream.report()
}

fn methods(server: &TestServer) -> Vec<String> {
    let of = |seen: &Seen| {
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap_or_default();
        body["method"].as_str().map_or_else(|| seen.method.to_string(), str::to_owned)
    };
    server.seen().iter().map(of).collect()
}

#[tokio::test]
async fn a_modern_server_is_discovered_and_its_tools_are_counted() {
    let server =
        TestServer::start(|seen| if seen.is("server/discover") { json(DISCOVERED) } else { tools(seen) }).await;
    let report = verified(&backend(server.address)).await;
    assert_eq!(methods(&server), ["server/discover", "tools/list", "tools/list"]);
    let expected = BackendReport {
        verified: Some(true),
        server: Some(ServerInfo { name: "new".to_owned(), version: Some("2".to_owned()) }),
        versions: vec!["2026-07-28".to_owned()],
        tools: Some(4),
        endpoints: 1,
        usable: None,
        ejected: None,
        problem: None,
    };
    assert_eq!(report, expected);
    let seen = server.seen();
    assert_eq!(seen[0].header("mcp-method"), Some("server/discover"));
    assert_eq!((seen[0].header("mcp-protocol-version"), seen[0].header("mcp-session-id")), (Some("2026-07-28"), None));
}

#[tokio::test]
async fn a_legacy_server_is_given_a_session_that_ends_at_once() {
    for refusal in [400, 404, 500] {
        let server = TestServer::start(move |seen| match handshake(seen) {
            Some(reply) if seen.is("initialize") => {
                drop(reply);
                let mut reply = json(&INITIALIZED.replace(r#""capabilities":{}"#, r#""capabilities":{"tools":{}}"#));
                reply.headers_mut().insert("mcp-session-id", HeaderValue::from_static("s-1"));
                reply
            }
            Some(reply) => reply,
            None if seen.is("tools/list") && seen.header("mcp-session-id") == Some("s-1") => tools(seen),
            None => status(refusal),
        })
        .await;
        let upstream = upstream(&backend(server.address));
        for round in 0..2 {
            upstream.knowledge().begin_check();
            upstream.verify().await;
            // Known to have sessions, it is not asked again what it is.
            let first: &[&str] = if round == 0 { &["server/discover"] } else { &[] };
            let session = ["initialize", "notifications/initialized", "tools/list", "tools/list", "DELETE"];
            assert_eq!(methods(&server), [first, &session].concat(), "no GET among them");
            server.seen.lock().clear();
        }
        let report = upstream.report();
        assert_eq!(
            (report.verified, report.tools, report.versions),
            (Some(true), Some(4), vec!["2025-06-18".to_owned()])
        );
    }
}

#[tokio::test]
async fn what_is_not_advertised_is_not_asked_for() {
    let server = TestServer::start(|seen| handshake(seen).unwrap_or_else(|| status(400))).await;
    let report = verified(&backend(server.address)).await;
    assert_eq!(methods(&server), ["server/discover", "initialize", "notifications/initialized", "DELETE"]);
    assert_eq!((report.verified, report.tools), (Some(true), Some(0)));
}

#[tokio::test]
async fn each_problem_is_told_apart() {
    let problem = async |backend: &Backend| {
        let report = verified(backend).await;
        assert_eq!(report.verified, Some(false));
        let problem = report.problem.unwrap();
        assert!(!problem.contains('\n') && !problem.contains("127.0.0.1"), "{problem}");
        problem
    };
    let answering = async |reply: fn() -> Reply| {
        let server = TestServer::start(move |_| reply()).await;
        problem(&backend(server.address)).await
    };
    let at = async |backend: &Backend, expected: &str| assert_eq!(problem(backend).await, expected);

    at(&backend(closed_port().await), "backend team/search refuses connections").await;
    assert_eq!(
        answering(|| status(404)).await,
        "backend team/search answered with HTTP status 404; its path may be another one"
    );
    assert_eq!(
        answering(|| reply(200, "text/html", "<h1>It works</h1>")).await,
        "this is no MCP server, or its path is another one: backend team/search answered with neither JSON nor an event stream"
    );
    assert_eq!(
        answering(|| json(r#"{"status":"ok"}"#)).await,
        "this is no MCP server, or its path is another one: backend team/search answered initialize with something that is not JSON-RPC"
    );
    assert_eq!(
        answering(|| status(401)).await,
        "backend team/search does not accept the gateway's credentials (HTTP 401)"
    );
    assert_eq!(
        answering(|| status(302)).await,
        "backend team/search answered with HTTP status 302; redirects are not followed"
    );
    let unsupported = r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32022,"message":"not this\nrevision"}}"#;
    let server = TestServer::start(move |_| reply(400, "application/json", unsupported)).await;
    at(
        &backend(server.address),
        "this is no MCP server, or its path is another one: backend team/search refuses server/discover: not this revision",
    )
    .await;

    let mut named = backend(server.address);
    let Target::Http { endpoints, .. } = &mut named.target else { unreachable!() };
    "no-such-host.invalid".clone_into(&mut endpoints[0].host);
    at(&named, "the host of backend team/search cannot be resolved").await;
}

#[tokio::test]
async fn what_is_wrong_with_tls_is_told() {
    let (address, pem, _serving) = super::security::tls_server("tools.example").await;
    let ca = SecretKey::new("team", "ca", "ca.crt");
    let mut credentials = Credentials::default();
    credentials.values.insert(ca.clone(), PrivateBytes::new(pem));
    let plain = TestServer::start(|_| json(ANSWER)).await;
    let problem = async |address, tls: Option<UpstreamTls>| {
        let mut backend = backend(address);
        let Target::Http { tls: slot, .. } = &mut backend.target else { unreachable!() };
        *slot = tls;
        let upstream = upstream_named("search", &backend, &credentials);
        upstream.knowledge().begin_check();
        upstream.verify().await;
        upstream.report().problem.unwrap()
    };
    let tls = |name: &str| Some(UpstreamTls { server_name: Some(name.to_owned()), ca: Some(ca.clone()) });
    let wrong_name = problem(address, tls("other.example")).await;
    assert!(wrong_name.contains("TLS handshake failed") && wrong_name.contains("not valid for name"), "{wrong_name}");
    let no_tls = problem(plain.address, tls("tools.example")).await;
    assert!(no_tls.contains("TLS handshake failed"), "{no_tls}");
    let only_tls = problem(address, None).await;
    assert!(only_tls.contains("not HTTP") || only_tls.contains("closed the connection"), "{only_tls}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let report = verified(&backend(listener.local_addr().unwrap())).await;
    assert_eq!(report.problem.unwrap(), "backend team/search did not begin to answer within 10000 ms");
}

#[tokio::test]
async fn one_dead_address_says_nothing_of_the_others() {
    let server = TestServer::start(|seen| handshake(seen).unwrap_or_else(|| status(400))).await;
    let addresses = [closed_port().await, closed_port().await, server.address];
    let report = verified(&backend_with(&addresses, Transport::StreamableHttp, "/mcp")).await;
    assert_eq!((report.verified, report.endpoints), (Some(true), 3));
}

#[tokio::test]
async fn what_clients_do_is_known_too() {
    let server = TestServer::start(|seen| handshake(seen).unwrap_or_else(|| json(ANSWER))).await;
    let upstream = upstream(&backend(server.address));
    assert_eq!(upstream.report().verified, None);
    let params = br#"{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"c","version":"1"}}"#;
    let session = upstream.open_session(params, Arc::<Inbox>::default(), &TIMEOUTS).await.unwrap();
    let report = upstream.report();
    assert_eq!((report.verified, report.server.unwrap().name.as_str(), report.tools), (Some(true), "t", Some(0)));
    assert!(!upstream.knowledge().begin_check(), "nothing is left to ask");
    session.close().await;
}

#[tokio::test]
async fn a_server_of_the_oldest_transport_is_given_a_session_too() {
    let (sender, opened) = stream();
    sender.send(Ok(Bytes::from_static(b"event: endpoint\ndata: /messages\n\n"))).unwrap();
    let opened = Mutex::new(Some(opened));
    let server = TestServer::start(move |seen| {
        if seen.method == Method::GET {
            return opened.lock().take().unwrap_or_else(|| status(500));
        }
        if seen.is("initialize") {
            sender.send(Ok(Bytes::from(format!("event: message\ndata: {INITIALIZED}\n\n")))).unwrap();
        }
        status(202)
    })
    .await;
    let report = verified(&backend_with(&[server.address], Transport::Sse, "/sse")).await;
    assert_eq!((report.verified, report.problem, report.tools), (Some(true), None, Some(0)));
    assert_eq!(methods(&server), ["GET", "initialize", "notifications/initialized"]);
}
