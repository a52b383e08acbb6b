//! What a gateway tells of its work. Parts of an [`McpGateway`](super::McpGateway).

// Descriptions of the CRD are no Markdown.
#![allow(rustdoc::bare_urls)]

use super::common::SecretKeySelector;
use super::patterns::{HEADER_TEXT, HTTP_TOKEN, RATIO};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a gateway tells of its work, beyond metrics and logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Telemetry {
    /// Traces of requests, sent to a collector by OTLP. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Otlp>,
}

/// Where spans go, and how many of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Otlp {
    /// The collector's URL, http or https. With protocol HttpProtobuf, /v1/traces is put after it unless it ends so. The pods may
    /// connect to a Service if its namespace is in the name, as in http://otel.observability.svc:4317, or to the gateway's own
    /// namespace by a name without dots.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r#"self.matches('^https?://[!-"$-.0->A-~]+(/[!-"$->@-~]*)?$')"#).message(
        "spec.telemetry.otlp.endpoint must be an http:// or https:// URL in printable ASCII, without user, password, query, fragment or spaces; credentials go to headers"
    ))]
    pub endpoint: String,
    /// What the collector speaks there: Grpc, mostly on port 4317, or HttpProtobuf, mostly on port 4318. Default: Grpc.
    #[serde(default)]
    pub protocol: OtlpProtocol,
    /// How many of the traces that begin at the gateway are recorded, as a ratio in a string: "1" is all, "0.05" one of twenty.
    /// Of a trace that a client began, the client has decided. Default: "1".
    #[serde(default = "all")]
    #[schemars(length(min = 1, max = 8), regex(pattern = RATIO))]
    pub sampling: String,
    /// Headers that the collector wants to see, with values from Secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub headers: Vec<OtlpHeader>,
}

fn all() -> String {
    "1".to_owned()
}

/// The ways to send OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf by HTTP/1.1.
    HttpProtobuf,
}

/// A header with a value from a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(
        "!(self.name.lowerAscii() in ['host', 'connection', 'content-length', 'content-type', 'content-encoding', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'user-agent']) && !self.name.lowerAscii().startsWith('grpc-') && !self.name.lowerAscii().endsWith('-bin')"
    ).message(
        "spec.telemetry.otlp.headers[].name is a header of the protocol itself: use Authorization or one that the collector names"
    )
)]
pub struct OtlpHeader {
    /// The header's name.
    #[schemars(length(min = 1, max = 256), regex(pattern = HTTP_TOKEN))]
    pub name: String,
    /// Put before the value, for example "Bearer ". Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = HEADER_TEXT))]
    pub prefix: Option<String>,
    /// Where the value is.
    pub value_from: OtlpHeaderSource,
}

/// Where a header's value is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OtlpHeaderSource {
    /// A key of a Secret in the gateway's namespace.
    pub secret_key_ref: SecretKeySelector,
}
