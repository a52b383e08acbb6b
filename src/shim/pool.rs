//! The processes of one server: bounded in number, some kept warm, restarted with a pause when they crash.

use super::child::{Child, Exit, Supervision};
use super::link::Ready;
use super::spawn::Launch;
use super::stderr::Tail;
use super::{ShimError, ShimLimits};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Beyond it, doubling has long passed any sensible longest pause.
const MAX_DOUBLINGS: u32 = 16;

/// See the module.
pub(super) struct Pool {
    server: String,
    launch: Launch,
    limits: ShimLimits,
    max: u32,
    /// One permit per process, from before it starts until it is reaped.
    permits: Arc<Semaphore>,
    warm: Mutex<VecDeque<Ready>>,
    starting: AtomicU32,
    starts: AtomicU64,
    handshake_failures: AtomicU64,
    health: Arc<Mutex<Health>>,
    tail: Tail,
    /// A warm process is there to be taken.
    warmed: Notify,
    /// A warm process was taken, or some process ended.
    refill: Arc<Notify>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

/// How the processes have fared.
#[derive(Default)]
struct Health {
    /// Processes in a row that ended by themselves soon after their start.
    failures: u32,
    /// No process starts before.
    next_start: Option<Instant>,
    crashes: u64,
    last_error: Option<String>,
}

impl Health {
    fn crashed(&mut self, exit: &Exit, lived: Duration, limits: &ShimLimits) {
        self.crashes += 1;
        self.last_error = Some(exit.to_string());
        if lived >= limits.stable_after {
            (self.failures, self.next_start) = (0, None);
            return;
        }
        let pause = limits.restart_base.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        self.failures += 1;
        self.next_start = Some(Instant::now() + pause.min(limits.restart_max));
    }

