//! Work by key: each key waits at most once, runs at most once at a time, and comes again when it failed.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::time::{DelayQueue, delay_queue};

/// Wait before the first repetition of what failed; doubles from there.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Wait before a repetition of what was only in somebody's way.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// The longest wait before a repetition: an API server that comes back is noticed within it.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What became of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// Nothing is left to do until the key is added again.
    Settled,
    /// It has to be looked at again after this time at the latest.
    Again(Duration),
    /// It failed in a way that may pass.
    Failed,
}

/// The keys that wait. Adding is cheap and never blocks; the set is bounded by the number of objects there are.
#[derive(Debug)]
pub(super) struct Queue<K> {
    waiting: Mutex<BTreeSet<K>>,
    added: Notify,
}

impl<K: Ord> Default for Queue<K> {
    fn default() -> Self {
        Self { waiting: Mutex::default(), added: Notify::new() }
    }
}

impl<K: Clone + Ord + Hash + Eq + Send> Queue<K> {
    /// Has the key worked on soon.
    pub(super) fn add(&self, key: K) {
        self.waiting.lock().insert(key);
        self.added.notify_one();
    }

    /// Has all of these worked on soon.
    pub(super) fn extend(&self, keys: impl IntoIterator<Item = K>) {
        self.waiting.lock().extend(keys);
        self.added.notify_one();
    }

    /// Keys that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Works on what is added, on at most `width` keys at a time, for ever.
    pub(super) async fn run<F, W>(self: Arc<Self>, width: usize, work: W)
    where
        W: Fn(K) -> F,
        F: Future<Output = Done>,
    {
        let mut running = FuturesUnordered::new();
        let mut busy: HashSet<K> = HashSet::new();
        let mut later = Later::default();
        loop {
            while running.len() < width
                && let Some(key) = self.next(&busy)
            {
                busy.insert(key.clone());
                later.forget(&key);
                let done = work(key.clone());
                running.push(async move { (key, done.await) });
            }
            tokio::select! {
                Some((key, done)) = running.next() => {
                    busy.remove(&key);
                    later.note(key, done);
                    // Much work that never waits must not keep others from their turn, least of all the renewal of the lease.
                    tokio::task::yield_now().await;
                }
                Some(due) = later.due.next() => self.add(later.take(due)),
                () = self.added.notified() => {}
            }
        }
    }

    /// The first key that waits and is not worked on already.
    fn next(&self, busy: &HashSet<K>) -> Option<K> {
        let mut waiting = self.waiting.lock();
        let key = waiting.iter().find(|key| !busy.contains(*key))?.clone();
        waiting.remove(&key);
        Some(key)
    }
}

/// What comes again by itself.
struct Later<K> {
    due: DelayQueue<K>,
    entries: HashMap<K, delay_queue::Key>,
    failures: HashMap<K, u32>,
}

impl<K> Default for Later<K> {
    fn default() -> Self {
        Self { due: DelayQueue::new(), entries: HashMap::new(), failures: HashMap::new() }
    }
}

impl<K: Clone + Hash + Eq> Later<K> {
    fn note(&mut self, key: K, done: Done) {
        let wait = match done {
            Done::Settled => {
                self.failures.remove(&key);
                return;
            }
            Done::Again(wait) => {
                self.failures.remove(&key);
                wait
            }
            Done::Failed => {
                let failures = self.failures.entry(key.clone()).or_default();
                *failures += 1;
                backoff(*failures)
            }
        };
        self.forget(&key);
        let entry = self.due.insert(key.clone(), wait);
        self.entries.insert(key, entry);
    }

    /// It is worked on now, so whatever was planned for later is not needed.
    fn forget(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.due.try_remove(&entry);
        }
    }

    fn take(&mut self, due: delay_queue::Expired<K>) -> K {
        let key = due.into_inner();
        self.entries.remove(&key);
        key
    }
}

fn backoff(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << (failures - 1).min(10)).min(LAST_RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{Instant, sleep};

    /// A worker that takes a second for each key, and what it did when.
    fn worker(queue: &Arc<Queue<&'static str>>, width: usize, done: Done) -> Arc<Mutex<Vec<(&'static str, u64)>>> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (queue, written, start) = (Arc::clone(queue), Arc::clone(&log), Instant::now());
        tokio::spawn(queue.run(width, move |key| {
            written.lock().push((key, start.elapsed().as_secs()));
            async move {
                sleep(Duration::from_secs(1)).await;
                done
            }
        }));
        log
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_never_runs_twice_at_a_time() {
        let queue = Arc::new(Queue::default());
        queue.extend(["a", "a", "b"]);
        let log = worker(&queue, 8, Done::Settled);
        sleep(Duration::from_millis(500)).await;
        queue.extend(["a", "a"]);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(*log.lock(), [("a", 0), ("b", 0), ("a", 1)]);
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_keys_run_at_a_time() {
        let queue = Arc::new(Queue::default());
        queue.extend(["a", "b", "c"]);
        let log = worker(&queue, 2, Done::Settled);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(*log.lock(), [("a", 0), ("b", 0), ("c", 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_comes_again_ever_later() {
        let queue = Arc::new(Queue::default());
        queue.add("a");
        let log = worker(&queue, 1, Done::Failed);
        sleep(Duration::from_secs(20)).await;
        let times: Vec<u64> = log.lock().iter().map(|(_, at)| *at).collect();
        assert_eq!(times, [0, 2, 5, 10, 19]);
        assert_eq!(backoff(100), LAST_RETRY);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_planned_is_not_done_twice_when_it_came_earlier() {
        let queue = Arc::new(Queue::default());
        queue.add("a");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(Arc::clone(&queue).run(1, move |_| {
            let first = counted.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if first { Done::Again(Duration::from_secs(10)) } else { Done::Settled } }
        }));
        sleep(Duration::from_secs(5)).await;
        queue.add("a");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
