//! The admin channel: what the operator pushes and hears, beside what is mounted.

use crate::support::channel::Channel;
use crate::support::generation::{generation, listener, route};
use crate::support::http::Connection;
use crate::support::mcp::LegacyClient;
use crate::support::process::{Gateway, Volumes};
use crate::support::replicas::channels;
use crate::support::upstream::McpServer;
use crate::support::within;
use mcp_gateway_operator::ir::channel::{ENDPOINTS_PATH, GENERATION_PATH, MAX_PUSH_BYTES, REPORT_PATH};
use mcp_gateway_operator::ir::generation::Generation;
use mcp_gateway_operator::ir::secrets::PrivateBytes;
use rustix::process::Signal;
use serde_json::json;
use std::time::Duration;

/// A generation in front of this server, whose channel is secured.
fn secured(server: &McpServer) -> Generation {
    let mut generation = generation(&[("search", server.address)]);
    generation.credentials.channels = Some(channels());
    generation
}

/// The same, with another route besides, so that it is another one.
fn changed(from: &Generation, name: &str) -> Generation {
    let mut generation = from.clone();
    generation.snapshot.routes.push(route(name, &format!("/{name}")));
    generation
}

/// A gateway with this generation mounted, as the operator stamps it, and the way to it.
async fn mounted(generation: &Generation, revision: u64) -> (Gateway, Channel) {
    let home = tempfile::tempdir().unwrap();
    Volumes(home.path()).write(generation, revision);
    let gateway = Gateway::serve_from(home, &[]).await;
    let channel = gateway.channel(generation.credentials.channels.as_ref().unwrap()).await;
    (gateway, channel)
}

