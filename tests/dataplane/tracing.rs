//! Traces, from a client over the gateway to a server, as a real OpenTelemetry Collector gets them.

use crate::support::collector::{Collector, Place, Span};
use crate::support::generation::{backend, generation, id, tier};
use crate::support::mcp::{LegacyClient, ModernClient};
use crate::support::process::Gateway;
use crate::support::upstream::{McpServer, Reply};
use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::ids::SecretKey;
use mcp_gateway_operator::ir::secrets::PrivateBytes;
use mcp_gateway_operator::ir::snapshot::{HeaderAuth, OtlpProtocol, Tracing};
use rustix::process::Signal;
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT_SPAN: &str = "b7ad6b7169203331";

/// What a client says of its own span.
fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{CLIENT_SPAN}-{flags}")
}

fn traced(servers: &[(&str, SocketAddr)], tracing: Tracing) -> Generation {
    let mut generation = generation(servers);
    generation.snapshot.tracing = Some(tracing);
    generation
}

/// The only span that is like this.
fn only(spans: &[Span], wanted: impl Fn(&Span) -> bool) -> &Span {
    let mut found = spans.iter().filter(|span| wanted(span));
    match (found.next(), found.next()) {
        (Some(one), None) => one,
        _ => panic!("not one span: {spans:#?}"),
    }
}

/// The place in a trace that a server was told of.
fn told(server: &McpServer, tool: &str) -> String {
    let received = server.received();
    let call = received.iter().find(|received| received.tool() == tool).unwrap();
    let in_body = call.body["params"]["_meta"]["traceparent"].as_str().unwrap_or_default().to_owned();
    assert_eq!(call.header("traceparent").unwrap_or_default(), in_body, "both say the same");
    in_body
}

#[tokio::test]
#[ignore = "needs an OpenTelemetry Collector: make tracing"]
async fn a_call_of_either_era_is_one_trace_from_client_to_server() {
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::HttpProtobuf] {
        let collector = Collector::start().await;
        let server = McpServer::scripted("a", |received| match received.tool() {
            "wait" => Reply::Result(json!({"isError": true, "content": [{"type": "text", "text": "the-answer"}]})),
            _ => Reply::Default,
        })
        .await;
        let gateway = Gateway::serve(&traced(&[("a", server.address)], collector.place().tracing(protocol))).await;
        let address = gateway.address("http").await;
        let params = json!({
            "name": "echo", "arguments": {"password": "hunter2"},
            "_meta": {"traceparent": parent("01"), "tracestate": "vendor=kept", "com.example/mine": "stays"},
        });

        let mut modern = ModernClient::connect(address, "/mcp").await;
        modern.request("tools/call", params.clone()).await.unwrap();
        let spans = collector.spans_where("a call's spans", |spans| spans.iter().any(Span::is_server)).await;
        let request = only(&spans, |span| span.is_server() && span.name() == "tools/call echo");
        let attempt = only(&spans, |span| span.is_client() && span.name() == "tools/call echo");
        assert_eq!((request.trace_id(), request.parent()), (TRACE, CLIENT_SPAN));
        assert_eq!((attempt.trace_id(), attempt.parent()), (TRACE, request.id()));
        assert_eq!(told(&server, "echo"), format!("00-{TRACE}-{}-01", attempt.id()));
        let call = server.received().into_iter().find(|received| received.tool() == "echo").unwrap();
        let meta = &call.body["params"]["_meta"];
        assert_eq!((&meta["tracestate"], &meta["com.example/mine"]), (&json!("vendor=kept"), &json!("stays")));
        assert_eq!(request.body["traceState"], "vendor=kept");
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("gen_ai.tool.name", "echo"),
            ("gen_ai.operation.name", "execute_tool"),
            ("jsonrpc.request.id", "1"),
            ("mcp.protocol.version", "2026-07-28"),
            ("network.transport", "tcp"),
            ("client.address", "127.0.0.1"),
            ("mcp_gateway.route", "team/tools"),
            ("mcp_gateway.server", "a"),
            ("mcp.session.id", ""),
            ("error.type", ""),
        ] {
            assert_eq!(request.attribute(key), value, "{key}");
        }
        let port = server.address.port().to_string();
        for (key, value) in [
            ("server.address", "127.0.0.1"),
            ("server.port", port.as_str()),
            ("mcp_gateway.backend", "team/a"),
            ("mcp_gateway.attempt", "1"),
            ("mcp_gateway.era", "modern"),
        ] {
            assert_eq!(attempt.attribute(key), value, "{key}");
        }
        let process = |key: &str| request.of_process(key);
        assert_eq!((process("service.name"), process("service.namespace")), ("gateway".into(), "team".into()));
        // What the gateway had to ask first is part of the trace, too.
        let list = only(&spans, |span| span.name() == "tools/list");
        assert_eq!((list.parent(), list.is_client()), (request.id(), true));

        let mut legacy = LegacyClient::connect(address, "/mcp").await;
        let session = legacy.session.clone().unwrap();
        let mut wait = params.clone();
        wait["name"] = json!("wait");
        legacy.request("tools/call", wait).await.unwrap();
        let of_wait = |span: &Span| span.name() == "tools/call wait";
        let spans =
            collector.spans_where("both spans", |spans| spans.iter().filter(|span| of_wait(span)).count() == 2).await;
        for span in spans.iter().filter(|span| of_wait(span)) {
            assert!(span.has_failed(), "{span:?}");
            assert_eq!((span.trace_id(), &*span.attribute("error.type")), (TRACE, "tool_error"));
            assert_eq!(span.attribute("mcp.protocol.version"), "2025-11-25");
        }
        let request = only(&spans, |span| of_wait(span) && span.is_server());
        assert_eq!(request.attribute("mcp.session.id").len(), 16);
        let initialize = only(&spans, |span| span.name() == "initialize" && span.is_server());
        let handshake = only(&spans, |span| span.name() == "initialize" && span.is_client());
        assert_eq!(handshake.parent(), initialize.id());
        assert_eq!(initialize.parent(), "", "a trace of its own");

        let raw = collector.raw();
        for secret in [session.as_str(), "session-of-a", "hunter2", "the-answer"] {
            assert!(!raw.contains(secret), "{secret} was exported");
        }
        let exported = gateway.metric(r#"mcp_gateway_trace_spans_total{outcome="exported"}"#).await;
        assert!(exported >= 6.0, "{exported}");
    }
}

