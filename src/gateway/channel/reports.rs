//! Reports: numbered when they change, and waited for.

use crate::gateway::config::{Engine, Runtime};
use crate::ir::channel::Report;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How often it is looked whether there is anything new, while somebody waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The reports of a gateway.
pub(super) struct Reports<E> {
    pub(super) runtime: Arc<Runtime<E>>,
    current: watch::Sender<Arc<Report>>,
    /// Locked while a report is made: one after the other, so that none goes back behind another.
    making: Mutex<()>,
}

impl<E: Engine> Reports<E> {
    /// Looks for what is new from now on. Must run inside a tokio runtime.
    pub(super) fn start(runtime: Arc<Runtime<E>>) -> Arc<Self> {
        let current = watch::Sender::new(Arc::default());
        let reports = Arc::new(Self { runtime, current, making: Mutex::default() });
        tokio::spawn(Arc::clone(&reports).look());
        reports
    }

    /// The report as it is now. It may wait for a generation that is being compiled: not for a thread that serves.
    pub(super) fn now(&self) -> Arc<Report> {
        let _making = self.making.lock();
        let mut report = self.runtime.report();
        let before = Arc::clone(&self.current.borrow());
        report.sequence = before.sequence;
        if report == *before {
            return before;
        }
        report.sequence += 1;
        let report = Arc::new(report);
        self.current.send_replace(Arc::clone(&report));
        report
    }

    /// As [`now`](Self::now), from any thread. `None` when it failed unexpectedly.
    pub(super) async fn fresh(self: &Arc<Self>) -> Option<Arc<Report>> {
        let reports = Arc::clone(self);
        // A panic has been printed.
        tokio::task::spawn_blocking(move || reports.now()).await.ok()
    }

    /// Waits for another report than the one of this sequence. At the wait's end, that one is the answer.
    pub(super) async fn after(self: &Arc<Self>, sequence: u64, wait: Duration) -> Option<Arc<Report>> {
        let mut reports = self.current.subscribe();
        let now = self.fresh().await?;
        if now.sequence != sequence {
            return Some(now);
        }
        let next = timeout(wait, reports.wait_for(|report| report.sequence != sequence)).await;
        Some(next.ok().and_then(Result::ok).map_or(now, |report| Arc::clone(&report)))
    }

    async fn look(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.runtime.changed() => {}
                () = sleep(LOOK_EVERY) => {}
            }
            // Nobody waits most of the time: then the next one to come gets what is there by then.
            if self.current.receiver_count() > 0 && self.fresh().await.is_none() {
                tracing::error!("a report failed unexpectedly");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::Rank;
    use crate::gateway::config::fake::{Fake, generation};
    use crate::ir::channel::Endpoints;
    use crate::ir::ids::ObjectId;
    use crate::net::socket::Bind;
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;
    use tokio::time::Instant;

    const LONG: Duration = Duration::from_secs(40);

    fn started() -> Arc<Reports<Fake>> {
        let bind = Bind::Address(Ipv4Addr::LOCALHOST.into());
        Reports::start(Runtime::start(&generation(&["a"]), Rank::mounted(1), bind).unwrap())
    }

    #[tokio::test]
    async fn the_sequence_grows_with_each_change_and_with_nothing_else() {
        let reports = started();
        let sequence = || reports.now().sequence;
        assert_eq!((sequence(), sequence()), (1, 1));
        reports.runtime.offer(&generation(&["a", "b"]), Rank::pushed(2));
        assert_eq!((sequence(), sequence()), (2, 2));
        reports.runtime.offer(&generation(&["a"]), Rank::mounted(1));
        assert_eq!(sequence(), 2);
        reports.runtime.set_endpoints(&Endpoints::default());
        assert_eq!((sequence(), sequence()), (3, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_woken_by_a_change() {
        let reports = started();
        let before = Instant::now();
        assert_eq!(reports.after(0, LONG).await.unwrap().sequence, 1, "there is something new already");
        assert_eq!(reports.after(9, LONG).await.unwrap().sequence, 1, "a number of another start of the process");
        assert_eq!(before.elapsed(), Duration::ZERO);

        let waiting = tokio::spawn({
            let reports = Arc::clone(&reports);
            async move { reports.after(1, LONG).await.unwrap() }
        });
        while reports.current.receiver_count() == 0 {
            tokio::task::yield_now().await;
        }
        let backends = BTreeMap::from([(ObjectId::new("team", "a"), BTreeSet::new())]);
        reports.runtime.set_endpoints(&Endpoints { backends, ..Endpoints::default() });
        let report = waiting.await.unwrap();
        assert_eq!((report.sequence, report.backends.len()), (2, 1));
        assert!(before.elapsed() < LONG);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_has_its_end() {
        let reports = started();
        reports.now();
        let before = Instant::now();
        assert_eq!(reports.after(1, LONG).await.unwrap().sequence, 1);
        assert_eq!(before.elapsed(), LONG);
    }
}
