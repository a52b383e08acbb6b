//! Who of the sessions that share a child follows which resource.
//!
//! To the child they are one client: it must keep telling of a resource until the last of them has enough, and what it tells
//! is only for those who asked.

use super::routes::ClientKey;
use std::collections::{BTreeMap, BTreeSet};

/// Pairs of session and resource that are remembered; what is beyond is told to nobody.
const MAX_SUBSCRIPTIONS: usize = 10_000;

/// See the module.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_uri: BTreeMap<String, BTreeSet<ClientKey>>,
    count: usize,
}

impl Subscriptions {
    /// A session follows a resource.
    pub(super) fn add(&mut self, client: ClientKey, uri: &str) {
        if self.count < MAX_SUBSCRIPTIONS && self.by_uri.entry(uri.to_owned()).or_default().insert(client) {
            self.count += 1;
        }
    }

    /// A session follows a resource no more. Whether nobody else does, so that the child need not either.
    pub(super) fn remove(&mut self, client: ClientKey, uri: &str) -> bool {
        let Some(followers) = self.by_uri.get_mut(uri) else { return true };
        self.count -= usize::from(followers.remove(&client));
        if followers.is_empty() {
            self.by_uri.remove(uri);
            return true;
        }
        false
    }

    /// A session is over.
    pub(super) fn forget(&mut self, client: ClientKey) {
        for followers in self.by_uri.values_mut() {
            self.count -= usize::from(followers.remove(&client));
        }
        self.by_uri.retain(|_, followers| !followers.is_empty());
    }

    /// Who follows a resource. A server may tell of a part of the one that was asked for.
    pub(super) fn followers(&self, uri: &str) -> BTreeSet<ClientKey> {
        let covers = |followed: &str| {
            let rest = uri.strip_prefix(followed);
            rest.is_some_and(|rest| rest.is_empty() || followed.ends_with('/') || rest.starts_with(['/', '#', '?']))
        };
        self.by_uri.iter().filter(|(followed, _)| covers(followed)).flat_map(|(_, keys)| keys).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_followed_until_the_last_has_enough() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.add(1, "file:///a");
        subscriptions.add(2, "file:///a");
        subscriptions.add(2, "file:///a");
        assert!(!subscriptions.remove(1, "file:///a"));
        assert_eq!(subscriptions.followers("file:///a"), [2].into());
        assert!(subscriptions.remove(2, "file:///a"));
        assert!(subscriptions.remove(3, "file:///never"), "the child may know more than we");
        assert_eq!((subscriptions.count, subscriptions.by_uri.len()), (0, 0));
    }

    #[test]
    fn parts_of_a_resource_are_told_to_its_followers_and_neighbours_are_not() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.add(1, "file:///a");
        subscriptions.add(2, "file:///");
        assert_eq!(subscriptions.followers("file:///a/b"), [1, 2].into());
        assert_eq!(subscriptions.followers("file:///ab"), [2].into());
        subscriptions.forget(2);
        assert_eq!(subscriptions.followers("file:///ab"), [].into());
        assert_eq!(subscriptions.count, 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut subscriptions = Subscriptions::default();
        for n in 0..=MAX_SUBSCRIPTIONS {
            subscriptions.add(1, &n.to_string());
        }
        assert_eq!(subscriptions.count, MAX_SUBSCRIPTIONS);
        assert_eq!(subscriptions.by_uri.len(), MAX_SUBSCRIPTIONS);
    }
}
