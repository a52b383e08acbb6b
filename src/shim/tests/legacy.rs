//! Sessions: whose message is whose, in the three isolations.

use super::*;

#[tokio::test]
async fn a_session_begins_is_used_and_ends() {
    let shim = Fake::new(Isolation::PerSession).env("FAKE_BANNER", "yes").start();
    let client = Client::open(&shim).await;
    assert_eq!(client.server["protocolVersion"], "2025-11-25");
    assert_eq!(client.server["got"]["params"]["capabilities"], json!({"elicitation": {}}));
    assert_eq!(client.result("pid").await["pid"], client.server["serverInfo"]["pid"], "the same process");
    assert_eq!(client.result("notes").await["notes"][0]["method"], "notifications/initialized");
    assert_eq!((shim.stats().running, shim.stats().sessions), (1, 1));

    assert_eq!(client.delete().await, StatusCode::OK);
    assert_eq!(client.call(1, "pid").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(client.stream().await.status(), StatusCode::NOT_FOUND);
    assert_eq!(client.delete().await, StatusCode::NOT_FOUND);
    eventually("the child's end", || shim.stats().running == 0).await;
    assert_eq!(shim.stats().crashes, 0, "ending a session is no crash");
    shim.shutdown().await;
}

#[tokio::test]
async fn sessions_have_processes_of_their_own() {
    let shim = Fake::new(Isolation::PerSession).start();
    let (one, two) = (Client::open(&shim).await, Client::open(&shim).await);
    assert_ne!(one.session, two.session);
    assert_ne!(one.result("pid").await, two.result("pid").await);
    shim.shutdown().await;
}

#[tokio::test]
async fn what_the_server_says_first_decides_between_json_and_a_stream() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    assert!(!client.call(1, "echo").await.is_stream());

    let answer = client.call("my-id", "progress").await;
    assert!(answer.is_stream());
    let events = answer.events().await;
    let tokens: Vec<_> = events.iter().map(|event| &event["params"]["progressToken"]).collect();
    assert_eq!(tokens, [&json!("my-id"), &json!("my-id"), &Value::Null], "the client's own token, in order");
    assert_eq!(events[1]["params"]["progress"].to_string(), "2.0", "numbers arrive as they were written");
    assert_eq!(events[2], json!({"jsonrpc": "2.0", "id": "my-id", "result": {"done": true}}));

    let events = client.call(2, "log").await.events().await;
    assert_eq!(
        (events[0]["method"].as_str(), events.len()),
        (Some("notifications/message"), 2),
        "the only call in flight"
    );
    shim.shutdown().await;
}

#[tokio::test]
async fn a_large_answer_arrives_whole_as_json_or_as_an_event() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    assert_eq!(client.result("long").await.as_str().map(str::len), Some(LONG));
    let events = client.call(1, "log-long").await.events().await;
    assert_eq!(events[1]["result"].as_str().map(str::len), Some(LONG));
    shim.shutdown().await;
}

/// Bytes that the fake server's long answers carry: more than any buffer on the way holds.
const LONG: usize = 1_000_000;

#[tokio::test]
async fn a_question_reaches_the_client_and_its_answer_the_server() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    let mut asking = client.call(1, "ask").await;
    let question = asking.event().await.unwrap();
    assert_eq!((&question["method"], &question["params"]["message"]), (&json!("elicitation/create"), &json!("name?")));

    let elsewhere = Client::open(&shim).await;
    let answer = |name| json!({"id": question["id"], "jsonrpc": "2.0", "result": {"name": name}}).to_string();
    assert_eq!(elsewhere.post(answer("intruder")).await.status(), StatusCode::ACCEPTED);
    assert_eq!(client.post(answer("me")).await.status(), StatusCode::ACCEPTED);
    let answered = asking.event().await.unwrap();
    assert_eq!(answered["result"]["answered"], json!({"id": 99, "jsonrpc": "2.0", "result": {"name": "me"}}));
    assert_eq!(asking.event().await, None, "the stream ends with the response");

    assert_eq!(client.post(answer("late")).await.status(), StatusCode::ACCEPTED);
    assert_eq!(client.result("pid").await["pid"], client.server["serverInfo"]["pid"], "nobody was disturbed");
    shim.shutdown().await;
}

#[tokio::test]
async fn a_server_that_pings_is_answered_by_the_shim() {
    for isolation in [Isolation::PerSession, Isolation::Shared, Isolation::PerRequest] {
        let shim = Fake::new(isolation).start();
        let answered = Client::open(&shim).await.result("ping").await;
        assert_eq!(answered["answered"], json!({"jsonrpc": "2.0", "id": 99, "result": {}}));
        shim.shutdown().await;
    }
}

