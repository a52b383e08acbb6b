//! Hostnames as Gateway API compares them: exact, or `*.` and a suffix for which at least one label stands.

/// The hosts that both patterns answer for, as one pattern; `None` when there are none.
///
/// Of two overlapping patterns one always contains the other, so their intersection is the more specific one.
pub(super) fn intersect<'a>(left: &'a str, right: &'a str) -> Option<&'a str> {
    if contains(left, right) {
        Some(right)
    } else if contains(right, left) {
        Some(left)
    } else {
        None
    }
}

/// Whether every host of `inner` is one of `outer`.
fn contains(outer: &str, inner: &str) -> bool {
    match outer.strip_prefix('*') {
        None => outer == inner,
        // `*.example.com` holds `a.example.com` and `*.a.example.com` and itself, but not `example.com`.
        Some(suffix) => {
            outer == inner
                || inner.strip_prefix('*').unwrap_or(inner).strip_suffix(suffix).is_some_and(|rest| !rest.is_empty())
        }
    }
}

/// The hosts for which a route of `wanted` hostnames answers on a listener, sorted; `None` when they do not meet.
/// No hostnames on one side means any; an empty result leaves the choice to the listener.
pub(super) fn effective(listener: Option<&str>, wanted: &[String]) -> Option<Vec<String>> {
    if wanted.is_empty() {
        return Some(Vec::new());
    }
    let mut hosts: Vec<String> = match listener {
        None => wanted.to_vec(),
        Some(listener) => wanted.iter().filter_map(|host| intersect(listener, host)).map(str::to_owned).collect(),
    };
    hosts.sort();
    hosts.dedup();
    (!hosts.is_empty()).then_some(hosts)
}

/// What is wrong with a hostname, if anything. Lower case is required, so that equal hosts are equal texts.
pub(super) fn problem(hostname: &str) -> Option<&'static str> {
    let labels = hostname.strip_prefix("*.").unwrap_or(hostname);
    if labels.is_empty() || hostname.len() > 253 {
        return Some("has 1 to 253 characters");
    }
    if labels.split('.').all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit())) {
        return Some("is a name, not an IP address");
    }
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    (!labels.split('.').all(is_label))
        .then_some("is made of lower-case letters, digits, '-' and '.', with '*.' only in front")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_specific_of_two_overlapping_hosts_is_their_intersection() {
        for (left, right, both) in [
            ("a.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "a.b.example.com", Some("a.b.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "badexample.com", None),
            ("*.example.com", "*.com", Some("*.example.com")),
            ("a.example.com", "b.example.com", None),
        ] {
            assert_eq!(intersect(left, right), both, "{left} and {right}");
            assert_eq!(intersect(right, left), both, "{right} and {left}");
        }
    }

    #[test]
    fn a_route_without_hostnames_takes_the_listeners() {
        assert_eq!(effective(Some("a.example.com"), &[]), Some(Vec::new()));
        assert_eq!(effective(None, &[]), Some(Vec::new()));
    }

    #[test]
    fn only_hostnames_that_meet_the_listener_stay() {
        let wanted = ["b.example.org", "*.example.com", "a.example.com"].map(str::to_owned);
        assert_eq!(effective(Some("a.example.com"), &wanted), Some(vec!["a.example.com".to_owned()]));
        assert_eq!(effective(Some("c.example.net"), &wanted), None);
        assert_eq!(effective(None, &wanted).map(|hosts| hosts.len()), Some(3));
    }

    #[test]
    fn malformed_hostnames_are_found() {
        for good in ["a", "a.example.com", "*.example.com", "xn--e1afmkfd.example", "1.example"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in ["", "*", "*.", "a..b", "A.example.com", "a.*.com", "-a.com", "a_b.com", "10.0.0.1", "a:80"] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
