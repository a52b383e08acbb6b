//! Deploy (client): what should be deployed for one gateway or backend is built, applied and pushed.
//!
//! Each piece of work looks at the world as it is when it runs, so that a piece that comes late, twice or for no reason does no
//! harm. What comes of it is kept for the statuses.

mod backend;
mod children;
mod error;
mod gateway;
mod generation;
mod keys;
mod rollouts;

use super::apply::{Child, ChildKey};
use super::context::Context;
use super::observe::seen::Apply;
use super::owner;
use super::queue::{Done, SOON};
use super::target::{Kind, Target};
use super::watch::Guarded;
use super::world::World;
use crate::ir::ids::ObjectId;
use error::DeployError;
use gateway::Gateway;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::core::DeserializeGuard;
use parking_lot::Mutex;
use rollouts::Rollouts;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What is remembered of everything that is deployed.
#[derive(Default)]
pub(super) struct Deployments {
    standing: Mutex<HashMap<Target, Standing>>,
    /// Objects that have been translated anew, with the version of that world, and not been deployed since: what their pods report is
    /// of what was before.
    pending: Mutex<HashMap<Target, u64>>,
    gateways: Mutex<HashMap<ObjectId, Gateway>>,
    rollouts: Rollouts,
}

/// How the deployment of one object stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// The uid of the object itself.
    owner: String,
    /// What became of its objects.
    pub(super) apply: Apply,
    /// The hash of the generation that its pods should serve.
    pub(super) generation: Option<String>,
    /// A gateway's pods that are ready: what they report counts, in the statuses of its routes and backends too.
    ready: BTreeSet<String>,
}

impl Deployments {
    /// These will be deployed.
    pub(super) fn expect(&self, targets: &BTreeSet<Target>, version: u64) {
        self.pending.lock().extend(targets.iter().map(|target| (target.clone(), version)));
    }

    /// How it stands, as far as that can be told: not before the first attempt, and not between a translation and the next.
    pub(super) fn standing(&self, target: &Target) -> Option<Standing> {
        let is_pending = self.pending.lock().contains_key(target);
        self.last(target).filter(|_| !is_pending)
    }

    /// How it stood after the last attempt.
    fn last(&self, target: &Target) -> Option<Standing> {
        self.standing.lock().get(target).cloned()
    }
}

/// Works on one object.
pub(super) async fn work(context: Arc<Context>, target: Target) -> Done {
    let deployed = match target.kind {
        Kind::Gateway => gateway::deploy(&context, &target).await,
        Kind::Backend => backend::deploy(&context, &target).await,
        // Nothing of their own is deployed.
        Kind::Route | Kind::AuthPolicy => return Done::Settled,
    };
    let done = match &deployed {
        Ok(done) => *done,
        Err(error) if error.is_busy() => {
            tracing::debug!(%target, %error, "deployment is in somebody's way; trying again");
            Done::Again(SOON)
        }
        Err(error) => {
            tracing::warn!(%target, %error, "deployment failed; trying again");
            Done::Failed
        }
    };
    context.metrics.worked("deploy", if deployed.is_ok() { "ok" } else { "error" });
    done
}

impl Context {
    /// The object for which something is deployed, as its owner. `None`: nothing is made for it any more, since it is being
    /// deleted, and everything with it, or is gone, and then forgotten.
    fn owner<K>(&self, cache: &Guarded<K>, target: &Target) -> Option<OwnerReference>
    where
        K: Resource<DynamicType = ()>,
        DeserializeGuard<K>: Resource<DynamicType = ()>,
    {
        let Some(object) = cache.get(&target.id) else {
            self.forget(target);
            return None;
        };
        let meta = object.meta();
        meta.deletion_timestamp.is_none().then(|| owner::reference(target, meta))
    }

    /// Lets go of an object that is gone: what was deployed for it goes by itself.
    fn forget(&self, target: &Target) {
        self.deployments.pending.lock().remove(target);
        if let Some(standing) = self.deployments.standing.lock().remove(target) {
            self.applier.forget(&standing.owner);
        }
        if target.kind == Kind::Gateway {
            self.deployments.gateways.lock().remove(&target.id);
            self.fleet.forget(&target.id);
        }
    }

    /// Keeps how a deployment stands by this world, and has it told if it is news.
    fn note(&self, target: &Target, world: &World, standing: Standing) {
        let before = self.deployments.standing.lock().insert(target.clone(), standing.clone());
        let was_pending = {
            let mut pending = self.deployments.pending.lock();
            let is_current = pending.get(target).is_some_and(|version| *version <= world.version);
            is_current && pending.remove(target).is_some()
        };
        if !was_pending && before == Some(standing) {
            return;
        }
        match target.kind {
            Kind::Gateway => self.publish_gateway(&target.id),
            _ => self.triggers.publish.add(target.clone()),
        }
    }

    /// Makes everything so that there should be now, and deletes what else the owner has, but for what is kept.
    async fn make_so(
        &self,
        namespace: &str,
        owner: &OwnerReference,
        children: &[Child],
        kept: impl IntoIterator<Item = ChildKey>,
    ) -> Result<(), DeployError> {
        for child in children {
            self.applier.apply(&owner.uid, child).await?;
        }
        Ok(self.applier.prune(namespace, &owner.uid, children.iter().map(Child::key).chain(kept)).await?)
    }
}
