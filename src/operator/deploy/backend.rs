//! What is deployed for one `MCPBackend`: pods, where the operator runs them.

use super::{DeployError, Owner, Standing, children, owner};
use crate::api::conditions::{ConditionStatus, ConditionType, Finding};
use crate::operator::build;
use crate::operator::context::Context;
use crate::operator::observe::seen::Apply;
use crate::operator::queue::Done;
use crate::operator::target::Target;
use std::sync::Arc;

pub(super) async fn deploy(context: &Arc<Context>, target: &Target) -> Result<Done, DeployError> {
    let owner = match owner(&context.caches.backends, target) {
        Owner::There(owner) => owner,
        Owner::Leaving => return Ok(Done::Settled),
        Owner::Gone => {
            context.forget(target);
            return Ok(Done::Settled);
        }
    };
    let world = context.world();
    let before = context.deployments.last(target).unwrap_or_default();
    let standing = |apply| Standing { owner: owner.uid.clone(), apply, ..Standing::default() };
    // Absent: malformed, or newer than the last translation, which comes here again.
    let Some(plan) = world.plan.backends.get(&target.id) else { return Ok(Done::Settled) };
    let Some(infra) = &plan.infra else {
        if is_accepted(&plan.conditions) {
            // It runs elsewhere now, if it ever ran here.
            context.applier.prune(&target.id.namespace, &owner.uid, &[]).await?;
            context.note(target, &world, standing(Apply::Done));
        } else {
            context.note(target, &world, standing(before.apply));
        }
        return Ok(Done::Settled);
    };
    if infra.rollout.paused {
        context.note(target, &world, standing(Apply::Paused));
        return Ok(Done::Settled);
    }
    let objects = build::backend(infra, &context.build(owner.clone()));
    let applied = match children::of_backend(&objects) {
        Ok(children) => context.make_so(&target.id.namespace, &owner, &children, &[]).await,
        Err(error) => Err(error.into()),
    };
    if !applied.as_ref().is_err_and(DeployError::is_busy) {
        let apply = applied.as_ref().map_or_else(DeployError::outcome, |()| Apply::Done);
        context.note(target, &world, standing(apply));
    }
    applied.map(|()| Done::Settled)
}

fn is_accepted(conditions: &[Finding]) -> bool {
    let accepted = conditions.iter().find(|finding| finding.type_ == ConditionType::Accepted);
    accepted.is_some_and(|finding| finding.status == ConditionStatus::True)
}
