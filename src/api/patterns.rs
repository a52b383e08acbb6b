//! Every pattern of the schemas, with what it asks for in words: the API server shows the pattern, `lint` the words.

/// An object's name: a DNS subdomain (RFC 1123).
pub(super) const DNS_SUBDOMAIN: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A namespace's or a listener's name: a DNS label (RFC 1123).
pub(super) const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// A host as in Gateway API: a DNS name, or `*.` and a DNS name. Never an IP address: the last label has a letter.
pub(super) const HOSTNAME: &str = r"^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*([a-z]|[a-z][-a-z0-9]*[a-z0-9]|[0-9][-a-z0-9]*[a-z]|[0-9][-a-z0-9]*[a-z][-a-z0-9]*[a-z0-9])$";

/// A header's name: an HTTP token (RFC 9110).
pub(super) const HTTP_TOKEN: &str = "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$";

/// What may stand before a secret in a header.
pub(super) const HEADER_TEXT: &str = r"^[\x20-\x7E]*$";

/// A key of a Secret or a `ConfigMap`.
pub(super) const DATA_KEY: &str = "^[-._a-zA-Z0-9]+$";

/// A URL path without query or fragment. What it may hold is listed, because regular expressions of Go and of Rust differ
/// in what is a space.
pub(super) const URL_PATH: &str = r#"^/[!-"$->@-~]*$"#;

/// An environment variable's name, as core/v1 allows it.
pub(super) const ENV_NAME: &str = "^[-._a-zA-Z][-._a-zA-Z0-9]*$";

/// Where a volume is mounted.
pub(super) const MOUNT_PATH: &str = "^(/[^/:]+)+$";

/// A path inside a volume.
pub(super) const RELATIVE_PATH: &str = "^[^/]+(/[^/]+)*$";

/// An amount of a resource, as core/v1 has it.
pub(super) const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// A tool's name, and so a prefix: what MCP recommends.
pub(super) const TOOL_NAME: &str = "^[A-Za-z0-9_./-]*$";

/// A method of MCP.
pub(super) const MCP_METHOD: &str = "^[a-z]+(/[a-zA-Z_]+)*$";

/// A kind of the Kubernetes API.
pub(super) const KIND: &str = "^[A-Z][A-Za-z0-9]*$";

/// What a duration looks like: the subset of Go's form that Gateway API accepts (GEP-2257), which needs no
/// fractions, has no sign and fits any implementation's integers.
pub(super) const DURATION: &str = "^([0-9]{1,5}(h|m|s|ms)){1,4}$";

/// A ratio from 0 to 1, to the millionth.
pub(super) const RATIO: &str = r"^(0(\.[0-9]{1,6})?|1(\.0{1,6})?)$";

/// The patterns in words; each completes "must be".
const WORDS: [(&str, &str); 16] = [
    (DNS_SUBDOMAIN, "lower-case letters, digits, '-' and '.', with a letter or digit at both ends of each part"),
    (DNS_LABEL, "lower-case letters, digits and '-', with a letter or digit at both ends"),
    (HOSTNAME, "a DNS name in lower case, or '*.' and a DNS name; no port, no IP address"),
    (HTTP_TOKEN, "an HTTP header's name"),
    (HEADER_TEXT, "printable ASCII"),
    (DATA_KEY, "letters, digits, '-', '_' and '.'"),
    (URL_PATH, "a path that begins with '/', in printable ASCII without '?', '#' and spaces"),
    (ENV_NAME, "letters, digits, '-', '_' and '.', not beginning with a digit"),
    (MOUNT_PATH, "an absolute path below /, without ':', doubled slashes and one at its end"),
    (RELATIVE_PATH, "a relative path, without doubled slashes and one at its end"),
    (QUANTITY, "an amount, like 500m, 2, 512Mi or 1Gi"),
    (TOOL_NAME, "letters, digits, '_', '-', '.' and '/'"),
    (MCP_METHOD, "a method of MCP as it is written, like tools/call"),
    (KIND, "a kind, like MCPServer"),
    (RATIO, "a ratio from 0 to 1 with at most six decimals, like 0.05, in quotes"),
    (DURATION, "a duration: up to four numbers with units h, m, s or ms, like 10s, 1m30s or 100ms"),
];

/// What a pattern asks for, in words if it is one of ours.
pub(super) fn describe(pattern: &str) -> String {
    WORDS
        .iter()
        .find(|(known, _)| *known == pattern)
        .map_or_else(|| format!("must match {pattern}"), |(_, words)| format!("must be {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_names_and_never_addresses() {
        let pattern = regex::Regex::new(HOSTNAME).unwrap();
        for host in
            ["a", "localhost", "mcp.example.com", "*.example.com", "a1", "1a", "1-a", "1a1", "x-1.y2", "xn--p1ai"]
        {
            assert!(pattern.is_match(host), "{host}");
        }
        for host in ["", "10.0.0.1", "1", "*", "a.", ".a", "-a", "a-", "A.com", "*.*.com", "a:80", "[::1]", "a.1"] {
            assert!(!pattern.is_match(host), "{host}");
        }
    }
}
