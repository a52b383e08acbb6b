//! Identical matches of two routes on one listener: the older route keeps the match.

use super::matches::describe;
use super::problem::Problem;
use crate::api::conditions::Reason;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::HttpMatch;
use std::collections::BTreeMap;

/// Who has which match where. Routes claim in order of age.
#[derive(Default)]
pub(super) struct Claims {
    taken: BTreeMap<Place, ObjectId>,
}

/// One host of one listener (empty: whatever the listener answers for), and one match there.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    listener: String,
    host: String,
    conditions: String,
}

/// A listener and the hosts for which a route is attached to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) listener: String,
    pub(super) hosts: Vec<String>,
}

impl Claims {
    /// Claims `matches` for `route` at all its sites. Answers the matches it has somewhere, and what it does not get.
    ///
    /// A match that is lost at one site only stays: the data plane prefers the earlier route among equals, which is
    /// the older one.
    pub(super) fn claim(
        &mut self,
        route: &ObjectId,
        sites: &[Site],
        matches: &[HttpMatch],
    ) -> (Vec<HttpMatch>, Vec<Problem>) {
        let mut kept: Vec<HttpMatch> = Vec::new();
        let mut lost = Vec::new();
        for conditions in matches {
            let mut has_it_somewhere = false;
            for place in places(sites, conditions) {
                let holder = self.taken.entry(place.clone()).or_insert_with(|| route.clone());
                if holder == route {
                    has_it_somewhere = true;
                } else {
                    lost.push(conflict(conditions, &place, holder));
                }
            }
            if has_it_somewhere && !kept.contains(conditions) {
                kept.push(conditions.clone());
            }
        }
        (kept, lost)
    }
}

fn places(sites: &[Site], conditions: &HttpMatch) -> Vec<Place> {
    // A match has one canonical form, so its JSON names it.
    let conditions = serde_json::to_string(conditions).unwrap_or_default();
    let place = |listener: &str, host: &str| Place {
        listener: listener.to_owned(),
        host: host.to_owned(),
        conditions: conditions.clone(),
    };
    sites
        .iter()
        .flat_map(|site| match site.hosts.as_slice() {
            [] => vec![place(&site.listener, "")],
            hosts => hosts.iter().map(|host| place(&site.listener, host)).collect(),
        })
        .collect()
}

fn conflict(conditions: &HttpMatch, place: &Place, holder: &ObjectId) -> Problem {
    let host = if place.host.is_empty() { String::new() } else { format!(" for host {}", place.host) };
    Problem::new(
        Reason::Conflicted,
        format!(
            "spec.matches: {} on listener {}{host} belongs to the older MCPRoute {holder}; choose another path or host",
            describe(conditions),
            place.listener
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::snapshot::PathMatch;

    fn exact(path: &str) -> HttpMatch {
        HttpMatch { path: PathMatch::Exact(path.to_owned()), headers: Vec::new(), query_params: Vec::new() }
    }

    fn site(listener: &str, hosts: &[&str]) -> Site {
        Site { listener: listener.to_owned(), hosts: hosts.iter().map(ToString::to_string).collect() }
    }

    #[test]
    fn the_first_to_claim_keeps_the_match_and_others_keep_the_rest() {
        let mut claims = Claims::default();
        let (old, young) = (ObjectId::new("a", "old"), ObjectId::new("b", "young"));
        assert_eq!(claims.claim(&old, &[site("http", &[])], &[exact("/mcp")]), (vec![exact("/mcp")], Vec::new()));
        let (kept, lost) = claims.claim(&young, &[site("http", &[])], &[exact("/mcp"), exact("/other")]);
        assert_eq!(kept, [exact("/other")]);
        assert_eq!(lost.len(), 1);
        assert!(lost[0].message.contains("a/old"), "{}", lost[0].message);
    }

    #[test]
    fn another_host_or_listener_is_another_place() {
        let mut claims = Claims::default();
        let matches = [exact("/mcp")];
        let id = |name: &str| ObjectId::new("a", name);
        claims.claim(&id("one"), &[site("http", &["a.example.com"])], &matches);
        for (name, site) in [("two", site("http", &["b.example.com"])), ("three", site("https", &["a.example.com"]))] {
            assert!(claims.claim(&id(name), &[site], &matches).1.is_empty());
        }
    }

    #[test]
    fn a_match_lost_at_one_site_stays_for_the_other() {
        let mut claims = Claims::default();
        claims.claim(&ObjectId::new("a", "old"), &[site("http", &[])], &[exact("/mcp")]);
        let (kept, lost) =
            claims.claim(&ObjectId::new("a", "young"), &[site("http", &[]), site("admin", &[])], &[exact("/mcp")]);
        assert_eq!((kept.len(), lost.len()), (1, 1));
    }

    #[test]
    fn a_match_said_twice_is_one_match() {
        let mut claims = Claims::default();
        let said = [exact("/mcp"), exact("/mcp")];
        assert_eq!(
            claims.claim(&ObjectId::new("a", "r"), &[site("http", &[])], &said),
            (vec![exact("/mcp")], Vec::new())
        );
    }
}
