//! Auth policies: which one governs which gateway or route, and what is said about the others.

use super::attach::Attachment;
use super::inputs::Inputs;
use super::plan::PolicyPlan;
use super::problem::{Problem, accepted_without, join, refused};
use crate::api::McpAuthPolicySpec;
use crate::api::auth_policy::{PolicyTargetKind, PolicyTargetRef};
use crate::api::conditions::{ConditionType, Finding, Reason};
use crate::ir::ids::ObjectId;
use std::collections::BTreeMap;

/// A policy in force.
#[derive(Clone, Copy)]
pub(super) struct Policy<'a> {
    pub(super) id: &'a ObjectId,
    pub(super) spec: &'a McpAuthPolicySpec,
}

/// The policy in force for each target. Of two policies on one target it is the older.
#[derive(Default)]
pub(super) struct Policies<'a> {
    targets: BTreeMap<(PolicyTargetKind, ObjectId), Policy<'a>>,
    unreadable: Vec<(&'a ObjectId, &'a str)>,
}

impl<'a> Policies<'a> {
    /// Finds out which policy is in force where.
    pub(super) fn attach(inputs: &'a Inputs) -> Self {
        let mut policies = Self::default();
        policies.unreadable.extend(inputs.unreadable_policies.iter().map(|(id, why)| (id, why.as_str())));
        for (id, policy) in super::oldest_first(&inputs.auth_policies, |policy| &policy.metadata) {
            for target in &policy.spec.target_refs {
                policies.targets.entry(key(id, target)).or_insert(Policy { id, spec: &policy.spec });
            }
        }
        policies
    }

    pub(super) fn on_gateway(&self, gateway: &ObjectId) -> Option<Policy<'a>> {
        self.targets.get(&(PolicyTargetKind::MCPGateway, gateway.clone())).copied()
    }

    pub(super) fn on_route(&self, route: &ObjectId) -> Option<Policy<'a>> {
        self.targets.get(&(PolicyTargetKind::MCPRoute, route.clone())).copied()
    }

    /// A policy of `namespace` that cannot be read, and why. It may be about anything there.
    pub(super) fn unreadable_in(&self, namespace: &str) -> Option<(&'a ObjectId, &'a str)> {
        self.unreadable.iter().copied().find(|(id, _)| id.namespace == namespace)
    }

    /// Whether routes of `gateway` are governed by its own policy, whatever theirs say.
    pub(super) fn overrides_routes(&self, gateway: &ObjectId) -> Option<Policy<'a>> {
        self.on_gateway(gateway).filter(|policy| !policy.spec.allow_route_override)
    }

    /// What to say about every policy.
    pub(super) fn plans(
        &self,
        inputs: &'a Inputs,
        attachments: &BTreeMap<&ObjectId, Vec<Attachment<'_>>>,
    ) -> BTreeMap<ObjectId, PolicyPlan> {
        let mut plans = BTreeMap::new();
        for (id, policy) in &inputs.auth_policies {
            plans.insert(
                id.clone(),
                PolicyPlan { conditions: vec![self.condition(id, &policy.spec, inputs, attachments)] },
            );
        }
        for (id, why) in &self.unreadable {
            let problem =
                Problem::invalid(format!("the policy cannot be read, so nothing it may be about is served: {why}"));
            plans.insert((*id).clone(), PolicyPlan { conditions: vec![refused(&problem)] });
        }
        plans
    }

    fn condition(
        &self,
        id: &ObjectId,
        spec: &McpAuthPolicySpec,
        inputs: &Inputs,
        attachments: &BTreeMap<&ObjectId, Vec<Attachment<'_>>>,
    ) -> Finding {
        if spec.target_refs.is_empty() {
            return refused(&Problem::invalid("spec.targetRefs is empty; name a gateway or a route"));
        }
        let problems: Vec<Problem> = spec
            .target_refs
            .iter()
            .filter_map(|target| {
                target_is_missing(id, target, inputs)
                    .or_else(|| self.another_is_older(id, target))
                    .or_else(|| self.a_gateway_overrides(id, target, attachments))
            })
            .collect();
        if problems.len() < spec.target_refs.len() {
            return accepted_without(Reason::PartiallyInvalid, &problems);
        }
        let reason = problems.first().map_or(Reason::Invalid, |problem| problem.reason);
        Finding::bad(ConditionType::Accepted, reason, join(&problems))
    }

    fn another_is_older(&self, id: &ObjectId, target: &PolicyTargetRef) -> Option<Problem> {
        let winner = self.targets.get(&key(id, target)).filter(|winner| winner.id != id)?;
        Some(Problem::new(
            Reason::Conflicted,
            format!(
                "spec.targetRefs: {} is governed by the older MCPAuthPolicy {}; remove one of them",
                describe(target),
                winner.id
            ),
        ))
    }

    /// A route's policy that no gateway of the route lets speak.
    fn a_gateway_overrides(
        &self,
        id: &ObjectId,
        target: &PolicyTargetRef,
        attachments: &BTreeMap<&ObjectId, Vec<Attachment<'_>>>,
    ) -> Option<Problem> {
        if target.kind != PolicyTargetKind::MCPRoute {
            return None;
        }
        let route = ObjectId::new(&id.namespace, &target.name);
        let gateways = attachments.get(&route)?.iter().filter(|attachment| attachment.sites.is_ok());
        let overriding: Vec<Option<Policy<'_>>> =
            gateways.map(|attachment| self.overrides_routes(&attachment.gateway)).collect();
        let first = overriding.first().copied().flatten().filter(|_| overriding.iter().all(Option::is_some))?;
        Some(Problem::new(
            Reason::Overridden,
            format!(
                "spec.targetRefs: {} is governed by MCPAuthPolicy {} of its gateway, which does not set allowRouteOverride",
                describe(target),
                first.id
            ),
        ))
    }
}

fn target_is_missing(id: &ObjectId, target: &PolicyTargetRef, inputs: &Inputs) -> Option<Problem> {
    let (_, object) = key(id, target);
    let exists = match target.kind {
        PolicyTargetKind::MCPGateway => inputs.gateways.contains_key(&object),
        PolicyTargetKind::MCPRoute => inputs.routes.contains_key(&object),
    };
    (!exists).then(|| {
        Problem::new(
            Reason::TargetNotFound,
            format!(
                "spec.targetRefs: {} does not exist in this namespace; a policy stands beside its target",
                describe(target)
            ),
        )
    })
}

/// Targets are the policy's own namespace's.
fn key(policy: &ObjectId, target: &PolicyTargetRef) -> (PolicyTargetKind, ObjectId) {
    (target.kind, ObjectId::new(&policy.namespace, &target.name))
}

fn describe(target: &PolicyTargetRef) -> String {
    format!("{:?} {}", target.kind, target.name)
}
