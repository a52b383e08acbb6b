//! The way to the collector: OTLP over gRPC or over HTTP, on the gateway's own dialer and TLS.

use crate::gateway::error::{GatewayError, Kind};
use crate::gateway::upstream::{CollectorDialer, Stream};
use crate::ir::ids::ObjectId;
use crate::ir::secrets::PrivateBytes;
use crate::ir::snapshot::{OtlpProtocol, Tracing};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry::KeyValue;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanExporter as _};
use std::collections::HashMap;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::transport::Endpoint;

/// How long a collector may take for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a collector may take for a batch: the default of OTLP.
const EXPORT: Duration = Duration::from_secs(10);

/// Prepares to export to what `spec` names. Nothing is dialled before there are spans.
pub(super) fn exporter(
    spec: &Tracing,
    secrets: &[PrivateBytes],
    gateway: &ObjectId,
) -> Result<SpanExporter, GatewayError> {
    let uri: Uri = spec.endpoint.parse().map_err(|_| unusable("its endpoint is not a URL"))?;
    let headers = headers(spec, secrets)?;
    let mut exporter = match spec.protocol {
        OtlpProtocol::Grpc => over_grpc(&uri, headers),
        OtlpProtocol::HttpProtobuf => over_http(spec, &uri, &headers),
    }?;
    exporter.set_resource(&resource(gateway));
    Ok(exporter)
}

fn over_grpc(uri: &Uri, headers: HeaderMap) -> Result<SpanExporter, GatewayError> {
    let connector = connector(CollectorDialer::new(uri, b"h2")?);
    let channel = Endpoint::from(uri.clone()).timeout(EXPORT).connect_with_connector_lazy(connector);
    SpanExporter::builder()
        .with_tonic()
        .with_channel(channel)
        .with_metadata(MetadataMap::from_headers(headers))
        .with_timeout(EXPORT)
        .build()
        .map_err(|error| unusable(&error.to_string()))
}

fn over_http(spec: &Tracing, uri: &Uri, headers: &HeaderMap) -> Result<SpanExporter, GatewayError> {
    let connector = connector(CollectorDialer::new(uri, b"http/1.1")?);
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    let headers: HashMap<String, String> = headers.iter().filter_map(text).collect();
    SpanExporter::builder()
        .with_http()
        .with_http_client(HyperClient::new(connector, EXPORT, None))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&spec.endpoint)
        .with_headers(headers)
        .with_timeout(EXPORT)
        .build()
        .map_err(|error| unusable(&error.to_string()))
}

/// Opens connections for a client: to the one collector, whatever it is asked for.
fn connector(
    dialer: CollectorDialer,
) -> tower::util::ServiceFn<impl Fn(Uri) -> BoxFuture<'static, Result<TokioIo<Stream>, GatewayError>> + Clone> {
    tower::service_fn(move |_uri: Uri| {
        let dialer = dialer.clone();
        async move { dialer.dial(CONNECT).await.map(TokioIo::new) }.boxed()
    })
}

/// The headers that the spec names, with their values.
fn headers(spec: &Tracing, secrets: &[PrivateBytes]) -> Result<HeaderMap, GatewayError> {
    let mut headers = HeaderMap::with_capacity(spec.headers.len());
    for (header, secret) in spec.headers.iter().zip(secrets) {
        let name = HeaderName::from_bytes(header.header.as_bytes())
            .map_err(|_| unusable(&format!("{:?} cannot be used as a header", header.header)))?;
        let mut text = header.prefix.clone().unwrap_or_default().into_bytes();
        // A file put into a Secret usually ends with a newline that is not part of the value.
        text.extend_from_slice(secret.expose().trim_ascii_end());
        let value = HeaderValue::from_bytes(&text).ok().filter(|value| value.to_str().is_ok());
        let mut value = value
            .ok_or_else(|| unusable(&format!("the secret {} holds bytes that a header cannot have", header.value)))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// What all spans of this process have in common.
fn resource(gateway: &ObjectId) -> Resource {
    let pod = std::env::var("POD_NAME").ok();
    let instance = pod.clone().unwrap_or_else(|| RandomIdGenerator::default().new_trace_id().to_string());
    let mut attributes = vec![
        KeyValue::new("service.namespace", gateway.namespace.clone()),
        KeyValue::new("service.instance.id", instance),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
    ];
    if let Some(pod) = pod {
        attributes.push(KeyValue::new("k8s.namespace.name", gateway.namespace.clone()));
        attributes.push(KeyValue::new("k8s.pod.name", pod));
    }
    // Begins with what OTEL_RESOURCE_ATTRIBUTES says.
    Resource::builder().with_service_name(gateway.name.clone()).with_attributes(attributes).build()
}

fn unusable(what: &str) -> GatewayError {
    GatewayError::new(Kind::Internal, format!("telemetry.otlp: {what}"))
}
