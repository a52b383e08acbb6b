//! What 2026-07-28 demands of every request, before anyone looks at what it asks for.
//!
//! Intermediaries route by headers that mirror the body, so a header that says something else than the body is refused.
//! The order of the checks decides which error a client sees; it follows the SDKs' own servers.

use super::envelope::{Envelope, Kind};
use super::headers::{self, HeaderError};
use super::meta::{self, RequestMeta};
use super::splice::json_string;
use super::version::{Era, Version};
use crate::gateway::error::{GatewayError, Kind as ErrorKind};
use http::HeaderMap;
use std::borrow::Cow;

/// A request that met every demand.
#[derive(Clone, Debug)]
pub struct ModernRequest<'a> {
    /// The revision it is written in.
    pub version: Version,
    /// What it says about its client.
    pub meta: RequestMeta<'a>,
    /// The tool, prompt, resource or task it is about, where its method names one.
    pub name: Option<Cow<'a, str>>,
}

/// Which era a message is written in, by what it says of itself. `initialize` is legacy whatever version its parameters
/// name, unless its `_meta` is modern: then it is a method that the modern era does not have.
pub fn era(headers: &HeaderMap, envelope: &Envelope<'_>) -> Era {
    let said = envelope.meta().and_then(|meta| meta.get_str(meta::PROTOCOL_VERSION));
    // Whoever writes an unknown revision there writes as the modern era does.
    if let Some(said) = said {
        return Version::parse(&said).map_or(Era::Modern, Version::era);
    }
    match envelope.method() {
        "initialize" => Era::Legacy,
        "server/discover" => Era::Modern,
        _ => {
            let header = headers.get(headers::PROTOCOL_VERSION).and_then(|value| value.to_str().ok());
            header.and_then(Version::parse).map_or(Era::Legacy, Version::era)
        }
    }
}

/// The member of `params` that `Mcp-Name` mirrors for a method.
pub fn name_member(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// Checks a request or notification of the modern era against its headers.
pub fn validate_modern<'a>(
    headers: &HeaderMap,
    envelope: &Envelope<'a>,
    supported: &[Version],
) -> Result<ModernRequest<'a>, GatewayError> {
    let meta = RequestMeta::read(envelope.meta().as_ref());
    let version = validate_version(headers, envelope, &meta, supported)?;
    validate_method(headers, envelope)?;
    let name = validate_name(headers, envelope)?;
    Ok(ModernRequest { version, meta, name })
}

/// The version stands in the header and in `_meta`, is the same, and is one that is served.
fn validate_version(
    headers: &HeaderMap,
    envelope: &Envelope<'_>,
    meta: &RequestMeta<'_>,
    supported: &[Version],
) -> Result<Version, GatewayError> {
    let header = headers::single(headers, &headers::PROTOCOL_VERSION)?;
    let said = match (&meta.protocol_version, header) {
        (Some(said), _) => said,
        // Notifications carry no client facts.
        (None, Some(header)) if envelope.kind() == Kind::Notification => &Cow::Borrowed(header),
        (None, _) => return Err(missing_meta(meta)),
    };
    match header {
        None => return Err(mismatch("_meta names a protocol version and the MCP-Protocol-Version header is missing")),
        Some(header) if header != &**said => {
            return Err(mismatch(format!(
                "MCP-Protocol-Version header ({header}) does not match the version in _meta ({said})"
            )));
        }
        Some(_) => {}
    }
    let version = Version::parse(said)
        .filter(|version| version.era() == Era::Modern && supported.contains(version))
        .ok_or_else(|| unsupported_version(said, supported))?;
    if meta.client_capabilities.is_none() && envelope.kind() == Kind::Request {
        return Err(missing_meta(meta));
    }
    Ok(version)
}

fn validate_method(headers: &HeaderMap, envelope: &Envelope<'_>) -> Result<(), GatewayError> {
    match headers::single(headers, &headers::METHOD)? {
        None => Err(mismatch("the Mcp-Method header is missing")),
        Some(header) if header != envelope.method() => {
            Err(mismatch(format!("Mcp-Method header ({header}) does not match the body ({})", envelope.method())))
        }
        Some(_) => Ok(()),
    }
}

fn validate_name<'a>(headers: &HeaderMap, envelope: &Envelope<'a>) -> Result<Option<Cow<'a, str>>, GatewayError> {
    let Some(member) = name_member(envelope.method()) else { return Ok(None) };
    let body = envelope.params().and_then(|params| params.get_str(member));
    let header = headers::single_decoded(headers, &headers::NAME)?;
    match (header, &body) {
        (None, None) => {}
        (Some(header), Some(body)) if header == *body => {}
        (Some(header), Some(body)) => {
            return Err(mismatch(format!("Mcp-Name header ({header}) does not match params.{member} ({body})")));
        }
        (None, Some(_)) => return Err(mismatch("the Mcp-Name header is missing")),
        (Some(_), None) => return Err(mismatch(format!("there is an Mcp-Name header and no params.{member}"))),
    }
    Ok(body)
}

fn mismatch(message: impl Into<Cow<'static, str>>) -> GatewayError {
    GatewayError::new(ErrorKind::HeaderMismatch, message)
}

impl From<HeaderError> for GatewayError {
    fn from(error: HeaderError) -> Self {
        mismatch(error.to_string())
    }
}

fn missing_meta(meta: &RequestMeta<'_>) -> GatewayError {
    let members = [
        (meta.protocol_version.is_none(), meta::PROTOCOL_VERSION),
        (meta.client_capabilities.is_none(), meta::CLIENT_CAPABILITIES),
    ];
    let missing: Vec<_> = members.into_iter().filter_map(|(missing, key)| missing.then_some(key)).collect();
    GatewayError::new(ErrorKind::InvalidParams, format!("params._meta lacks {}", missing.join(" and ")))
}

