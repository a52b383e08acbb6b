//! What every step of the operator works with.

use super::apply::Applier;
use super::metrics::Metrics;
use super::scope::Scope;
use super::watch::{Caches, Triggers};
use super::world::World;
use crate::translate::facts::GroupKind;
use kube::Client;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;

/// How the operator was started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it watches.
    pub scope: Scope,
    /// The kinds that a `serverRef` may name.
    pub server_kinds: BTreeSet<GroupKind>,
}

/// Shared by all steps.
pub(super) struct Context {
    pub(super) options: Options,
    pub(super) client: Client,
    pub(super) caches: Arc<Caches>,
    pub(super) triggers: Arc<Triggers>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) applier: Applier,
    world: RwLock<Arc<World>>,
}

impl Context {
    /// The world as it was translated last.
    pub(super) fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read())
    }

    /// Puts a new translation in the place of the last one, and gives that back.
    pub(super) fn replace_world(&self, world: Arc<World>) -> Arc<World> {
        std::mem::replace(&mut *self.world.write(), world)
    }
}
