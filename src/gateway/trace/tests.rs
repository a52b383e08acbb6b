use super::export::{Export, QUEUE, Sink};
use super::*;
use crate::gateway::error::Kind;
use crate::gateway::mcp::envelope;
use crate::gateway::mcp::version::Era;
use crate::gateway::metrics::{MethodClass, Metrics};
use crate::ir::snapshot::{Endpoint, OtlpProtocol};
use bytes::Bytes;
use http::HeaderMap;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample as _};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tokio::time::Instant;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const SESSION: &str = "a-session-id-that-is-as-good-as-a-password";

/// A collector that notes when it was asked, and takes what it takes.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    refuses: bool,
    asked: Vec<Instant>,
    spans: Vec<SpanData>,
}

impl Sink for Collector {
    async fn send(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut state = self.0.lock();
        state.asked.push(Instant::now());
        if state.refuses {
            return Err(OTelSdkError::InternalFailure("unavailable".to_owned()));
        }
        state.spans.extend(batch);
        Ok(())
    }
}

impl Collector {
    fn refuse(&self, refuses: bool) {
        self.0.lock().refuses = refuses;
    }

    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().spans.clone()
    }

    /// When it was asked, in seconds from the first time on.
    fn asked(&self) -> Vec<u64> {
        let asked = &self.0.lock().asked;
        asked.iter().map(|at| (*at - asked[0]).as_secs()).collect()
    }
}

fn tracing(sampled_per_million: u32) -> Tracing {
    let endpoint = "http://otel:4317".to_owned();
    Tracing { endpoint, protocol: OtlpProtocol::Grpc, sampled_per_million, headers: Vec::new() }
}

fn tracer(sampled_per_million: u32, metrics: &Metrics) -> (Arc<Tracer>, Collector) {
    let (spec, collector, counts) = (tracing(sampled_per_million), Collector::default(), metrics.spans());
    let (exporters, flushing) = (TaskTracker::new(), CancellationToken::new());
    let (queue, spans) = mpsc::channel(QUEUE);
    exporters.spawn(Export::new(&spec, &[], collector.clone(), counts.clone()).run(spans, flushing.clone()));
    let ids = RandomIdGenerator::default();
    (Arc::new(Tracer { spec, secrets: Vec::new(), ids, queue, counts, flushing, exporters }), collector)
}

fn client() -> SocketAddr {
    "192.0.2.7:50000".parse().unwrap()
}

fn call(meta: &Json) -> Bytes {
    let params = json!({"name": "search", "arguments": {"password": "hunter2"}, "_meta": meta});
    json!({"jsonrpc": "2.0", "id": "r1", "method": "tools/call", "params": params}).to_string().into()
}

fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    span.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

