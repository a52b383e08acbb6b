//! Clients without sessions.

use super::*;

/// A request of the modern era, with the id first, as the fake server wants it.
fn request(id: impl Into<Value>, method: &str, tool: &str, meta: &str) -> String {
    let id = id.into();
    format!(
        r#"{{"id":{id},"jsonrpc":"2.0","method":"{method}","params":{{"name":"{tool}","_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":{id}{meta}}}}}}}"#
    )
}

async fn call(shim: &Arc<Shim>, id: impl Into<Value>, tool: &str) -> Answer {
    http(shim, Method::POST, &[], request(id, "tools/call", tool, "")).await
}

#[tokio::test]
async fn requests_need_no_session_and_share_one_process() {
    for isolation in [Isolation::Shared, Isolation::PerSession] {
        let shim = Fake::new(isolation).env("FAKE_MODERN", "yes").start();
        let answers = futures_util::future::join_all((0..8).map(|_| call(&shim, "same", "pid"))).await;
        let mut pids = Vec::new();
        for answer in answers {
            let mut answer = answer.json().await;
            assert_eq!(answer["id"], "same");
            pids.push(answer["result"].take());
        }
        assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
        assert_eq!((shim.stats().running, shim.stats().sessions), (1, 0));

        let legacy = Client::open(&shim).await;
        assert_ne!(legacy.result("pid").await, pids[0], "a process serves one era");
        shim.shutdown().await;
    }
}

#[tokio::test]
async fn each_request_has_a_process_of_its_own_where_isolation_says_so() {
    let shim = Fake::new(Isolation::PerRequest).env("FAKE_MODERN", "yes").start();
    let first = call(&shim, 1, "pid").await.json().await["result"].take();
    let second = call(&shim, 1, "pid").await.json().await["result"].take();
    assert_ne!(first, second);
    eventually("their end", || is_over(pid(&first)) && is_over(pid(&second))).await;
    shim.shutdown().await;
}

#[tokio::test]
async fn a_legacy_server_is_recognised_whatever_it_does_with_the_probe() {
    for manner in ["no", "silent", "die"] {
        let shim = Fake::new(Isolation::PerSession)
            .env("FAKE_MODERN", manner)
            .limits(|limits| {
                (limits.probe, limits.probe_young) = (Duration::from_millis(300), Duration::from_millis(300));
                limits.restart_base = Duration::ZERO;
            })
            .start();
        let answer = call(&shim, 4, "pid").await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{manner}");
        let answer = answer.json().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(4), &json!(-32022)), "{manner}");
        assert_eq!(
            answer["error"]["data"],
            json!({"supported": ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"], "requested": "2026-07-28"})
        );
        eventually("the probed process's end", || shim.stats().running == 0).await;
        assert_eq!(call(&shim, 4, "pid").await.status(), StatusCode::BAD_REQUEST, "{manner}: known by now");
        assert!(!Client::open(&shim).await.result("pid").await["pid"].is_null(), "{manner}");
        shim.shutdown().await;
    }
}

#[tokio::test]
async fn errors_before_any_stream_have_the_status_of_this_era() {
    let shim = Fake::new(Isolation::Shared).env("FAKE_MODERN", "yes").start();
    assert_eq!(call(&shim, 1, "missing").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(Client::open(&shim).await.call(1, "missing").await.status(), StatusCode::OK, "unlike the legacy era's");
    shim.shutdown().await;
}

#[tokio::test]
async fn subscriptions_are_told_apart_by_their_clients_ids() {
    let shim = Fake::new(Isolation::Shared).env("FAKE_MODERN", "yes").start();
    let mut listening = http(&shim, Method::POST, &[], request("sub", "subscriptions/listen", "", "")).await;
    let tag = |event: &Value| event.pointer("/params/_meta/io.modelcontextprotocol~1subscriptionId").cloned();
    let acknowledged = listening.event().await.unwrap();
    assert_eq!(
        (acknowledged["method"].as_str(), tag(&acknowledged)),
        (Some("notifications/subscriptions/acknowledged"), Some(json!("sub")))
    );

    assert!(!call(&shim, "sub", "change").await.is_stream(), "what is tagged is for the subscription alone");
    let change = listening.event().await.unwrap();
    assert_eq!(
        (change["method"].as_str(), tag(&change)),
        (Some("notifications/tools/list_changed"), Some(json!("sub")))
    );
    let end = listening.event().await.unwrap();
    assert_eq!(
        (&end["id"], &end["result"]["_meta"]["io.modelcontextprotocol/subscriptionId"]),
        (&json!("sub"), &json!("sub"))
    );
    assert_eq!(listening.event().await, None);
    shim.shutdown().await;
}

#[tokio::test]
async fn log_messages_go_to_who_asked_for_them() {
    let shim = Fake::new(Isolation::Shared).env("FAKE_MODERN", "yes").start();
    assert!(!call(&shim, 1, "log").await.is_stream());
    let asks = request(1, "tools/call", "log", r#","io.modelcontextprotocol/logLevel":"info""#);
    let events = http(&shim, Method::POST, &[], asks).await.events().await;
    assert_eq!((events.len(), &events[0]["params"]["data"]), (2, &json!("hello")));
    shim.shutdown().await;
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_its_request() {
    let shim = Fake::new(Isolation::Shared).env("FAKE_MODERN", "yes").start();
    let mut listening = http(&shim, Method::POST, &[], request("mine", "subscriptions/listen", "", "")).await;
    listening.event().await.unwrap();
    drop(listening);
    let start = std::time::Instant::now();
    let cancelled = loop {
        let mut notes = call(&shim, 1, "notes").await.json().await["result"]["notes"].take();
        if !notes[0].is_null() {
            break notes[0].take();
        }
        assert!(start.elapsed() < PATIENCE, "the server is not told");
    };
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert!(cancelled["params"]["requestId"].is_u64());
    shim.shutdown().await;
}

#[tokio::test]
async fn a_crash_fails_what_is_in_flight_and_the_next_request_starts_anew() {
    let shim = Fake::new(Isolation::Shared)
        .env("FAKE_MODERN", "yes")
        .limits(|limits| limits.restart_base = Duration::ZERO)
        .start();
    let before = call(&shim, 1, "pid").await.json().await["result"].take();
    let error = call(&shim, "x", "crash").await.json().await;
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!("x"), &json!(-32011)));
    let after = call(&shim, 1, "pid").await.json().await["result"].take();
    assert!(after["pid"].is_u64() && after != before, "{after}");
    shim.shutdown().await;
}
