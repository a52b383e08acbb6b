//! Small messages that the gateway writes itself.
//!
//! Ids, parameters and results are JSON text already; only names and messages are escaped here.

use super::splice::push_json_string;
use crate::gateway::error::GatewayError;
use bytes::Bytes;
use std::fmt::Write as _;

const HEAD: &str = r#"{"jsonrpc":"2.0""#;

/// An error as the answer to the request `id`, or to none that could be read.
pub fn error(id: Option<&str>, error: &GatewayError) -> Bytes {
    let mut out = String::with_capacity(128 + error.message.len());
    let _ = write!(out, r#"{HEAD},"id":{},"error":{{"code":{},"message":"#, id.unwrap_or("null"), error.rpc_code());
    push_json_string(&mut out, &error.message);
    if let Some(data) = &error.data {
        let _ = write!(out, r#","data":{data}"#);
    }
    out.push_str("}}");
    out.into()
}

/// A result as the answer to the request `id`.
pub fn result(id: &str, result: &str) -> Bytes {
    format!(r#"{HEAD},"id":{id},"result":{result}}}"#).into()
}

/// A request. `params` is an object's text.
pub fn request(id: &str, method: &str, params: Option<&str>) -> Bytes {
    call(Some(id), method, params)
}

/// A notification. `params` is an object's text.
pub fn notification(method: &str, params: Option<&str>) -> Bytes {
    call(None, method, params)
}

fn call(id: Option<&str>, method: &str, params: Option<&str>) -> Bytes {
    let mut out = String::with_capacity(64 + method.len() + params.map_or(0, str::len));
    out.push_str(HEAD);
    if let Some(id) = id {
        let _ = write!(out, r#","id":{id}"#);
    }
    out.push_str(r#","method":"#);
    push_json_string(&mut out, method);
    if let Some(params) = params {
        let _ = write!(out, r#","params":{params}"#);
    }
    out.push('}');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::error::Kind as ErrorKind;
    use crate::gateway::mcp::envelope::{Kind, decode};

    #[test]
    fn what_is_written_is_read() {
        let body = request("\"a\"", "tools/call", Some(r#"{"name":"x"}"#));
        let envelope = decode(&body).unwrap();
        assert_eq!((envelope.kind(), envelope.id(), envelope.method()), (Kind::Request, Some("\"a\""), "tools/call"));
        assert_eq!(envelope.params().unwrap().text(), r#"{"name":"x"}"#);
        let body = notification("notifications/initialized", None);
        assert_eq!(decode(&body).unwrap().kind(), Kind::Notification);
        let body = result("7", "{}");
        assert_eq!(decode(&body).unwrap().kind(), Kind::Response { error: false });
    }

    #[test]
    fn an_error_carries_code_message_and_data() {
        let cause = GatewayError::new(ErrorKind::InvalidParams, "no \"x\"\u{1}").with_data(r#"{"n":1}"#);
        let text = String::from_utf8(error(Some("7"), &cause).to_vec()).unwrap();
        assert_eq!(
            text,
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no \"x\"\u0001","data":{"n":1}}}"#
        );
        let text = String::from_utf8(error(None, &GatewayError::new(ErrorKind::ParseError, "x")).to_vec()).unwrap();
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}"#);
    }
}
