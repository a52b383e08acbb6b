//! The pods of every gateway, and a link to each: what is desired goes out to all of them, and what they report is kept.

use super::push::{ChannelState, Desired, Link, News};
use crate::ir::ids::ObjectId;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Where the admin channel of each pod is, by the pod's name.
pub(super) type Addresses = BTreeMap<String, SocketAddr>;

/// The pods of all gateways.
#[derive(Default)]
pub(super) struct Fleet {
    crews: Mutex<HashMap<ObjectId, Crew>>,
}

/// The pods of one gateway.
struct Crew {
    desired: watch::Sender<Desired>,
    links: BTreeMap<String, Link>,
}

impl Fleet {
    /// Has all pods of a gateway serve this.
    pub(super) fn desire(&self, gateway: &ObjectId, desired: Desired) {
        let mut crews = self.crews.lock();
        let Some(crew) = crews.get_mut(gateway) else {
            crews.insert(gateway.clone(), Crew { desired: watch::Sender::new(desired), links: BTreeMap::new() });
            return;
        };
        crew.desired.send_if_modified(|before| {
            let is_new = !before.is_same(&desired);
            if is_new {
                *before = desired;
            }
            is_new
        });
    }

    /// Keeps a link to each of these pods and to no others. Nothing happens until something is desired of them.
    pub(super) fn follow(&self, gateway: &ObjectId, pods: &Addresses, changed: impl Fn(News) + Clone + Send + 'static) {
        let mut crews = self.crews.lock();
        let Some(Crew { desired, links }) = crews.get_mut(gateway) else { return };
        links.retain(|pod, link| pods.get(pod) == Some(&link.address));
        for (pod, address) in pods {
            let start = || Link::start(*address, desired.subscribe(), changed.clone());
            links.entry(pod.clone()).or_insert_with(start);
        }
    }

    /// Lets go of a gateway that is gone.
    pub(super) fn forget(&self, gateway: &ObjectId) {
        self.crews.lock().remove(gateway);
    }

    /// What is known of each pod, by its name.
    pub(super) fn states(&self, gateway: &ObjectId) -> BTreeMap<String, ChannelState> {
        let crews = self.crews.lock();
        let links = crews.get(gateway).into_iter().flat_map(|crew| &crew.links);
        links.map(|(pod, link)| (pod.clone(), link.state())).collect()
    }

    /// Whether each of so many pods serves this generation.
    pub(super) fn all_serve(&self, gateway: &ObjectId, pods: usize, generation: &str) -> bool {
        let crews = self.crews.lock();
        let Some(crew) = crews.get(gateway) else { return pods == 0 };
        let serves = |link: &Link| link.report().is_some_and(|report| report.generation == generation);
        crew.links.len() == pods && crew.links.values().all(serves)
    }

    /// The highest revision of those pods that were given a later one than this by somebody else, and so take nothing from us.
    pub(super) fn outdone(&self, gateway: &ObjectId, generation: &str, revision: u64) -> Option<u64> {
        let crews = self.crews.lock();
        let reports = crews.get(gateway)?.links.values().filter_map(Link::report);
        let later = reports.filter(|report| report.generation != generation && report.revision > revision);
        later.map(|report| report.revision).max()
    }
}

impl Desired {
    /// Whether the other asks for the same, with the same credentials to ask with.
    fn is_same(&self, other: &Self) -> bool {
        let Self { hash, generation, endpoints, clients } = self;
        *hash == other.hash
            && generation.revision == other.generation.revision
            && endpoints == &other.endpoints
            && clients.len() == other.clients.len()
            && clients.iter().zip(&other.clients).all(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
    }
}
