//! What is known of endpoints by the transitions that were told and by nothing else: the judge of what the code does.

use super::super::{Cause, Moment, State, Transition};
use super::Tally;
use crate::ir::snapshot::OutlierDetection;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Healthy,
    Slow,
    /// Refuses connections.
    Dead,
    /// Takes calls and never answers.
    Hanging,
    /// Fails calls and answers checks.
    Garbage,
    /// Breaks connections in the middle.
    Breaking,
    /// Healthy and dead in turn.
    Flapping {
        period: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ejection {
    Closed,
    Open(u64),
    HalfOpen(u64),
}

pub(super) struct Shadow {
    pub(super) backend: usize,
    pub(super) behaviour: Behaviour,
    /// Since when it behaves so.
    pub(super) behaves_since: u64,
    pub(super) ejection: Ejection,
    ejections: u32,
    returned: Option<u64>,
    unhealthy: bool,
    seen: bool,
    /// Since when calls can go to it, as told.
    pub(super) usable_since: u64,
    pub(super) in_flight: u32,
    pub(super) probes: u32,
    pub(super) is_member: bool,
}

impl Shadow {
    pub(super) fn new(backend: usize, behaviour: Behaviour, now: u64) -> Self {
        Self {
            backend,
            behaviour,
            behaves_since: now,
            ejection: Ejection::Closed,
            ejections: 0,
            returned: None,
            unhealthy: false,
            seen: false,
            usable_since: now,
            in_flight: 0,
            probes: 0,
            is_member: true,
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.ejection == Ejection::Closed && !self.unhealthy
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy
    }

    pub(super) fn saw_life(&mut self) {
        self.seen = true;
    }
}

pub(super) type Shadows = BTreeMap<Arc<str>, Shadow>;

/// Takes note of a transition, and judges it. `early` says that what ended was a probe before its time.
pub(super) fn apply(
    shadows: &mut Shadows,
    told: &Transition,
    outlier: &OutlierDetection,
    early: bool,
    now: u64,
    tally: &mut Tally,
) {
    let shadow = shadows.get_mut(&told.endpoint).expect("transitions are about known endpoints");
    match (told.from, told.to) {
        (State::Closed, State::Open) => {
            assert_eq!(shadow.ejection, Ejection::Closed, "ejected twice: {told:?}");
            assert!(shadow.is_member, "a removed endpoint was ejected: {told:?}");
            assert!(matches!(told.cause, Cause::ConsecutiveFailures(_) | Cause::FailureRate(_)), "{told:?}");
            if shadow.returned.is_some_and(|returned| now - returned > outlier.max_ejection_ms) {
                shadow.ejections = 0;
            }
            open(shadow, told, outlier, now);
            tally.ejections += 1;
        }
        (State::HalfOpen, State::Open) => {
            let Ejection::HalfOpen(until) = shadow.ejection else { panic!("was not probed: {told:?}") };
            if early {
                assert_eq!(told.for_ms, until.saturating_sub(now), "a last resort lengthened an ejection");
                shadow.ejection = Ejection::Open(until);
            } else {
                open(shadow, told, outlier, now);
            }
        }
        (State::Open, State::HalfOpen) => {
            let Ejection::Open(until) = shadow.ejection else { panic!("was not open: {told:?}") };
            shadow.ejection = Ejection::HalfOpen(until);
            tally.probes += 1;
        }
        (State::Open | State::HalfOpen, State::Closed) => {
            let before = match shadow.ejection {
                Ejection::Closed => State::Closed,
                Ejection::Open(_) => State::Open,
                Ejection::HalfOpen(_) => State::HalfOpen,
            };
            assert_eq!(before, told.from, "{told:?}");
            shadow.ejection = Ejection::Closed;
            shadow.returned = Some(now);
            shadow.usable_since = now;
        }
        (State::Healthy | State::Unknown, State::Unhealthy) => {
            assert!(!shadow.unhealthy, "unhealthy twice: {told:?}");
            shadow.unhealthy = true;
            tally.unhealthy += 1;
        }
        (State::Unhealthy, State::Healthy) => {
            assert!(shadow.unhealthy, "was not unhealthy: {told:?}");
            shadow.unhealthy = false;
            shadow.usable_since = now;
        }
        (State::Unknown, State::Healthy) => assert!(!shadow.seen, "was known: {told:?}"),
        _ => panic!("there is no such transition: {told:?}"),
    }
    if (told.from, told.to) == (State::Closed, State::Open) {
        let backend = shadow.backend;
        judge_cap(shadows, backend, outlier);
    }
}

/// Ejections last exactly as long as the doubling says, between base and maximum.
fn open(shadow: &mut Shadow, told: &Transition, outlier: &OutlierDetection, now: u64) {
    let expected = (outlier.base_ejection_ms << shadow.ejections.min(20)).min(outlier.max_ejection_ms);
    assert_eq!(told.for_ms, expected, "{told:?} after {} ejections", shadow.ejections);
    assert!((outlier.base_ejection_ms..=outlier.max_ejection_ms).contains(&told.for_ms), "{told:?}");
    shadow.ejections += 1;
    shadow.ejection = Ejection::Open(now + told.for_ms);
}

/// No more endpoints of a backend are ejected than may be.
pub(super) fn judge_cap(shadows: &Shadows, backend: usize, outlier: &OutlierDetection) {
    let members = || shadows.values().filter(|shadow| shadow.backend == backend && shadow.is_member);
    let ejected = members().filter(|shadow| shadow.ejection != Ejection::Closed).count();
    let most = match outlier.max_ejection_percent as usize {
        0 => 0,
        percent => (members().count() * percent / 100).max(1),
    };
    assert!(ejected <= most, "{ejected} of {} endpoints are ejected, {most} may be", members().count());
}

/// The real code agrees with what was told.
pub(super) fn judge_endpoint(endpoint: &super::super::Endpoint, shadow: &Shadow) {
    let real = match endpoint.ejection() {
        super::super::EjectionState::Closed { .. } => Ejection::Closed,
        super::super::EjectionState::Open { until } => Ejection::Open(until.as_ms()),
        super::super::EjectionState::HalfOpen { until } => Ejection::HalfOpen(until.as_ms()),
    };
    assert_eq!(real, shadow.ejection, "{} changed without a transition", endpoint.name());
    assert_eq!(endpoint.is_usable(), shadow.is_usable(), "{} changed without a transition", endpoint.name());
    assert_eq!(endpoint.in_flight(), shadow.in_flight, "calls in flight of {}", endpoint.name());
}

pub(super) const fn at(ms: u64) -> Moment {
    Moment::from_ms(ms)
}
