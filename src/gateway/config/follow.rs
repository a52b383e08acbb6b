//! Following a source of generations for as long as the gateway runs.

use super::runtime::{Engine, Runtime};
use super::watch::Watch;
use crate::ir::generation::Generation;
use std::path::PathBuf;
use std::sync::Arc;

/// Where generations come from.
pub trait Source: Send + Sync + 'static {
    /// The directories in which a change is to be noticed.
    fn directories(&self) -> Vec<PathBuf>;
    /// Reads the generation that is there now, or says in one line why there is none.
    fn read(&self) -> Result<Generation, String>;
}

/// Offers to the runtime whatever the source holds, each time that `watch` says it may have changed.
pub async fn follow<E: Engine, S: Source>(runtime: Arc<Runtime<E>>, source: Arc<S>, watch: Watch) {
    watch.report();
    loop {
        watch.changed().await;
        let (runtime, source) = (Arc::clone(&runtime), Arc::clone(&source));
        // Reading, decoding and compiling take milliseconds: too long for a thread that serves.
        let step = tokio::task::spawn_blocking(move || match source.read() {
            Ok(generation) => runtime.offer(&generation),
            Err(reason) => runtime.unreadable(reason),
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
    use crate::gateway::listener::socket::Bind;
    use std::fs;
    use std::net::Ipv4Addr;

    /// A file with the names of listeners; empty, it cannot be read.
    struct Names(PathBuf);

    impl Source for Names {
        fn directories(&self) -> Vec<PathBuf> {
            vec![self.0.parent().unwrap().to_owned()]
        }

        fn read(&self) -> Result<Generation, String> {
            let text = fs::read_to_string(&self.0).map_err(|error| error.to_string())?;
            let names: Vec<&str> = text.split_whitespace().collect();
            if names.is_empty() { Err("no listeners".to_owned()) } else { Ok(generation(&names)) }
        }
    }

    #[tokio::test]
    async fn changes_are_applied_and_mistakes_are_survived() {
        let home = tempfile::tempdir().unwrap();
        let source = Arc::new(Names(home.path().join("names")));
        fs::write(&source.0, "a").unwrap();
        let watch = Watch::new(source.directories());
        let runtime =
            Runtime::<Fake>::start(&source.read().unwrap(), Bind::Address(Ipv4Addr::LOCALHOST.into())).unwrap();
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
}
