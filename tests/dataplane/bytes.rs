//! Bodies arrive byte for byte, whatever is in them: unknown fields, number formats, key order, escapes, white space.

use crate::support::generation::generation;
use crate::support::http::{Connection, post};
use crate::support::mcp::LegacyClient;
use crate::support::process::Gateway;
use crate::support::upstream::{McpServer, Reply, with_body};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// JSON text as people and programs write it, and as few of them would.
fn json_text() -> impl Strategy<Value = String> {
    let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        prop_oneof![Just("1.0"), Just("1E+2"), Just("-0"), Just("0.10"), Just("12345678901234567890123")]
            .prop_map(str::to_owned),
        r"[a-z <>&'/é漢]{0,12}".prop_map(|text| format!("\"{text}\"")),
        prop_oneof![Just(r#""\u00e9\/\n""#), Just(r#""\ud83d\ude00""#), Just(r#""""#)].prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let space = space.clone();
        let key = r"[a-z_]{1,6}";
        prop_oneof![
            (space.clone(), prop::collection::vec(inner.clone(), 0..5))
                .prop_map(|(space, items)| format!("[{space}{}{space}]", items.join(&format!(",{space}")))),
            (space, prop::collection::vec((key, inner), 0..5)).prop_map(|(space, members)| {
                let members: Vec<String> =
                    members.iter().map(|(key, value)| format!("\"{key}\":{space}{value}")).collect();
                format!("{{{space}{}{space}}}", members.join(","))
            }),
        ]
    })
}

#[tokio::test]
async fn requests_and_answers_pass_byte_for_byte_but_for_the_name() {
    // What was sent as `arguments` comes back as a member of the result, exactly as it was written.
    let server = McpServer::scripted("search", |received| {
        if received.method() != "tools/call" {
            return Reply::Default;
        }
        let body = String::from_utf8(received.raw_body.clone()).unwrap();
        let start = body.find("\"arguments\":").unwrap() + "\"arguments\":".len();
        let end = body.rfind(",\"x-unknown\"").unwrap();
        let answer = format!(
            r#"{{ "result":{{"echo":{} }},"jsonrpc":"2.0" , "id":{}}}"#,
            &body[start..end],
            received.body["id"]
        );
        Reply::Bytes(with_body("200 OK", "content-type: application/json\r\nconnection: close\r\n", answer.as_bytes()))
    })
    .await;
    let other = McpServer::start("other").await;
    let gateway = Gateway::serve(&generation(&[("search", server.address), ("other", other.address)])).await;
    let address = gateway.address("http").await;
    let client = LegacyClient::connect(address, "/mcp").await;
    let headers = [
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("mcp-session-id", client.session.as_deref().unwrap()),
    ];
    let mut runner = TestRunner::deterministic();
    let mut connection = Connection::open(address).await.unwrap();
    for number in 0..200 {
        let arguments = json_text().new_tree(&mut runner).unwrap().current();
        let body = |name: &str| {
            format!(
                "{{\"method\":\"tools/call\",  \"id\":{number},\"params\":{{ \"name\":\"{name}\",\"arguments\":{arguments},\"x-unknown\":1.50 }},\"jsonrpc\":\"2.0\"}} "
            )
        };
        let answer = connection.exchange(post("/mcp", &headers, body("search_echo").as_bytes())).await.unwrap();
        let received = server.received().pop().unwrap();
        assert_eq!(String::from_utf8(received.raw_body).unwrap(), body("echo"));
        let expected = format!(r#"{{ "result":{{"echo":{arguments} }},"jsonrpc":"2.0" , "id":{number}}}"#);
        assert_eq!(answer.text(), expected);
    }
}
