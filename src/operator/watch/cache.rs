//! The last known state of the objects of one kind.

use crate::ir::ids::ObjectId;
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What happened to one object.
pub(in crate::operator) struct Change<'a, K> {
    /// The object.
    pub(in crate::operator) id: &'a ObjectId,
    /// What was known of it before; absent for a new one.
    pub(in crate::operator) before: Option<&'a K>,
    /// What it is now; absent when it is gone.
    pub(in crate::operator) after: Option<&'a K>,
}

/// Objects of one kind, kept current by one watch per namespace.
pub(in crate::operator) struct Cache<K> {
    objects: RwLock<BTreeMap<ObjectId, Arc<K>>>,
    /// Watches that have not listed their objects yet.
    unlisted: watch::Sender<usize>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { objects: RwLock::default(), unlisted: watch::Sender::new(0) }
    }
}

impl<K> Cache<K> {
    /// One object.
    pub(in crate::operator) fn get(&self, id: &ObjectId) -> Option<Arc<K>> {
        self.objects.read().get(id).cloned()
    }

    /// All objects as they are now.
    pub(in crate::operator) fn all(&self) -> BTreeMap<ObjectId, Arc<K>> {
        self.objects.read().clone()
    }

    /// The objects of one namespace that `wanted` picks.
    pub(in crate::operator) fn in_namespace(&self, namespace: &str, wanted: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        let from = ObjectId::new(namespace, "");
        let objects = self.objects.read();
        let there = objects.range(from..).take_while(|(id, _)| id.namespace == namespace);
        there.filter(|(_, object)| wanted(object)).map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Returns once every watch has listed what there is.
    pub(in crate::operator) async fn listed(&self) {
        // The sender is ours, so it is there.
        let _ = self.unlisted.subscribe().wait_for(|unlisted| *unlisted == 0).await;
    }

    pub(super) fn expect_listing(&self) {
        self.unlisted.send_modify(|unlisted| *unlisted += 1);
    }
}

/// One watch's way of filling a cache.
pub(super) struct Filler<K, F> {
    cache: Arc<Cache<K>>,
    /// Which part of the cache is this watch's own; all of it if absent.
    namespace: Option<String>,
    listing: BTreeMap<ObjectId, K>,
    is_first: bool,
    changed: F,
}

impl<K: ResourceExt, F: Fn(Change<'_, K>)> Filler<K, F> {
    pub(super) fn new(cache: Arc<Cache<K>>, namespace: Option<String>, changed: F) -> Self {
        Self { cache, namespace, listing: BTreeMap::new(), is_first: true, changed }
    }

    /// Takes in one event, and tells of each object that it changed.
    pub(super) fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert(id(&object), object);
            }
            Event::InitDone => self.replace(),
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => self.remove(&id(&object)),
        }
    }

    fn put(&self, object: K) {
        let (id, object) = (id(&object), Arc::new(object));
        let before = self.cache.objects.write().insert(id.clone(), Arc::clone(&object));
        (self.changed)(Change { id: &id, before: before.as_deref(), after: Some(&object) });
    }

    fn remove(&self, id: &ObjectId) {
        let before = self.cache.objects.write().remove(id);
        (self.changed)(Change { id, before: before.as_deref(), after: None });
    }

    /// A listing is complete: what it lacks is gone, however it went.
    fn replace(&mut self) {
        let gone: Vec<ObjectId> = {
            let objects = self.cache.objects.read();
            let ours =
                objects.keys().filter(|id| self.namespace.as_ref().is_none_or(|namespace| id.namespace == *namespace));
            ours.filter(|id| !self.listing.contains_key(*id)).cloned().collect()
        };
        for id in &gone {
            self.remove(id);
        }
        for object in std::mem::take(&mut self.listing).into_values() {
            self.put(object);
        }
        if std::mem::take(&mut self.is_first) {
            self.cache.unlisted.send_modify(|unlisted| *unlisted -= 1);
        }
    }
}

pub(in crate::operator) fn id<K: ResourceExt>(object: &K) -> ObjectId {
    ObjectId::new(object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use parking_lot::Mutex;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        serde_json::from_value(serde_json::json!({"metadata": {"namespace": namespace, "name": name}})).unwrap()
    }

    #[tokio::test]
    async fn a_listing_replaces_what_was_known_of_its_namespace_only() {
        let cache = Arc::new(Cache::default());
        cache.expect_listing();
        let log = Mutex::new(Vec::new());
        let note = |change: Change<'_, ConfigMap>| {
            log.lock().push(format!("{} {}{}", change.id, change.before.is_some(), change.after.is_some()));
        };
        Filler::new(Arc::clone(&cache), Some("b".into()), |_| ()).put(object("b", "x"));
        let mut filler = Filler::new(Arc::clone(&cache), Some("a".into()), note);
        let list = |filler: &mut Filler<ConfigMap, _>, names: &[&str]| {
            filler.take(Event::Init);
            for name in names {
                filler.take(Event::InitApply(object("a", name)));
            }
            filler.take(Event::InitDone);
        };
        list(&mut filler, &["one", "two"]);
        cache.listed().await;
        filler.take(Event::Delete(object("a", "one")));
        filler.take(Event::Apply(object("a", "three")));
        list(&mut filler, &["two"]);
        assert_eq!(cache.all().keys().map(ToString::to_string).collect::<Vec<_>>(), ["a/two", "b/x"]);
        assert_eq!(cache.in_namespace("a", |_| true).len(), 1);
        assert_eq!(
            *log.lock(),
            [
                "a/one falsetrue",
                "a/two falsetrue",
                "a/one truefalse",
                "a/three falsetrue",
                "a/three truefalse",
                "a/two truetrue"
            ]
        );
    }
}
