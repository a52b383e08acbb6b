//! Runs the cases of a subject over one connection, and writes down all that came back.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    blur::{Blur, blur},
    cases::{Case, Subject},
};
use crate::wire::{Answers, Message, Wire, input_responses};

/// What a server offers and how it answers: comparable, once the volatile parts are blurred.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Per list, the items as the server wrote them.
    pub(crate) offers: Offers,
    /// Per case, what came back, in order.
    pub(crate) answers: Vec<(String, Vec<String>)>,
}

/// The lists: the method, the member that holds the items, and the member that names one.
pub(crate) const LISTS: [(&str, &str, &str); 4] = [
    ("tools/list", "tools", "name"),
    ("prompts/list", "prompts", "name"),
    ("resources/list", "resources", "uri"),
    ("resources/templates/list", "resourceTemplates", "uriTemplate"),
];

/// A list, by its method, and its items as the server wrote them.
type Offer = (&'static str, Vec<String>);

/// Every list.
pub(crate) type Offers = Vec<Offer>;

/// Everything that is offered over `wire`.
pub(crate) async fn offers(wire: &mut Wire) -> Offers {
    let mut offers = Vec::new();
    for (method, member, _) in LISTS {
        offers.push((method, list(wire, method, member).await));
    }
    offers
}

/// The items whose names begin with `prefix`, without it. Items that are named by a URI have no prefix, and stay.
pub(crate) fn of_prefix(offers: &[Offer], prefix: &str) -> Offers {
    let own = |((method, items), (_, _, key)): (&Offer, (&str, &str, &str))| {
        (*method, items.iter().filter_map(|item| without_prefix(item, key, prefix)).collect())
    };
    offers.iter().zip(LISTS).map(own).collect()
}

/// Lists what `wire` offers, and runs `subject` over it.
pub(crate) async fn record(wire: &mut Wire, subject: &Subject, answers: &Answers) -> Record {
    let offers = offers(wire).await;
    Record { offers, answers: replies(wire, subject, "", answers).await }
}

/// Runs the cases of `subject` over `wire`, whose names begin with `prefix`.
pub(crate) async fn replies(
    wire: &mut Wire,
    subject: &Subject,
    prefix: &str,
    answers: &Answers,
) -> Vec<(String, Vec<String>)> {
    let mut replies = Vec::new();
    for case in &subject.cases {
        let mut transcript = Vec::new();
        run(wire, case, prefix, answers, &mut transcript).await;
        let blurs: Vec<Blur> = subject.volatile.iter().chain(case.volatile).map(|(blur, _)| *blur).collect();
        let texts = transcript.iter().map(|text| blur(text, &blurs)).filter(|text| !is_random(text)).collect();
        replies.push((case.label.clone(), in_comparable_order(texts)));
    }
    replies
}

/// The items of a list, over all its pages. A server without that list has no items.
async fn list(wire: &mut Wire, method: &str, member: &str) -> Vec<String> {
    let mut items = Vec::new();
    let mut params = json!({});
    loop {
        let exchange = wire.request(method, params, &[]).await;
        let Some(result) = exchange.answer.result() else { return items };
        let result: Value = serde_json::from_str(result).unwrap();
        items.extend(raw_items(exchange.answer.result().unwrap(), member));
        match result["nextCursor"].as_str() {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => return items,
        }
    }
}

/// The elements of the array `member` of `object`, as they are written.
fn raw_items(object: &str, member: &str) -> Vec<String> {
    let members: std::collections::BTreeMap<&str, &RawValue> =
        serde_json::from_str(object).expect("results are objects");
    let array = members.get(member).unwrap_or_else(|| panic!("no {member} in {object}"));
    let items: Vec<&RawValue> = serde_json::from_str(array.get()).expect("lists are arrays");
    items.into_iter().map(|item| item.get().to_owned()).collect()
}

/// `item` with the prefix of its `name` taken away; none if it belongs to another server.
fn without_prefix(item: &str, key: &str, prefix: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Option<&'a RawValue>,
    }
    if prefix.is_empty() || key != "name" {
        return Some(item.to_owned());
    }
    let named: Named = serde_json::from_str(item).expect("items are objects");
    let name = named.name.expect("items have names").get();
    let own = name.strip_prefix(&format!("\"{prefix}"))?;
    let start = name.as_ptr() as usize - item.as_ptr() as usize;
    Some(format!("{}\"{own}{}", &item[..start], &item[start + name.len()..]))
}

