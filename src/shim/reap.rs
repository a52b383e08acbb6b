//! Whose exit status is whose. Where the shim is the first process of its pod, or has declared itself the one that adopts,
//! processes whose parents have gone become its own; somebody has to take their exit status, or they stay as zombies. That
//! must never be the status of a process that was started here and is waited for.
//!
//! Waiting for any child at all cannot tell the two apart, so those started here are written down, under a lock that is held
//! over the start, and only what is not among them is taken.

use super::strays;
use parking_lot::Mutex;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Processes that were started here and are not yet waited for.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// How often to look for orphans that no signal announced: one that ended under the number of a process that had just been
/// waited for was passed over.
const POLL: Duration = Duration::from_secs(5);

/// A process of ours. While this lives, nobody but its owner takes its exit status.
pub(super) struct Own(u32);

impl Drop for Own {
    fn drop(&mut self) {
        OWN.lock().remove(&self.0);
    }
}

/// Starts a process that somebody will wait for.
pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, Own)> {
    let mut own = OWN.lock();
    let child = command.spawn()?;
    let pid = child.id().unwrap_or_default();
    own.insert(pid);
    Ok((child, Own(pid)))
}

/// Adopts and reaps what children leave behind.
pub(super) struct Reaper {
    ended: Signal,
    reaped: Arc<AtomicU64>,
}

impl Reaper {
    /// From now on this process adopts every descendant whose parent ends. (The first process of a pod does so anyway; in a pod
    /// whose containers share their processes, it is not the first.)
    pub(super) fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self { ended: signal(SignalKind::child())?, reaped: Arc::default() })
    }

    /// How many have been reaped, as it goes on.
    pub(super) fn reaped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.reaped)
    }

    /// Reaps until it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                _ = self.ended.recv() => {}
                () = tokio::time::sleep(POLL) => {}
            }
            // Reading /proc blocks.
            let reaped = tokio::task::spawn_blocking(reap_orphans).await.unwrap_or(0);
            self.reaped.fetch_add(reaped, Ordering::Relaxed);
        }
    }
}

/// Takes the exit status of every orphan that has ended.
fn reap_orphans() -> u64 {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if !matches!(waitid(WaitId::All, look), Ok(Some(_))) {
        return 0;
    }
    let (own, this) = (OWN.lock(), std::process::id());
    let orphans = strays::processes().filter(|other| other.zombie && other.parent == this && !own.contains(&other.pid));
    let reaped = orphans.filter(|orphan| {
        let pid = i32::try_from(orphan.pid).ok().and_then(Pid::from_raw);
        matches!(waitpid(pid, WaitOptions::NOHANG), Ok(Some(_)))
    });
    reaped.count() as u64
}
