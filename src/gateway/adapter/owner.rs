//! Names the owner of what a stateless client carries: `server` or `server/namespace/backend`, a colon, then the server's own
//! text. The prefix is routing, not security: whoever forges it reaches a server that the route offers anyway, and what
//! follows it is protected by the server that made it.

use crate::gateway::state::{RouteState, ServerState};
use crate::ir::ids::ObjectId;

/// Who takes something back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner(String);

impl Owner {
    pub(crate) fn new(server: &str, backend: Option<&ObjectId>) -> Self {
        Self(match backend {
            Some(backend) => format!("{server}/{backend}"),
            None => server.to_owned(),
        })
    }

    pub(crate) fn wrap(&self, text: &str) -> String {
        format!("{}:{text}", self.0)
    }
}

/// Whether a route's task ids must say whose they are.
pub(crate) fn needed(route: &RouteState) -> bool {
    route.servers.len() > 1 || route.servers.iter().any(ServerState::has_several_backends)
}

/// The server (by position) and backend that a task's id names, and the server's own id.
pub(crate) fn of_task<'a>(route: &RouteState, id: &'a str) -> Option<(usize, Option<ObjectId>, &'a str)> {
    if !needed(route) {
        return Some((0, None, id));
    }
    let (owner, task) = id.split_once(':')?;
    let (server, backend) = split_owner(owner);
    let server = route.server(server)?;
    let backend = backend.map(str::parse).transpose().ok()?;
    Some((server, backend, task))
}

/// The backend that request state names, and the server's own state.
pub(crate) fn split_state(state: &str) -> Option<(ObjectId, &str)> {
    let (owner, state) = state.split_once(':')?;
    Some((split_owner(owner).1?.parse().ok()?, state))
}

fn split_owner(owner: &str) -> (&str, Option<&str>) {
    owner.split_once('/').map_or((owner, None), |(server, backend)| (server, Some(backend)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_goes_back_to_the_backend_that_made_it() {
        let backend = ObjectId::new("team", "search");
        let wrapped = Owner::new("search", Some(&backend)).wrap("opaque:with:colons");
        assert_eq!(split_state(&wrapped), Some((backend, "opaque:with:colons")));
    }

    #[test]
    fn foreign_state_is_refused() {
        for state in ["", "opaque", "search:x", "search/team:x", ":x"] {
            assert_eq!(split_state(state), None, "{state}");
        }
    }
}
