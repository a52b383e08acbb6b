//! Who may use a route at a gateway. Fails closed: what is not clearly allowed is not served.

use super::facts::Mode;
use super::policies::{Policies, Policy};
use super::problem::Problem;
use crate::api::auth_policy::AnonymousAccess;
use crate::api::conditions::Reason;
use crate::ir::ids::ObjectId;
use crate::ir::snapshot::Access;

/// What follows from the policies for one route at one gateway.
pub(super) enum Verdict {
    /// It is served, to those whom this admits.
    Admit(Access),
    /// It is not served.
    Refuse(Problem),
    /// It is there and answers 503: what its policy says is not known.
    Unknown(Problem),
}

/// Decides by the policy that governs `route` at `gateway`.
pub(super) fn decide(policies: &Policies<'_>, gateway: &ObjectId, route: &ObjectId, mode: &Mode) -> Verdict {
    if let Some((id, _)) = policies.unreadable_in(&gateway.namespace) {
        return unknown(id);
    }
    if let Some(policy) = policies.overrides_routes(gateway) {
        return by_policy(policy);
    }
    // From here on a policy of the route's own namespace might speak, and so might one that cannot be read.
    if let Some((id, _)) = policies.unreadable_in(&route.namespace) {
        return unknown(id);
    }
    match policies.on_route(route).or_else(|| policies.on_gateway(gateway)) {
        Some(policy) => by_policy(policy),
        None => without_policy(mode),
    }
}

fn by_policy(policy: Policy<'_>) -> Verdict {
    match policy.spec.anonymous {
        AnonymousAccess::Allow => Verdict::Admit(Access::Anonymous),
        AnonymousAccess::Deny => Verdict::Refuse(Problem::new(
            Reason::Unauthenticated,
            format!(
                "MCPAuthPolicy {} denies anonymous clients and names no other way in, so nobody could use this route; set spec.anonymous: Allow there",
                policy.id
            ),
        )),
    }
}

fn without_policy(mode: &Mode) -> Verdict {
    match mode {
        // Nobody but the person at the laptop can connect.
        Mode::Laptop(laptop) if laptop.bound_to_loopback => Verdict::Admit(Access::Anonymous),
        _ => Verdict::Refuse(Problem::new(
            Reason::Unauthenticated,
            "no MCPAuthPolicy says who may use this route; create one for it or its gateway, with spec.anonymous: Allow to open it to everyone",
        )),
    }
}

fn unknown(policy: &ObjectId) -> Verdict {
    Verdict::Unknown(Problem::new(
        Reason::InvalidPolicy,
        format!(
            "MCPAuthPolicy {policy} cannot be read and may be about this route, which answers 503 until it can; correct or remove it"
        ),
    ))
}
