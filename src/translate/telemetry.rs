//! Where a gateway's spans go.

use super::facts::{Facts, Mode};
use super::matches::is_header_name;
use super::problem::Problem;
use super::secrets;
use crate::api::telemetry::{Otlp, OtlpHeader, OtlpProtocol, Telemetry};
use crate::ir::ids::ObjectId;
use crate::ir::infra::Destination;
use crate::ir::snapshot::{self, Endpoint, HeaderAuth, Tracing};
use std::collections::BTreeSet;
use std::net::IpAddr;
use url::{Host, Url};

/// What OTLP over HTTP has after the collector's address.
const TRACES_PATH: &str = "/v1/traces";

/// Decimals of a ratio that count.
const DECIMALS: usize = 6;

/// A gateway's telemetry with what is decided about it.
#[derive(Default)]
pub(super) struct CheckedTelemetry {
    /// Absent when there is none to be, or when it lacks a Secret: requests are served without.
    pub(super) served: Option<Tracing>,
    /// Secrets that are not there.
    pub(super) refs: Vec<Problem>,
}

/// Reads the telemetry of the gateway `id`, or says which field cannot be obeyed.
pub(super) fn check(
    id: &ObjectId,
    telemetry: &Telemetry,
    mode: &Mode,
    facts: &Facts,
) -> Result<CheckedTelemetry, Problem> {
    let Some(Otlp { endpoint, protocol, sampling, headers }) = &telemetry.otlp else {
        return Ok(CheckedTelemetry::default());
    };
    let sampled_per_million = per_million(sampling).ok_or_else(|| {
        Problem::invalid(
            "spec.telemetry.otlp.sampling must be a ratio from 0 to 1 with at most six decimals, like \"0.05\"",
        )
    })?;
    let (protocol, endpoint) = match protocol {
        OtlpProtocol::Grpc => (snapshot::OtlpProtocol::Grpc, url(endpoint)?),
        OtlpProtocol::HttpProtobuf => (snapshot::OtlpProtocol::HttpProtobuf, with_traces_path(url(endpoint)?)),
    };
    let mut served = Tracing {
        endpoint: endpoint.into(),
        protocol,
        sampled_per_million,
        headers: Vec::with_capacity(headers.len()),
    };
    let mut refs = Vec::new();
    for OtlpHeader { name, prefix, value_from } in headers {
        let header = name.to_ascii_lowercase();
        let field = format!("spec.telemetry.otlp.headers[{name}]");
        if !is_header_name(&header) || is_the_protocols_own(&header) {
            return Err(Problem::invalid(format!(
                "{field}.name is malformed or a header of the protocol itself; use Authorization or one that the collector names"
            )));
        }
        let field = format!("{field}.valueFrom.secretKeyRef");
        match secrets::key(&field, id, &value_from.secret_key_ref, mode, facts) {
            Ok(value) => served.headers.push(HeaderAuth { header, prefix: prefix.clone(), value }),
            Err(problem) => refs.push(problem),
        }
    }
    Ok(CheckedTelemetry { served: refs.is_empty().then_some(served), refs })
}

/// Where the pods of the gateway `id` connect to with it.
pub(super) fn destination(id: &ObjectId, tracing: &Tracing) -> Option<Destination> {
    let Endpoint { host, port } = endpoint_of(&Url::parse(&tracing.endpoint).ok()?)?;
    // A policy is about pods, whose ports need not be the Service's own.
    let namespace =
        |namespace: &str| Destination::Namespace { namespace: namespace.to_owned(), ports: BTreeSet::new() };
    if let Ok(address) = host.parse::<IpAddr>() {
        return (!address.to_canonical().is_loopback()).then_some(Destination::Anywhere { port });
    }
    let mut labels = host.split('.').filter(|label| !label.is_empty());
    match (labels.next(), labels.next(), labels.next()) {
        // Within the pod.
        (Some("localhost"), None, _) => None,
        (Some(_), None, _) => Some(namespace(&id.namespace)),
        (Some(_), Some(other), Some("svc")) => Some(namespace(other)),
        _ => Some(Destination::Anywhere { port }),
    }
}

