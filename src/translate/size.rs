//! Keeping a snapshot within what a `ConfigMap` holds: too large a route is left out, the rest is published.

use crate::ir::generation::encode_snapshot;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{Route, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// gzip adds this much at the most to what it cannot compress: headers, and 5 bytes per 32 KiB block of what fits at all.
const GZIP_OVERHEAD_BYTES: usize = 1024;

/// Leaves out as many routes as it takes for the snapshot to fit `max_bytes` compressed; answers the snapshot and
/// who was left out.
///
/// Among the routes that are at least half as large as the largest one the newest goes first. So a route that grows
/// hurts itself and not its small neighbours, and of two large ones the one that was there first stays.
pub(super) fn fit(snapshot: Snapshot, max_bytes: usize) -> (Snapshot, Vec<ObjectId>) {
    if fits(&snapshot, max_bytes) {
        return (snapshot, Vec::new());
    }
    let order = departures(&snapshot);
    // Fewer routes never take more bytes, so the least number of departures can be bisected: compressing is the costly part.
    let (mut too_few, mut enough) = (0, order.len());
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        if fits(&without(&snapshot, &order[..middle]), max_bytes) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    let leaving = &order[..enough];
    let left_out =
        leaving.iter().filter_map(|&index| snapshot.routes.get(index)).map(|route| route.id.clone()).collect();
    (without(&snapshot, leaving), left_out)
}

fn fits(snapshot: &Snapshot, max_bytes: usize) -> bool {
    let plain = serde_json::to_vec(snapshot).map_or(usize::MAX, |json| json.len());
    plain.saturating_add(GZIP_OVERHEAD_BYTES) <= max_bytes
        || encode_snapshot(snapshot).is_ok_and(|bytes| bytes.len() <= max_bytes)
}

/// Indices of all routes in the order in which they leave. The routes of a snapshot stand oldest first.
fn departures(snapshot: &Snapshot) -> Vec<usize> {
    let sizes = sizes(snapshot);
    let mut staying: BTreeSet<usize> = (0..sizes.len()).collect();
    let mut by_size: BTreeSet<(usize, usize)> = sizes.iter().enumerate().map(|(index, &size)| (size, index)).collect();
    let mut order = Vec::with_capacity(sizes.len());
    while let Some(&(largest, _)) = by_size.last() {
        let newest = staying.iter().rev().copied().find(|&index| sizes[index] >= largest.div_ceil(2));
        let Some(index) = newest else { break };
        staying.remove(&index);
        by_size.remove(&(sizes[index], index));
        order.push(index);
    }
    order
}

/// What each route adds to the snapshot, in bytes before compression: itself and its part of the backends it names.
fn sizes(snapshot: &Snapshot) -> Vec<usize> {
    let mut users: BTreeMap<&ObjectId, usize> = BTreeMap::new();
    for backend in snapshot.routes.iter().flat_map(backends) {
        *users.entry(backend).or_default() += 1;
    }
    let share = |id: &ObjectId| {
        let bytes =
            snapshot.backends.get(id).and_then(|backend| serde_json::to_vec(backend).ok()).map_or(0, |json| json.len());
        bytes / users.get(id).copied().unwrap_or(1).max(1)
    };
    let own = |route: &Route| serde_json::to_vec(route).map_or(0, |json| json.len());
    snapshot.routes.iter().map(|route| own(route) + backends(route).into_iter().map(share).sum::<usize>()).collect()
}

fn without(snapshot: &Snapshot, leaving: &[usize]) -> Snapshot {
    let leaving: BTreeSet<usize> = leaving.iter().copied().collect();
    let mut rest = snapshot.clone();
    let mut index = 0;
    rest.routes.retain(|_| {
        index += 1;
        !leaving.contains(&(index - 1))
    });
    let used: BTreeSet<ObjectId> = rest.routes.iter().flat_map(backends).cloned().collect();
    rest.backends.retain(|id, _| used.contains(id));
    rest
}

/// The backends that a route names, each once.
pub(super) fn backends(route: &Route) -> BTreeSet<&ObjectId> {
    let tiers = route.servers.iter().flat_map(|server| &server.tiers);
    tiers.flat_map(|tier| &tier.backends).map(|weighted| &weighted.backend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::snapshot::{
        Access, Drain, HttpMatch, Limits, PathMatch, Protocol, SNAPSHOT_VERSION, Sessions, Timeouts,
    };

    /// A route that takes about `bytes` even when compressed.
    fn route(name: &str, bytes: usize) -> Route {
        // A linear congruential generator: text that gzip finds nothing in, the same each time.
        let mut state = bytes as u64 + 1;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap()).to_string().replace(['"', '\\'], "x")
        });
        Route {
            id: ObjectId::new("team", name),
            listeners: Vec::new(),
            hostnames: Vec::new(),
            matches: vec![HttpMatch {
                path: PathMatch::Exact(noise.take(bytes).collect()),
                headers: Vec::new(),
                query_params: Vec::new(),
            }],
            access: Access::Anonymous,
            servers: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }

    fn snapshot(routes: Vec<Route>) -> Snapshot {
        Snapshot {
            version: SNAPSHOT_VERSION,
            gateway: ObjectId::new("team", "tools"),
            listeners: Vec::new(),
            routes,
            backends: BTreeMap::new(),
            protocol: Protocol { versions: Vec::new(), legacy_sse: true },
            sessions: Sessions { idle_timeout_ms: 1 },
            timeouts: Timeouts::default(),
            drain: Drain { min_duration_ms: 1, timeout_ms: 1 },
            limits: Limits::default(),
            tracing: None,
        }
    }

    fn left_out(routes: Vec<Route>, max_bytes: usize) -> Vec<String> {
        let (fitted, left_out) = fit(snapshot(routes), max_bytes);
        assert!(encode_snapshot(&fitted).unwrap().len() <= max_bytes);
        left_out.into_iter().map(|id| id.name).collect()
    }

    #[test]
    fn what_fits_stays_whole() {
        assert!(left_out(vec![route("a", 1_000), route("b", 1_000)], 8_000).is_empty());
    }

    #[test]
    fn a_route_that_grew_goes_before_its_small_and_newer_neighbours() {
        assert_eq!(left_out(vec![route("old-and-huge", 20_000), route("new", 500)], 8_000), ["old-and-huge"]);
    }

    #[test]
    fn of_two_large_routes_the_newer_one_goes() {
        assert_eq!(
            left_out(vec![route("first", 6_000), route("small", 100), route("second", 5_000)], 8_000),
            ["second"]
        );
    }

    #[test]
    fn no_more_routes_go_than_must() {
        let routes = (0..10).map(|index| route(&format!("r{index}"), 1_000 + index)).collect();
        let gone = left_out(routes, 6_000);
        assert!((4..=7).contains(&gone.len()) && gone[0] == "r9", "{gone:?}");
    }
}
