//! W3C Trace Context: whose child a span is, in the request's `_meta` or in HTTP headers.

use crate::gateway::mcp::json::Object;
use http::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use std::borrow::Cow;
use std::sync::Arc;

/// Names the parent, in `_meta` and as a header.
pub(super) const TRACEPARENT: &str = "traceparent";
/// What other systems along the way have to say, in `_meta` and as a header.
pub(super) const TRACESTATE: &str = "tracestate";

/// Length of a `traceparent` of version 00, in bytes.
const TRACEPARENT_BYTES: usize = 55;
/// The largest `tracestate` that is passed on, in bytes: what the specification asks everyone for.
const TRACESTATE_BYTES: usize = 512;
/// The most entries of a `tracestate`, by the specification.
const TRACESTATE_ENTRIES: usize = 32;

/// A place in a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    pub(super) trace: TraceId,
    pub(super) span: SpanId,
    pub(super) sampled: bool,
    /// The `tracestate` as it came.
    pub(super) state: Option<Arc<str>>,
}

impl Context {
    /// The context in a request's `_meta`, if there is a well-formed one.
    pub(super) fn in_meta(meta: Option<&Object<'_>>) -> Option<Self> {
        let meta = meta?;
        let parent = meta.get_str(TRACEPARENT)?;
        Self::parse(&parent, || meta.get_str(TRACESTATE))
    }

    /// The context in HTTP headers, if there is a well-formed one.
    pub(super) fn in_headers(headers: &HeaderMap) -> Option<Self> {
        let mut parents = headers.get_all(HeaderName::from_static(TRACEPARENT)).iter();
        let (parent, None) = (parents.next()?, parents.next()) else { return None };
        Self::parse(parent.to_str().ok()?, || {
            let states = headers.get_all(HeaderName::from_static(TRACESTATE)).iter();
            let states: Vec<&str> = states.map(http::HeaderValue::to_str).collect::<Result<_, _>>().ok()?;
            (!states.is_empty()).then(|| states.join(",").into())
        })
    }

    /// A malformed parent is none; a malformed state is left out.
    fn parse<'a>(parent: &str, state: impl FnOnce() -> Option<Cow<'a, str>>) -> Option<Self> {
        let (trace, span, sampled) = parse_parent(parent)?;
        let state = state().filter(|state| is_state(state)).map(|state| Arc::from(&*state));
        Some(Self { trace, span, sampled, state })
    }

    /// As `traceparent`.
    pub(super) fn parent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }

    /// As the exporter knows it.
    pub(super) fn for_export(&self, is_remote: bool) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let state = self.state.as_deref().and_then(|state| state.parse::<TraceState>().ok()).unwrap_or_default();
        SpanContext::new(self.trace, self.span, flags, is_remote, state)
    }
}

/// Trace, span, and whether the caller records it. Of a later version, what version 00 knows.
fn parse_parent(text: &str) -> Option<(TraceId, SpanId, bool)> {
    let bytes = text.as_bytes();
    let (known, rest) = bytes.split_at_checked(TRACEPARENT_BYTES)?;
    if [2, 35, 52].iter().any(|dash| known[*dash] != b'-') {
        return None;
    }
    match (hex(&known[..2])?, rest.first()) {
        (0xff, _) | (0, Some(_)) => return None,
        (_, None | Some(b'-')) => {}
        (_, Some(_)) => return None,
    }
    let trace = TraceId::from(hex(&known[3..35])?);
    let span = SpanId::from(u64::try_from(hex(&known[36..52])?).ok()?);
    let flags = hex(&known[53..])?;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags & 1 == 1))
}