    fn pause(&self) -> Duration {
        self.next_start.map_or(Duration::ZERO, |start| start.saturating_duration_since(Instant::now()))
    }
}

/// What a pool is doing.
pub(super) struct PoolStats {
    pub(super) running: u32,
    pub(super) idle: u32,
    pub(super) starting: u32,
    pub(super) starts: u64,
    pub(super) crashes: u64,
    pub(super) handshake_failures: u64,
    pub(super) stderr_dropped: u64,
    pub(super) last_error: Option<String>,
    pub(super) stderr_tail: Vec<String>,
}

impl Pool {
    pub(super) fn new(server: String, launch: Launch, max: u32, limits: ShimLimits) -> Self {
        let max = max.max(1);
        Self {
            server,
            launch,
            limits,
            max,
            permits: Arc::new(Semaphore::new(max as usize)),
            warm: Mutex::default(),
            starting: AtomicU32::new(0),
            starts: AtomicU64::new(0),
            handshake_failures: AtomicU64::new(0),
            health: Arc::default(),
            tail: Tail::default(),
            warmed: Notify::new(),
            refill: Arc::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    /// What routes and supervises the children; finished when all of them are gone.
    pub(super) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Cancelled when the server is shut down.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// A process for the caller's use: a warm one, or a new one, or the first that becomes free within a moment.
    pub(super) async fn take(&self) -> Result<Ready, ShimError> {
        let found = tokio::time::timeout(self.limits.acquire, self.find());
        let found = tokio::select! {
            found = found => found.map_err(|_| ShimError::PoolExhausted { max: self.max })?,
            () = self.closing.cancelled() => return Err(ShimError::Closing),
        };
        match found {
            Found::Warm(ready) => Ok(ready),
            Found::Room(permit) => {
                let pause = self.health.lock().pause();
                if pause > self.limits.acquire {
                    let reason = self.health.lock().last_error.clone().unwrap_or_default();
                    return Err(ShimError::Crashing { pause, reason });
                }
                tokio::time::sleep(pause).await;
                self.start(permit).await
            }
        }
    }

    async fn find(&self) -> Found {
        loop {
            let warmed = self.warmed.notified();
            tokio::pin!(warmed);
            warmed.as_mut().enable();
            if let Some(ready) = self.pop_warm() {
                self.refill.notify_one();
                return Found::Warm(ready);
            }
            tokio::select! {
                // The semaphore is never closed.
                Ok(permit) = Arc::clone(&self.permits).acquire_owned() => return Found::Room(permit),
                () = &mut warmed => {}
            }
        }
    }

    fn pop_warm(&self) -> Option<Ready> {
        let mut warm = self.warm.lock();
        while let Some(ready) = warm.pop_front() {
            if !ready.child.is_ending() {
                return Some(ready);
            }
        }
        None
    }

    async fn start(&self, permit: OwnedSemaphorePermit) -> Result<Ready, ShimError> {
        if self.closing.is_cancelled() {
            return Err(ShimError::Closing);
        }
        let (health, refill, limits) = (Arc::clone(&self.health), Arc::clone(&self.refill), self.limits.clone());
        let supervision = Supervision {
            server: &self.server,
            line_bytes: self.limits.line_bytes,
            grace: self.limits.grace,
            tail: self.tail.clone(),
            closing: &self.closing,
            tasks: &self.tasks,
            on_exit: Box::new(move |exit, lived| {
                if *exit != Exit::Stopped {
                    health.lock().crashed(exit, lived, &limits);
                }
                drop(permit);
                refill.notify_one();
            }),
        };
        let starting = Starting::count(&self.starting);
        let started = Child::start(&self.launch, supervision).await;
        drop(starting);
        match started {
            Ok((child, lines)) => {
                self.starts.fetch_add(1, Ordering::Relaxed);
                Ok(Ready { child, lines })
            }
            Err(error) => {
                tracing::warn!(server = self.server, %error, "child did not start");
                self.health.lock().last_error = Some(error.to_string());
                Err(error)
            }
        }
    }

    /// Counts a handshake that failed.
    pub(super) fn handshake_failed(&self) {
        self.handshake_failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps `target()` processes ready; runs until the server is shut down.
    pub(super) async fn keep_warm(&self, target: impl Fn() -> u32) {
        loop {
            let refill = self.fill(&target);
            let pause = tokio::select! {
                pause = refill => pause,
                () = self.closing.cancelled() => return,
            };
            tokio::select! {
                () = self.refill.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = self.closing.cancelled() => return,
            }
        }
    }

    /// Starts what is missing; says when to look again even if nothing happens.
    async fn fill(&self, target: impl Fn() -> u32) -> Duration {
        self.warm.lock().retain(|ready| !ready.child.is_ending());
        while self.warm.lock().len() < target() as usize {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { break };
            let pause = self.health.lock().pause();
            if !pause.is_zero() {
                return pause;
            }
            let Ok(ready) = self.start(permit).await else { break };
            self.warm.lock().push_back(ready);
            self.warmed.notify_waiters();
        }
        self.limits.restart_max
    }

    pub(super) fn stats(&self) -> PoolStats {
        let idle = u32::try_from(self.warm.lock().len()).unwrap_or(u32::MAX);
        let starting = self.starting.load(Ordering::Relaxed);
        let used = self.max.saturating_sub(u32::try_from(self.permits.available_permits()).unwrap_or(u32::MAX));
        let health = self.health.lock();
        PoolStats {
            running: used.saturating_sub(idle).saturating_sub(starting),
            idle,
            starting,
            starts: self.starts.load(Ordering::Relaxed),
            crashes: health.crashes,
            handshake_failures: self.handshake_failures.load(Ordering::Relaxed),
            stderr_dropped: self.tail.dropped(),
            last_error: health.last_error.clone(),
            stderr_tail: self.tail.lines(),
        }
    }

    /// Stops every child and waits until all are gone.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        self.warm.lock().clear();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

enum Found {
    Warm(Ready),
    Room(OwnedSemaphorePermit),
}

/// Counts a start for as long as it takes.
struct Starting<'a>(&'a AtomicU32);

impl<'a> Starting<'a> {
    fn count(counter: &'a AtomicU32) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(counter)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn restarts_pause_longer_with_each_crash_and_not_after_a_long_life() {
        let limits = ShimLimits::default();
        let mut health = Health::default();
        let mut crash = |lived| {
            health.crashed(&Exit::Stopped, lived, &limits);
            health.pause().as_secs()
        };
        let pauses: Vec<_> = (0..7).map(|_| crash(Duration::from_secs(1))).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(crash(limits.stable_after), 0);
        assert_eq!(crash(Duration::ZERO), 1);
    }
}
