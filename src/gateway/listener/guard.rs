//! Host and Origin checks, pure: a web page that a user visits must not reach a gateway through the user's browser, be it
//! directly or by a name of the attacker's that now points at the gateway (DNS rebinding).

use crate::gateway::error::{GatewayError, Kind};
use crate::ir::snapshot::{Listener, Snapshot};
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A host of the configuration: exact, or `*.` and a suffix that stands for any number of leading labels, but at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// Reads a hostname as it stands in a snapshot.
    pub fn new(hostname: &str) -> Self {
        Self(hostname.to_ascii_lowercase())
    }

    /// Whether a lower-case host, without its port, is meant.
    pub fn matches(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            // `.example.com` keeps its dot, so that `badexample.com` does not match.
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.0,
        }
    }

    /// How to rank patterns that match the same host: exact before wildcard, long before short.
    pub fn specificity(&self) -> (bool, usize) {
        (!self.0.starts_with('*'), self.0.len())
    }
}

/// Which hosts one listener answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Reached by this machine only: names of the loopback are always good, and without `hostnames` they are the only ones.
    loopback: bool,
    /// The hosts that are configured; empty: any.
    hostnames: Vec<HostPattern>,
}

impl Guard {
    /// The guard of a listener: its own hostname, or else those of its routes, if every one of them names some.
    pub fn new(listener: &Listener, snapshot: &Snapshot, loopback: bool) -> Self {
        let attached = || snapshot.routes.iter().filter(|route| route.listeners.contains(&listener.name));
        let hostnames = match &listener.hostname {
            Some(hostname) => vec![HostPattern::new(hostname)],
            None if !loopback && attached().any(|route| route.hostnames.is_empty()) => Vec::new(),
            None => attached().flat_map(|route| &route.hostnames).map(|name| HostPattern::new(name)).collect(),
        };
        Self { loopback, hostnames }
    }

    /// The guard of a port that has no hostname of its own.
    pub fn any_host(loopback: bool) -> Self {
        Self { loopback, hostnames: Vec::new() }
    }

    /// Whether this listener answers for a host, as [`requested_host`] gives it, and how specifically.
    pub fn rank(&self, host: &str) -> Option<(bool, usize)> {
        let best = self.hostnames.iter().filter(|pattern| pattern.matches(host)).map(HostPattern::specificity).max();
        best.or_else(|| {
            let any = self.hostnames.is_empty() && !self.loopback;
            (any || (self.loopback && is_loopback(host))).then_some((false, 0))
        })
    }

    /// Whether a browser's page of this origin may call. A caller that is no browser sends no origin.
    pub fn check_origin(&self, headers: &HeaderMap, host: &str) -> Result<(), GatewayError> {
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(()) };
        let refused = || GatewayError::new(Kind::OriginRefused, "this origin may not use this gateway");
        if origins.next().is_some() {
            return Err(refused());
        }
        // `null`, which sandboxed pages send, is no URL and refused with everything else that is none.
        let origin = origin.to_str().ok().and_then(origin_host).ok_or_else(refused)?;
        if origin == host || (self.loopback && is_loopback(&origin)) { Ok(()) } else { Err(refused()) }
    }
}

/// The host that a request is meant for, lower-case and without its port: from an absolute request target if there is one,
/// as HTTP/1.1 demands, or else from the one `Host` header.
pub fn requested_host(uri: &Uri, headers: &HeaderMap) -> Result<String, GatewayError> {
    let invalid = |message| GatewayError::new(Kind::InvalidRequest, message);
    let mut hosts = headers.get_all(HOST).iter();
    let header = hosts.next().ok_or_else(|| invalid("the Host header is missing"))?;
    if hosts.next().is_some() {
        return Err(invalid("there is more than one Host header"));
    }
    let authority = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => header.to_str().ok(),
    };
    authority.and_then(host_of_authority).ok_or_else(|| invalid("the Host header is malformed"))
}

/// The error for a host that no listener of the port answers for.
pub fn host_refused() -> GatewayError {
    GatewayError::new(Kind::HostRefused, "this gateway does not answer for this host")
}

/// `host`, `host:port`, `[ipv6]` or `[ipv6]:port`, without the port, lower-case, without the root's dot.
fn host_of_authority(authority: &str) -> Option<String> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let address: Ipv6Addr = address.parse().ok()?;
            (address.to_string(), if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
            None => (authority.to_ascii_lowercase(), None),
        },
    };
    let port_is_sound = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let host = host.strip_suffix('.').unwrap_or(&host);
    let host_is_sound =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    (port_is_sound && host_is_sound).then(|| host.to_owned())
}

