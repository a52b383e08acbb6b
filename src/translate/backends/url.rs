//! A URL as a target.

use super::super::problem::Problem;
use crate::ir::snapshot::{AddressPolicy, Endpoint, Target, Transport, UpstreamTls};
use url::{Host, Url};

/// The target at `url`, or what is wrong with it; `field` says where it was written.
pub(super) fn target(
    field: &str,
    url: &str,
    transport: Transport,
    addresses: AddressPolicy,
) -> Result<Target, Problem> {
    let malformed = |rule: &str| Problem::invalid(format!("{field} {rule}"));
    // The parser forgives spaces and control characters; whoever typed them meant something else.
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed("has a space or another character that no URL has"));
    }
    let url = Url::parse(url).map_err(|error| malformed(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(malformed("must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(malformed("must have no user and no password; credentials go to spec.auth"));
    }
    if url.fragment().is_some() {
        return Err(malformed("must have no fragment ('#')"));
    }
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Err(malformed("must name a host"));
    };
    let written = url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
    let host = match host {
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    };
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    Ok(Target::Http {
        transport,
        endpoints: vec![Endpoint { host, port }],
        path,
        // As it was written: many servers know their name only without the default port.
        host: Some(written),
        tls: (url.scheme() == "https").then(UpstreamTls::default),
        addresses,
        shim: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_an_endpoint_a_path_and_a_host() {
        for (url, endpoint, port, path, written, is_tls) in [
            ("https://example.com/mcp", "example.com", 443, "/mcp", "example.com", true),
            ("http://Example.com:8080", "example.com", 8080, "/", "example.com:8080", false),
            ("https://example.com/a/b?key=v", "example.com", 443, "/a/b?key=v", "example.com", true),
            ("http://[::1]:3000/mcp", "::1", 3000, "/mcp", "[::1]:3000", false),
            ("http://127.0.0.1/sse", "127.0.0.1", 80, "/sse", "127.0.0.1", false),
        ] {
            let target = target("url", url, Transport::StreamableHttp, AddressPolicy::Any).unwrap();
            let Target::Http { endpoints, path: found, host, tls, .. } = target else { panic!("{url}") };
            assert_eq!(endpoints, [Endpoint { host: endpoint.to_owned(), port }], "{url}");
            assert_eq!((found.as_str(), host.as_deref(), tls.is_some()), (path, Some(written), is_tls), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused() {
        for url in [
            "",
            "example.com",
            "ftp://a/",
            "file:///a",
            "http://",
            "http://u:p@a/",
            "http://u@a/",
            "http://a/#b",
            "http://a b/",
            "http://a/\n",
        ] {
            assert!(target("url", url, Transport::StreamableHttp, AddressPolicy::Any).is_err(), "{url}");
        }
    }
}
