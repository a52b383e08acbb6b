//! The link to one gateway pod: pushes what the pod lacks, and follows what it reports.

use super::client::ChannelClient;
use super::error::ChannelError;
use crate::ir::channel::{Endpoints, Generation, Report};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// Wait after the first failure; doubles from there. A pod that has just begun listens within it.
const FIRST_RETRY: Duration = Duration::from_millis(200);

/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What the pods of one gateway should serve.
#[derive(Clone)]
pub(in crate::operator) struct Desired {
    /// Names the generation; see [`crate::ir::generation::Generation::hash`].
    pub(in crate::operator) hash: String,
    pub(in crate::operator) generation: Arc<Generation>,
    pub(in crate::operator) endpoints: Arc<Endpoints>,
    /// The credentials to try, one after the other: those of this generation, and those that a pod may still have.
    pub(in crate::operator) clients: Vec<Arc<ChannelClient>>,
}

/// What is known of a pod over its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::operator) enum ChannelState {
    /// Nothing yet.
    Connecting,
    /// It answers, and says this.
    Reached(Arc<Report>),
    /// It does not answer.
    Failed(ChannelError),
}

/// What happened to a pod's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::operator) enum News {
    /// The pod was given something: a generation, or endpoints.
    Pushed(&'static str),
    /// It has another generation now, or was given another revision.
    Generation,
    /// It says something else.
    Report,
    /// It cannot be reached, for this reason; see [`ChannelError::name`].
    Failed(&'static str),
}

/// A link. It ends when this is dropped.
pub(in crate::operator) struct Link {
    pub(in crate::operator) address: SocketAddr,
    state: watch::Receiver<ChannelState>,
    task: JoinHandle<()>,
}

impl Link {
    /// Keeps the pod at this address up to date from now on, and tells of each change of its state.
    pub(in crate::operator) fn start(
        address: SocketAddr,
        desired: watch::Receiver<Desired>,
        changed: impl Fn(News) + Send + 'static,
    ) -> Self {
        let (sender, state) = watch::channel(ChannelState::Connecting);
        let task = tokio::spawn(Follower { address, desired, state: sender, changed, working: 0 }.run());
        Self { address, state, task }
    }

    pub(in crate::operator) fn state(&self) -> ChannelState {
        self.state.borrow().clone()
    }

    /// What the pod reported last, if it answers.
    pub(in crate::operator) fn report(&self) -> Option<Arc<Report>> {
        match &*self.state.borrow() {
            ChannelState::Reached(report) => Some(Arc::clone(report)),
            ChannelState::Connecting | ChannelState::Failed(_) => None,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower<F> {
    address: SocketAddr,
    desired: watch::Receiver<Desired>,
    state: watch::Sender<ChannelState>,
    changed: F,
    /// Which of the clients the pod accepted last.
    working: usize,
}

impl<F: Fn(News)> Follower<F> {
    async fn run(mut self) {
        let mut wait = FIRST_RETRY;
        loop {
            match self.follow().await {
                // The gateway is gone.
                Ok(()) => return,
                Err(error) => {
                    if matches!(&*self.state.borrow(), ChannelState::Reached(_)) {
                        wait = FIRST_RETRY;
                    }
                    self.tell(ChannelState::Failed(error));
                    sleep(wait).await;
                    wait = (wait * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Pushes and follows, until something fails or nothing is desired any more.
    async fn follow(&mut self) -> Result<(), ChannelError> {
        let mut report = self.first_report().await?;
        loop {
            let desired = self.desired.borrow_and_update().clone();
            report = self.bring(&desired, report).await?;
            let after = report.sequence;
            self.tell(ChannelState::Reached(Arc::new(report)));
            let client = self.client(&desired)?;
            let address = self.address;
            tokio::select! {
                changed = self.desired.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    report = client.report(address).await?;
                }
                next = client.next_report(address, after) => report = next?,
            }
        }
    }

    /// Finds out which credentials the pod knows.
    async fn first_report(&mut self) -> Result<Report, ChannelError> {
        let desired = self.desired.borrow().clone();
        let mut last = ChannelError::Credentials("there are none".to_owned());
        for (position, client) in desired.clients.iter().enumerate() {
            match client.report(self.address).await {
                Ok(report) => {
                    self.working = position;
                    return Ok(report);
                }
                Err(error) if error.is_about_credentials() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Pushes what the report shows to be missing.
    async fn bring(&mut self, desired: &Desired, mut report: Report) -> Result<Report, ChannelError> {
        if report.draining {
            return Ok(report);
        }
        if lacks(&report, desired) {
            report = self.client(desired)?.put_generation(self.address, &desired.generation).await?;
            (self.changed)(News::Pushed("generation"));
            if report.generation == desired.hash {
                // It serves the new credentials now.
                self.working = 0;
            }
        }
        if report.endpoints != desired.endpoints.hash() {
            report = self.client(desired)?.put_endpoints(self.address, &desired.endpoints).await?;
            (self.changed)(News::Pushed("endpoints"));
        }
        Ok(report)
    }

    fn client(&self, desired: &Desired) -> Result<Arc<ChannelClient>, ChannelError> {
        let none = || ChannelError::Credentials("there are none".to_owned());
        desired.clients.get(self.working).or_else(|| desired.clients.first()).cloned().ok_or_else(none)
    }

    fn tell(&self, state: ChannelState) {
        let mut news = None;
        self.state.send_if_modified(|before| {
            if *before != state {
                news = Some(match &state {
                    ChannelState::Failed(error) => News::Failed(error.name()),
                    _ if before.serves() == state.serves() => News::Report,
                    _ => News::Generation,
                });
                *before = state;
            }
            news.is_some()
        });
        if let Some(news) = news {
            (self.changed)(news);
        }
    }
}

impl ChannelState {
    /// The generation that the pod serves, and the highest revision it was given.
    fn serves(&self) -> Option<(&str, u64)> {
        match self {
            Self::Reached(report) => Some((&report.generation, report.revision)),
            Self::Connecting | Self::Failed(_) => None,
        }
    }
}

/// Whether a push of the generation may help: what a pod refused already it would refuse again, and it never goes back to an
/// earlier revision.
fn lacks(report: &Report, desired: &Desired) -> bool {
    let refused = report.refused.as_ref().and_then(|refused| refused.generation.as_ref());
    report.generation != desired.hash
        && refused != Some(&desired.hash)
        && report.revision <= desired.generation.revision
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
