//! Noticing that files changed.

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How often to look even if nothing was heard: some file systems (network mounts) tell nothing.
const POLL: Duration = Duration::from_secs(10);

/// A change is over when nothing more happened for this long: editors and kubelets write in several steps.
const QUIET: Duration = Duration::from_millis(50);

/// A change that never ends is looked at all the same, after this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Watches directories. Kubernetes swaps a symbolic link beside the files and editors rename over them, so that only the
/// directory hears of every change.
pub struct Watch {
    /// Held for as long as it shall watch.
    watcher: notify::Result<RecommendedWatcher>,
    heard: Arc<Notify>,
}

impl Watch {
    /// Watches these directories, not what is below them. Where the system cannot, they are looked at every now and then.
    pub fn new(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let heard = Arc::new(Notify::new());
        Self { watcher: watcher(directories, Arc::clone(&heard)), heard }
    }

    /// Tells whoever reads the log when changes are noticed late.
    pub fn report(&self) {
        if let Err(error) = &self.watcher {
            tracing::warn!(%error, "cannot watch for changes; looking every {} s", POLL.as_secs());
        }
    }

    /// Returns when something may have changed.
    pub async fn changed(&self) {
        if timeout(POLL, self.heard.notified()).await.is_err() {
            return;
        }
        let since = Instant::now();
        while since.elapsed() < PATIENCE && timeout(QUIET, self.heard.notified()).await.is_ok() {}
    }
}

fn watcher(directories: impl IntoIterator<Item = PathBuf>, heard: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An error may hide a change; reading files, as we do ourselves, is none.
        let is_change = event.map_or(true, |event| match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            _ => true,
        });
        if is_change {
            heard.notify_one();
        }
    })?;
    for directory in directories {
        watcher.watch(&directory, RecursiveMode::NonRecursive)?;
    }
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[tokio::test]
    async fn writes_and_swapped_links_are_heard_and_reads_are_not() {
        let home = tempfile::tempdir().unwrap();
        let path = |name| home.path().join(name);
        fs::create_dir(path("one")).unwrap();
        let watch = Watch::new([home.path().to_owned()]);

        fs::write(path("file"), "a").unwrap();
        timeout(POLL / 2, watch.changed()).await.expect("a write is heard");
        // As the kubelet does it.
        symlink(path("one"), path("..data_tmp")).unwrap();
        fs::rename(path("..data_tmp"), path("..data")).unwrap();
        timeout(POLL / 2, watch.changed()).await.expect("a swapped link is heard");

        fs::read(path("file")).unwrap();
        timeout(QUIET * 4, watch.changed()).await.expect_err("a read is not");
    }

    #[tokio::test(start_paused = true)]
    async fn a_directory_that_cannot_be_watched_is_polled() {
        let watch = Watch::new([PathBuf::from("/nowhere/at/all")]);
        let before = Instant::now();
        watch.changed().await;
        assert_eq!(before.elapsed(), POLL);
    }
}
