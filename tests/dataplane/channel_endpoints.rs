//! Addresses told over the admin channel: traffic moves, and what need not be lost is kept.

use crate::support::channel::endpoints;
use crate::support::generation::{generation, id, listener};
use crate::support::mcp::{LegacyClient, ModernClient, text};
use crate::support::process::Gateway;
use crate::support::replicas::channels;
use crate::support::upstream::McpServer;
use mcp_gateway_operator::ir::channel::Report;
use serde_json::json;

#[tokio::test]
async fn told_addresses_move_traffic_and_lose_nothing_that_stays() {
    let (own, one, two) = (McpServer::start("own").await, McpServer::start("one").await, McpServer::start("two").await);
    let mut generation = generation(&[("search", own.address)]);
    generation.credentials.channels = Some(channels());
    let gateway = Gateway::serve(&generation).await;
    let channel = gateway.channel(generation.credentials.channels.as_ref().unwrap()).await;
    let address = gateway.address("http").await;
    let mut legacy = LegacyClient::connect(address, "/mcp").await;
    let mut modern = ModernClient::connect(address, "/mcp").await;
    let who = |reply: &serde_json::Value| text(reply).split(' ').next().unwrap().to_owned();
    assert_eq!(who(&legacy.call("echo", json!({})).await.unwrap()), "own");
    assert_eq!(who(&modern.call("echo", json!({})).await.unwrap()), "own");
    let lists =
        async || gateway.metric(r#"mcp_gateway_catalog_refreshes_total{backend="team/search",outcome="ok"}"#).await;
    let listed = lists().await;

    let told = endpoints(&[(id("search"), &[one.address])]);
    assert_eq!(channel.tell(&told).await.endpoints, told.hash());
    let is_one =
        |report: &Report| report.backends[&id("search")].server.as_ref().is_some_and(|known| known.name == "one");
    let report = channel.report_where("the new address is looked at", is_one).await;
    assert_eq!(channel.tell(&told).await, report, "told once more, nothing changes");
    assert_eq!(who(&legacy.call("echo", json!({})).await.unwrap()), "one", "the server's session is opened anew");
    assert_eq!(who(&modern.call("echo", json!({})).await.unwrap()), "one");

    // Another address joins, and another generation comes: whoever is with the first stays there.
    let told = endpoints(&[(id("search"), &[one.address, two.address]), (id("other"), &[two.address])]);
    channel.tell(&told).await;
    let mut next = generation.clone();
    next.snapshot.listeners.push(listener("more"));
    let (status, report) = channel.push(&next, 1).await;
    assert_eq!((status, &report.endpoints), (200, &told.hash()));
    for _ in 0..4 {
        assert_eq!(who(&legacy.call("echo", json!({})).await.unwrap()), "one");
    }
    assert_eq!(one.count("initialize"), 1);
    let mut answered = Vec::new();
    for _ in 0..4 {
        answered.push(who(&modern.call("echo", json!({})).await.unwrap()));
    }
    answered.sort();
    assert_eq!(answered, ["one", "one", "two", "two"]);

    assert!((lists().await - listed).abs() < 0.1, "nobody lists again because of an address");

    // A backend that is changed is told its addresses, too.
    next.snapshot.limits.request_body_bytes += 1;
    assert_eq!(channel.push(&next, 2).await.0, 200);
    let answered = who(&modern.call("echo", json!({})).await.unwrap());
    assert!(answered == "one" || answered == "two", "{answered}");

    // Nothing is ready: back to what the snapshot says.
    channel.tell(&endpoints(&[])).await;
    assert_eq!(who(&modern.call("echo", json!({})).await.unwrap()), "own");
    assert_eq!(who(&legacy.call("echo", json!({})).await.unwrap()), "own");
}