#[tokio::test]
async fn what_belongs_to_no_call_goes_to_the_sessions_stream() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    let mut stream = client.stream().await;
    assert_eq!(stream.event().await.unwrap()["params"]["data"], "starting", "it waited for the stream to open");
    assert_eq!(client.stream().await.status(), StatusCode::CONFLICT);

    assert!(!client.call(1, "change").await.is_stream());
    assert_eq!(stream.event().await.unwrap()["method"], "notifications/tools/list_changed");
    drop(stream);
    eventually_stream(&client).await;
    shim.shutdown().await;
}

/// The server notices a closed stream a moment later.
async fn eventually_stream(client: &Client) {
    let start = std::time::Instant::now();
    while client.stream().await.status() == StatusCode::CONFLICT {
        assert!(start.elapsed() < PATIENCE, "a closed stream still counts as open");
    }
}

#[tokio::test]
async fn shared_clients_with_equal_ids_get_their_own_answers() {
    let shim = Fake::new(Isolation::Shared).start();
    let (one, two) = (Client::open(&shim).await, Client::open(&shim).await);
    assert_eq!(one.server["serverInfo"], two.server["serverInfo"], "one process");
    assert_eq!(one.server["got"]["params"]["capabilities"], json!({}), "which can ask nobody");

    let holding = tokio::spawn({
        let one = one.clone();
        async move { one.call(5, "hold").await.json().await }
    });
    // The server answers the held call once it has it; an earlier release finds nothing to answer.
    while !holding.is_finished() {
        let released = two.call(5, "release").await.json().await;
        assert_eq!((&released["id"], &released["result"]), (&json!(5), &json!({"released": true})));
    }
    let held = holding.await.unwrap();
    assert_eq!((&held["id"], &held["result"]), (&json!(5), &json!({"held": true})));

    let (first, second) = tokio::join!(one.call("t", "progress"), two.call("t", "progress"));
    for answer in [first, second] {
        let events = answer.events().await;
        assert_eq!(
            (events.len(), &events[0]["params"]["progressToken"], &events[2]["id"]),
            (3, &json!("t"), &json!("t"))
        );
    }
    let notes = one.result("notes").await;
    assert_eq!(notes["notes"].as_array().unwrap().len(), 1, "the handshake ended once: {notes}");
    shim.shutdown().await;
}

#[tokio::test]
async fn news_of_a_shared_server_reaches_every_session() {
    let shim = Fake::new(Isolation::Shared).start();
    let (one, two) = (Client::open(&shim).await, Client::open(&shim).await);
    let (mut first, mut second) = (one.stream().await, two.stream().await);
    one.call(1, "change").await.json().await;
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.event().await.unwrap()["method"], "notifications/tools/list_changed");
    }
    assert_eq!(one.delete().await, StatusCode::OK);
    assert_eq!(first.event().await, None, "a session's stream ends with it");
    assert!(!two.result("pid").await["pid"].is_null(), "the others keep their server");
    shim.shutdown().await;
}

