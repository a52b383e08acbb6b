//! Looks after backends that nobody calls: is each of them an MCP server, and which?
//!
//! Runs where an operator wants to know, which is where credentials secure its channel. Handshakes are made beside the request
//! path, few at a time.

use super::state::Gateway;
use super::upstream::Upstream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

/// How often it is looked who is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Handshakes at a time.
const AT_ONCE: usize = 8;

/// The task that looks after backends, once it is needed.
#[derive(Default)]
pub(crate) struct Verifier {
    started: AtomicBool,
    wake: Notify,
}

impl Verifier {
    /// Starts to look after the backends of this gateway, if nobody does yet. Must run inside a tokio runtime.
    pub(crate) fn start(&self, gateway: Weak<Gateway>) {
        if !self.started.swap(true, Ordering::Relaxed) {
            tokio::spawn(look_after(gateway));
        }
    }

    /// There may be somebody new.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

async fn look_after(gateway: Weak<Gateway>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Some(this) = gateway.upgrade() else { return };
        for upstream in this.running().upstreams().filter(|upstream| upstream.knowledge().begin_check()) {
            tokio::spawn(verify(Arc::clone(upstream), Arc::clone(&permits)));
        }
        tokio::select! {
            () = this.verifier.wake.notified() => {}
            () = sleep(LOOK_EVERY) => {}
            // Whoever leaves has no use for knowledge.
            () = this.closing().cancelled_owned() => return,
        }
    }
}

async fn verify(upstream: Arc<Upstream>, permits: Arc<Semaphore>) {
    let Ok(_permit) = permits.acquire().await else { return };
    upstream.verify().await;
}