/// At most 32 lower-case hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Whether a `tracestate` can be passed on: short enough, of entries, and of what a header can hold.
fn is_state(state: &str) -> bool {
    let is_entry = |entry: &str| entry.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
    (1..=TRACESTATE_BYTES).contains(&state.len())
        && state.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && state.split(',').count() <= TRACESTATE_ENTRIES
        // Empty entries are allowed between commas.
        && state.split(',').all(|entry| entry.trim().is_empty() || is_entry(entry))
        && state.split(',').any(is_entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::propagation::TextMapPropagator as _;
    use opentelemetry::trace::TraceContextExt as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn parse(parent: &str) -> Option<Context> {
        Context::parse(parent, || None)
    }

    #[test]
    fn a_parent_is_read_and_written_as_it_was() {
        let context = parse(PARENT).unwrap();
        assert!(context.sampled);
        assert_eq!(context.parent(), PARENT);
        let unsampled = PARENT.replace("-01", "-00");
        assert_eq!(parse(&unsampled).unwrap().parent(), unsampled);
        assert!(!parse(&PARENT.replace("-01", "-02")).unwrap().sampled, "another flag");
        // A later version may have more to say.
        assert_eq!(parse(&format!("{}-more", PARENT.replace("00-0af", "01-0af"))).unwrap().trace, context.trace);
    }

    #[test]
    fn what_is_malformed_is_no_parent() {
        for parent in [
            "",
            "00",
            &PARENT[..54],
            &format!("{PARENT}-"),
            &format!("{PARENT}0"),
            &PARENT.to_uppercase(),
            &PARENT.replace("00-0af", "ff-0af"),
            &PARENT.replace("00-0af", "0x-0af"),
            &PARENT.replace('-', "_"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT.replace("b7ad", "é7a"),
        ] {
            assert_eq!(parse(parent), None, "{parent}");
        }
    }

    #[test]
    fn a_state_is_kept_if_it_is_one() {
        let kept = |state: &str| Context::parse(PARENT, || Some(state.to_owned().into())).unwrap().state.is_some();
        assert!(kept("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE") && kept("a=1, ,b=2") && kept("a@b=c d"));
        let long = format!("a={}", "x".repeat(510));
        assert!(kept(&long) && !kept(&format!("{long}x")));
        let many = vec!["a=1"; 33].join(",");
        for bad in ["", " ", ",", "a", "=1", "a=1,b", "a=1\n", "a=é", &many] {
            assert!(!kept(bad), "{bad:?}");
        }
    }

    #[test]
    fn headers_say_it_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(Context::in_headers(&headers), None);
        headers.insert(TRACEPARENT, PARENT.parse().unwrap());
        headers.append(TRACESTATE, "a=1".parse().unwrap());
        headers.append(TRACESTATE, "b=2".parse().unwrap());
        let context = Context::in_headers(&headers).unwrap();
        assert_eq!((context.parent().as_str(), context.state.as_deref()), (PARENT, Some("a=1,b=2")));
        headers.append(TRACEPARENT, PARENT.parse().unwrap());
        assert_eq!(Context::in_headers(&headers), None, "which one?");
    }

    #[test]
    fn meta_says_it_in_strings() {
        let read = |text: &str| Context::in_meta(Some(&Object::parse(text.as_bytes()).unwrap()));
        let context = read(&format!(r#"{{"x":1,"traceparent":"{PARENT}","tracestate":"a=\"1\""}}"#)).unwrap();
        assert_eq!((context.parent().as_str(), context.state.as_deref()), (PARENT, Some("a=\"1\"")));
        assert_eq!(read(&format!(r#"{{"traceparent":"{PARENT}","tracestate":7}}"#)).unwrap().state, None);
        assert_eq!(read(r#"{"traceparent":7}"#), None);
        assert_eq!(Context::in_meta(None), None);
    }

    /// What the SDK's own propagator reads.
    fn by_the_sdk(parent: &str) -> Option<(TraceId, SpanId, bool)> {
        let carrier = HashMap::from([(TRACEPARENT.to_owned(), parent.to_owned())]);
        let context = TraceContextPropagator::new().extract(&carrier);
        let span = context.span().span_context().clone();
        span.is_valid().then(|| (span.trace_id(), span.span_id(), span.is_sampled()))
    }

    proptest! {
        #[test]
        fn any_context_survives_its_text(trace in 1u128.., span in 1u64.., sampled: bool) {
            let context = Context { trace: trace.into(), span: span.into(), sampled, state: None };
            let text = context.parent();
            prop_assert_eq!(by_the_sdk(&text), Some((context.trace, context.span, sampled)));
            prop_assert_eq!(parse(&text), Some(context));
        }

        #[test]
        fn nothing_is_taken_that_the_sdk_refuses(
            text in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-0[0-2]", at in 0..55usize, byte in "[-0-9a-gA-F \\x00]",
        ) {
            let mut damaged = text.clone();
            damaged.replace_range(at..=at, &byte);
            for text in [text, damaged] {
                let ours = parse_parent(&text);
                if ours.is_some() {
                    prop_assert_eq!(ours, by_the_sdk(&text), "{}", text);
                }
            }
        }

        #[test]
        fn nothing_that_comes_is_trouble(text in ".{0,80}", state in ".{0,600}") {
            let _ = Context::parse(&text, || Some(state.clone().into()));
            let _ = Context::parse(PARENT, || Some(state.into()));
        }
    }
}
