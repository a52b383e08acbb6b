//! A stdio server run by the gateway itself, behind the shim: laptop mode.

use super::super::error::{GatewayError, Kind, Retry};
use crate::ir::ids::ObjectId;
use crate::ir::secrets::Credentials;
use crate::ir::snapshot::Process;
use crate::shim::{Shim, ShimLimits, Surroundings};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::io::DuplexStream;

/// A server whose processes are started when they are first needed: a backend is also built to be compared with the one
/// that runs, and must not start anything then.
pub(super) struct LocalProcess {
    id: ObjectId,
    spec: Process,
    credentials: Credentials,
    state: Mutex<State>,
}

enum State {
    Unstarted,
    Started(Arc<Shim>),
    Stopped,
}

impl LocalProcess {
    pub(super) fn new(id: &ObjectId, spec: &Process, credentials: Credentials) -> Arc<Self> {
        Arc::new(Self { id: id.clone(), spec: spec.clone(), credentials, state: Mutex::new(State::Unstarted) })
    }

    /// A connection to the server, whose processes are running or about to.
    pub(super) fn connect(&self) -> Result<DuplexStream, GatewayError> {
        Ok(self.shim()?.connect())
    }

    /// Starts the processes that the definition wants ahead of need.
    pub(super) fn start(&self) -> Result<(), GatewayError> {
        self.shim().map(drop)
    }

    fn shim(&self) -> Result<Arc<Shim>, GatewayError> {
        let mut state = self.state.lock();
        match &*state {
            State::Started(shim) => Ok(Arc::clone(shim)),
            State::Stopped => Err(self.failed(&"it is being stopped")),
            State::Unstarted => {
                let (name, limits) = (self.id.to_string(), ShimLimits::default());
                let shim = Shim::start(&name, &self.spec, &self.credentials, Surroundings::Laptop, limits)
                    .map_err(|error| self.failed(&error))?;
                *state = State::Started(Arc::clone(&shim));
                Ok(shim)
            }
        }
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> GatewayError {
        let message = format!("the server of backend {} cannot be started: {why}", self.id);
        // Nothing was sent: another backend may do.
        GatewayError::new(Kind::ProcessFailed, message).with_retry(Retry::Safe)
    }

    /// Stops the processes and waits for their end.
    pub(super) async fn stop(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Stopped);
        if let State::Started(shim) = state {
            shim.shutdown().await;
        }
    }
}