/// Runs one case: asks, answers what is asked back, and goes on until there is a final answer.
async fn run(wire: &mut Wire, case: &Case, prefix: &str, answers: &Answers, transcript: &mut Vec<String>) {
    let mut params = case.params.clone();
    for name in ["/name", "/ref/name"] {
        if let Some(Value::String(name)) = params.pointer_mut(name) {
            name.insert_str(0, prefix);
        }
    }
    let headers: Vec<(&str, &str)> = case.headers.to_vec();
    let mut seen = Vec::new();
    loop {
        let exchange = wire.request(case.method, params.clone(), &headers).await;
        seen.extend(exchange.seen);
        let result: Value =
            exchange.answer.result().map_or(Value::Null, |result| serde_json::from_str(result).unwrap());
        match result["resultType"].as_str() {
            Some("input_required") => {
                transcript.push(exchange.answer.payload());
                params["inputResponses"] = input_responses(answers, &result["inputRequests"]);
                match result.get("requestState") {
                    Some(state) => params["requestState"] = state.clone(),
                    None => drop(params.as_object_mut().unwrap().remove("requestState")),
                }
            }
            Some("task") => {
                transcript.push(exchange.answer.payload());
                finish_task(wire, result["taskId"].as_str().unwrap(), answers, transcript).await;
                break;
            }
            _ => {
                let answer = if case.code_only { exchange.answer.code() } else { exchange.answer.payload() };
                wire.collect(case.notifications, &mut seen).await;
                transcript.extend(seen.iter().map(Message::payload));
                transcript.push(answer);
                break;
            }
        }
    }
}

/// Follows a task to its end, and answers what it asks. How often that takes a look is up to chance; what it asked is kept.
async fn finish_task(wire: &mut Wire, id: &str, answers: &Answers, transcript: &mut Vec<String>) {
    let mut asked = BTreeSet::new();
    loop {
        let state = wire.request("tasks/get", json!({ "taskId": id }), &[]).await.answer;
        // An error instead of the state is the end, and a difference.
        let task: Value = state.result().map_or(Value::Null, |task| serde_json::from_str(task).unwrap());
        match task["status"].as_str() {
            Some("input_required") if asked.insert(task["inputRequests"].to_string()) => {
                transcript.push(state.payload());
                let responses = input_responses(answers, &task["inputRequests"]);
                let update = json!({ "taskId": id, "inputResponses": responses });
                transcript.push(wire.request("tasks/update", update, &[]).await.answer.payload());
            }
            Some("working" | "input_required") => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            _ => {
                transcript.push(state.payload());
                return;
            }
        }
    }
}

/// `server-everything` logs at random levels once that is switched on.
fn is_random(payload: &str) -> bool {
    payload.starts_with("notifications/message ")
        && (payload.contains("-level message") || payload.contains("level-message"))
}

/// Streams of one session overtake each other, and each stream has its own order: sorted by method, that order stays.
pub(crate) fn in_comparable_order(mut payloads: Vec<String>) -> Vec<String> {
    payloads.sort_by_key(|payload| payload.split(' ').next().unwrap_or_default().to_owned());
    payloads
}

/// The differences between the two, in words.
pub(crate) fn differences(subject: &str, direct: &Record, proxied: &Record) -> Vec<String> {
    let mut found = different_offers(subject, &direct.offers, &proxied.offers);
    found.extend(different_answers(subject, &direct.answers, &proxied.answers));
    found
}

pub(crate) fn different_offers(subject: &str, direct: &[Offer], proxied: &[Offer]) -> Vec<String> {
    let mut found = Vec::new();
    for ((list, wanted), (_, got)) in direct.iter().zip(proxied) {
        let missing = wanted.iter().filter(|item| !got.contains(item)).map(|item| format!("  missing {item}"));
        let surplus = got.iter().filter(|item| !wanted.contains(item)).map(|item| format!("  surplus {item}"));
        let lines: Vec<String> = missing.chain(surplus).collect();
        if !lines.is_empty() {
            found.push(format!("{subject}: {list}\n{}", lines.join("\n")));
        } else if wanted != got {
            found.push(format!("{subject}: {list} is in another order"));
        }
    }
    found
}

pub(crate) fn different_answers(
    subject: &str,
    direct: &[(String, Vec<String>)],
    proxied: &[(String, Vec<String>)],
) -> Vec<String> {
    let mut found = Vec::new();
    for ((case, wanted), (_, got)) in direct.iter().zip(proxied) {
        if wanted != got {
            let lines = |texts: &[String]| texts.iter().map(|text| cut(text)).collect::<Vec<_>>().join("\n    ");
            found.push(format!("{subject}: {case}\n  direct\n    {}\n  proxied\n    {}", lines(wanted), lines(got)));
        }
    }
    found
}

/// Enough of a message to see what is wrong with it.
fn cut(text: &str) -> String {
    const ENOUGH: usize = 600;
    match text.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}
