use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const ONE: ClientKey = 1;
const TWO: ClientKey = 2;

fn message(value: &Value) -> Message {
    Message::decode(value.to_string().into()).unwrap()
}

fn request(id: impl Into<Value>) -> Message {
    message(&json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call"}))
}

fn log() -> Message {
    message(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))
}

fn changed() -> Message {
    message(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
}

fn ask(id: impl Into<Value>) -> Message {
    message(&json!({"jsonrpc": "2.0", "id": id.into(), "method": "elicitation/create", "params": {}}))
}

fn response(id: u64) -> Message {
    message(&json!({"jsonrpc": "2.0", "id": id, "result": {}}))
}

fn routes(audience: Audience, clients: &[ClientKey]) -> Routes {
    let mut routes = Routes::new(7, audience, 16);
    for client in clients {
        routes.attach(*client);
    }
    routes
}

fn targets(steps: &[Step]) -> Vec<Target> {
    let target = |step: &Step| match step {
        Step::Deliver(target, ..) => Some(*target),
        Step::Reply(_) => None,
    };
    steps.iter().filter_map(target).collect()
}

fn delivered(steps: &[Step]) -> Value {
    match steps {
        [Step::Deliver(_, _, Said::More(bytes) | Said::Last(bytes)) | Step::Reply(bytes)] => {
            serde_json::from_slice(bytes).unwrap()
        }
        _ => panic!("{} steps", steps.len()),
    }
}

#[test]
fn what_names_no_request_goes_to_the_only_one_then_the_stream_then_the_newest() {
    let mut routes = routes(Audience::Own, &[ONE]);
    assert_eq!(targets(&routes.route(&log())), [], "it waits");
    let (first, _, _first) = routes.request(ONE, &request(1), Hears::All).unwrap();
    assert_eq!(targets(&routes.route(&log())), [Target::Request(first)]);
    let (second, _, second_inlet) = routes.request(ONE, &request(2), Hears::All).unwrap();
    assert_eq!(targets(&routes.route(&log())), [Target::Request(second)], "the newest");
    let (_stream, waiting) = routes.open_stream(ONE).unwrap();
    assert_eq!(waiting.len(), 1);
    assert_eq!(targets(&routes.route(&log())), [Target::Stream(ONE)]);
    assert_eq!(routes.open_stream(ONE).err(), Some(Refusal::StreamTaken));
    drop(second_inlet);
    assert_eq!(targets(&routes.route(&log())), [Target::Request(first)], "the only one with a reader");
    assert_eq!(targets(&routes.route(&changed())), [Target::Stream(ONE)], "news of the session");
}

#[test]
fn a_handshake_hears_its_answer_only() {
    let mut routes = routes(Audience::Own, &[ONE]);
    let (number, _, _inlet) = routes.request(ONE, &request("init"), Hears::AnswerOnly).unwrap();
    assert_eq!(targets(&routes.route(&log())), []);
    assert_eq!(delivered(&routes.route(&response(number)))["id"], "init");
}

#[test]
fn what_waits_for_a_stream_is_bounded() {
    let mut routes = routes(Audience::Own, &[ONE]);
    for _ in 0..WAITING_MESSAGES {
        assert!(routes.route(&log()).is_empty());
    }
    let refused = delivered(&routes.route(&ask(5)));
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(5), &json!(-32603)), "a question is not left open");
    assert_eq!(routes.open_stream(ONE).unwrap().1.len(), WAITING_MESSAGES);
    let large = message(&json!({"jsonrpc": "2.0", "method": "m", "params": {"a": "x".repeat(WAITING_BYTES)}}));
    routes.clients.get_mut(&ONE).unwrap().stream = None;
    assert!(routes.route(&large).is_empty());
    assert!(routes.open_stream(ONE).unwrap().1.is_empty());
}

#[test]
fn requests_in_flight_and_open_questions_are_bounded() {
    let mut routes = routes(Audience::Own, &[ONE]);
    let mut inlets: Vec<_> = (0..16).map(|id| routes.request(ONE, &request(id), Hears::All).unwrap().2).collect();
    assert_eq!(routes.request(ONE, &request(16), Hears::All).err(), Some(Refusal::Full));
    let cancel = message(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 3}}));
    assert!(routes.cancel(TWO, &cancel).is_none(), "another client's");
    assert!(routes.cancel(ONE, &cancel).is_some());
    assert_eq!(routes.request(ONE, &request(16), Hears::All).err(), Some(Refusal::Full), "it may still answer");
    drop(inlets.remove(3));
    assert!(routes.request(ONE, &request(16), Hears::All).is_ok(), "nobody waits for it any more");
    for id in 0..MAX_QUESTIONS {
        assert!(matches!(routes.route(&ask(id))[..], [Step::Deliver(..)]));
    }
    assert!(matches!(routes.route(&ask(0))[..], [Step::Reply(_)]));
}

#[test]
fn an_answer_finds_the_question_of_its_client_once() {
    let mut routes = routes(Audience::Own, &[ONE]);
    let (_, _, _inlet) = routes.request(ONE, &request(1), Hears::All).unwrap();
    let asked = delivered(&routes.route(&ask("its own")));
    let id = asked["id"].as_str().unwrap();
    let number: u64 = id.strip_prefix("7-").unwrap().parse().unwrap();
    let answer = message(&json!({"jsonrpc": "2.0", "id": id, "result": {"x": 1}}));
    assert!(routes.answer(TWO, number, &answer).is_none());
    let restored: Value = serde_json::from_slice(&routes.answer(ONE, number, &answer).unwrap()).unwrap();
    assert_eq!(restored, json!({"jsonrpc": "2.0", "id": "its own", "result": {"x": 1}}));
    assert!(routes.answer(ONE, number, &answer).is_none());
}

