//! Who is let in, and how a pod leaves.

use super::*;
use crate::support::http::{Connection, post};
use rustix::process::Signal;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"0"}}}"#;

async fn initialize(address: impl Into<SocketAddr>, headers: &[(&str, &str)]) -> Answer {
    let request = post("/mcp", &[&[("content-type", "application/json")], headers].concat(), INITIALIZE.as_bytes());
    Connection::open(address.into()).await.unwrap().exchange(request).await.unwrap()
}

#[tokio::test]
async fn only_who_knows_the_token_reaches_the_server_over_either_family() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "t0ken\n").unwrap();
    let pod = Pod::spawn(&["--listen", "[::]:0", "--token-file", token.to_str().unwrap()], &[]).await;
    let port = pod.address.port();
    let pod = Pod { address: (Ipv4Addr::LOCALHOST, port).into(), ..pod };
    pod.ready().await;
    let mut addresses: Vec<SocketAddr> = vec![(Ipv4Addr::LOCALHOST, port).into()];
    // A machine without IPv6 has no such address to be reached at.
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push((Ipv6Addr::LOCALHOST, port).into());
    }
    for address in &addresses {
        let known = initialize(*address, &[("authorization", "Bearer t0ken")]).await;
        assert_eq!(known.status, 200, "{known:?}");
        for headers in [&[][..], &[("authorization", "Bearer other")], &[("authorization", "Basic t0ken")]] {
            let refused = initialize(*address, headers).await;
            assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
            assert_eq!(refused.json()["error"]["code"], -32600);
        }
    }
    let browser = initialize(pod.address, &[("authorization", "Bearer t0ken"), ("origin", "http://localhost")]).await;
    assert_eq!(browser.status, 403);
    assert_eq!(pod.metric("mcp_shim_unauthorized_total").await, 3 * addresses.len() as u64);
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/", 404), ("/mcp/", 404)] {
        assert_eq!(pod.page(path).await.status, status, "{path}");
    }

    std::fs::write(&token, "next").unwrap();
    within("the next token is taken", async {
        while initialize(pod.address, &[("authorization", "Bearer next")]).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(initialize(pod.address, &[("authorization", "Bearer t0ken")]).await.status, 401);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let pod = Pod::start(&[]).await;
    let answer = initialize(pod.address, &[("x-large", &"x".repeat(40_000))]).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn the_environment_is_the_servers_and_its_secrets_are_not_logged() {
    let env = [("SERVER_PLAIN", "plain"), ("SERVER_PASSWORD", "hunter2-hunter2"), ("RUST_LOG", "off")];
    let pod = Pod::start_with(&["--pool-min", "0"], &env).await;
    let mut client = pod.client().await;
    assert_eq!(call(&mut client, "env").await, "plain off");
    assert_eq!(call(&mut client, "whisper").await, "hunter2-hunter2");
    let line = pod
        .process
        .logged("the server's words", |line| line.contains("the password is").then(|| line.to_owned()))
        .await;
    assert!(line.contains("the password is ****"), "{line}");
    serde_json::from_str::<Value>(&line).unwrap();
}

#[tokio::test]
async fn a_pod_that_is_to_leave_ends_its_calls_first_and_begins_none() {
    let mut pod = Pod::start(&["--pool-max", "4"]).await;
    let (mut calling, mut idle) = (pod.client().await, pod.client().await);
    let message = calling.message("tools/call", json!({"name": "slow", "arguments": {}}));
    calling.send(&message).await.unwrap();
    pod.metric_is("mcp_shim_calls_in_flight", 1).await;
    pod.process.signal(Signal::TERM);
    within("the pod is not ready any more", async { while pod.page("/readyz").await.status != 503 {} }).await;
    let refused = initialize(pod.address, &[]).await;
    assert_eq!((refused.status, refused.header("connection")), (503, Some("close")));
    assert_eq!(refused.json()["error"]["data"]["retry"], "safe");
    let refused = idle.call("pid", json!({})).await.unwrap();
    assert_eq!(refused["error"]["message"], "the server is being shut down");

    let answer = calling.connection.answer().await.unwrap();
    assert_eq!((answer.status, text(&answer.json())), (200, "done"));
    assert!(pod.process.ended().await.success());
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_off_in_time() {
    let mut pod = Pod::start(&["--drain-timeout", "6s"]).await;
    let mut client = pod.client().await;
    let message = client.message("tools/call", json!({"name": "hang", "arguments": {}}));
    client.send(&message).await.unwrap();
    pod.metric_is("mcp_shim_calls_in_flight", 1).await;
    let family = pod.family();
    let start = Instant::now();
    pod.process.signal(Signal::TERM);
    assert!(pod.process.ended().await.success());
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    let left: Vec<u32> = family.into_iter().filter(|pid| exists(*pid)).collect();
    assert!(left.is_empty(), "{left:?}");
}
