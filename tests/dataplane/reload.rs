//! Generations that change while clients call.

use crate::support::generation::{backend, generation, id, listener, route, server};
use crate::support::mcp::{LegacyClient, text};
use crate::support::process::Gateway;
use crate::support::upstream::McpServer;
use mcp_gateway_operator::ir::generation::{encode_credentials, encode_snapshot};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const RELOADS: u32 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_reloads_under_load_drop_no_connection() {
    let search = McpServer::start("search").await;
    let extra = McpServer::start("extra").await;
    let base = generation(&[("search", search.address)]);
    let gateway = Gateway::serve(&base).await;
    let address = gateway.address("http").await;

    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|number| {
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                // One connection and one session from beginning to end: a dropped one is an error here.
                let mut client = LegacyClient::connect(address, "/mcp").await;
                let mut calls = 0;
                while !over.load(Ordering::Relaxed) {
                    let reply = client.call("echo", json!({"client": number, "call": calls})).await.unwrap();
                    assert_eq!(text(&reply), format!(r#"search {{"client":{number},"call":{calls}}}"#));
                    calls += 1;
                }
                calls
            })
        })
        .collect();

    for reload in 0..RELOADS {
        let mut next = base.clone();
        // Something to do for every room: another limit, and every other time another route, backend and listener.
        next.snapshot.limits.sessions = 1000 + reload;
        if reload % 2 == 0 {
            next.snapshot.listeners.push(listener("more"));
            next.snapshot.routes.push(route("more", "/more"));
            next.snapshot.routes[1].servers.push(server("extra"));
            next.snapshot.backends.insert(id("extra"), backend(extra.address));
        }
        gateway.apply(&next).await;
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!(search.count("initialize"), 4, "no upstream session was lost either");
    let applied = gateway.metric(r#"mcp_gateway_reloads_total{outcome="ok"}"#).await;
    assert!((applied - f64::from(RELOADS) - 1.0).abs() < f64::EPSILON, "{applied}");
}

#[tokio::test]
async fn whatever_is_wrong_the_last_good_generation_stays() {
    let server = McpServer::start("search").await;
    let good = generation(&[("search", server.address)]);
    let gateway = Gateway::serve(&good).await;
    let address = gateway.address("http").await;
    let mut client = LegacyClient::connect(address, "/mcp").await;
    let snapshot = encode_snapshot(&good.snapshot).unwrap();
    let credentials = encode_credentials(&good.credentials).unwrap();
    let mut newer = good.snapshot.clone();
    newer.version = 99;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut unbindable = good.snapshot.clone();
    unbindable.listeners.push(listener("more"));
    unbindable.listeners[1].port = taken.local_addr().unwrap().port();
    let mut dangling = good.snapshot.clone();
    dangling.backends.clear();

    let bad: [(&[u8], &[u8], &str); 6] = [
        (b"garbage", &credentials, "cannot be decompressed"),
        (&snapshot[..snapshot.len() / 2], &credentials, "cannot be decompressed"),
        (&snapshot, b"{\"values\": 3}", "credentials are malformed at line 1"),
        (&encode_snapshot(&newer).unwrap(), &credentials, "has format 99"),
        (&encode_snapshot(&unbindable).unwrap(), &credentials, "cannot listen on port"),
        (&encode_snapshot(&dangling).unwrap(), &credentials, "there is no backend team/search"),
    ];
    let mut before = String::new();
    for (snapshot, credentials, reason) in bad {
        gateway.write_files(snapshot, credentials);
        let is_new = |text: &str| text.contains(reason) && text != before;
        let status =
            gateway.status_where(reason, |status| status["lastRefused"]["reason"].as_str().is_some_and(is_new)).await;
        status["lastRefused"]["reason"].as_str().unwrap().clone_into(&mut before);
        assert_eq!(status["generation"], good.hash());
        assert_eq!(client.tools().await, ["echo", "wait"]);
    }

    gateway.write(&good);
    gateway.status_where("all is well again", |status| status["lastRefused"].is_null()).await;
    assert!(gateway.metric(r#"mcp_gateway_reloads_total{outcome="refused"}"#).await >= 6.0);
}

#[tokio::test]
async fn routes_and_listeners_come_and_go() {
    let server = McpServer::start("search").await;
    let first = generation(&[("search", server.address)]);
    let gateway = Gateway::serve(&first).await;
    let address = gateway.address("http").await;

    let mut second = first.clone();
    second.snapshot.routes[0].matches[0].path =
        mcp_gateway_operator::ir::snapshot::PathMatch::Exact("/other".to_owned());
    second.snapshot.routes[0].listeners.push("more".to_owned());
    second.snapshot.listeners.push(listener("more"));
    gateway.apply(&second).await;
    let more = gateway.address("more").await;
    for address in [address, more] {
        let mut client = LegacyClient::connect(address, "/other").await;
        assert_eq!(client.tools().await, ["echo", "wait"]);
    }
    let gone = crate::support::http::get(address, "/mcp").await;
    assert_eq!(gone.status, 404, "{gone:?}");

    gateway.apply(&first).await;
    LegacyClient::connect(address, "/mcp").await;
    crate::support::within("the listener is gone", async {
        while crate::support::http::Connection::open(more).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
