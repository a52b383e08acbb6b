//! Choosing a route by facts of the connection: listener, host, path, headers, query.
//!
//! Precedence is Gateway API's: the more specific host, then the exact path, the longer prefix, more headers, more query
//! parameters, and at last the order in which the snapshot lists the routes.

use crate::ir::snapshot::{HttpMatch, NameValue, PathMatch, Route};
use http::HeaderMap;
use std::cmp::Reverse;
use std::collections::HashMap;

/// What is known of a request before its body is read.
pub(crate) struct RequestFacts<'a> {
    pub(crate) listener: &'a str,
    /// The `Host` header or the target's authority, with its port if it has one.
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) headers: &'a HeaderMap,
}

/// Compiled matches of one snapshot. A lookup costs one hash and a walk over the candidates of that path.
#[derive(Debug, Default)]
pub(crate) struct Router {
    /// All candidates, the one that wins first.
    candidates: Vec<Candidate>,
    exact: HashMap<String, Vec<usize>>,
    prefixes: Vec<usize>,
}

#[derive(Debug)]
struct Candidate {
    route: usize,
    listeners: Vec<String>,
    host: HostPattern,
    conditions: HttpMatch,
}

/// Ordered from the most specific to the least.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostPattern {
    Exact(String),
    /// The suffix after `*`, with its dot; longer is more specific.
    Wildcard(Reverse<usize>, String),
    Any,
}

impl Router {
    /// Compiles the matches of `routes`; lookups answer with indices into it.
    pub(crate) fn new(routes: &[Route]) -> Self {
        let mut candidates: Vec<Candidate> =
            routes.iter().enumerate().flat_map(|(index, route)| expand(index, route)).collect();
        // Stable: what is equal keeps the snapshot's order.
        candidates.sort_by_key(Candidate::rank);
        let mut exact: HashMap<String, Vec<usize>> = HashMap::new();
        let mut prefixes = Vec::new();
        for (position, candidate) in candidates.iter().enumerate() {
            match &candidate.conditions.path {
                PathMatch::Exact(path) => exact.entry(path.clone()).or_default().push(position),
                PathMatch::PathPrefix(_) => prefixes.push(position),
            }
        }
        Self { candidates, exact, prefixes }
    }

    /// The index of the route that takes the request.
    pub(crate) fn find(&self, facts: &RequestFacts<'_>) -> Option<usize> {
        let host = host_name(facts.host);
        let first = |positions: &[usize]| {
            positions
                .iter()
                .copied()
                .find(|&position| self.candidates.get(position).is_some_and(|candidate| candidate.takes(facts, host)))
        };
        let exact = self.exact.get(facts.path).and_then(|positions| first(positions));
        let prefix = first(&self.prefixes);
        let position = match (exact, prefix) {
            (Some(exact), Some(prefix)) => exact.min(prefix),
            (found, None) | (None, found) => found?,
        };
        self.candidates.get(position).map(|candidate| candidate.route)
    }
}

fn expand(index: usize, route: &Route) -> Vec<Candidate> {
    let hosts = if route.hostnames.is_empty() {
        vec![HostPattern::Any]
    } else {
        route.hostnames.iter().map(|host| HostPattern::new(host)).collect()
    };
    let candidate = |host: &HostPattern, conditions: &HttpMatch| Candidate {
        route: index,
        listeners: route.listeners.clone(),
        host: host.clone(),
        conditions: conditions.clone(),
    };
    hosts.iter().flat_map(|host| route.matches.iter().map(move |conditions| candidate(host, conditions))).collect()
}

impl Candidate {
    fn rank(&self) -> impl Ord + use<> {
        let path = match &self.conditions.path {
            PathMatch::Exact(_) => (0, Reverse(0)),
            PathMatch::PathPrefix(prefix) => (1, Reverse(prefix.len())),
        };
        (self.host.clone(), path, Reverse(self.conditions.headers.len()), Reverse(self.conditions.query_params.len()))
    }

    fn takes(&self, facts: &RequestFacts<'_>, host: &str) -> bool {
        self.listeners.iter().any(|listener| listener == facts.listener)
            && self.host.takes(host)
            && match &self.conditions.path {
                PathMatch::Exact(path) => path == facts.path,
                PathMatch::PathPrefix(prefix) => has_path_prefix(facts.path, prefix),
            }
            && self.conditions.headers.iter().all(|wanted| has_header(facts.headers, wanted))
            && self.conditions.query_params.iter().all(|wanted| has_parameter(facts.query, wanted))
    }
}

impl HostPattern {
    fn new(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        match host.strip_prefix('*') {
            Some(suffix) => Self::Wildcard(Reverse(suffix.len()), suffix.to_owned()),
            None => Self::Exact(host),
        }
    }

