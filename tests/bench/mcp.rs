//! The few MCP messages that the benchmark exchanges, as text: both ends agree on every byte.

use crate::Result;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::sync::LazyLock;

/// The newest revision with sessions.
pub(crate) const LEGACY_VERSION: &str = "2025-11-25";
/// The first revision without them.
pub(crate) const MODERN_VERSION: &str = "2026-07-28";
/// Sizes of the answers, in bytes of the JSON-RPC `result`: a typical short text, and one that no buffer holds at once.
pub(crate) const ANSWER_BYTES: [usize; 2] = [200, 64 * 1024];

/// The two eras of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Era {
    /// Sessions, up to 2025-11-25.
    Legacy,
    /// No sessions, from 2026-07-28.
    Modern,
}

impl Era {
    /// As in reports and arguments.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }

    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Legacy => LEGACY_VERSION,
            Self::Modern => MODERN_VERSION,
        }
    }
}

/// The tool that answers with so many bytes.
pub(crate) fn tool(bytes: usize) -> String {
    format!("answer_{bytes}")
}

/// The result of a call, exactly `bytes` long.
pub(crate) fn call_result(era: Era, bytes: usize) -> &'static str {
    static RESULTS: LazyLock<Vec<(Era, usize, String)>> = LazyLock::new(|| {
        let eras = [(Era::Legacy, ""), (Era::Modern, r#""resultType":"complete","#)];
        let of = |(era, fields): (Era, &str)| ANSWER_BYTES.map(|bytes| (era, bytes, padded_result(fields, bytes)));
        eras.into_iter().flat_map(of).collect()
    });
    let found = RESULTS.iter().find(|(of, size, _)| *of == era && *size == bytes);
    found.map_or("{}", |(_, _, text)| text)
}

fn padded_result(fields: &str, bytes: usize) -> String {
    let (head, tail) = (format!(r#"{{{fields}"content":[{{"type":"text","text":""#), r#""}]}"#);
    let filler = "The quick brown fox jumps over the lazy dog. ".chars().cycle();
    let text: String = filler.take(bytes.saturating_sub(head.len() + tail.len())).collect();
    head + &text + tail
}

/// Both tools, as `tools/list` answers.
pub(crate) fn list_result(era: Era) -> String {
    let tools = ANSWER_BYTES.map(|bytes| {
        let name = tool(bytes);
        format!(
            r#"{{"name":"{name}","description":"Answers with {bytes} bytes.","inputSchema":{{"type":"object","properties":{{"query":{{"type":"string"}}}}}},"annotations":{{"readOnlyHint":true}}}}"#
        )
    });
    let tools = tools.join(",");
    match era {
        Era::Legacy => format!(r#"{{"tools":[{tools}]}}"#),
        Era::Modern => {
            format!(r#"{{"resultType":"complete","tools":[{tools}],"ttlMs":3600000,"cacheScope":"public"}}"#)
        }
    }
}

/// The result of `initialize`.
pub(crate) fn initialize_result() -> String {
    format!(
        r#"{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{"tools":{{}}}},"serverInfo":{{"name":"bench-upstream","version":"1"}}}}"#
    )
}

/// The result of `server/discover`.
pub(crate) fn discover_result() -> String {
    format!(
        r#"{{"resultType":"complete","supportedVersions":["{MODERN_VERSION}"],"capabilities":{{"tools":{{}}}},"ttlMs":3600000,"cacheScope":"public","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"bench-upstream","version":"1"}}}}}}"#
    )
}

/// The request that opens a legacy session.
pub(crate) fn initialize_request() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"bench-load","version":"1"}}}}}}"#
    )
}

/// What a legacy client says after `initialize`.
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// One call of a tool.
pub(crate) fn call_request(era: Era, id: u64, tool: &str) -> String {
    let meta = match era {
        Era::Legacy => String::new(),
        Era::Modern => format!(
            r#","_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN_VERSION}","io.modelcontextprotocol/clientInfo":{{"name":"bench-load","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        ),
    };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"query":"which of the nodes in the second zone were drained this week, and by whom?"}}{meta}}}}}"#
    )
}

