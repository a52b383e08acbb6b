//! Following a source of generations for as long as the gateway runs.

use super::rank::Rank;
use super::runtime::{Engine, Runtime};
use super::watch::Watch;
use crate::ir::generation::Generation;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the second half of the very first generation may take: the operator writes both in a moment, and where it died
/// between the two, another one takes over within 20 s.
const SECOND_HALF: Duration = Duration::from_secs(60);

/// Where generations come from.
pub trait Source: Send + Sync + 'static {
    /// The directories in which a change is to be noticed.
    fn directories(&self) -> Vec<PathBuf>;
    /// Reads the generation that is there now.
    fn read(&self) -> Result<Found, Unread>;
}

/// A generation that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// What it is.
    pub generation: Generation,
    /// How new it is.
    pub rank: Rank,
}

/// Why there is no generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// Its halves do not belong together: one of them is still on its way.
    Torn,
    /// It cannot be used.
    Unusable {
        /// Why, in one line.
        reason: String,
        /// How new it is, as far as that could be read.
        rank: Rank,
    },
}

/// Reads the first generation, and waits for its second half if it has to.
pub async fn first<S: Source>(source: &S, watch: &Watch) -> Result<Found, String> {
    let whole = async {
        let mut told = false;
        loop {
            match source.read() {
                Ok(found) => return Ok(found),
                Err(Unread::Unusable { reason, .. }) => return Err(reason),
                Err(Unread::Torn) if told => {}
                Err(Unread::Torn) => {
                    tracing::info!("snapshot and credentials do not belong together yet; waiting for the other half");
                    told = true;
                }
            }
            watch.changed().await;
        }
    };
    let late = || Err("the mounted snapshot and credentials do not belong together".to_owned());
    timeout(SECOND_HALF, whole).await.unwrap_or_else(|_elapsed| late())
}

/// Offers to the runtime whatever the source holds, each time that `watch` says it may have changed.
pub async fn follow<E: Engine, S: Source>(runtime: Arc<Runtime<E>>, source: Arc<S>, watch: Watch) {
    watch.report();
    loop {
        watch.changed().await;
        let (runtime, source) = (Arc::clone(&runtime), Arc::clone(&source));
        // Reading, decoding and compiling take milliseconds: too long for a thread that serves.
        let step = tokio::task::spawn_blocking(move || match source.read() {
            Ok(Found { generation, rank }) => drop(runtime.offer(&generation, rank)),
            Err(Unread::Unusable { reason, rank }) => drop(runtime.unreadable(reason, rank)),
            Err(Unread::Torn) => tracing::debug!("one half of a generation is there, the other is on its way"),
        });
        if step.await.is_err() {
            // The panic has been printed; the next change gets its own chance.
            tracing::error!("reading a generation failed unexpectedly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::config::fake::{Fake, generation};
    use crate::net::socket::Bind;
    use std::fs;
    use std::net::Ipv4Addr;

    /// A file with the names of listeners; empty, it cannot be read.
    struct Names(PathBuf);

    impl Source for Names {
        fn directories(&self) -> Vec<PathBuf> {
            vec![self.0.parent().unwrap().to_owned()]
        }

        fn read(&self) -> Result<Found, Unread> {
            let text = fs::read_to_string(&self.0).unwrap();
            let names: Vec<&str> = text.split_whitespace().collect();
            let rank = Rank::default();
            match names[..] {
                [] => Err(Unread::Unusable { reason: "no listeners".to_owned(), rank }),
                ["torn"] => Err(Unread::Torn),
                _ => Ok(Found { generation: generation(&names), rank }),
            }
        }
    }

    #[tokio::test]
    async fn changes_are_applied_and_mistakes_are_survived() {
        let home = tempfile::tempdir().unwrap();
        let source = Arc::new(Names(home.path().join("names")));
        fs::write(&source.0, "a").unwrap();
        let watch = Watch::new(source.directories());
        let found = first(&*source, &watch).await.unwrap();
        let bind = Bind::Address(Ipv4Addr::LOCALHOST.into());
        let runtime = Runtime::<Fake>::start(&found.generation, found.rank, bind).unwrap();
        let following = tokio::spawn(follow(Arc::clone(&runtime), Arc::clone(&source), watch));
        let status = || serde_json::to_value(runtime.status()).unwrap();

        fs::write(&source.0, "").unwrap();
        while status()["lastRefused"]["reason"] != "no listeners" {
            tokio::task::yield_now().await;
        }
        assert_eq!(runtime.bound().len(), 1);
        fs::write(&source.0, "a b").unwrap();
        while runtime.bound().len() != 2 {
            tokio::task::yield_now().await;
        }
        assert!(status().get("lastRefused").is_none());
        following.abort();
    }
    #[tokio::test]
    async fn the_first_generation_is_waited_for_until_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let source = Arc::new(Names(home.path().join("names")));
        fs::write(&source.0, "torn").unwrap();
        let watch = Watch::new(source.directories());
        let whole = tokio::spawn({
            let source = Arc::clone(&source);
            async move { first(&*source, &watch).await }
        });
        tokio::task::yield_now().await;
        assert!(!whole.is_finished());
        fs::write(&source.0, "a").unwrap();
        assert_eq!(whole.await.unwrap().unwrap().generation, generation(&["a"]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_that_never_comes_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let source = Names(home.path().join("names"));
        fs::write(&source.0, "torn").unwrap();
        let told = first(&source, &Watch::new([PathBuf::from("/nowhere/at/all")])).await.unwrap_err();
        assert!(told.contains("do not belong together"), "{told}");
        fs::write(&source.0, "").unwrap();
        assert_eq!(first(&source, &Watch::new([])).await.unwrap_err(), "no listeners");
    }
}
