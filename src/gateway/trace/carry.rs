//! The context on its way to a server: in the request's `_meta`, and as HTTP headers.

use super::context::{Context, TRACEPARENT, TRACESTATE};
use crate::gateway::mcp::envelope::Envelope;
use crate::gateway::mcp::splice::{Change, Edits, json_string};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

/// A message on its way to a server, with its place in a trace if it has one.
#[derive(Debug)]
pub(crate) struct Traced {
    /// The message.
    pub(crate) body: Bytes,
    parent: Option<HeaderValue>,
    state: Option<HeaderValue>,
}

impl From<Bytes> for Traced {
    fn from(body: Bytes) -> Self {
        Self { body, parent: None, state: None }
    }
}

impl Traced {
    /// The request with this context.
    pub(super) fn new(context: &Context, body: &Bytes, envelope: &Envelope<'_>) -> Self {
        let state = context.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok());
        Self { body: in_body(context, body, envelope), parent: HeaderValue::from_str(&context.parent()).ok(), state }
    }

    /// Adds what goes with the message to the headers of its request.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) {
        for (name, value) in [(TRACEPARENT, &self.parent), (TRACESTATE, &self.state)] {
            if let Some(value) = value {
                headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
    }
}

/// The request with this context in the place of its own; all else stays as it was. A `_meta` that is no object is its sender's
/// affair, and stays.
fn in_body(context: &Context, body: &Bytes, envelope: &Envelope<'_>) -> Bytes {
    let parent = context.parent();
    let meta = envelope.meta();
    let says = |key| meta.as_ref().and_then(|meta| meta.get_str(key));
    if says(TRACEPARENT).as_deref() == Some(&parent) && says(TRACESTATE).as_deref() == context.state.as_deref() {
        return body.clone();
    }
    let parent = json_string(&parent);
    let state = context.state.as_deref().map(json_string);
    let mut edits = Edits::new();
    if let Some(meta) = &meta {
        // A state without its parent means nothing, or another trace.
        let state = state.map_or(Change::Remove, |state| Change::Set(state.into()));
        edits.change_members(meta, [(TRACEPARENT, Change::Set(parent.into())), (TRACESTATE, state)]);
    } else {
        let state = state.map_or_else(String::new, |state| format!(r#","{TRACESTATE}":{state}"#));
        let meta = format!(r#"{{"{TRACEPARENT}":{parent}{state}}}"#);
        match envelope.params() {
            None => edits.set_member(&envelope.object(), "params", format!(r#"{{"_meta":{meta}}}"#)),
            Some(params) if params.get("_meta").is_none() => edits.set_member(&params, "_meta", meta),
            Some(_) => {}
        }
    }
    // They cannot overlap; and a trace is never worth a request.
    edits.apply(body).unwrap_or_else(|_| body.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::mcp::envelope;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn context(state: Option<&str>) -> Context {
        Context { trace: 0xabc.into(), span: 0xdef.into(), sampled: true, state: state.map(Into::into) }
    }

    const PARENT: &str = "00-00000000000000000000000000000abc-0000000000000def-01";

    fn carried(text: &str, state: Option<&str>) -> String {
        let body = Bytes::copy_from_slice(text.as_bytes());
        let edited = in_body(&context(state), &body, &envelope::decode(&body).unwrap());
        String::from_utf8(edited.to_vec()).unwrap()
    }

    #[test]
    fn it_stands_in_meta_wherever_that_is() {
        let own = format!(r#"{{"traceparent":"{PARENT}"}}"#);
        assert_eq!(
            carried(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, None),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"_meta":{own}}}}}"#)
        );
        assert_eq!(
            carried(r#"{"jsonrpc":"2.0","id":1,"params":null,"method":"ping"}"#, None),
            format!(r#"{{"jsonrpc":"2.0","id":1,"params":{{"_meta":{own}}},"method":"ping"}}"#)
        );
        assert_eq!(
            carried(r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{ "n": 1.0 }}"#, None),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{ "n": 1.0,"_meta":{own} }}}}"#)
        );
        assert_eq!(
            carried(
                r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":7},"n":1}}"#,
                Some("a=1")
            ),
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{{"progressToken":7,"traceparent":"{PARENT}","tracestate":"a=1"}},"n":1}}}}"#
            )
        );
    }

    #[test]
    fn what_the_client_said_is_replaced() {
        let said = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"tracestate":"b=2","x":[ 1 ],"traceparent":"old","baggage":"k=v"}}}"#;
        assert_eq!(
            carried(said, None),
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{{"x":[ 1 ],"traceparent":"{PARENT}","baggage":"k=v"}}}}}}"#
            )
        );
    }

    #[test]
    fn what_says_it_already_is_not_copied() {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{{"_meta":{{"traceparent":"{PARENT}"}}}}}}"#);
        let body = Bytes::from(text);
        let edited = in_body(&context(None), &body, &envelope::decode(&body).unwrap());
        assert_eq!(edited.as_ptr(), body.as_ptr());
    }

    #[test]
    fn a_meta_that_is_none_stays() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":"mine"}}"#;
        assert_eq!(carried(text, None), text);
    }

    proptest! {
        #[test]
        fn nothing_else_changes(
            members in prop::collection::btree_map("[a-c]|_meta|traceparent", "[ -~]{0,8}", 0..4),
            meta in prop::option::of(prop::collection::btree_map("[a-c]|traceparent|tracestate", "[ -~]{0,8}", 0..4)),
            state in prop::option::of("[a-z]=[!-+.-<>-~]{1,9}"),
        ) {
            let mut params: serde_json::Map<String, Value> =
                members.into_iter().filter(|(key, _)| key != "_meta").map(|(key, text)| (key, text.into())).collect();
            if let Some(meta) = &meta {
                params.insert("_meta".to_owned(), json!(meta));
            }
            let before = json!({"jsonrpc": "2.0", "id": 1, "method": "m", "params": params});
            let after: Value = serde_json::from_str(&carried(&before.to_string(), state.as_deref())).unwrap();

            let mut expected = meta.map_or_else(|| json!({}), |meta| json!(meta));
            expected["traceparent"] = PARENT.into();
            match state {
                Some(state) => expected["tracestate"] = state.into(),
                None => drop(expected.as_object_mut().unwrap().shift_remove("tracestate")),
            }
            prop_assert_eq!(&after["params"]["_meta"], &expected);
            let without_meta = |mut message: Value| {
                message["params"].as_object_mut().unwrap().shift_remove("_meta");
                message
            };
            prop_assert_eq!(without_meta(after), without_meta(before));
        }
    }
}
