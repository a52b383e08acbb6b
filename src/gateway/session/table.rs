//! The live sessions of this replica, by their sealed ids.

use super::live::Session;
use crate::gateway::error::{GatewayError, Kind};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A session that was used within this time does not make room for a newcomer.
const EVICTABLE_AFTER: Duration = Duration::from_secs(60);

/// What came of taking a session in.
pub(crate) struct Inserted {
    /// It, or the one of its id that is there already and stays.
    pub(crate) session: Arc<Session>,
    /// Whether it is in.
    pub(crate) is_new: bool,
    /// The one that made room; closing it is the caller's.
    pub(crate) evicted: Option<Arc<Session>>,
}

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

    /// Takes a session in, unless there is one of its id. At the limit the longest idle one makes room, if it is idle for a
    /// minute.
    pub(crate) fn insert(&self, session: Arc<Session>, limit: usize) -> Result<Inserted, GatewayError> {
        if let Some(session) = self.get(session.id()) {
            return Ok(Inserted { session, is_new: false, evicted: None });
        }
        let evicted = if self.len() < limit { None } else { Some(self.remove_longest_idle().ok_or_else(full)?) };
        match self.sessions.entry(session.id().into()) {
            Entry::Occupied(entry) => Ok(Inserted { session: Arc::clone(entry.get()), is_new: false, evicted }),
            Entry::Vacant(entry) => {
                entry.insert(Arc::clone(&session));
                self.count.fetch_add(1, Ordering::Relaxed);
                Ok(Inserted { session, is_new: true, evicted })
            }
        }
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
