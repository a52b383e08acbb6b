//! Whether a snapshot holds together. Translation sees to that; a gateway that trusted it would serve half of what was
//! meant, from a snapshot that someone else wrote or that was cut.

use crate::ir::ids::ObjectId;
use crate::ir::snapshot::{Route, Server, Snapshot};
use std::collections::BTreeSet;

/// What contradicts what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// Two listeners of one name.
    #[error("listener {0} is there twice")]
    TwoListeners(String),
    /// Two routes of one name.
    #[error("route {0} is there twice")]
    TwoRoutes(ObjectId),
    /// Two servers of one name in a route.
    #[error("route {route}: server {server} is there twice")]
    TwoServers {
        /// The route.
        route: ObjectId,
        /// The server.
        server: String,
    },
    /// A route attached to nothing.
    #[error("route {route}: there is no listener {listener}")]
    NoListener {
        /// The route.
        route: ObjectId,
        /// What it names.
        listener: String,
    },
    /// A server in front of nothing.
    #[error("route {route}, server {server}: there is no backend {backend}")]
    NoBackend {
        /// The route.
        route: ObjectId,
        /// The server.
        server: String,
        /// What it names.
        backend: ObjectId,
    },
}

/// Finds the first contradiction.
pub fn check(snapshot: &Snapshot) -> Result<(), Inconsistent> {
    let mut listeners = BTreeSet::new();
    for listener in &snapshot.listeners {
        if !listeners.insert(listener.name.as_str()) {
            return Err(Inconsistent::TwoListeners(listener.name.clone()));
        }
    }
    let mut routes = BTreeSet::new();
    for route in &snapshot.routes {
        if !routes.insert(&route.id) {
            return Err(Inconsistent::TwoRoutes(route.id.clone()));
        }
        if let Some(listener) = route.listeners.iter().find(|name| !listeners.contains(name.as_str())) {
            return Err(Inconsistent::NoListener { route: route.id.clone(), listener: listener.clone() });
        }
        check_servers(route, snapshot)?;
    }
    Ok(())
}

fn check_servers(route: &Route, snapshot: &Snapshot) -> Result<(), Inconsistent> {
    let mut names = BTreeSet::new();
    for Server { name, tiers, .. } in &route.servers {
        let (route, server) = (route.id.clone(), name.clone());
        if !names.insert(name) {
            return Err(Inconsistent::TwoServers { route, server });
        }
        let mut backends = tiers.iter().flat_map(|tier| &tier.backends);
        if let Some(missing) = backends.find(|backend| !snapshot.backends.contains_key(&backend.backend)) {
            return Err(Inconsistent::NoBackend { route, server, backend: missing.backend.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::fake::generation;
    use serde_json::{Value, json};

    fn told(change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let mut snapshot = serde_json::to_value(generation(&["http"]).snapshot).unwrap();
        snapshot["backends"] = json!({"team/a": {"target": {
            "type": "Http", "transport": "StreamableHttp", "endpoints": [], "path": "/mcp", "addresses": "Any",
        }}});
        snapshot["routes"] = json!([{
            "id": "team/tools", "listeners": ["http"], "access": {"type": "Anonymous"}, "timeouts": snapshot["timeouts"],
            "matches": [{"path": {"type": "Exact", "value": "/mcp"}}],
            "servers": [{
                "name": "s", "failover": {"attempts": 1, "backoffMs": 1},
                "tiers": [{"priority": 0, "backends": [{"backend": "team/a", "weight": 1}]}],
            }],
        }]);
        change(&mut snapshot);
        check(&serde_json::from_value(snapshot).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_holds_together_is_good() {
        assert_eq!(told(|_| ()), Ok(()));
    }

    #[test]
    fn each_contradiction_is_named() {
        let twice = |list: &mut Value| {
            let first = list[0].clone();
            list.as_array_mut().unwrap().push(first);
        };
        let server = |snapshot: &mut Value, key: &str, value: Value| {
            snapshot["routes"][0]["servers"][0]["tiers"][0]["backends"][0][key] = value;
        };
        for (result, message) in [
            (told(|s| twice(&mut s["listeners"])), "listener http is there twice"),
            (told(|s| twice(&mut s["routes"])), "route team/tools is there twice"),
            (told(|s| twice(&mut s["routes"][0]["servers"])), "route team/tools: server s is there twice"),
            (told(|s| s["routes"][0]["listeners"] = json!(["x"])), "route team/tools: there is no listener x"),
            (told(|s| server(s, "backend", json!("team/b"))), "route team/tools, server s: there is no backend team/b"),
        ] {
            assert_eq!(result, Err(message.to_owned()));
        }
    }
}