/// A client's request and an attempt at a server, as the request path makes them; yields what the server gets.
fn serve(tracer: &Arc<Tracer>, headers: &HeaderMap, body: &Bytes, metrics: &Arc<Metrics>) -> (Bytes, HeaderMap) {
    let route = metrics.server(&ObjectId::new("team", "tools"), "a");
    let backend = metrics.backend(&ObjectId::new("team", "a"));
    let envelope = envelope::decode(body).unwrap();
    let session = InSession { id: SESSION, version: "2025-11-25" };
    let span = Origin::new(tracer, client(), headers).begin(&envelope, Some(&session));
    let request = route.start(MethodClass::of("tools/call")).traced(Some(span));
    let mut attempt = backend.start();
    let id = ObjectId::new("team", "a");
    let address = Endpoint { host: "a.team.svc".to_owned(), port: 8080 };
    let sent = attempt.traced(request.trace(), body.clone(), || Outbound {
        backend: &id,
        address: Some(&address),
        era: Era::Legacy,
        version: Some("2025-11-25"),
        number: 2,
    });
    let mut sent_headers = HeaderMap::new();
    sent.add_to(&mut sent_headers);
    let answer =
        Bytes::from_static(br#"{"jsonrpc":"2.0","id":"r1","result":{"isError":true,"content":["the answer"]}}"#);
    attempt.saw(&answer);
    attempt.ok();
    request.answered(&answer);
    (sent.body, sent_headers)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_one_trace_from_the_client_to_the_server() {
    let metrics = Metrics::new().unwrap();
    let (tracer, collector) = tracer(MILLION, &metrics);
    let body = call(&json!({"traceparent": PARENT, "tracestate": "a=1", "progressToken": 7}));
    let (sent, headers) = serve(&tracer, &HeaderMap::new(), &body, &metrics);
    tracer.flush(Duration::from_secs(1)).await;

    let spans = collector.spans();
    let [attempt, request] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((&*request.name, &*attempt.name), ("tools/call search", "tools/call search"));
    assert_eq!((&request.span_kind, &attempt.span_kind), (&SpanKind::Server, &SpanKind::Client));
    assert_eq!(request.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(request.parent_span_is_remote && !attempt.parent_span_is_remote);
    assert_eq!(attempt.parent_span_id, request.span_context.span_id());
    assert_eq!(attempt.span_context.trace_id(), request.span_context.trace_id());
    assert_eq!(request.span_context.trace_state().header(), "a=1");

    let sent: Json = serde_json::from_slice(&sent).unwrap();
    let parent = format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", attempt.span_context.span_id());
    assert_eq!(sent["params"]["_meta"], json!({"traceparent": parent, "tracestate": "a=1", "progressToken": 7}));
    assert!(headers["traceparent"] == parent && headers["tracestate"] == "a=1", "{headers:?}");

    let expected: &[(&str, &str)] = &[
        ("mcp.method.name", "tools/call"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "search"),
        ("jsonrpc.request.id", "r1"),
        ("mcp.protocol.version", "2025-11-25"),
        ("network.transport", "tcp"),
        ("network.protocol.name", "http"),
        ("error.type", "tool_error"),
    ];
    let of_request = [("client.address", "192.0.2.7"), ("client.port", "50000"), ("mcp_gateway.route", "team/tools")]
        .into_iter()
        .chain([("mcp_gateway.server", "a")]);
    let mut found = attributes(request);
    assert_eq!(found.remove("mcp.session.id").unwrap(), "ce51162c15901ef5", "a digest, and always the same");
    let all = |own: Vec<(&str, &str)>| -> BTreeMap<String, String> {
        expected.iter().copied().chain(own).map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    assert_eq!(found, all(of_request.collect()));
    let of_attempt = vec![
        ("mcp_gateway.backend", "team/a"),
        ("mcp_gateway.attempt", "2"),
        ("mcp_gateway.era", "legacy"),
        ("server.address", "a.team.svc"),
        ("server.port", "8080"),
    ];
    assert_eq!(attributes(attempt), all(of_attempt));
    let told = format!("{spans:?}");
    for secret in [SESSION, "hunter2", "the answer"] {
        assert!(!told.contains(secret), "{secret}");
    }
    let page = metrics.render().unwrap();
    assert!(page.contains(r#"mcp_gateway_trace_spans_total{outcome="exported"} 2"#), "{page}");
}

#[tokio::test(start_paused = true)]
async fn meta_comes_before_http_and_links_it() {
    let metrics = Metrics::new().unwrap();
    let (tracer, collector) = tracer(MILLION, &metrics);
    let http = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
    let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), http.parse().unwrap())]);
    serve(&tracer, &headers, &call(&json!({"traceparent": PARENT})), &metrics);
    serve(&tracer, &headers, &call(&json!({"traceparent": "garbage"})), &metrics);
    tracer.flush(Duration::from_secs(1)).await;
    let spans = collector.spans();
    let (by_meta, by_http) = (&spans[1], &spans[3]);
    assert_eq!(by_meta.parent_span_id.to_string(), "b7ad6b7169203331");
    assert_eq!(by_meta.links.links[0].span_context.span_id().to_string(), "00f067aa0ba902b7");
    assert_eq!(by_http.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(by_http.links.links.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_records_is_carried_and_not_exported() {
    let metrics = Metrics::new().unwrap();
    let (tracer, collector) = tracer(0, &metrics);
    let unsampled = PARENT.replace("-01", "-00");
    let body = call(&json!({"traceparent": unsampled}));
    let (sent, headers) = serve(&tracer, &HeaderMap::new(), &body, &metrics);
    assert_eq!(sent.as_ptr(), body.as_ptr(), "the client's own context, in the client's own bytes");
    assert_eq!(headers["traceparent"], &*unsampled);

    // A trace that begins here and is not to be recorded: whoever comes next hears of it.
    let (sent, _) = serve(&tracer, &HeaderMap::new(), &call(&json!({})), &metrics);
    let sent: Json = serde_json::from_slice(&sent).unwrap();
    assert!(sent["params"]["_meta"]["traceparent"].as_str().unwrap().ends_with("-00"), "{sent}");

    // What its caller records is, whatever the ratio.
    serve(&tracer, &HeaderMap::new(), &call(&json!({"traceparent": PARENT})), &metrics);
    tracer.flush(Duration::from_secs(1)).await;
    assert_eq!(collector.spans().len(), 2);
}

#[test]
fn a_ratio_of_new_traces_is_sampled_by_their_ids() {
    let ids = RandomIdGenerator::default();
    let count = |per_million| (0..20_000).filter(|_| is_sampled(ids.new_trace_id(), per_million)).count();
    assert_eq!((count(0), count(MILLION)), (0, 20_000));
    // Five standard deviations of a binomial distribution.
    assert!((count(250_000)).abs_diff(5_000) < 5 * 62, "a quarter");

    let sdk = Sampler::TraceIdRatioBased(0.25);
    for _ in 0..1_000 {
        let id = ids.new_trace_id();
        let decision = sdk.should_sample(None, id, "", &SpanKind::Server, &[], &[]).decision;
        assert_eq!(is_sampled(id, 250_000), decision == SamplingDecision::RecordAndSample, "{id}");
    }
}

#[tokio::test]
async fn without_a_trace_a_request_goes_as_it_came() {
    let metrics = Metrics::new().unwrap();
    let body = call(&json!({"traceparent": "what the client said"}));
    let mut attempt = metrics.backend(&ObjectId::new("team", "a")).start();
    let sent = attempt.traced(None, body.clone(), || unreachable!("nothing is described"));
    assert_eq!(sent.body.as_ptr(), body.as_ptr());
    let mut headers = HeaderMap::new();
    sent.add_to(&mut headers);
    assert!(headers.is_empty());
    attempt.saw(&body);
    attempt.ok();
}

#[tokio::test(start_paused = true)]
async fn how_it_ended_is_told_in_the_words_of_the_metrics() {
    let metrics = Metrics::new().unwrap();
    let (tracer, collector) = tracer(MILLION, &metrics);
    let route = metrics.server(&ObjectId::new("team", "tools"), "");
    let body = call(&json!({}));
    let envelope = envelope::decode(&body).unwrap();
    let start = || {
        let span = Origin::new(&tracer, client(), &HeaderMap::new()).begin(&envelope, None);
        route.start(MethodClass::of("tools/call")).traced(Some(span))
    };
    start().failed(Kind::ConnectFailed);
    drop(start());
    start().answered(br#"{"jsonrpc":"2.0","id":"r1","error":{"code":-32602,"message":"secret"}}"#);
    start().ok();
    tracer.flush(Duration::from_secs(1)).await;
    let endings: Vec<_> = collector
        .spans()
        .iter()
        .map(|span| {
            let found = attributes(span);
            let get = |key: &str| found.get(key).cloned().unwrap_or_default();
            (get("error.type"), get("rpc.response.status_code"), span.status != Status::Unset)
        })
        .collect();
    let told = |word: &str, code: &str, failed| (word.to_owned(), code.to_owned(), failed);
    assert_eq!(
        endings,
        [
            told("connect_failed", "-32011", true),
            told("cancelled", "", true),
            told("-32602", "-32602", true),
            told("", "", false)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_collector_is_asked_ever_more_rarely_and_costs_what_the_queue_holds() {
    let metrics = Metrics::new().unwrap();
    let (tracer, collector) = tracer(MILLION, &metrics);
    collector.refuse(true);
    let body = call(&json!({}));
    for _ in 0..QUEUE {
        serve(&tracer, &HeaderMap::new(), &body, &metrics);
    }
    // Two spans for each, half of which the queue does not hold.
    assert_eq!(metrics.spans().queue_full.get(), QUEUE as u64);
    tokio::time::sleep(Duration::from_secs(16)).await;
    assert_eq!(collector.asked(), [0, 1, 3, 7, 15]);
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert_eq!(metrics.spans().failed.get(), 512, "one batch is given up, the others wait");

    collector.refuse(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(collector.spans().len(), QUEUE - 512);
    assert_eq!(metrics.spans().exported.get(), (QUEUE - 512) as u64);
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_dead_collector_only_so_long() {
    let metrics = Metrics::new().unwrap();
    let (tracer, collector) = tracer(MILLION, &metrics);
    collector.refuse(true);
    serve(&tracer, &HeaderMap::new(), &call(&json!({})), &metrics);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let start = Instant::now();
    tracer.flush(Duration::from_secs(2)).await;
    assert!(start.elapsed() < Duration::from_secs(2), "once more, and no wait");
    assert_eq!((collector.asked().len() > 1, metrics.spans().failed.get()), (true, 2));
}

#[tokio::test]
async fn a_tracer_stays_while_nothing_about_it_changes() {
    let metrics = Metrics::new().unwrap();
    let gateway = ObjectId::new("team", "gw");
    let of = |spec: &Tracing, before: Option<&Arc<Tracer>>| {
        Tracer::of_generation(Some(spec), &Credentials::default(), &gateway, &metrics.spans(), before)
    };
    let first = of(&tracing(MILLION), None).unwrap();
    assert!(Arc::ptr_eq(&first, &of(&tracing(MILLION), Some(&first)).unwrap()));
    assert!(!Arc::ptr_eq(&first, &of(&tracing(1), Some(&first)).unwrap()));
    let http = Tracing { protocol: OtlpProtocol::HttpProtobuf, ..tracing(MILLION) };
    assert!(of(&http, Some(&first)).is_some());
    assert!(of(&Tracing { endpoint: "https://otel.example.com".to_owned(), ..http }, None).is_some());
    assert!(Tracer::of_generation(None, &Credentials::default(), &gateway, &metrics.spans(), Some(&first)).is_none());
}
