//! Calls of the modern era: headers, kinds of answers.

use super::*;
use crate::gateway::error::Kind;
use http::HeaderName;

#[tokio::test]
async fn a_call_carries_the_headers_that_mirror_it() {
    let server = TestServer::start(|_| json(ANSWER)).await;
    let mut call = call(CALL);
    call.extra = vec![
        (HeaderName::from_static("mcp-param-region"), HeaderValue::from_static("us-west1")),
        (HeaderName::from_static("content-type"), HeaderValue::from_static("text/evil")),
    ];
    text(upstream(&backend(server.address)).call(&call, &TIMEOUTS).await.unwrap()).await;
    let [seen] = &server.seen()[..] else { unreachable!() };
    assert_eq!((&seen.method, seen.path.as_str(), seen.body.as_str()), (&Method::POST, "/mcp", CALL));
    for (name, value) in [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "add"),
        ("mcp-param-region", "us-west1"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("host", &server.address.to_string()),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    assert_eq!(seen.header("mcp-session-id"), None);
}

#[tokio::test]
async fn answers_are_told_apart() {
    const RPC_ERROR: &str = r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32020,"message":"header mismatch"}}"#;
    for (reply_with, expected) in [
        ((200, "application/json; charset=utf-8", ANSWER), Ok(ANSWER)),
        ((200, "text/event-stream", "data: {}\n\n"), Ok("an event stream")),
        ((202, "application/json", ""), Ok("accepted")),
        ((400, "application/json", RPC_ERROR), Ok("rejected with 400")),
        ((404, "application/json", RPC_ERROR), Ok("rejected with 404")),
        ((400, "application/json", "{\"error\":\"words\"}"), Err(Kind::HttpStatus)),
        ((404, "text/html", "<h1>"), Err(Kind::HttpStatus)),
        ((302, "text/html", ""), Err(Kind::HttpStatus)),
        ((503, "application/json", RPC_ERROR), Err(Kind::HttpStatus)),
        ((401, "application/json", RPC_ERROR), Err(Kind::Unauthorized)),
        ((403, "text/plain", ""), Err(Kind::Unauthorized)),
        ((200, "text/plain", "{}"), Err(Kind::BadAnswer)),
    ] {
        let (code, media, body) = reply_with;
        let server = TestServer::start(move |_| reply(code, media, body)).await;
        let answer = upstream(&backend(server.address)).call(&call(CALL), &TIMEOUTS).await;
        let found = match answer {
            Ok(answer) => Ok(text(answer).await),
            Err(error) => Err(error.kind),
        };
        assert_eq!(found.as_ref().map(String::as_str).map_err(|kind| *kind), expected, "{reply_with:?}");
    }
}

#[tokio::test]
async fn a_rejection_keeps_the_servers_own_words_up_to_64_kib() {
    let large = format!(r#"{{"jsonrpc":"2.0","id":7,"error":{{"code":-1,"message":"{}"}}}}"#, "x".repeat(70_000));
    let server = TestServer::start(move |_| reply(400, "application/json", &large)).await;
    let error = upstream(&backend(server.address)).call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::AnswerTooLarge);
}

#[tokio::test]
async fn http_sse_has_no_modern_era() {
    let address = closed_port().await;
    let upstream = upstream(&backend_with(&[address], Transport::Sse, "/sse"));
    let error = upstream.call(&call(CALL), &TIMEOUTS).await.map(|_| ()).unwrap_err();
    assert_eq!(error.kind, Kind::EraUnavailable);
}
