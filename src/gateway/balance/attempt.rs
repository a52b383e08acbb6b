//! One call to one endpoint, from the choice to its end.

use super::backend::Backend;
use super::endpoint::Endpoint;
use super::limit::Permit;
use super::time::Moment;
use super::transition::{Cause, State, Transition};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Why an endpoint was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offer {
    /// It takes calls.
    Usable,
    /// It is ejected, and this is its probe.
    Probe,
    /// It is ejected or unhealthy, and nothing better is left in any tier.
    LastResort,
}

/// A call that is made to an endpoint. Dropped without an end it never happened, and a probe may be made by another.
#[derive(Debug)]
#[must_use = "an attempt that is dropped is counted as never made"]
pub struct Attempt {
    backend: Arc<Backend>,
    endpoint: Arc<Endpoint>,
    tier: usize,
    offer: Offer,
    /// Held by the only probe: since when it is permitted.
    probe: Option<Moment>,
    began: Moment,
    /// One of the calls that the backend may have in flight.
    _permit: Permit,
}

impl Attempt {
    pub(super) fn new(
        (backend, endpoint): (&Arc<Backend>, &Arc<Endpoint>),
        tier: usize,
        (offer, probe): (Offer, Option<Moment>),
        began: Moment,
        permit: Permit,
    ) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::AcqRel);
        let (backend, endpoint) = (Arc::clone(backend), Arc::clone(endpoint));
        Self { backend, endpoint, tier, offer, probe, began, _permit: permit }
    }

    /// Whom to call.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// Whose endpoint it is.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The position of its tier.
    pub fn tier(&self) -> usize {
        self.tier
    }

    /// Why it was chosen.
    pub fn offer(&self) -> Offer {
        self.offer
    }

    /// What the choice itself changed: an ejected endpoint is half-open while it is probed.
    pub fn transition(&self) -> Option<Transition> {
        self.probe?;
        Some(self.backend.transition(&self.endpoint, State::Open, State::HalfOpen, Cause::ProbeBegan, 0))
    }

    /// It was answered after this long, be it with a JSON-RPC error: the server lives.
    pub fn answered(mut self, latency: Duration, now: Moment) -> Vec<Transition> {
        let is_probe = self.probe.take().is_some();
        self.backend.answered(&self.endpoint, latency, is_probe, now)
    }

    /// It failed in a way that is the endpoint's.
    pub fn failed(mut self, now: Moment) -> Vec<Transition> {
        let probe = self.probe.take();
        self.backend.failed(&self.endpoint, probe, self.began, now)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::AcqRel);
        if let Some(permitted) = self.probe {
            self.endpoint.ejection.return_probe(permitted);
        }
    }
}
