//! What a client said of itself, small enough to travel within its session's id: what another replica needs to open the
//! servers' sessions again as the client would.
//!
//! As much as fits: all of its capabilities and its name, then its capabilities alone, then those that the specification
//! names. The packed form is a byte that says how, then JSON, deflated where that is shorter.

use super::seal::MAX_HELLO;
use crate::gateway::mcp::json::Object;
use crate::gateway::mcp::splice::json_string;
use crate::gateway::mcp::version::Version;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::io::{Read as _, Write as _};

const PLAIN: u8 = 0;
const DEFLATED: u8 = 1;

/// JSON beyond this length, in bytes, is not tried: it would not deflate to a thirtieth.
const MAX_TRIED: usize = 8 * 1024;

/// The largest JSON that is unpacked, in bytes. What is packed was not larger.
const MAX_UNPACKED: u64 = MAX_TRIED as u64;

/// A name for clients whose own did not fit; servers insist on one.
const NAMELESS: &str = concat!(r#"{"name":"mcp-gateway","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// Packs the parameters of an `initialize`, at most [`MAX_HELLO`] bytes.
pub(crate) fn pack(params: &Object<'_>) -> Box<[u8]> {
    let capabilities = params.get_object("capabilities");
    let all = capabilities.as_ref().map_or("{}", Object::text);
    let short_name = params.get_object("clientInfo").and_then(|info| {
        let (name, version) = (info.get_str("name")?, info.get_str("version")?);
        Some(format!(r#"{{"name":{},"version":{}}}"#, json_string(&name), json_string(&version)))
    });
    let whole_info = params.get_object("clientInfo").map(|info| info.text().to_owned());
    let known = capabilities.as_ref().map_or_else(|| "{}".to_owned(), known_capabilities);
    let with = |capabilities: &str, info: &str| format!(r#"{{"capabilities":{capabilities},"clientInfo":{info}}}"#);
    let without = |capabilities: &str| format!(r#"{{"capabilities":{capabilities}}}"#);
    [
        whole_info.map(|info| with(all, &info)),
        short_name.as_ref().map(|info| with(all, info)),
        Some(without(all)),
        short_name.as_ref().map(|info| with(&known, info)),
        Some(without(&known)),
    ]
    .into_iter()
    .flatten()
    .find_map(|json| squeezed(&json))
    .unwrap_or_default()
}

/// The parameters with which the servers' sessions are opened again.
pub(crate) fn unpack(packed: &[u8], version: Version) -> Bytes {
    let json = unsqueezed(packed);
    let said = json.as_deref().and_then(|json| Object::parse(json.as_bytes()).ok());
    let member = |key: &str| said.as_ref().and_then(|said| said.get_object(key)).map(|member| member.text());
    let (capabilities, info) = (member("capabilities").unwrap_or("{}"), member("clientInfo").unwrap_or(NAMELESS));
    let version = version.as_str();
    format!(r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{info}}}"#).into()
}

fn squeezed(json: &str) -> Option<Box<[u8]>> {
    if json.len() > MAX_TRIED {
        return None;
    }
    let mut encoder = DeflateEncoder::new(vec![DEFLATED], Compression::best());
    encoder.write_all(json.as_bytes()).ok()?;
    let deflated = encoder.finish().ok()?;
    let packed = if deflated.len() <= json.len() { deflated } else { [&[PLAIN], json.as_bytes()].concat() };
    (packed.len() <= MAX_HELLO).then(|| packed.into())
}

fn unsqueezed(packed: &[u8]) -> Option<String> {
    let (how, rest) = packed.split_first()?;
    match *how {
        PLAIN => String::from_utf8(rest.to_vec()).ok(),
        DEFLATED => {
            let mut json = String::new();
            DeflateDecoder::new(rest).take(MAX_UNPACKED).read_to_string(&mut json).ok()?;
            Some(json)
        }
        _ => None,
    }
}

/// The capabilities that the specification names, without what else a client may have put into them.
fn known_capabilities(capabilities: &Object<'_>) -> String {
    let mut members = Vec::new();
    if let Some(roots) = capabilities.get_object("roots") {
        let changes = roots.get("listChanged").is_some_and(|value| value.as_bool() == Some(true));
        members.push(if changes { r#""roots":{"listChanged":true}"#.to_owned() } else { r#""roots":{}"#.to_owned() });
    }
    let flags = |holder: &Object<'_>, names: &[&str]| {
        let has = names.iter().filter(|name| holder.get_object(name).is_some());
        has.map(|name| format!(r#""{name}":{{}}"#)).collect::<Vec<_>>().join(",")
    };
    for (name, parts) in [("sampling", ["context", "tools"]), ("elicitation", ["form", "url"])] {
        if let Some(capability) = capabilities.get_object(name) {
            members.push(format!(r#""{name}":{{{}}}"#, flags(&capability, &parts)));
        }
    }
    if let Some(tasks) = capabilities.get_object("tasks") {
        let mut parts = vec![flags(&tasks, &["list", "cancel"])];
        if let Some(requests) = tasks.get_object("requests") {
            let kinds = [("sampling", "createMessage"), ("elicitation", "create")];
            let kinds = kinds.into_iter().filter_map(|(kind, method)| {
                let methods = flags(&requests.get_object(kind)?, &[method]);
                Some(format!(r#""{kind}":{{{methods}}}"#))
            });
            parts.push(format!(r#""requests":{{{}}}"#, kinds.collect::<Vec<_>>().join(",")));
        }
        parts.retain(|part| !part.is_empty());
        members.push(format!(r#""tasks":{{{}}}"#, parts.join(",")));
    }
    format!("{{{}}}", members.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn round_trip(params: &Value) -> (usize, Value) {
        let text = params.to_string();
        let packed = pack(&Object::parse(text.as_bytes()).unwrap());
        let unpacked = unpack(&packed, Version::V2025_11_25);
        (packed.len(), serde_json::from_slice(&unpacked).unwrap())
    }

    #[test]
    fn what_real_clients_say_survives_whole() {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "roots": {"listChanged": true}, "sampling": {"tools": {}}, "elicitation": {"form": {}, "url": {}},
                "tasks": {"list": {}, "cancel": {}, "requests": {"sampling": {"createMessage": {}}, "elicitation": {"create": {}}}},
                "experimental": {"vendor/feature": {"enabled": true}},
            },
            "clientInfo": {"name": "claude-code", "title": "Claude Code", "version": "2.0.13"},
        });
        let (length, unpacked) = round_trip(&params);
        assert_eq!(unpacked, params);
        assert!(length <= MAX_HELLO, "{length}");
    }

    #[test]
    fn what_does_not_fit_is_cut_down_to_what_servers_know() {
        let random: String = (0..2000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
        let params = json!({
            "capabilities": {
                "roots": {"listChanged": true, "x": random}, "elicitation": {"form": {}},
                "tasks": {"list": {}, "requests": {"elicitation": {"create": {}}}}, "sampling": {},
                "experimental": {"x": random},
            },
            "clientInfo": {"name": "a", "version": "1", "icons": [random]},
        });
        let (length, unpacked) = round_trip(&params);
        assert!(length <= MAX_HELLO, "{length}");
        let known = json!({
            "roots": {"listChanged": true}, "sampling": {}, "elicitation": {"form": {}},
            "tasks": {"list": {}, "requests": {"elicitation": {"create": {}}}},
        });
        assert_eq!(unpacked["capabilities"], known);
        assert_eq!(unpacked["clientInfo"], json!({"name": "a", "version": "1"}));
    }

    #[test]
    fn nothing_known_is_a_client_without_capabilities() {
        for packed in [&[][..], &[7, 7], &[DEFLATED, 255], &[PLAIN, b'x']] {
            let unpacked: Value = serde_json::from_slice(&unpack(packed, Version::V2025_06_18)).unwrap();
            assert_eq!(unpacked["capabilities"], json!({}));
            assert_eq!((&unpacked["clientInfo"]["name"], &unpacked["protocolVersion"]), (&"mcp-gateway".into(), &"2025-06-18".into()));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_says_fits(name in "\\PC{0,400}", extra in "\\PC{0,400}") {
            let params = json!({"capabilities": {"x": extra, "roots": {}}, "clientInfo": {"name": name, "version": "1"}});
            let (length, unpacked) = round_trip(&params);
            prop_assert!(length <= MAX_HELLO);
            prop_assert!(unpacked["capabilities"]["roots"].is_object());
        }
    }
}