#[tokio::test]
async fn a_pushed_generation_is_served_and_a_bad_one_is_not() {
    let server = McpServer::start("search").await;
    let first = secured(&server);
    let (gateway, channel) = mounted(&first, 1).await;
    let report = channel.report().await;
    assert_eq!((&report.generation, report.revision, &report.refused), (&first.hash(), 1, &None));
    assert_eq!((report.version.as_str(), report.draining), (env!("CARGO_PKG_VERSION"), false));

    let second = changed(&first, "more");
    let (status, report) = channel.push(&second, 2).await;
    assert_eq!((status, &report.generation, report.revision), (200, &second.hash(), 2));
    assert_eq!(channel.push(&second, 2).await, (200, report.clone()), "pushed once more, nothing changes");

    let mut bad = changed(&first, "bad");
    bad.snapshot.backends.clear();
    let (status, report) = channel.push(&bad, 3).await;
    let refused = report.refused.unwrap();
    assert_eq!((status, &report.generation, report.revision), (422, &second.hash(), 3));
    assert_eq!(refused.generation, Some(bad.hash()));
    assert!(refused.reason.contains("there is no backend team/search"), "{}", refused.reason);
    assert_eq!(gateway.status().await["generation"], second.hash());

    // Garbage that is numbered is a refusal, too; what is no message is none.
    let garbage = json!({"snapshot": "bm90IGd6aXA=", "credentials": {}, "revision": 4}).to_string();
    let answer = channel.request("PUT", GENERATION_PATH, garbage.as_bytes()).await.unwrap();
    assert!(answer.status == 422 && answer.text().contains("cannot be decompressed"), "{answer:?}");
    let answer = channel.request("PUT", GENERATION_PATH, br#"{"hunter2""#).await.unwrap();
    assert!(answer.status == 400 && !answer.text().contains("hunter2"), "{answer:?}");

    let (status, report) = channel.push(&first, 5).await;
    assert_eq!((status, &report.generation, &report.refused), (200, &first.hash(), &None));
    let address = gateway.address("http").await;
    assert_eq!(LegacyClient::connect(address, "/mcp").await.tools().await, ["echo", "wait"]);

    let count = async |outcome: &str| {
        gateway
            .metric(&format!(r#"mcp_gateway_channel_requests_total{{outcome="{outcome}",request="generation"}}"#))
            .await
    };
    assert_eq!((count("ok").await, count("refused").await, count("invalid").await), (3.0, 2.0, 1.0));
}

#[tokio::test]
async fn only_the_operator_gets_in() {
    let server = McpServer::start("search").await;
    let generation = secured(&server);
    let (gateway, channel) = mounted(&generation, 1).await;

    for token in ["", "the operator's toke", "a replica's token"] {
        let stranger = channel.showing(token);
        for (method, path) in [("GET", REPORT_PATH), ("PUT", GENERATION_PATH), ("PUT", ENDPOINTS_PATH), ("GET", "/")] {
            let answer = stranger.request(method, path, b"{}").await.unwrap();
            assert_eq!((answer.status, answer.header("connection")), (401, Some("close")), "{token} {path}");
        }
    }
    assert_eq!(channel.report().await.endpoints, "", "nothing was taken");
    let unauthorized = r#"mcp_gateway_channel_requests_total{outcome="unauthorized",request="report"}"#;
    assert!((gateway.metric(unauthorized).await - 3.0).abs() < 0.1);

    // Whoever trusts another certificate does not get as far as to show the token.
    let elsewhere = Channel::new(channel.address, &channels());
    let error = elsewhere.request("GET", REPORT_PATH, b"").await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let mut plain = Connection::open(channel.address).await.unwrap();
    plain.send("GET /v1/report HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(!String::from_utf8_lossy(&plain.closed().await).contains("HTTP/1.1 200"));

    // The operator, asking for what there is not.
    for (method, path, status) in [
        ("GET", "/v1/other", 404),
        ("POST", GENERATION_PATH, 405),
        ("PUT", REPORT_PATH, 405),
        ("GET", "/v1/report?after=x", 400),
    ] {
        assert_eq!(channel.request(method, path, b"").await.unwrap().status, status, "{method} {path}");
    }
    let (token, length) = (&channel.token, MAX_PUSH_BYTES + 1);
    let large = format!(
        "PUT {ENDPOINTS_PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
    );
    assert_eq!(channel.connect().await.unwrap().exchange(large).await.unwrap().status, 413);
    assert!(!gateway.process.log().join("\n").contains(&channel.token));
}

#[tokio::test]
async fn what_secures_the_channel_changes_with_the_generation() {
    let server = McpServer::start("search").await;
    let first = secured(&server);
    let (gateway, old) = mounted(&first, 1).await;
    let mut second = first.clone();
    let fresh =
        mcp_gateway_operator::ir::secrets::Channels { admin_token: PrivateBytes::new(*b"another token"), ..channels() };
    second.credentials.channels = Some(fresh.clone());
    assert_eq!(old.push(&second, 2).await.0, 200);

    let error = old.request("GET", REPORT_PATH, b"").await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let new = gateway.channel(&fresh).await;
    assert_eq!(new.report().await.generation, second.hash());
    let half = new.showing(&old.token);
    assert_eq!(half.request("GET", REPORT_PATH, b"").await.unwrap().status, 401);

    // What cannot be secured is refused as a whole.
    let mut bad = second.clone();
    bad.credentials.channels.as_mut().unwrap().private_key = channels().private_key;
    let (status, report) = new.push(&bad, 3).await;
    assert_eq!((status, report.generation), (422, second.hash()));
    assert_eq!(new.report().await.generation, second.hash());
}

#[tokio::test]
async fn mounts_never_bring_back_what_a_push_replaced() {
    let server = McpServer::start("search").await;
    let first = secured(&server);
    let generations: Vec<Generation> = ["two", "three", "four"].iter().map(|name| changed(&first, name)).collect();
    let [two, three, four] = &generations[..] else { unreachable!() };
    let home = tempfile::tempdir().unwrap();
    Volumes(home.path()).write(&first, 1);
    let gateway = Gateway::serve_from(home, &["--log-level", "mcp_gateway_operator=debug"]).await;
    let channel = gateway.channel(first.credentials.channels.as_ref().unwrap()).await;
    assert_eq!(channel.push(three, 3).await.0, 200);

    // The kubelet is late, and shows every stage that it finds, each of which the gateway looks at.
    let volumes = gateway.volumes();
    let seen = |word: &str| gateway.process.log().iter().filter(|line| line.contains(word)).count();
    let passes_over = async |word: &str, write: &dyn Fn()| {
        let before = seen(word);
        write();
        within("the gateway looks", async {
            while seen(word) == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!(gateway.status().await["generation"], three.hash());
    };
    let (late, torn) = ("came late", "one half");
    passes_over(late, &|| volumes.write(&first, 1)).await;
    passes_over(torn, &|| volumes.write_snapshot(two)).await;
    passes_over(late, &|| volumes.write_credentials(two, 2)).await;
    passes_over(torn, &|| volumes.write_credentials(four, 4)).await;
    volumes.write_snapshot(four);
    gateway.status_where("the mounts overtake", |status| status["generation"] == four.hash()).await;
    // Not one of the others was served in between, and nothing was refused. The log comes through a pipe, later than the status.
    within("the second one is logged", async {
        while seen("generation applied") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(seen("generation applied"), 2, "{:#?}", gateway.process.log());
    assert_eq!(channel.report().await.refused, None);

    // An operator that does not know yet that another one took over.
    let (status, report) = channel.push(two, 3).await;
    assert_eq!((status, report.generation, report.revision), (409, four.hash(), 4));
}

#[tokio::test]
async fn a_gateway_starts_from_mounts_that_belong_together() {
    let server = McpServer::start("search").await;
    let (old, new) = (secured(&server), changed(&secured(&server), "more"));
    let home = tempfile::tempdir().unwrap();
    let volumes = home.path().to_owned();
    Volumes(&volumes).write(&old, 1);
    Volumes(&volumes).write_snapshot(&new);
    let starting = tokio::spawn(Gateway::serve_from(home, &[]));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!starting.is_finished(), "a new snapshot with old credentials is not served");
    Volumes(&volumes).write_credentials(&new, 2);
    let gateway = starting.await.unwrap();
    assert_eq!(gateway.status().await["generation"], new.hash());
    assert_eq!(gateway.channel(new.credentials.channels.as_ref().unwrap()).await.report().await.revision, 2);
}

#[tokio::test]
async fn a_report_is_waited_for() {
    let server = McpServer::start("search").await;
    let first = secured(&server);
    let (gateway, channel) = mounted(&first, 1).await;
    let before = channel.report().await;
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.after(before.sequence).await }
    });
    let second = changed(&first, "more");
    gateway.volumes().write(&second, 2);
    let after = waiting.await.unwrap();
    assert!(after.sequence > before.sequence && after.boot == before.boot, "{after:?}");
    let after = channel.report_where("the mounted one is reported", |report| report.generation == second.hash()).await;

    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.report_where("the departure is reported", |report| report.draining).await }
    });
    // Somebody is in flight, so that it does not leave at once.
    let mut slow = second.clone();
    slow.snapshot.drain.min_duration_ms = 2_000;
    slow.snapshot.listeners.push(listener("more"));
    assert_eq!(channel.push(&slow, 3).await.0, 200);
    gateway.process.signal(Signal::TERM);
    assert!(waiting.await.unwrap().sequence > after.sequence);
    assert_eq!(channel.push(&second, 4).await.0, 503, "nothing changes any more");
}
