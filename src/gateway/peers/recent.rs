//! A map that remembers so many entries and no more; the oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

pub(super) struct Recent<K, V> {
    capacity: usize,
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, entries: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key, value).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    pub(super) fn remove(&mut self, key: &K) {
        if self.entries.remove(key).is_some() {
            self.order.retain(|known| known != key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut recent = Recent::new(2);
        for number in 0..3 {
            recent.insert(number, number * 10);
        }
        recent.insert(2, 21);
        assert_eq!((recent.get(&0), recent.get(&1), recent.get(&2)), (None, Some(&10), Some(&21)));
        recent.remove(&1);
        recent.insert(3, 30);
        assert_eq!((recent.get(&2), recent.get(&3), recent.order.len()), (Some(&21), Some(&30), 2));
    }
}