#[tokio::test]
#[ignore = "needs an OpenTelemetry Collector: make tracing"]
async fn a_failover_is_seen_as_two_attempts() {
    let collector = Collector::start().await;
    let (server, dead) = (McpServer::start("a").await, Place::free().tracing(OtlpProtocol::Grpc));
    let nobody: SocketAddr = dead.endpoint.trim_start_matches("http://").parse().unwrap();
    let mut generation = traced(&[("a", nobody)], collector.place().tracing(OtlpProtocol::Grpc));
    generation.snapshot.backends.insert(id("b"), backend(server.address));
    generation.snapshot.routes[0].servers[0].tiers = vec![tier(0, &[("a", 1)]), tier(1, &[("b", 1)])];
    let gateway = Gateway::serve(&generation).await;
    let mut client = ModernClient::connect(gateway.address("http").await, "/mcp").await;
    client.call("echo", json!({})).await.unwrap();

    let of_call = |span: &Span| span.name() == "tools/call echo";
    let spans =
        collector.spans_where("its spans", |spans| spans.iter().filter(|span| of_call(span)).count() == 3).await;
    let request = only(&spans, |span| of_call(span) && span.is_server());
    assert!(!request.has_failed(), "the client noticed nothing");
    let attempts = ["1", "2"].map(|number| {
        only(&spans, |span| of_call(span) && span.is_client() && span.attribute("mcp_gateway.attempt") == number)
    });
    let seen = attempts.map(|span| (span.attribute("mcp_gateway.backend"), span.attribute("error.type")));
    assert_eq!(seen, [("team/a".into(), "connect_failed".into()), ("team/b".into(), String::new())]);
    assert!(attempts.iter().all(|span| span.parent() == request.id()));
    assert_eq!(told(&server, "echo"), format!("00-{}-{}-01", request.trace_id(), attempts[1].id()));
}

