//! Matches of a route: their checks and their one canonical form, in which equal matches are equal values.

use crate::ir::snapshot::{HttpMatch, NameValue, PathMatch};

/// Brings a match into its canonical form, in which equal matches are equal values: no slash after a prefix, header
/// names in lower case, names in order and each once (the first counts, as in Gateway API).
pub(super) fn canonical(path: PathMatch, headers: Vec<NameValue>, query_params: Vec<NameValue>) -> HttpMatch {
    let path = match path {
        PathMatch::PathPrefix(prefix) => {
            let trimmed = prefix.trim_end_matches('/');
            PathMatch::PathPrefix(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
        }
        exact @ PathMatch::Exact(_) => exact,
    };
    let headers =
        headers.into_iter().map(|header| NameValue { name: header.name.to_ascii_lowercase(), ..header }).collect();
    HttpMatch { path, headers: first_of_each_name(headers), query_params: first_of_each_name(query_params) }
}

fn first_of_each_name(mut pairs: Vec<NameValue>) -> Vec<NameValue> {
    // Stable, so of equal names the first stays first.
    pairs.sort_by(|left, right| left.name.cmp(&right.name));
    pairs.dedup_by(|later, first| later.name == first.name);
    pairs
}

/// What is wrong with a path, if anything. Clients' paths are compared as they come, so one that normalising would
/// change never matches; it is refused instead.
pub(super) fn path_problem(path: &str) -> Option<&'static str> {
    let lower = path.to_ascii_lowercase();
    if !path.starts_with('/') {
        Some("starts with '/'")
    } else if path.len() > 1024 {
        Some("has at most 1024 characters")
    } else if path.contains("//") {
        Some("has no empty element ('//')")
    } else if path.split('/').any(|element| element == "." || element == "..") {
        Some("has no '.' or '..' element")
    } else if lower.contains("%2f") || lower.contains("%2e") {
        Some("has no encoded '/' or '.'")
    } else if path.contains(['?', '#']) {
        Some("has no query and no fragment; spec.matches[].queryParams matches a query")
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("is made of visible ASCII characters; others are percent-encoded")
    } else {
        None
    }
}

/// Whether `name` is an HTTP token, as header names are.
pub(super) fn is_header_name(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A match as people read it in a message.
pub(super) fn describe(conditions: &HttpMatch) -> String {
    let path = match &conditions.path {
        PathMatch::Exact(path) => format!("Exact {path}"),
        PathMatch::PathPrefix(path) => format!("PathPrefix {path}"),
    };
    let headers = conditions.headers.iter().map(|header| format!("header {}", header.name));
    let parameters = conditions.query_params.iter().map(|parameter| format!("query parameter {}", parameter.name));
    std::iter::once(path).chain(headers).chain(parameters).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> NameValue {
        NameValue { name: name.to_owned(), value: value.to_owned() }
    }

    #[test]
    fn equal_matches_have_one_form() {
        let left = canonical(PathMatch::PathPrefix("/a/".into()), vec![pair("X-B", "1"), pair("x-a", "2")], Vec::new());
        let right = canonical(
            PathMatch::PathPrefix("/a".into()),
            vec![pair("X-A", "2"), pair("x-b", "1"), pair("X-b", "3")],
            Vec::new(),
        );
        assert_eq!(left, right);
        assert_eq!(
            canonical(PathMatch::PathPrefix("/".into()), Vec::new(), Vec::new()).path,
            PathMatch::PathPrefix("/".into())
        );
        assert_eq!(
            canonical(PathMatch::Exact("/a/".into()), Vec::new(), Vec::new()).path,
            PathMatch::Exact("/a/".into())
        );
    }

    #[test]
    fn paths_that_no_client_can_send_are_refused() {
        for good in ["/", "/mcp", "/a/b/", "/a.b", "/%20"] {
            assert_eq!(path_problem(good), None, "{good}");
        }
        for bad in
            ["", "mcp", "//", "/a//b", "/a/../b", "/.", "/a%2Fb", "/%2e%2E/a", "/a?b", "/a#b", "/ä", "/a b", "/\n"]
        {
            assert!(path_problem(bad).is_some(), "{bad}");
        }
    }
}