#[tokio::test]
async fn one_sessions_unsubscribing_leaves_the_others_subscribed() {
    let shim = Fake::new(Isolation::Shared).start();
    let (one, two) = (Client::open(&shim).await, Client::open(&shim).await);
    let about =
        |method: &str| format!(r#"{{"id":1,"jsonrpc":"2.0","method":"{method}","params":{{"uri":"file:///a"}}}}"#);
    for client in [&one, &two] {
        assert_eq!(client.post(about("resources/subscribe")).await.json().await["result"], json!({"told": true}));
    }
    let answer = one.post(about("resources/unsubscribe")).await.json().await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": {}}), "the server is not told");
    assert_eq!(two.post(about("resources/unsubscribe")).await.json().await["result"], json!({"told": true}));
    shim.shutdown().await;
}

#[tokio::test]
async fn a_shared_server_starts_once_for_clients_that_come_together() {
    let shim = Fake::new(Isolation::Shared).start();
    let clients = futures_util::future::join_all((0..8).map(|_| Client::open(&shim))).await;
    assert!(clients.iter().all(|client| client.server["serverInfo"] == clients[0].server["serverInfo"]));
    assert_eq!((shim.stats().running, shim.stats().sessions), (1, 8));
    shim.shutdown().await;
}

#[tokio::test]
async fn each_request_has_a_process_of_its_own() {
    let shim = Fake::new(Isolation::PerRequest).pool(1, 4).start();
    let client = Client::open(&shim).await;
    let first = client.result("pid").await;
    let second = client.result("pid").await;
    assert_ne!(first, second);
    assert_eq!(client.result("notes").await["notes"][0]["method"], "notifications/initialized");

    assert!(!client.call(1, "change").await.is_stream(), "there is no session to have news of");

    let mut asking = client.call(1, "ask").await;
    let question = loop {
        let event = asking.event().await.unwrap();
        if event["method"] == "elicitation/create" {
            break event;
        }
    };
    client.post(json!({"id": question["id"], "jsonrpc": "2.0", "result": {}}).to_string()).await;
    assert_eq!(asking.event().await.unwrap()["result"]["answered"]["id"], 99);
    drop(asking);
    eventually("the processes' end", || is_over(pid(&first)) && is_over(pid(&second)) && shim.stats().running == 0)
        .await;
    assert_eq!(shim.stats().sessions, 1, "the session lives on");
    shim.shutdown().await;
}

#[tokio::test]
async fn a_cancelled_request_is_named_as_the_server_knows_it() {
    let shim = Fake::new(Isolation::PerSession).start();
    let client = Client::open(&shim).await;
    let holding = tokio::spawn({
        let client = client.clone();
        async move { client.call("mine", "hold").await.json().await }
    });
    let cancel =
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "mine"}}).to_string();
    // Until the call is with the server there is nothing to cancel, and the notification goes nowhere.
    let notes = loop {
        client.post(cancel.clone()).await;
        let notes = client.result("notes").await["notes"].take();
        if notes.as_array().unwrap().len() > 1 {
            break notes;
        }
    };
    assert_eq!(notes[1]["method"], "notifications/cancelled");
    assert!(notes[1]["params"]["requestId"].is_u64(), "{notes}");
    holding.abort();
    shim.shutdown().await;
}

#[tokio::test]
async fn mistakes_of_a_client_are_told_apart() {
    let shim = Fake::new(Isolation::PerSession).limits(|limits| limits.body_bytes = 1000).start();
    let post = |body: String| http(&shim, Method::POST, &[], body);
    let answer = post("{".to_owned()).await;
    assert_eq!(
        (answer.status(), answer.json().await["error"]["code"].as_i64()),
        (StatusCode::BAD_REQUEST, Some(-32700))
    );
    let answer = post("[]".to_owned()).await;
    assert_eq!(
        (answer.status(), answer.json().await["error"]["code"].as_i64()),
        (StatusCode::BAD_REQUEST, Some(-32600))
    );
    assert_eq!(post(call(1, "pid")).await.status(), StatusCode::BAD_REQUEST, "no session");
    assert_eq!(post("x".repeat(1001)).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(http(&shim, Method::PUT, &[], "").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(http(&shim, Method::GET, &[], "").await.status(), StatusCode::BAD_REQUEST);
    let unknown = http(&shim, Method::POST, &[("mcp-session-id", "x")], call(7, "pid")).await;
    assert_eq!((unknown.status(), unknown.json().await["id"].as_i64()), (StatusCode::NOT_FOUND, Some(7)));
    assert_eq!(shim.stats(), ShimStats::default(), "nothing was started for any of them");
    shim.shutdown().await;
}

#[tokio::test]
async fn another_replica_of_the_gateway_goes_on_with_a_sessions_process() {
    let shim = Fake::new(Isolation::PerSession).start();
    let named = |name| [("mcp-gateway-session", name)];
    let before = Client::open_with(&shim, &named("one")).await;
    let stream = before.stream().await;
    let after = Client::open_with(&shim, &named("one")).await;
    assert_eq!(after.server, before.server, "the process's own words, and its number in them");
    assert_ne!(after.session, before.session);
    let notes = after.result("notes").await;
    assert_eq!(notes["notes"].as_array().map(Vec::len), Some(1), "one handshake only: {notes}");
    assert_eq!(before.call(1, "pid").await.status(), StatusCode::NOT_FOUND, "who was replaced is told so");
    assert_eq!(before.delete().await, StatusCode::NOT_FOUND, "and ends nothing");
    assert!(stream.events().await.len() <= 1, "its stream ends");
    assert_eq!(after.stream().await.status(), StatusCode::OK);

    let other = Client::open_with(&shim, &named("two")).await;
    assert_ne!(pid(&other.result("pid").await), pid(&after.result("pid").await));
    let process = pid(&after.result("pid").await);
    after.delete().await;
    eventually("the end of the process", || is_over(process)).await;
    let anew = Client::open_with(&shim, &named("one")).await;
    assert_ne!(pid(&anew.result("pid").await), process, "an ended session is begun anew");
    shim.shutdown().await;
}