#[test]
fn a_question_taken_back_is_named_as_the_client_knows_it() {
    let mut routes = routes(Audience::Own, &[ONE]);
    let (number, _, _inlet) = routes.request(ONE, &request(1), Hears::All).unwrap();
    let id = delivered(&routes.route(&ask(5)))["id"].take();
    let cancel = message(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}));
    // The child's ids and ours are separate; 5 is a question here, as no request has that number.
    let steps = routes.route(&cancel);
    assert_eq!(targets(&steps), [Target::Request(number)]);
    assert_eq!(delivered(&steps)["params"]["requestId"], id);
}

#[test]
fn progress_after_the_answer_goes_to_the_sessions_stream() {
    let mut routes = routes(Audience::Own, &[ONE]);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"_meta": {"progressToken": "t"}}});
    let (number, _, _inlet) = routes.request(ONE, &message(&call), Hears::All).unwrap();
    routes.route(&response(number));
    let (_stream, _) = routes.open_stream(ONE).unwrap();
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": number, "progress": 1}});
    let steps = routes.route(&message(&progress));
    assert_eq!(
        (targets(&steps), &delivered(&steps)["params"]["progressToken"]),
        (vec![Target::Stream(ONE)], &json!("t"))
    );
}

#[test]
fn a_shared_child_tells_nobody_what_may_be_somebody_elses() {
    let mut routes = routes(Audience::Shared, &[ONE, TWO]);
    let (_one, _) = routes.open_stream(ONE).unwrap();
    let (_two, _) = routes.open_stream(TWO).unwrap();
    assert_eq!(targets(&routes.route(&log())), []);
    let (number, _, _first) = routes.request(ONE, &request(1), Hears::All).unwrap();
    assert_eq!(targets(&routes.route(&log())), [Target::Request(number)]);
    let (_, _, _second) = routes.request(TWO, &request(1), Hears::All).unwrap();
    assert_eq!(targets(&routes.route(&log())), [], "whose is it");
    assert_eq!(targets(&routes.route(&changed())), [Target::Stream(ONE), Target::Stream(TWO)]);
    assert_eq!(delivered(&routes.route(&ask(1)))["error"]["code"], -32601);
}

#[test]
fn news_of_a_resource_is_for_who_follows_it() {
    let mut routes = routes(Audience::Shared, &[ONE, TWO]);
    let (_one, _) = routes.open_stream(ONE).unwrap();
    let (_two, _) = routes.open_stream(TWO).unwrap();
    let about =
        |method: &str| message(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"uri": "file:///a"}}));
    let updated = json!({"jsonrpc": "2.0", "method": RESOURCE_UPDATED, "params": {"uri": "file:///a"}});
    assert_eq!(targets(&routes.route(&message(&updated))), []);
    for client in [ONE, TWO] {
        routes.request(client, &about("resources/subscribe"), Hears::All).unwrap();
    }
    assert_eq!(targets(&routes.route(&message(&updated))), [Target::Stream(ONE), Target::Stream(TWO)]);
    assert!(!routes.unsubscribe(ONE, &about("resources/unsubscribe")));
    assert_eq!(targets(&routes.route(&message(&updated))), [Target::Stream(TWO)]);
    assert!(routes.unsubscribe(TWO, &about("resources/unsubscribe")));
}

#[test]
fn the_end_fails_everything_and_refuses_the_rest() {
    let mut routes = routes(Audience::Own, &[ONE]);
    let (_, _, _inlet) = routes.request(ONE, &request("a"), Hears::All).unwrap();
    let failed = delivered(&routes.fail(&Exit::Stopped));
    assert_eq!((&failed["id"], &failed["error"]["code"]), (&json!("a"), &json!(PROCESS_FAILED)));
    assert_eq!(routes.request(ONE, &request("b"), Hears::All).err(), Some(Refusal::Dead));
    assert_eq!(routes.open_stream(ONE).err(), Some(Refusal::Dead));
}

proptest! {
    #[test]
    fn every_client_gets_its_own_answer_under_its_own_id(
        calls in prop::collection::vec((1_u64..4, 0_u32..3, any::<bool>()), 1..16),
        order in any::<prop::sample::Index>(),
    ) {
        let mut routes = routes(Audience::Shared, &[1, 2, 3]);
        let mut open = Vec::new();
        for (client, id, text) in &calls {
            let id = if *text { json!(id.to_string()) } else { json!(id) };
            let (number, sent, inlet) = routes.request(*client, &request(id.clone()), Hears::All).unwrap();
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            prop_assert_eq!(&sent["id"], &json!(number));
            open.push((number, id, inlet));
        }
        let turn = order.index(open.len());
        open.rotate_left(turn);
        for (number, id, _inlet) in open {
            let steps = routes.route(&response(number));
            prop_assert_eq!(targets(&steps), vec![Target::Request(number)]);
            prop_assert_eq!(&delivered(&steps)["id"], &id);
            prop_assert!(routes.route(&response(number)).is_empty());
        }
    }
}