fn url(endpoint: &str) -> Result<Url, Problem> {
    let malformed = |rule: &str| Problem::invalid(format!("spec.telemetry.otlp.endpoint {rule}"));
    // The parser forgives spaces and control characters; whoever typed them meant something else.
    if !endpoint.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("has a space or another character that no URL has"));
    }
    let url = Url::parse(endpoint).map_err(|error| malformed(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(malformed("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(malformed("must have no user and no password; credentials go to spec.telemetry.otlp.headers"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(malformed("must have no query ('?') and no fragment ('#')"));
    }
    endpoint_of(&url).map(|_| url.clone()).ok_or_else(|| malformed("must name a host"))
}

fn endpoint_of(url: &Url) -> Option<Endpoint> {
    let host = match url.host()? {
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    };
    Some(Endpoint { host, port: url.port_or_known_default()? })
}

fn with_traces_path(mut url: Url) -> Url {
    let path = url.path().trim_end_matches('/');
    if !path.ends_with(TRACES_PATH) {
        let path = format!("{path}{TRACES_PATH}");
        url.set_path(&path);
    }
    url
}

/// A decimal ratio in millionths.
fn per_million(ratio: &str) -> Option<u32> {
    let (whole, decimals) = ratio.split_once('.').unwrap_or((ratio, "0"));
    let is_number =
        |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole, 1) || !is_number(decimals, DECIMALS) {
        return None;
    }
    let parts: u32 = format!("{whole}{decimals:0<DECIMALS$}").parse().ok()?;
    (parts <= 1_000_000).then_some(parts)
}

/// Headers that carry the exchange itself. Binary ones of gRPC have another form.
fn is_the_protocols_own(name: &str) -> bool {
    const OWN: [&str; 10] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    ];
    OWN.contains(&name) || name.starts_with("grpc-") || name.ends_with("-bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_read_to_the_millionth() {
        for (ratio, parts) in [
            ("1", 1_000_000),
            ("1.000", 1_000_000),
            ("0", 0),
            ("0.25", 250_000),
            ("0.000001", 1),
            ("0.999999", 999_999),
        ] {
            assert_eq!(per_million(ratio), Some(parts), "{ratio}");
        }
        for ratio in ["", "2", "1.1", "0.0000001", "-1", ".5", "0.", "1e-3", "0,5", "+0", "00"] {
            assert_eq!(per_million(ratio), None, "{ratio}");
        }
    }

    #[test]
    fn http_has_a_path_of_its_own() {
        let path = |endpoint: &str| with_traces_path(url(endpoint).unwrap()).to_string();
        assert_eq!(path("http://otel:4318"), "http://otel:4318/v1/traces");
        assert_eq!(path("https://otel/otlp/"), "https://otel/otlp/v1/traces");
        assert_eq!(path("https://otel/a/v1/traces"), "https://otel/a/v1/traces");
    }

    #[test]
    fn what_is_no_collector_is_refused() {
        for endpoint in
            ["", "otel:4317", "ftp://a", "http://", "http://u@a", "http://a b", "http://a/?q", "http://a/#f"]
        {
            assert!(url(endpoint).is_err(), "{endpoint}");
        }
    }

    #[test]
    fn a_policy_lets_through_what_the_name_says() {
        let to = |endpoint: &str| {
            let tracing = Tracing {
                endpoint: endpoint.to_owned(),
                protocol: snapshot::OtlpProtocol::Grpc,
                sampled_per_million: 0,
                headers: Vec::new(),
            };
            destination(&ObjectId::new("team", "gw"), &tracing)
        };
        let namespace =
            |name: &str| Some(Destination::Namespace { namespace: name.to_owned(), ports: BTreeSet::new() });
        assert_eq!(to("http://otel:4317/"), namespace("team"));
        assert_eq!(to("http://otel.watch.svc:4317/"), namespace("watch"));
        assert_eq!(to("http://otel.watch.svc.cluster.local.:4317/"), namespace("watch"));
        assert_eq!(to("https://otel.example.com/"), Some(Destination::Anywhere { port: 443 }));
        assert_eq!(to("http://10.0.0.1:4317/"), Some(Destination::Anywhere { port: 4317 }));
        assert_eq!(to("http://[fd00::1]:4317/"), Some(Destination::Anywhere { port: 4317 }));
        for within in ["http://localhost:4317/", "http://127.0.0.1:4317/", "http://[::1]:4317/"] {
            assert_eq!(to(within), None, "{within}");
        }
    }
}
