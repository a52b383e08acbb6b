//! What a gateway finds out about its backends, and reports.

use crate::support::channel::Channel;
use crate::support::generation::{backend, generation, id, server, tier};
use crate::support::mcp::LegacyClient;
use crate::support::process::Gateway;
use crate::support::replicas::channels;
use crate::support::upstream::{McpServer, Reply};
use mcp_gateway_operator::ir::channel::{Report, ServerInfo, ServerReport};
use mcp_gateway_operator::ir::generation::Generation;
use std::net::SocketAddr;

async fn start(mut generation: Generation) -> (Gateway, Channel) {
    generation.credentials.channels = Some(channels());
    let gateway = Gateway::serve(&generation).await;
    let channel = gateway.channel(generation.credentials.channels.as_ref().unwrap()).await;
    (gateway, channel)
}

/// A port on which nothing listens.
fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn server_of(report: &Report, name: &str) -> ServerReport {
    let servers = &report.routes[&id("tools")].servers;
    servers.iter().find(|server| server.name == name).unwrap().clone()
}

#[tokio::test]
async fn every_backend_is_known_before_anybody_calls_it() {
    let good = McpServer::start("good").await;
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let site = McpServer::scripted("site", move |_| Reply::Bytes(page.as_bytes().to_vec())).await;
    let none = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let elsewhere = McpServer::scripted("elsewhere", move |_| Reply::Bytes(none.as_bytes().to_vec())).await;
    let servers =
        [("good", good.address), ("site", site.address), ("elsewhere", elsewhere.address), ("down", closed_port())];
    let (gateway, channel) = start(generation(&servers)).await;

    let report = channel
        .report_where("all are looked at", |report| report.backends.values().all(|known| known.verified.is_some()))
        .await;
    let known = |name: &str| report.backends[&id(name)].clone();
    let good_one = known("good");
    assert_eq!((good_one.verified, good_one.tools, good_one.endpoints), (Some(true), Some(2), 1));
    assert_eq!(good_one.versions, ["2026-07-28"]);
    assert_eq!(good_one.server.map(|ServerInfo { name, .. }| name), Some("good".to_owned()));
    for (name, words) in [
        ("site", "this is no MCP server"),
        ("elsewhere", "HTTP status 404; its path may be another one"),
        ("down", "refuses connections"),
    ] {
        let bad = known(name);
        let problem = bad.problem.unwrap();
        assert!(bad.verified == Some(false) && problem.contains(words), "{name}: {problem}");
        assert_eq!(server_of(&report, name).active_priority, None);
    }
    let of_good = server_of(&report, "good");
    assert_eq!((of_good.active_priority, of_good.healthy, of_good.total), (Some(0), 1, 1));
    assert!(!of_good.untried);
    assert_eq!((of_good.listed, of_good.tools), (None, 0), "no client was there yet");
    assert!(good.received().iter().all(|received| received.http_method == "POST"), "never a bare GET");
    let series = r#"mcp_gateway_upstream_verifications_total{backend="team/good",outcome="ok"}"#;
    assert!((gateway.metric(series).await - 1.0).abs() < 0.1);
    let status = gateway.status().await;
    let shown = &status["routes"][0]["servers"][3]["backends"][0];
    assert_eq!(shown["verified"], false);
    assert!(shown["problem"].as_str().unwrap().contains("refuses connections"), "{shown}");
}

#[tokio::test]
async fn a_backup_takes_over_in_the_report_and_gives_back() {
    let backup = McpServer::start("backup").await;
    let down = closed_port();
    let mut generation = generation(&[]);
    generation.snapshot.backends.insert(id("main"), backend(down));
    generation.snapshot.backends.insert(id("backup"), backend(backup.address));
    let mut search = server("search");
    search.tiers = vec![tier(10, &[("main", 1)]), tier(20, &[("backup", 1), ("main", 0)])];
    generation.snapshot.routes[0].servers.push(search);
    let (gateway, channel) = start(generation).await;

    let seen = |priority, healthy| {
        move |report: &Report| {
            let search = server_of(report, "search");
            (search.active_priority, search.healthy, search.total) == (Some(priority), healthy, 3)
        }
    };
    channel.report_where("the backup is the active one", seen(20, 1)).await;
    let main = McpServer::start_at("main", down).await;
    channel.report_where("the main one is back", seen(10, 3)).await;

    // It goes away again, which nobody knows before the next call; that one notices.
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
    let report = channel.report_where("it is listed", |report| server_of(report, "search").listed.is_some()).await;
    assert_eq!((server_of(&report, "search").listed, server_of(&report, "search").tools), (Some(true), 2));
    drop(main);
    tokio::time::sleep(std::time::Duration::from_millis(5_100)).await;
    LegacyClient::connect(gateway.address("http").await, "/mcp").await.tools().await;
    channel.report_where("the backup is the active one again", seen(20, 1)).await;
}

#[tokio::test]
async fn names_that_clash_are_reported() {
    let (one, two) = (McpServer::start("one").await, McpServer::start("two").await);
    let mut generation = generation(&[("one", one.address), ("two", two.address)]);
    for server in &mut generation.snapshot.routes[0].servers {
        server.prefix = None;
    }
    let (gateway, channel) = start(generation).await;
    let mut client = LegacyClient::connect(gateway.address("http").await, "/mcp").await;
    assert_eq!(client.tools().await, ["echo", "wait"]);
    let report = channel.report().await;
    assert_eq!((server_of(&report, "one").tools, server_of(&report, "one").conflicts.len()), (2, 0));
    assert_eq!(
        (server_of(&report, "two").tools, server_of(&report, "two").conflicts),
        (0, vec!["echo".into(), "wait".into()])
    );
}

#[tokio::test]
async fn without_an_operator_nobody_is_bothered() {
    let server = McpServer::start("search").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address)])).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(server.received().len(), 0);
    assert!(!gateway.process.log().iter().any(|line| line.contains("\"channel\"")), "nor is there a channel");
}
