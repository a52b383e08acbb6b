//! What every step of the operator works with.

use super::apply::Applier;
use super::deploy::Deployments;
use super::fleet::Fleet;
use super::metrics::Metrics;
use super::publish::Publisher;
use super::push::News;
use super::scope::Scope;
use super::target::{Kind, Target};
use super::watch::{Caches, Triggers};
use super::world::World;
use crate::ir::ids::ObjectId;
use crate::translate::facts::GroupKind;
use kube::Client;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

/// How the operator was started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it watches.
    pub scope: Scope,
    /// The kinds that a `serverRef` may name.
    pub server_kinds: BTreeSet<GroupKind>,
    /// Whether gateways may be exposed by Gateway API, where the cluster has it.
    pub gateway_api: bool,
    /// Namespaces whose pods may scrape the gateways' metrics.
    pub scrapers: BTreeSet<String>,
    /// The data plane's image, where a gateway names none.
    pub gateway_image: String,
    /// The operator's own namespace, and that of its lease.
    pub namespace: String,
    /// The lease that says which replica leads.
    pub lease: String,
    /// This replica's own name, unique among all.
    pub identity: String,
    /// Address of health, readiness and metrics.
    pub health: SocketAddr,
}

/// Shared by all steps.
pub(super) struct Context {
    pub(super) options: Options,
    /// Its connections carry nothing out unless this replica leads.
    pub(super) client: Client,
    pub(super) caches: Arc<Caches>,
    pub(super) triggers: Arc<Triggers>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) applier: Applier,
    pub(super) deployments: Deployments,
    pub(super) fleet: Fleet,
    pub(super) publisher: Publisher,
    world: RwLock<Arc<World>>,
}

impl Context {
    pub(super) fn new(
        options: Options,
        client: Client,
        caches: Arc<Caches>,
        triggers: Arc<Triggers>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            applier: Applier::new(client.clone(), Arc::clone(&caches), Arc::clone(&metrics)),
            publisher: Publisher::new(client.clone(), &options.identity, Arc::clone(&metrics)),
            deployments: Deployments::default(),
            fleet: Fleet::default(),
            world: RwLock::default(),
            options,
            client,
            caches,
            triggers,
            metrics,
        }
    }

    /// The world as it was translated last.
    pub(super) fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.read())
    }

    /// Puts a new translation in the place of the last one.
    pub(super) fn replace_world(&self, world: World) {
        *self.world.write() = Arc::new(world);
    }

    /// Has every status looked at that tells of a gateway's pods.
    pub(super) fn publish_gateway(&self, gateway: &ObjectId) {
        self.triggers.publish.extend(concerned(&self.world(), gateway));
    }

    /// What to do about news from a pod of this gateway.
    pub(super) fn on_news(self: &Arc<Self>, gateway: &ObjectId) -> impl Fn(News) + Clone + Send + 'static {
        let (context, gateway) = (Arc::downgrade(self), gateway.clone());
        move |news| {
            let Some(context) = Weak::upgrade(&context) else { return };
            match news {
                News::Pushed(what) => return context.metrics.pushed(what),
                // The next step of a rotation waits for the pods to have the one before.
                News::Generation => context.triggers.deploy.add(Target::new(Kind::Gateway, gateway.clone())),
                News::Failed(why) => context.metrics.channel_failed(why),
                News::Report => {}
            }
            context.publish_gateway(&gateway);
        }
    }
}

/// The gateway, its routes and their backends.
fn concerned(world: &World, gateway: &ObjectId) -> BTreeSet<Target> {
    let plan = &world.plan;
    let routes = plan.routes.iter().filter(|(_, route)| route.parents.iter().any(|parent| parent.gateway == *gateway));
    let backends = plan.backends.iter().filter(|(_, backend)| backend.gateways.contains(gateway));
    std::iter::once(Target::new(Kind::Gateway, gateway.clone()))
        .chain(routes.map(|(id, _)| Target::new(Kind::Route, id.clone())))
        .chain(backends.map(|(id, _)| Target::new(Kind::Backend, id.clone())))
        .collect()
}