/// A JSON-RPC answer as the upstream writes it.
pub(crate) fn answer(id: &str, result: &str) -> String {
    // One allocation of the right size: the upstream shares the machine with what is measured.
    let mut text = String::with_capacity(result.len() + id.len() + 40);
    text.push_str(r#"{"jsonrpc":"2.0","id":"#);
    text.push_str(id);
    text.push_str(r#","result":"#);
    text.push_str(result);
    text.push('}');
    text
}

#[derive(Deserialize)]
struct Answer<'a> {
    id: u64,
    #[serde(borrow)]
    result: CallResult<'a>,
}

#[derive(Deserialize)]
struct CallResult<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
}

/// Whether `body` answers call `id` with the upstream's own content. A gateway may add to the envelope and to `_meta`;
/// the content must arrive byte for byte.
pub(crate) fn check_answer(era: Era, id: u64, bytes: usize, body: &[u8]) -> Result<()> {
    let expected = call_result(era, bytes);
    if body.strip_suffix(b"}").and_then(|rest| rest.strip_suffix(expected.as_bytes())).is_some_and(|head| {
        head.strip_prefix(br#"{"jsonrpc":"2.0","id":"#).and_then(|rest| rest.strip_suffix(br#","result":"#))
            == Some(id.to_string().as_bytes())
    }) {
        return Ok(());
    }
    let wrong = |what: &str| format!("{what}: {}", String::from_utf8_lossy(&body[..body.len().min(300)]));
    let answer: Answer = serde_json::from_slice(body).map_err(|error| wrong(&format!("not a result ({error})")))?;
    let expected: CallResult = serde_json::from_str(expected)?;
    if answer.id != id {
        return Err(wrong(&format!("the answer to call {} came to call {id}", answer.id)).into());
    }
    if answer.result.content.get() != expected.content.get() {
        return Err(wrong("the content is not the upstream's").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_the_size_they_promise_and_are_json() {
        for era in [Era::Legacy, Era::Modern] {
            for bytes in ANSWER_BYTES {
                let result = call_result(era, bytes);
                assert_eq!(result.len(), bytes);
                serde_json::from_str::<serde_json::Value>(result).unwrap();
            }
        }
    }

    #[test]
    fn requests_and_lists_are_json() {
        let texts = [initialize_request(), initialize_result(), discover_result(), INITIALIZED.to_owned()];
        let of_era = [Era::Legacy, Era::Modern].map(|era| [call_request(era, 7, "a"), list_result(era)]);
        for text in texts.iter().chain(of_era.as_flattened()) {
            serde_json::from_str::<serde_json::Value>(text).unwrap();
        }
    }

    #[test]
    fn a_right_answer_passes_whatever_surrounds_its_content() {
        let exact = answer("7", call_result(Era::Legacy, 200));
        check_answer(Era::Legacy, 7, 200, exact.as_bytes()).unwrap();
        let edited = exact.replacen(r#""content""#, r#""_meta":{"a":1}, "content""#, 1);
        check_answer(Era::Legacy, 7, 200, edited.as_bytes()).unwrap();
    }

    #[test]
    fn wrong_answers_are_told_apart() {
        let right = answer("7", call_result(Era::Legacy, 200));
        let error = |body: &str| check_answer(Era::Legacy, 7, 200, body.as_bytes()).unwrap_err().to_string();
        assert!(error(&right.replace("\"id\":7", "\"id\":8")).contains("call 8 came to call 7"));
        assert!(error(&right.replace("quick", "quack")).contains("not the upstream's"));
        assert!(error(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#).contains("not a result"));
        assert!(error("").contains("not a result"));
    }
}
