//! When a pod takes connections: once its server has answered a handshake. What becomes of processes later is told to their
//! clients, and changes nothing here.
//!
//! A command that cannot be run, or never gets that far, ends the shim, so that Kubernetes shows what is wrong.

use super::super::handshake::HandshakeError;
use super::super::{Shim, ShimError, stderr};
use super::PodError;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// Failed handshakes in a row before it is given up: a server may need another one to be up first, for a moment. After that,
/// waiting longer each time is Kubernetes' business.
const ATTEMPTS: u32 = 3;

/// Whether the pod takes connections.
pub(super) struct Readiness(Mutex<State>);

enum State {
    /// Not yet, and why.
    Waiting(String),
    Ready,
    Leaving,
}

impl Default for Readiness {
    fn default() -> Self {
        Self(Mutex::new(State::Waiting("waiting for the server's first handshake".to_owned())))
    }
}

impl Readiness {
    /// Why the pod does not take connections, if it does not.
    pub(super) fn get(&self) -> Result<(), String> {
        match &*self.0.lock() {
            State::Ready => Ok(()),
            State::Waiting(why) => Err(why.clone()),
            State::Leaving => Err("leaving".to_owned()),
        }
    }

    pub(super) fn leave(&self) {
        *self.0.lock() = State::Leaving;
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(*self.0.lock(), State::Leaving)
    }
}

/// Makes the first handshake. Returns only if that fails for good.
pub(super) async fn establish(shim: &Arc<Shim>, readiness: &Readiness, command: &str) -> PodError {
    let mut failures = 0;
    loop {
        let error = match shim.handshake().await {
            Ok(()) => {
                tracing::info!("ready");
                *readiness.0.lock() = State::Ready;
                return std::future::pending().await;
            }
            Err(error) => error,
        };
        let pause = match &error {
            // Not an attempt: it would have come too soon after a crash.
            HandshakeError::Shim(ShimError::Crashing { pause, .. }) => *pause,
            HandshakeError::Shim(ShimError::PoolExhausted { .. }) => Duration::ZERO,
            _ => {
                failures += 1;
                let why = describe(&error, command, shim);
                if failures == ATTEMPTS || is_hopeless(&error) {
                    return give_up(error, why);
                }
                tracing::warn!(why, attempt = failures, "no handshake yet");
                *readiness.0.lock() = State::Waiting(why);
                shim.limits.restart_base
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Whether another attempt would end as this one. One that had all its time to answer has shown that it will not.
fn is_hopeless(error: &HandshakeError) -> bool {
    use ShimError as E;
    matches!(
        error,
        HandshakeError::Shim(
            E::NoCommand
                | E::InvalidVariable { .. }
                | E::NoDirectory { .. }
                | E::CommandNotFound { .. }
                | E::NotExecutable { .. }
                | E::HandshakeTimeout { .. }
        )
    )
}

fn give_up(error: HandshakeError, why: String) -> PodError {
    match error {
        HandshakeError::Shim(error @ (ShimError::CommandNotFound { .. } | ShimError::NotExecutable { .. })) => {
            error.into()
        }
        _ => PodError::NoHandshake(why),
    }
}

/// One line: which command, what happened, and what the server said of it.
fn describe(error: &HandshakeError, command: &str, shim: &Shim) -> String {
    let stats = shim.stats();
    let what = match error {
        // Its end has been seen, not what it was.
        HandshakeError::Shim(ShimError::Gone) => stats.last_error.unwrap_or_else(|| error.to_string()),
        error => error.to_string(),
    };
    let what = what.strip_suffix(" before it answered").unwrap_or(&what);
    let said = stderr::telling(&stats.stderr_tail).map(|line| format!("; it wrote: {line}"));
    let said = said.unwrap_or_default();
    format!("the command {command:?} does not work as a stdio MCP server: {what}{said}")
}