fn origin_host(origin: &str) -> Option<String> {
    let (scheme, authority) = origin.split_once("://")?;
    let scheme_is_sound = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if scheme_is_sound { host_of_authority(authority) } else { None }
}

/// Names that browsers and resolvers never let point elsewhere than at this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || host.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        headers
    }

    fn guard(loopback: bool, hostnames: &[&str]) -> Guard {
        Guard { loopback, hostnames: hostnames.iter().map(|name| HostPattern::new(name)).collect() }
    }

    fn check(guard: &Guard, host: &str, origin: Option<&str>) -> Result<(), Kind> {
        let headers = headers(host, origin);
        let host = requested_host(&Uri::from_static("/mcp"), &headers).map_err(|error| error.kind)?;
        guard.rank(&host).ok_or(Kind::HostRefused)?;
        guard.check_origin(&headers, &host).map_err(|error| error.kind)
    }

    #[test]
    fn on_loopback_only_names_of_the_loopback_are_good() {
        let guard = guard(true, &[]);
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "localhost."] {
            assert_eq!(check(&guard, host, None), Ok(()), "{host}");
            assert_eq!(check(&guard, host, Some("http://localhost:3000")), Ok(()), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "0.0.0.0"]
        {
            assert_eq!(check(&guard, host, None), Err(Kind::HostRefused), "{host}");
        }
    }

    #[test]
    fn a_foreign_page_is_refused_on_a_good_host() {
        let guard = guard(true, &[]);
        for origin in ["https://evil.example", "null", "http://localhost.evil.example", "http://10.0.0.1", "", "x"] {
            assert_eq!(check(&guard, "localhost:8080", Some(origin)), Err(Kind::OriginRefused), "{origin}");
        }
    }

    #[test]
    fn in_a_pod_without_hostnames_any_host_is_good_and_origins_are_their_own() {
        let guard = guard(false, &[]);
        assert_eq!(check(&guard, "mcp.team.svc:8080", None), Ok(()));
        assert_eq!(check(&guard, "mcp.team.svc:8080", Some("https://mcp.team.svc")), Ok(()));
        assert_eq!(check(&guard, "mcp.team.svc:8080", Some("https://evil.example")), Err(Kind::OriginRefused));
        assert_eq!(check(&guard, "mcp.team.svc:8080", Some("http://localhost")), Err(Kind::OriginRefused));
    }

    #[test]
    fn configured_hostnames_are_the_only_ones() {
        let guard = guard(false, &["mcp.example.com", "*.tools.example.com"]);
        for host in ["mcp.example.com", "MCP.example.com:443", "a.tools.example.com", "a.b.tools.example.com"] {
            assert_eq!(check(&guard, host, None), Ok(()), "{host}");
        }
        for host in ["tools.example.com", "xtools.example.com", "example.com", "localhost"] {
            assert_eq!(check(&guard, host, None), Err(Kind::HostRefused), "{host}");
        }
    }

    #[test]
    fn the_more_specific_pattern_ranks_higher() {
        let ranks =
            ["mcp.example.com", "*.example.com", "*.com"].map(|name| guard(false, &[name]).rank("mcp.example.com"));
        assert!(ranks[0] > ranks[1] && ranks[1] > ranks[2] && ranks[2] > guard(false, &[]).rank("mcp.example.com"));
    }

    #[test]
    fn malformed_hosts_are_bad_requests() {
        for host in ["", ":80", "a:b", "a:99999", "[::1", "[::1]80", "[x]", "a b", "a/b", "user@host", "a,b"] {
            assert_eq!(check(&guard(false, &[]), host, None), Err(Kind::InvalidRequest), "{host}");
        }
        let missing = requested_host(&Uri::from_static("/"), &HeaderMap::new());
        assert_eq!(missing.unwrap_err().http_status(), 400);
        let mut two = headers("a", None);
        two.append(HOST, "b".parse().unwrap());
        assert_eq!(requested_host(&Uri::from_static("/"), &two).unwrap_err().http_status(), 400);
    }

    #[test]
    fn an_absolute_target_wins_over_the_header() {
        let host = requested_host(&Uri::from_static("http://other.example:81/mcp"), &headers("mcp.example", None));
        assert_eq!(host.unwrap(), "other.example");
    }

    proptest! {
        #[test]
        fn any_header_is_judged_without_a_panic(host in "[ -~]{0,60}", origin in "[ -~]{0,60}") {
            let guard = guard(true, &["*.example.com"]);
            if let Ok(()) = check(&guard, &host, Some(&origin)) {
                let judged = host_of_authority(&host).unwrap();
                prop_assert!(is_loopback(&judged) || judged.ends_with(".example.com"));
            }
        }
    }
}