    fn takes(&self, host: &str) -> bool {
        match self {
            Self::Exact(wanted) => wanted.eq_ignore_ascii_case(host),
            // At least one label stands for the star.
            Self::Wildcard(_, suffix) => {
                let (host, suffix) = (host.as_bytes(), suffix.as_bytes());
                host.len() > suffix.len()
                    && host.get(host.len() - suffix.len()..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
            Self::Any => true,
        }
    }
}

/// A host without its port.
pub(crate) fn host_name(host: &str) -> &str {
    match host.rfind(':') {
        // The colons of an IPv6 address stand within brackets.
        Some(colon) if !host.ends_with(']') => host.get(..colon).unwrap_or(host),
        _ => host,
    }
}

fn has_path_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn has_header(headers: &HeaderMap, wanted: &NameValue) -> bool {
    headers.get_all(&wanted.name).iter().any(|value| value.as_bytes() == wanted.value.as_bytes())
}

fn has_parameter(query: Option<&str>, wanted: &NameValue) -> bool {
    let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    // The first one counts, as in Gateway API.
    pairs
        .into_iter()
        .find(|(name, _)| name.as_ref() == wanted.name)
        .is_some_and(|(_, value)| value.as_ref() == wanted.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::ids::ObjectId;
    use crate::ir::snapshot::{Access, Timeouts};

    fn route(name: &str, hostnames: &[&str], matches: Vec<HttpMatch>) -> Route {
        Route {
            id: ObjectId::new("ns", name),
            listeners: vec!["http".to_owned()],
            hostnames: hostnames.iter().map(ToString::to_string).collect(),
            matches,
            access: Access::Anonymous,
            servers: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    fn exact(path: &str) -> HttpMatch {
        HttpMatch { path: PathMatch::Exact(path.to_owned()), headers: Vec::new(), query_params: Vec::new() }
    }

    fn prefix(path: &str) -> HttpMatch {
        HttpMatch { path: PathMatch::PathPrefix(path.to_owned()), headers: Vec::new(), query_params: Vec::new() }
    }

    fn with_header(mut conditions: HttpMatch, name: &str, value: &str) -> HttpMatch {
        conditions.headers.push(NameValue { name: name.to_owned(), value: value.to_owned() });
        conditions
    }

    fn find(router: &Router, host: &str, target: &str, headers: &HeaderMap) -> Option<usize> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        router.find(&RequestFacts { listener: "http", host, path, query, headers })
    }

    #[test]
    fn the_more_specific_match_wins_whatever_the_order() {
        let none = HeaderMap::new();
        let router = Router::new(&[
            route("any", &[], vec![prefix("/")]),
            route("exact", &[], vec![exact("/a/b")]),
            route("long", &[], vec![prefix("/a/b")]),
            route("wild", &["*.example.com"], vec![prefix("/")]),
            route("host", &["mcp.example.com"], vec![prefix("/")]),
        ]);
        assert_eq!(find(&router, "x", "/a/b", &none), Some(1));
        assert_eq!(find(&router, "x", "/a/b/c", &none), Some(2));
        assert_eq!(find(&router, "x", "/a/bc", &none), Some(0), "whole path elements only");
        assert_eq!(find(&router, "MCP.example.com:8080", "/a/b", &none), Some(4), "host before path");
        assert_eq!(find(&router, "x.y.example.com", "/", &none), Some(3));
        assert_eq!(find(&router, "example.com", "/", &none), Some(0), "a star stands for at least one label");
    }

    #[test]
    fn headers_and_queries_are_exact_and_more_of_them_win() {
        let mut headers = HeaderMap::new();
        let mut query = exact("/m");
        query.query_params.push(NameValue { name: "team".to_owned(), value: "a b".to_owned() });
        let router = Router::new(&[
            route("plain", &[], vec![exact("/m")]),
            route("header", &[], vec![with_header(exact("/m"), "x-env", "prod")]),
            route("query", &[], vec![query]),
        ]);
        assert_eq!(find(&router, "x", "/m", &headers), Some(0));
        assert_eq!(find(&router, "x", "/m?team=a+b", &headers), Some(2));
        assert_eq!(find(&router, "x", "/m?team=x&team=a+b", &headers), Some(0), "the first of equal names counts");
        headers.insert("x-env", "prod".parse().unwrap());
        assert_eq!(find(&router, "x", "/m?team=a+b", &headers), Some(1));
    }

    #[test]
    fn a_route_answers_on_its_own_listeners_only() {
        let router = Router::new(&[route("r", &[], vec![exact("/m")])]);
        let headers = HeaderMap::new();
        let facts = RequestFacts { listener: "other", host: "x", path: "/m", query: None, headers: &headers };
        assert_eq!(router.find(&facts), None);
    }

    #[test]
    fn hosts_lose_their_port_but_addresses_keep_their_colons() {
        assert_eq!(host_name("a.b:80"), "a.b");
        assert_eq!(host_name("[::1]:80"), "[::1]");
        assert_eq!(host_name("[::1]"), "[::1]");
    }
}
