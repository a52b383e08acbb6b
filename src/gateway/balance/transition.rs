//! What changed, for metrics, Events and logs.

use std::sync::Arc;

/// A state that an endpoint enters or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Takes calls.
    Closed,
    /// Ejected.
    Open,
    /// Ejected, with the one probe on its way.
    HalfOpen,
    /// Health checks have not told yet.
    Unknown,
    /// Answers health checks or calls.
    Healthy,
    /// Failed its health checks.
    Unhealthy,
}

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// This many calls in a row failed.
    ConsecutiveFailures(u32),
    /// This share of the calls in a window failed, in percent.
    FailureRate(u32),
    /// The probe is made.
    ProbeBegan,
    /// The probe failed.
    ProbeFailed,
    /// A call succeeded: the probe, or the last resort.
    Answered,
    /// Health checks succeeded.
    ChecksSucceeded,
    /// Health checks failed.
    ChecksFailed,
    /// Fewer endpoints are left, of which fewer may be ejected.
    EndpointsRemoved,
}

/// One endpoint's change from one state to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The backend's name.
    pub backend: Arc<str>,
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// The state that it left.
    pub from: State,
    /// The state that it entered.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// How long it stays there at the least, in ms; 0 where nobody knows.
    pub for_ms: u64,
}

/// A server's change from one tier to another, by their positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierChange {
    /// The tier that took calls.
    pub from: usize,
    /// The tier that takes them now: a failover when it is the larger number, else a return.
    pub to: usize,
}
