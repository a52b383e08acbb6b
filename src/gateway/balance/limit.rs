//! The limits of a circuit breaker, as permits that come back by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many of something at a time.
#[derive(Debug)]
pub struct Limit {
    max: u32,
    used: AtomicU32,
}

impl Limit {
    /// `max` at a time.
    pub fn new(max: u32) -> Arc<Self> {
        Arc::new(Self { max, used: AtomicU32::new(0) })
    }

    /// One of them; `None` when all are in use.
    pub fn acquire(self: &Arc<Self>) -> Option<Permit> {
        let one_more = |used| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Permit(Arc::clone(self)))
    }

    /// Whether one is left, as far as can be said while others take them.
    pub fn has_room(&self) -> bool {
        self.used() < self.max
    }

    /// How many are in use.
    pub fn used(&self) -> u32 {
        self.used.load(Ordering::Acquire)
    }
}

/// One of a [`Limit`]; dropped, it is free again.
#[derive(Debug)]
#[must_use = "a permit that is dropped permits nothing"]
pub struct Permit(Arc<Limit>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.used.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_and_all_come_back() {
        let limit = Limit::new(2);
        let held = (limit.acquire().unwrap(), limit.acquire().unwrap());
        assert!(limit.acquire().is_none() && !limit.has_room());
        drop(held);
        assert_eq!(limit.used(), 0);
        assert!(Limit::new(0).acquire().is_none());
    }
}
