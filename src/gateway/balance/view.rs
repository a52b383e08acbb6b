//! The endpoints of a server's tiers as one flat list each, made anew when a backend has others.

use super::backend::Backend;
use super::endpoint::Endpoint;
use super::time::Moment;
use crate::ir::snapshot::LoadBalancing;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// One weight, as shares: divisible by every number of endpoints up to 16, so that their shares are exact.
const WEIGHT: u64 = 720_720;

/// What a share is at least in slow start, in thousandths of the full one; Envoy's `min_weight_percent`.
const LEAST_OF_SHARE: u64 = 100;

/// One endpoint with its share of the tier.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) backend: Arc<Backend>,
    pub(super) endpoint: Arc<Endpoint>,
    /// The backend's weight; never 0.
    pub(super) weight: u32,
    /// Among how many endpoints the backend's weight is divided.
    pub(super) siblings: u32,
    /// Weight over siblings; all the same where turns are even.
    pub(super) share: u64,
    /// When its next turn is, for the policies that take turns.
    pub(super) pass: AtomicU64,
}

impl Slot {
    /// Whether calls go to it.
    pub(super) fn is_usable(&self) -> bool {
        self.endpoint.is_usable()
    }

    /// Whether its backend may have another call in flight.
    pub(super) fn has_room(&self) -> bool {
        self.backend.requests.has_room()
    }

    /// How much of its share it takes by now, in thousandths: less for a while after an ejection.
    pub(super) fn warmth(&self, now: Moment) -> u64 {
        let slow_start_ms = self.backend.outlier.slow_start_ms;
        match self.endpoint.ejection.returned() {
            Some(returned) if now.since(returned) < slow_start_ms => {
                (now.since(returned).saturating_mul(1_000) / slow_start_ms).max(LEAST_OF_SHARE)
            }
            _ => 1_000,
        }
    }
}

/// The endpoints of one tier that take calls, and whose turn it is.
#[derive(Debug, Default)]
pub(super) struct TierView {
    pub(super) slots: Vec<Slot>,
    pub(super) turn: AtomicU64,
}

/// All tiers, the first to be tried first.
#[derive(Debug)]
pub(super) struct View {
    pub(super) tiers: Vec<TierView>,
    /// Of each backend in turn, what its endpoints were taken from.
    versions: Vec<u64>,
}

/// The backends of each tier, with their weights.
pub type Tiers = Vec<Vec<(Arc<Backend>, u32)>>;

impl View {
    pub(super) fn new(tiers: &Tiers, policy: LoadBalancing) -> Self {
        // Before the endpoints: what changes in between is seen the next time.
        let versions = tiers.iter().flatten().map(|(backend, _)| backend.version()).collect();
        Self { tiers: tiers.iter().map(|tier| TierView::new(tier, policy)).collect(), versions }
    }

    pub(super) fn is_of(&self, tiers: &Tiers) -> bool {
        tiers.iter().flatten().map(|(backend, _)| backend.version()).eq(self.versions.iter().copied())
    }
}

impl TierView {
    fn new(backends: &[(Arc<Backend>, u32)], policy: LoadBalancing) -> Self {
        let slots = backends.iter().filter(|(_, weight)| *weight > 0).flat_map(|(backend, weight)| {
            let endpoints = backend.endpoints();
            let siblings = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
            endpoints.into_iter().map(move |endpoint| {
                let share = match policy {
                    LoadBalancing::RoundRobin => WEIGHT,
                    _ => (u64::from(*weight) * WEIGHT / u64::from(siblings)).max(1),
                };
                // The first turn is in the middle of a stride, so that heavy endpoints are spread and not bunched.
                let pass = AtomicU64::new(super::policy::STRIDE / share / 2);
                Slot { backend: Arc::clone(backend), endpoint, weight: *weight, siblings, share, pass }
            })
        });
        Self { slots: slots.collect(), turn: AtomicU64::new(0) }
    }
}
