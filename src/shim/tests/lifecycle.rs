//! Processes: their starts, their ends, and how many there are.

use super::*;

#[tokio::test]
async fn nothing_starts_before_it_is_needed_but_the_warm_ones() {
    let lazy = Fake::new(Isolation::PerSession).start();
    let warm = Fake::new(Isolation::PerSession).pool(2, 3).start();
    eventually("two warm processes", || warm.stats().idle == 2).await;
    assert_eq!((lazy.stats().running, lazy.stats().idle), (0, 0));

    Client::open(&warm).await;
    eventually("a replacement", || (warm.stats().running, warm.stats().idle) == (1, 2)).await;
    lazy.shutdown().await;
    warm.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_leaves_no_process_and_no_zombie() {
    let shim = Fake::new(Isolation::PerSession).pool(1, 4).start();
    let (polite, forking, stubborn) = (Client::open(&shim).await, Client::open(&shim).await, Client::open(&shim).await);
    let leaders = [&polite, &forking, &stubborn].map(|client| pid(&client.server["serverInfo"]));
    let grandchild = pid(&forking.result("fork").await);
    assert!(!is_over(grandchild));
    stubborn.result("stubborn").await;
    let stream = polite.stream().await;

    in_time(shim.shutdown()).await;
    for leader in leaders {
        assert!(is_over(leader) && group_is_over(leader), "{leader:?} is left");
    }
    assert!(is_over(grandchild));
    let (stats, started) = (shim.stats(), Client::open_status(&shim).await);
    assert_eq!((stats.running, stats.idle, stats.starting), (0, 0, 0));
    assert_eq!(started, None, "no connection is served any more");
    assert!(stream.events().await.len() <= 1, "streams end");
}

#[tokio::test]
async fn dropping_a_shim_ends_its_processes_too() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    let leader = pid(&client.server["serverInfo"]);
    drop((shim, client));
    eventually("the process's end", || is_over(leader)).await;
}

#[tokio::test]
async fn a_process_that_ignores_everything_is_killed() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    let stubborn = pid(&client.result("stubborn").await);
    let start = std::time::Instant::now();
    client.delete().await;
    eventually("SIGKILL", || is_over(stubborn) && group_is_over(stubborn)).await;
    assert!(start.elapsed() >= Duration::from_secs(1), "both graces come first");
    shim.shutdown().await;
}

#[tokio::test]
async fn a_crash_in_flight_is_an_error_and_the_session_is_gone() {
    let shim = Fake::new(Isolation::PerSession).start();
    let (crashing, other) = (Client::open(&shim).await, Client::open(&shim).await);
    let mut stream = crashing.stream().await;
    stream.event().await.unwrap();
    let answer = crashing.call(9, "crash").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let error = answer.json().await;
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(9), &json!(-32011)));
    assert_eq!(error["error"]["message"], "the server's process exited with status 3 before it answered");
    assert_eq!(error["error"]["data"], json!({"kind": "process_failed", "retry": "if_idempotent"}));
    assert_eq!(stream.event().await, None);
    assert_eq!(crashing.call(1, "pid").await.status(), StatusCode::NOT_FOUND);
    other.result("pid").await;
    let stats = shim.stats();
    assert_eq!(
        (stats.running, stats.crashes, stats.last_error.as_deref()),
        (1, 1, Some("the server's process exited with status 3"))
    );
    shim.shutdown().await;
}

#[tokio::test]
async fn a_line_too_long_ends_its_process_only() {
    let shim = Fake::new(Isolation::PerSession).limits(|limits| limits.line_bytes = 10_000).start();
    let (long, other) = (Client::open(&shim).await, Client::open(&shim).await);
    let error = long.call(1, "long").await.json().await;
    assert_eq!(
        error["error"]["message"],
        "the server's process was stopped: a line is longer than 10000 bytes before it answered"
    );
    assert_eq!(long.call(1, "pid").await.status(), StatusCode::NOT_FOUND);
    other.result("pid").await;
    shim.shutdown().await;
}

#[tokio::test]
async fn a_process_that_closes_its_output_is_given_up_on() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    let error = client.call(1, "mute").await.json().await;
    assert_eq!(error["error"]["code"], -32011);
    assert!(error["error"]["message"].as_str().unwrap().contains("closed its standard output"), "{error}");
    shim.shutdown().await;
}

#[tokio::test]
async fn a_flood_of_complaints_blocks_nobody_and_tells_no_secret() {
    let shim = Fake::new(Isolation::PerSession).secret("FAKE_TOKEN", "hunter2-hunter2").start();
    let client = Client::open(&shim).await;
    assert_eq!(client.result("env").await["env"], "hunter2-hunter2");
    assert_eq!(client.result("complain").await, json!({"done": true}));
    eventually("the tail", || shim.stats().stderr_tail.len() == 20).await;
    assert!(shim.stats().stderr_tail.iter().all(|line| line == "secret is ****"));
    shim.shutdown().await;
}

