//! What is deployed for one `MCPBackend`: pods, where the operator runs them.

use super::{DeployError, Standing, children};
use crate::api::conditions::{ConditionStatus, ConditionType, Finding};
use crate::ir::ids::ObjectId;
use crate::ir::infra::{BackendInfra, Program};
use crate::operator::apply::{ChildKey, key_of};
use crate::operator::context::Context;
use crate::operator::observe::seen::Apply;
use crate::operator::owner::is_controlled_by;
use crate::operator::queue::Done;
use crate::operator::target::Target;
use crate::operator::{build, tokens};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::PartialObjectMeta;
use std::sync::Arc;

pub(super) async fn deploy(context: &Arc<Context>, target: &Target) -> Result<Done, DeployError> {
    let Some(owner) = context.owner(&context.caches.backends, target) else { return Ok(Done::Settled) };
    let world = context.world();
    let before = context.deployments.last(target).unwrap_or_default();
    let standing = |apply| Standing { owner: owner.uid.clone(), apply, ..Standing::default() };
    // Absent: malformed, or newer than the last translation, which comes here again.
    let Some(plan) = world.plan.backends.get(&target.id) else { return Ok(Done::Settled) };
    let Some(infra) = &plan.infra else {
        if is_accepted(&plan.conditions) {
            // It runs elsewhere now, if it ever ran here.
            context.applier.prune(&target.id.namespace, &owner.uid, []).await?;
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
    let applied = make(context, &target.id, infra, &owner).await;
    if !applied.as_ref().is_err_and(DeployError::is_busy) {
        let apply = applied.as_ref().map_or_else(DeployError::outcome, |()| Apply::Done);
        context.note(target, &world, standing(apply));
    }
    applied.map(|()| Done::Settled)
}

async fn make(
    context: &Context,
    id: &ObjectId,
    infra: &BackendInfra,
    owner: &OwnerReference,
) -> Result<(), DeployError> {
    // Before the pods, which mount it; and then left alone.
    let token = match infra.program {
        Program::Stdio { .. } => Some(token(context, id, owner).await?),
        Program::Http { .. } => None,
    };
    let objects = build::backend(infra, &context.build(owner.clone()));
    context.make_so(&id.namespace, owner, &children::of_backend(&objects)?, token).await
}

/// The Secret of the backend's token, which most often is there: it was made when the backend was first seen.
async fn token(context: &Context, id: &ObjectId, owner: &OwnerReference) -> Result<ChildKey, DeployError> {
    let secret = tokens::secret_id(id);
    let is_ours = |secret: Arc<PartialObjectMeta<Secret>>| is_controlled_by(&secret.metadata, &owner.uid);
    if !context.caches.secrets.get(&secret).is_some_and(is_ours) {
        // Whose it is if it is not ours, is told there.
        tokens::ensure(&context.client, id, owner).await?;
    }
    Ok(key_of::<Secret>(secret))
}

fn is_accepted(conditions: &[Finding]) -> bool {
    let accepted = conditions.iter().find(|finding| finding.type_ == ConditionType::Accepted);
    accepted.is_some_and(|finding| finding.status == ConditionStatus::True)
}
