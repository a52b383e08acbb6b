//! The live sessions of this replica, by their sealed ids.

use super::live::Session;
use crate::gateway::error::{GatewayError, Kind};
use dashmap::DashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A session that was used within this time does not make room for a newcomer.
const EVICTABLE_AFTER: Duration = Duration::from_secs(60);

/// Live sessions. Lookups are by the sealed id as the client sends it, so that a hit needs no decryption.
#[derive(Default)]
pub(crate) struct SessionTable {
    sessions: DashMap<Box<str>, Arc<Session>>,
    /// Kept apart from the map, whose own count locks every shard.
    count: AtomicUsize,
}

impl SessionTable {
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.sessions.get(id).map(|entry| Arc::clone(entry.value()))
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes a session in. At the limit the longest idle one makes room, if it is idle for a minute; closing that one is the
    /// caller's.
    pub(crate) fn insert(&self, session: Arc<Session>, limit: usize) -> Result<Option<Arc<Session>>, GatewayError> {
        let evicted = if self.len() < limit { None } else { Some(self.remove_longest_idle().ok_or_else(full)?) };
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sessions.insert(session.id().into(), session);
        Ok(evicted)
    }

    /// Takes a session out. Closing it is the caller's.
    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Session>> {
        let (_, session) = self.sessions.remove(id)?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        Some(session)
    }

    /// Takes out every session that was not used for `idle` and has nothing open.
    pub(crate) fn remove_idle(&self, idle: Duration) -> Vec<Arc<Session>> {
        let expired: Vec<Box<str>> = self
            .sessions
            .iter()
            .filter(|entry| entry.value().idle_for() >= idle && !entry.value().is_busy())
            .map(|entry| entry.key().clone())
            .collect();
        expired.iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Every session, for notices to all of them.
    pub(crate) fn all(&self) -> Vec<Arc<Session>> {
        self.sessions.iter().map(|entry| Arc::clone(entry.value())).collect()
    }

    fn remove_longest_idle(&self) -> Option<Arc<Session>> {
        let longest = self
            .sessions
            .iter()
            .filter(|entry| entry.value().idle_for() >= EVICTABLE_AFTER && !entry.value().is_busy())
            .max_by_key(|entry| entry.value().idle_for())
            .map(|entry| entry.key().clone());
        longest.and_then(|id| self.remove(&id))
    }
}

fn full() -> GatewayError {
    GatewayError::new(
        Kind::TooManySessions,
        "the gateway has no room for another session; close one, or try again later",
    )
}