/// The version is unknown, or known and not served: the client is told which ones are.
pub fn unsupported_version(requested: &str, supported: &[Version]) -> GatewayError {
    let served: Vec<_> = supported.iter().map(|version| json_string(version.as_str())).collect();
    GatewayError::new(ErrorKind::UnsupportedVersion, format!("unsupported protocol version {requested:?}"))
        .with_data(format!(r#"{{"supported":[{}],"requested":{}}}"#, served.join(","), json_string(requested)))
}

/// A request needs what its client did not declare. `required` is the JSON of a capabilities object.
pub fn missing_capability(required: &str) -> GatewayError {
    GatewayError::new(ErrorKind::MissingCapability, "the client did not declare a capability that this request needs")
        .with_data(format!(r#"{{"requiredCapabilities":{required}}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::mcp::envelope::decode;
    use http::{HeaderName, HeaderValue};

    const META: &str =
        r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn header_map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn check(pairs: &[(&str, &str)], method: &str, params: &str) -> Result<Option<String>, GatewayError> {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let envelope = decode(body.as_bytes()).unwrap();
        validate_modern(&header_map(pairs), &envelope, &[Version::V2026_07_28]).map(|ok| ok.name.map(Cow::into_owned))
    }

    fn code(outcome: Result<Option<String>, GatewayError>) -> i32 {
        outcome.unwrap_err().rpc_code()
    }

    const VERSION: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

    #[test]
    fn a_request_that_agrees_with_its_headers_passes() {
        let list = format!(r#"{{"_meta":{META}}}"#);
        assert_eq!(check(&[VERSION, ("mcp-method", "tools/list")], "tools/list", &list).unwrap(), None);
        for (method, member) in [("tools/call", "name"), ("resources/read", "uri"), ("tasks/get", "taskId")] {
            let params = format!(r#"{{"{member}":"caf\u00e9","_meta":{META}}}"#);
            let headers = [VERSION, ("Mcp-Method", method), ("Mcp-Name", "=?base64?Y2Fmw6k=?=")];
            assert_eq!(check(&headers, method, &params).unwrap().as_deref(), Some("café"));
        }
    }

    #[test]
    fn headers_that_are_missing_repeated_or_different_are_a_mismatch() {
        let call = format!(r#"{{"name":"t","_meta":{META}}}"#);
        let (method, name) = (("Mcp-Method", "tools/call"), ("Mcp-Name", "t"));
        let cases: [&[(&str, &str)]; 8] = [
            &[method, name],
            &[("MCP-Protocol-Version", "2025-11-25"), method, name],
            &[VERSION, name],
            &[VERSION, ("Mcp-Method", "TOOLS/CALL"), name],
            &[VERSION, method],
            &[VERSION, method, ("Mcp-Name", "T")],
            &[VERSION, method, ("Mcp-Name", "=?base64?!?=")],
            &[VERSION, method, name, name],
        ];
        for headers in cases {
            assert_eq!(code(check(headers, "tools/call", &call)), -32020, "{headers:?}");
        }
        let nameless = format!(r#"{{"_meta":{META}}}"#);
        assert_eq!(code(check(&[VERSION, method, name], "tools/call", &nameless)), -32020);
    }

    #[test]
    fn missing_meta_is_invalid_params_and_says_what_is_missing() {
        let headers = [VERSION, ("Mcp-Method", "tools/list")];
        let error = check(&headers, "tools/list", "{}").unwrap_err();
        assert_eq!((error.rpc_code(), error.http_status()), (-32602, 400));
        assert!(error.message.contains(meta::PROTOCOL_VERSION) && error.message.contains(meta::CLIENT_CAPABILITIES));
        let only_version = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        let error = check(&headers, "tools/list", only_version).unwrap_err();
        assert_eq!(error.message, format!("params._meta lacks {}", meta::CLIENT_CAPABILITIES));
    }

    #[test]
    fn an_unknown_version_is_answered_with_the_known_ones() {
        let meta = META.replace("2026-07-28", "v999.\\\"0");
        let headers = [("MCP-Protocol-Version", "v999.\"0"), ("Mcp-Method", "server/discover")];
        let error = check(&headers, "server/discover", &format!(r#"{{"_meta":{meta}}}"#)).unwrap_err();
        assert_eq!((error.rpc_code(), error.http_status()), (-32022, 400));
        assert_eq!(error.data.as_deref(), Some(r#"{"supported":["2026-07-28"],"requested":"v999.\"0"}"#));
    }

    #[test]
    fn the_era_is_what_the_message_says() {
        let era_of = |pairs: &[(&str, &str)], method: &str, meta: &str| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"_meta":{meta}}}}}"#);
            era(&header_map(pairs), &decode(body.as_bytes()).unwrap())
        };
        assert_eq!(era_of(&[], "tools/list", "{}"), Era::Legacy);
        assert_eq!(era_of(&[], "tools/list", META), Era::Modern);
        assert_eq!(era_of(&[VERSION], "tools/list", "{}"), Era::Modern);
        assert_eq!(era_of(&[("MCP-Protocol-Version", "2025-06-18")], "tools/list", "{}"), Era::Legacy);
        assert_eq!(era_of(&[VERSION], "initialize", "{}"), Era::Legacy);
        assert_eq!(era_of(&[VERSION], "initialize", META), Era::Modern, "a method that it does not have");
        assert_eq!(era_of(&[], "server/discover", "{}"), Era::Modern);
        assert_eq!(era_of(&[], "tools/list", &META.replace("2026-07-28", "3")), Era::Modern);
        assert_eq!(era_of(&[VERSION], "tools/list", &META.replace("2026-07-28", "2025-11-25")), Era::Legacy);
    }
}