#[tokio::test]
async fn the_number_of_processes_is_bounded() {
    let shim = Fake::new(Isolation::PerSession).pool(1, 2).start();
    let (one, _two) = (Client::open(&shim).await, Client::open(&shim).await);
    let refused = http(&shim, Method::POST, &[], initialize_request()).await;
    assert_eq!((refused.status(), refused.header("mcp-session-id")), (StatusCode::SERVICE_UNAVAILABLE, ""));
    let error = refused.json().await["error"].take();
    assert_eq!(error["message"], "all 2 processes of this server are in use (pool.max)");
    assert_eq!((&error["code"], &error["data"]["retry"]), (&json!(-32011), &json!("safe")));
    one.delete().await;
    eventually("room", || shim.stats().running < 2).await;
    Client::open(&shim).await;
    shim.shutdown().await;
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_named() {
    let mut fake = Fake::new(Isolation::Shared).pool(1, 2);
    fake.process.command = vec!["no-such-mcp-server".to_owned()];
    let shim = fake.start();
    let refused = http(&shim, Method::POST, &[], initialize_request()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let message = refused.json().await["error"]["message"].take();
    assert_eq!(message, "the command \"no-such-mcp-server\" was not found: install it, or give its full path");
    assert_eq!(shim.stats().last_error.as_deref(), message.as_str());
    shim.shutdown().await;
}

#[tokio::test]
async fn a_server_that_keeps_crashing_is_not_started_in_a_loop() {
    let shim = Fake::new(Isolation::PerSession).env("FAKE_CRASH", "yes").start();
    let open = || http(&shim, Method::POST, &[], initialize_request());
    let first = open().await.json().await;
    assert_eq!(first["error"]["message"], "the server's process exited with status 7 before it answered");
    let second = open().await;
    assert_eq!((second.status(), second.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    let text = second.json().await["error"]["message"].take();
    assert!(text.as_str().unwrap().contains("exited with status 7"), "{text}");
    assert_eq!(shim.stats().crashes, 1);
    shim.shutdown().await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_the_handshake_is_given_up_on() {
    let shim = Fake::new(Isolation::PerSession)
        .env("FAKE_SILENT", "yes")
        .limits(|limits| limits.handshake = Duration::from_millis(50))
        .start();
    let refused = http(&shim, Method::POST, &[], initialize_request()).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    eventually("its end", || shim.stats().running == 0).await;
    shim.shutdown().await;
}

#[tokio::test]
async fn an_idle_session_ends_and_one_in_use_does_not() {
    let mut fake = Fake::new(Isolation::PerSession);
    fake.process.pool.idle_timeout_ms = 100;
    let shim = fake.start();
    let (idle, listening, calling) = (Client::open(&shim).await, Client::open(&shim).await, Client::open(&shim).await);
    let stream = listening.stream().await;
    let held = tokio::spawn({
        let calling = calling.clone();
        async move { calling.call(1, "hold").await.json().await }
    });
    eventually("the idle session's end", || shim.stats().sessions == 2 && shim.stats().running == 2).await;
    assert_eq!(idle.call(1, "pid").await.status(), StatusCode::NOT_FOUND);
    assert!(is_over(pid(&idle.server["serverInfo"])));
    listening.result("pid").await;
    drop(stream);
    eventually("the end of the one that listened", || shim.stats().sessions == 1).await;
    held.abort();
    eventually("the end of the one that called", || shim.stats().sessions == 0 && shim.stats().running == 0).await;

    assert!(!Client::open(&shim).await.result("pid").await["pid"].is_null(), "a new session starts a new process");
    shim.shutdown().await;
}

#[tokio::test]
async fn an_idle_shared_process_ends_and_starts_again_on_use() {
    let mut fake = Fake::new(Isolation::Shared);
    fake.process.pool.idle_timeout_ms = 100;
    let shim = fake.start();
    let first = pid(&Client::open(&shim).await.server["serverInfo"]);
    eventually("the process's end", || is_over(first) && shim.stats().running == 0).await;
    let second = pid(&Client::open(&shim).await.server["serverInfo"]);
    assert_ne!(first, second);
    shim.shutdown().await;
}

#[tokio::test]
async fn a_client_that_gives_up_on_the_handshake_leaves_no_session() {
    let shim = Fake::new(Isolation::PerSession)
        .env("FAKE_SILENT", "yes")
        .limits(|limits| limits.handshake = Duration::from_millis(300))
        .start();
    let opening = tokio::spawn({
        let shim = Arc::clone(&shim);
        async move { http(&shim, Method::POST, &[], initialize_request()).await }
    });
    eventually("a start", || shim.stats().running == 1).await;
    opening.abort();
    eventually("the end of what nobody waits for", || shim.stats().running == 0).await;
    assert_eq!(shim.stats().sessions, 0);
    shim.shutdown().await;
}

impl Client {
    /// The status that `initialize` gets; `None` if the connection ends without an answer.
    async fn open_status(shim: &Arc<Shim>) -> Option<StatusCode> {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(shim.connect())).await.ok()?;
        tokio::spawn(connection);
        let request = Request::post("http://fake/mcp").body(Full::new(Bytes::from(initialize_request()))).unwrap();
        in_time(sender.send_request(request)).await.ok().map(|response| response.status())
    }
}
