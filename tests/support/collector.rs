//! An OpenTelemetry Collector as a process, and what arrived there.

use super::process::Process;
use super::within;
use mcp_gateway_operator::ir::snapshot::{OtlpProtocol, Tracing};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Where a collector listens, be it there or not.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Place {
    /// Ports that were free a moment ago.
    pub fn free() -> Self {
        let taken = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let [grpc, http] = taken.map(|listener| listener.local_addr().unwrap());
        Self { grpc, http }
    }

    /// The settings that export there, all of it.
    pub fn tracing(self, protocol: OtlpProtocol) -> Tracing {
        let endpoint = match protocol {
            OtlpProtocol::Grpc => format!("http://{}", self.grpc),
            OtlpProtocol::HttpProtobuf => format!("http://{}/v1/traces", self.http),
        };
        Tracing { endpoint, protocol, sampled_per_million: 1_000_000, headers: Vec::new() }
    }
}

/// A running collector. It ends when this is dropped.
pub struct Collector {
    _process: Process,
    place: Place,
    home: TempDir,
}

/// A span as it arrived.
#[derive(Clone, Debug)]
pub struct Span {
    pub body: Value,
    /// What its process says of itself.
    pub resource: Value,
}

impl Collector {
    /// Starts one on ports of its own, and waits until it listens.
    pub async fn start() -> Self {
        Self::start_at(Place::free()).await
    }

    /// Starts one there.
    pub async fn start_at(place: Place) -> Self {
        let home = tempfile::tempdir().unwrap();
        let Place { grpc, http } = place;
        let arrived = home.path().join("arrived.jsonl");
        let config = format!(
            r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "{grpc}"}}, http: {{endpoint: "{http}"}}}}}}
exporters:
  file: {{path: "{}", flush_interval: 20ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [file]}}
"#,
            arrived.display()
        );
        let file = home.path().join("config.yaml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(program());
        command.arg("--config").arg(format!("file:{}", file.display()));
        let process = Process::start(&mut command);
        process.logged("the collector listens", |line| line.contains("Everything is ready").then_some(())).await;
        Self { _process: process, place, home }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// Everything that arrived, as it arrived.
    pub fn raw(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap_or_default()
    }

    /// Every span that arrived so far.
    pub fn spans(&self) -> Vec<Span> {
        spans_of(&self.raw())
    }

    /// The spans, as soon as they are as wanted.
    pub async fn spans_where(&self, what: &str, wanted: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        within(what, async {
            loop {
                let spans = self.spans();
                if wanted(&spans) {
                    return spans;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("arrived.jsonl")
    }
}

impl Span {
    pub fn name(&self) -> &str {
        self.body["name"].as_str().unwrap_or_default()
    }

    pub fn trace_id(&self) -> &str {
        self.body["traceId"].as_str().unwrap_or_default()
    }

    pub fn id(&self) -> &str {
        self.body["spanId"].as_str().unwrap_or_default()
    }

    pub fn parent(&self) -> &str {
        self.body["parentSpanId"].as_str().unwrap_or_default()
    }

    pub fn is_server(&self) -> bool {
        self.body["kind"] == 2
    }

    pub fn is_client(&self) -> bool {
        self.body["kind"] == 3
    }

    pub fn has_failed(&self) -> bool {
        self.body["status"]["code"] == 2
    }

    /// An attribute's value as text; empty when there is none.
    pub fn attribute(&self, key: &str) -> String {
        find(&self.body["attributes"], key)
    }

    /// What its process says of itself.
    pub fn of_process(&self, key: &str) -> String {
        find(&self.resource["attributes"], key)
    }
}

/// The spans of a collector's file: a JSON document per line, among which there may be other lines, and the last may not be whole yet.
pub fn spans_of(raw: &str) -> Vec<Span> {
    let documents = raw.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let mut spans = Vec::new();
    for document in documents {
        for resource_spans in list(&document, "resourceSpans") {
            let resource = resource_spans["resource"].clone();
            for scope in list(&resource_spans, "scopeSpans") {
                let bodies = list(&scope, "spans").into_iter();
                spans.extend(bodies.map(|body| Span { body, resource: resource.clone() }));
            }
        }
    }
    spans
}

fn find(attributes: &Value, key: &str) -> String {
    let found = attributes.as_array().into_iter().flatten().find(|pair| pair["key"] == key);
    let value = found.and_then(|pair| pair["value"].as_object()?.values().next().cloned());
    value.map_or_else(String::new, |value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// The program, built if it has to be: `make tracing` has done so.
fn program() -> PathBuf {
    let output = Command::new("scripts/collector.sh").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}
