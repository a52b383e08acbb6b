//! The fixture server, in either era.

use serde_json::json;

use super::{
    blur::Blur,
    cases::{Case, Subject, Volatile},
};
use crate::wire::Era;

const VOLATILE: &[Volatile] = &[
    (Blur::Member("requestState"), "opaque to clients; whoever answers may seal it again"),
    (Blur::Member("taskId"), "minted per task; whoever answers may wrap it"),
    (Blur::Member("createdAt"), "the time"),
    (Blur::Member("lastUpdatedAt"), "the time"),
];

/// Arguments in which every kind of value and some awkward spellings occur.
fn awkward() -> serde_json::Value {
    json!({
        "zero": 0, "negative": -1.5, "huge": 1e300, "big": 9_007_199_254_740_993_i64,
        "text": "\u{e9} \u{2028} \u{1f600} \" \\ \u{7f} \u{1}", "nested": [[], {}, [null, true, false]],
        "z": 1, "a": 2, "": "empty name", "_meta": "not the meta", "name": "not the name",
    })
}

pub(crate) fn subject(era: Era) -> Subject {
    let mut cases = tools(era);
    cases.extend(prompts());
    cases.extend(resources());
    match era {
        Era::Legacy => cases.extend(legacy()),
        Era::Modern => cases.extend(modern()),
    }
    let name = if era == Era::Legacy { "fixture, legacy" } else { "fixture, modern" };
    Subject { name, volatile: VOLATILE, cases }
}

fn tools(era: Era) -> Vec<Case> {
    let tool = |name| Case::tool(name, json!({}));
    // A legacy client is asked by requests, which are counted; a modern one by results.
    let asked = |case: Case, count| if era == Era::Legacy { case.notifications(count) } else { case };
    vec![
        tool("test_simple_text"),
        tool("test_image_content"),
        tool("test_audio_content"),
        tool("test_embedded_resource"),
        tool("test_multiple_content_types"),
        tool("test_error_handling"),
        tool("test_reconnection"),
        Case::tool("json_schema_2020_12_tool", json!({ "name": "Ada", "email": "ada@example.com" })),
        Case::tool("test_x_mcp_header", json!({ "region": "eu west", "query": "q" }))
            .headers(&[("mcp-param-region", "eu west")]),
        Case::tool("echo_request", awkward()),
        Case::tool("echo_request", json!({ "a": 1 })).meta(
            json!({ "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "example.com/x": [1] }),
        ),
        tool("structured_output"),
        tool("test_tool_with_progress").meta(json!({ "progressToken": "p/1" })).notifications(3),
        tool("test_tool_with_progress").meta(json!({ "progressToken": 0 })).notifications(3),
        tool("test_tool_with_progress"),
        asked(Case::tool("test_sampling", json!({ "prompt": "What is the capital of France?" })), 1),
        asked(Case::tool("test_elicitation", json!({ "message": "Who are you? \u{e9}" })), 1),
        asked(tool("test_elicitation_sep1034_defaults"), 1),
        asked(tool("test_elicitation_sep1330_enums"), 1),
        asked(tool("test_streaming_elicitation"), 1),
        tool("test_missing_capability"),
        asked(tool("test_input_required_result_elicitation"), 1),
        asked(tool("test_input_required_result_sampling"), 1),
        asked(tool("test_input_required_result_list_roots"), 1),
        asked(tool("test_input_required_result_request_state"), 1),
        asked(tool("test_input_required_result_multiple_inputs"), 3),
        asked(tool("test_input_required_result_multi_round"), 2),
        asked(tool("test_input_required_result_tampered_state"), 1),
        asked(tool("test_input_required_result_capabilities"), 3),
        Case::tool("greet", json!({ "name": "Ada" })),
        // What they announce is counted, and compared in a test of its own.
        tool("test_trigger_tool_change"),
        tool("test_trigger_prompt_change"),
        tool("trigger_resource_change"),
        Case::tool("trigger_resource_update", json!({ "uri": "test://nobody-subscribed" })),
        Case::unknown("tools/call", json!({ "name": "no_such_tool", "arguments": {} })),
        Case::unknown("no/such/method", json!({})),
    ]
}

fn prompts() -> Vec<Case> {
    let complete = |name, typed| {
        Case::complete(json!({ "type": "ref/prompt", "name": "test_prompt_with_arguments" }), name, typed)
    };
    vec![
        Case::prompt("test_simple_prompt", json!({})),
        Case::prompt("test_prompt_with_arguments", json!({ "arg1": "\u{e9}\"", "arg2": "" })),
        Case::prompt("test_prompt_with_arguments", json!({ "arg1": "alone" })),
        Case::prompt("test_prompt_with_embedded_resource", json!({ "resourceUri": "test://elsewhere" })),
        Case::prompt("test_prompt_with_image", json!({})),
        complete("arg1", "par"),
        complete("arg2", ""),
        complete("arg2", "zzz"),
    ]
}

fn resources() -> Vec<Case> {
    let template = json!({ "type": "ref/resource", "uri": "test://template/{id}/data" });
    vec![
        Case::read("test://static-text"),
        Case::read("test://static-binary"),
        Case::read("test://watched-resource"),
        Case::read("test://template/a%20b/data"),
        Case::read("test://no-such-resource"),
        Case::complete(template, "id", "1"),
    ]
}

fn legacy() -> Vec<Case> {
    let watched = json!({ "uri": "test://watched-resource" });
    let update = |count| Case::tool("trigger_resource_update", watched.clone()).notifications(count);
    let tool = |name| Case::tool(name, json!({}));
    vec![
        Case::prompt("test_input_required_result_prompt", json!({})).notifications(1),
        Case::new("resources/subscribe", watched.clone()),
        update(1),
        Case::new("resources/unsubscribe", watched.clone()),
        update(0),
        Case::new("logging/setLevel", json!({ "level": "info" })),
        tool("test_tool_with_logging").notifications(3),
        tool("test_logging_tool").notifications(1),
        Case::new("logging/setLevel", json!({ "level": "error" })),
        tool("test_tool_with_logging"),
        Case::new("ping", json!({})),
        // Tasks are of the modern era: a legacy client gets these at once, or an error.
        Case::tool("slow_compute", json!({ "seconds": 0, "label": "x" })),
        tool("failing_job"),
        tool("protocol_error_job"),
        Case::tool("confirm_delete", json!({ "filename": "f" })),
        tool("multi_input"),
        tool("test_tool_with_task"),
    ]
}

fn modern() -> Vec<Case> {
    let info = json!({ "io.modelcontextprotocol/logLevel": "info" });
    let tool = |name| Case::tool(name, json!({}));
    vec![
        Case::prompt("test_input_required_result_prompt", json!({})),
        tool("test_tool_with_logging"),
        tool("test_tool_with_logging").meta(info.clone()).notifications(3),
        tool("test_logging_tool").meta(info).notifications(1),
        Case::tool("slow_compute", json!({ "seconds": 0.3, "label": "x" })),
        tool("failing_job"),
        tool("protocol_error_job"),
        Case::tool("confirm_delete", json!({ "filename": "f" })),
        tool("multi_input"),
        tool("test_tool_with_task"),
        Case::new("tasks/get", json!({ "taskId": "no such task" })),
        Case::unknown("ping", json!({})),
        Case::unknown("resources/subscribe", json!({ "uri": "test://watched-resource" })),
    ]
}
