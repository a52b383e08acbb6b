//! What a child leaves behind outside of its process group: whoever calls setsid, or starts a daemon, is out of reach of a
//! signal to the group.
//!
//! In a pod each child therefore carries a mark in its environment, which its descendants inherit however they detach, and
//! whoever carries it is killed when the child has ended. What hides by clearing its environment *and* leaving its parents is
//! not found then; it ends with the pod, as a descendant of the shim, which adopts it.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Whoever is found may have started others before it was killed, so one looks again, until nobody is found. In a pod that makes
/// processes faster than that, the end of the pod's first process ends them all.
const ROUNDS: u32 = 200;

/// Between two looks: what was killed is still there for a moment.
const PAUSE: Duration = Duration::from_millis(5);

/// A child's mark.
pub(super) struct Mark(String);

impl Mark {
    /// The variable that carries it.
    pub(super) const VARIABLE: &str = "MCP_GATEWAY_SHIM_CHILD";

    /// One that no other child of this pod has.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    pub(super) fn value(&self) -> &str {
        &self.0
    }
}

/// A process as the kernel shows it.
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    /// Over, and waiting for its parent to take its exit status.
    pub(super) zombie: bool,
}

/// All processes that can be seen. Empty where there is no /proc.
pub(super) fn processes() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").ok().into_iter().flatten();
    entries.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?))
}

fn read(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(of(pid, "stat")).ok()?;
    // "pid (name) state parent …", where the name may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    Some(Process { pid, parent: fields.next()?.parse().ok()?, zombie: matches!(state, "Z" | "X") })
}

fn of(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// Kills whoever carries a mark.
pub(super) async fn end(mark: Mark) {
    let entry = format!("{}={}", Mark::VARIABLE, mark.0);
    let carries = move |pid: u32| {
        let environment = std::fs::read(of(pid, "environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == entry.as_bytes())
    };
    let find =
        move || processes().filter(|other| !other.zombie).map(|other| other.pid).filter(|pid| carries(*pid)).collect();
    // Reading /proc blocks. It fails only where the runtime ends, and the process with it.
    let _ = tokio::task::spawn_blocking(move || kill_all(find)).await;
}

/// Kills every descendant of this process.
pub(super) async fn end_descendants() {
    let _ = tokio::task::spawn_blocking(|| kill_all(descendants)).await;
}

fn descendants() -> Vec<u32> {
    let this = std::process::id();
    let all: Vec<Process> = processes().collect();
    let mut family = HashSet::from([this]);
    // Numbers are reused, so a child's may be lower than its parent's.
    loop {
        let known = family.len();
        for other in &all {
            if family.contains(&other.parent) {
                family.insert(other.pid);
            }
        }
        if family.len() == known {
            break;
        }
    }
    all.iter()
        .filter(|other| !other.zombie && other.pid != this && family.contains(&other.pid))
        .map(|other| other.pid)
        .collect()
}

fn kill_all(find: impl Fn() -> Vec<u32>) {
    for _ in 0..ROUNDS {
        let found = find();
        if found.is_empty() {
            return;
        }
        let handles: Vec<_> = found.into_iter().filter_map(Handle::open).collect();
        // A number may have passed to a stranger before it was opened: only who is found again is meant.
        let again: HashSet<u32> = find().into_iter().collect();
        handles.iter().filter(|handle| again.contains(&handle.pid)).for_each(Handle::kill);
        std::thread::sleep(PAUSE);
    }
    tracing::warn!("processes that a server started could not be ended");
}

/// A process that stays the same, whatever becomes of its number.
struct Handle {
    pid: u32,
    #[cfg(target_os = "linux")]
    descriptor: Option<rustix::fd::OwnedFd>,
}

impl Handle {
    #[cfg(target_os = "linux")]
    fn open(pid: u32) -> Option<Self> {
        match rustix::process::pidfd_open(as_pid(pid)?, rustix::process::PidfdFlags::empty()) {
            Ok(descriptor) => Some(Self { pid, descriptor: Some(descriptor) }),
            // Sandboxes that do not know such descriptors.
            Err(Errno::NOSYS) => Some(Self { pid, descriptor: None }),
            Err(_) => None,
        }
    }

    #[cfg(target_os = "linux")]
    fn kill(&self) {
        // It may be over by now.
        let _ = match &self.descriptor {
            Some(descriptor) => rustix::process::pidfd_send_signal(descriptor, Signal::KILL),
            None => as_pid(self.pid).map_or(Err(Errno::SRCH), |pid| kill_process(pid, Signal::KILL)),
        };
    }

    #[cfg(not(target_os = "linux"))]
    fn open(pid: u32) -> Option<Self> {
        Some(Self { pid })
    }

    #[cfg(not(target_os = "linux"))]
    fn kill(&self) {
        let _ = as_pid(self.pid).map_or(Err(Errno::SRCH), |pid| kill_process(pid, Signal::KILL));
    }
}

fn as_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}
