//! Where a gateway's spans go.

use super::HeaderAuth;
use serde::{Deserialize, Serialize};

/// How spans are exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tracing {
    /// The URL that spans are sent to, whole: http or https.
    pub endpoint: String,
    /// What is spoken there.
    pub protocol: OtlpProtocol,
    /// How many of a million traces that begin here are recorded.
    pub sampled_per_million: u32,
    /// Headers to add to every request, from secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderAuth>,
}

/// The ways to send OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OtlpProtocol {
    /// gRPC (HTTP/2).
    Grpc,
    /// Protobuf in the body of an HTTP/1.1 POST.
    HttpProtobuf,
}