#[tokio::test]
#[ignore = "needs an OpenTelemetry Collector: make tracing"]
async fn what_nobody_records_is_not_exported_and_the_ratio_is_followed_without_a_restart() {
    let collector = Collector::start().await;
    let server = McpServer::start("a").await;
    let tracing = collector.place().tracing(OtlpProtocol::HttpProtobuf);
    let mut generation = traced(&[("a", server.address)], tracing);
    let gateway = Gateway::serve(&generation).await;
    let mut client = ModernClient::connect(gateway.address("http").await, "/mcp").await;
    let call =
        |name: &str, flags: &str| json!({"name": name, "arguments": {}, "_meta": {"traceparent": parent(flags)}});
    server.release(2);
    client.request("tools/call", call("wait", "00")).await.unwrap();
    assert_eq!(told(&server, "wait"), parent("00"), "passed on as it came");

    // No new traces from now on; those of others go on.
    generation.snapshot.tracing.as_mut().unwrap().sampled_per_million = 0;
    gateway.apply(&generation).await;
    client.call("wait", json!({})).await.unwrap();
    client.request("tools/call", call("echo", "01")).await.unwrap();
    let spans = collector.spans_where("the sampled call", |spans| spans.len() >= 2).await;
    let names: Vec<&str> = spans.iter().map(Span::name).collect();
    assert_eq!(names, ["tools/call echo"; 2], "and nothing of the others");

    // Off: what a client says passes as it is, be it what it may.
    generation.snapshot.tracing = None;
    gateway.apply(&generation).await;
    client.request("tools/call", json!({"name": "other", "_meta": {"traceparent": "nonsense"}})).await.unwrap();
    client.request("tools/call", json!({"name": "echo", "_meta": {"traceparent": "nonsense"}})).await.unwrap();
    let last = server.received().pop().unwrap();
    assert_eq!((&last.body["params"]["_meta"]["traceparent"], last.header("traceparent")), (&json!("nonsense"), None));
}

#[tokio::test]
#[ignore = "needs an OpenTelemetry Collector: make tracing"]
async fn without_a_collector_calls_go_on_and_with_one_again_spans_arrive() {
    let place = Place::free();
    let server = McpServer::start("a").await;
    let mut generation = traced(&[("a", server.address)], place.tracing(OtlpProtocol::Grpc));
    let token = SecretKey::new("team", "otel", "token");
    generation.credentials.values.insert(token.clone(), PrivateBytes::new(*b"collectors-token\n"));
    let header = HeaderAuth { header: "authorization".into(), prefix: Some("Bearer ".into()), value: token };
    generation.snapshot.tracing.as_mut().unwrap().headers.push(header);
    let gateway = Gateway::serve(&generation).await;
    let mut client = ModernClient::connect(gateway.address("http").await, "/mcp").await;

    // Twice what the queue holds.
    let mut slowest = Duration::ZERO;
    for _ in 0..2100 {
        let start = std::time::Instant::now();
        client.call("echo", json!({})).await.unwrap();
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(5), "nobody waits for the collector: {slowest:?}");
    let lost = gateway.metric(r#"mcp_gateway_trace_spans_total{outcome="queue_full"}"#).await;
    assert!(lost > 0.0, "two spans for each of 2100 calls, and a queue of 2048");
    let log = gateway.process.log().join("\n");
    assert_eq!(log.matches("traces cannot be exported").count(), 1, "{log}");
    assert!(!log.contains("collectors-token"), "{log}");

    let collector = Collector::start_at(place).await;
    let spans = collector.spans_where("what waited arrives", |spans| spans.len() >= 512).await;
    assert!(spans.iter().all(|span| !span.trace_id().is_empty()));
    gateway.process.signal(Signal::TERM);
}

#[tokio::test]
#[ignore = "needs an OpenTelemetry Collector: make tracing"]
async fn the_last_spans_go_out_when_the_gateway_ends() {
    let collector = Collector::start().await;
    let server = McpServer::start("a").await;
    let generation = traced(&[("a", server.address)], collector.place().tracing(OtlpProtocol::Grpc));
    let mut gateway = Gateway::serve(&generation).await;
    let mut client = ModernClient::connect(gateway.address("http").await, "/mcp").await;
    client.call("echo", json!({})).await.unwrap();
    drop(client);
    gateway.process.signal(Signal::TERM);
    assert!(gateway.process.ended().await.success());
    let spans = collector.spans_where("all are there", |spans| spans.iter().any(Span::is_server)).await;
    only(&spans, |span| span.is_server() && span.name() == "tools/call echo");
}
