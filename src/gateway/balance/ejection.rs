//! Whether an endpoint is ejected, and its way back: closed, open until a time, half-open with exactly one probe.

use super::time::Moment;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an ejection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionState {
    /// Not ejected.
    Closed {
        /// Since its return; `None` when it was never ejected.
        since: Option<Moment>,
    },
    /// Ejected.
    Open {
        /// From then on one probe may be made.
        until: Moment,
    },
    /// One probe is being made.
    HalfOpen {
        /// When it was permitted.
        until: Moment,
    },
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;

/// All of it in one word, so that one atomic read tells whether an endpoint may be picked and one exchange takes the probe.
#[derive(Debug, Default)]
pub(super) struct Ejection(AtomicU64);

impl Ejection {
    pub(super) fn state(&self) -> EjectionState {
        decode(self.0.load(Ordering::Acquire))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.load(Ordering::Acquire) & 3 == CLOSED
    }

    /// When it returned, if it did.
    pub(super) fn returned(&self) -> Option<Moment> {
        match self.state() {
            EjectionState::Closed { since } => since,
            EjectionState::Open { .. } | EjectionState::HalfOpen { .. } => None,
        }
    }

    pub(super) fn open(&self, until: Moment) {
        self.0.store(encode(OPEN, until), Ordering::Release);
    }

    pub(super) fn close(&self, now: Moment) {
        self.0.store(encode(CLOSED, now), Ordering::Release);
    }

    /// Lets the probe be made from `now` on, unless one is being made; says whether that changed anything.
    pub(super) fn permit(&self, now: Moment) -> bool {
        let earlier = |word| match decode(word) {
            EjectionState::Open { until } if until > now => Some(encode(OPEN, now)),
            _ => None,
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, earlier).is_ok()
    }

    /// Takes the only probe, and says since when it is permitted. One that is not permitted yet is given out only if `early`.
    pub(super) fn take_probe(&self, now: Moment, early: bool) -> Option<Moment> {
        let word = self.0.load(Ordering::Acquire);
        let EjectionState::Open { until } = decode(word) else { return None };
        if until > now && !early {
            return None;
        }
        let probing = encode(HALF_OPEN, until);
        self.0.compare_exchange(word, probing, Ordering::AcqRel, Ordering::Acquire).is_ok().then_some(until)
    }

    /// Gives back a probe that was not made.
    pub(super) fn return_probe(&self, until: Moment) {
        let (probing, open) = (encode(HALF_OPEN, until), encode(OPEN, until));
        // Whoever changed it in between knew more.
        let _ = self.0.compare_exchange(probing, open, Ordering::AcqRel, Ordering::Acquire);
    }
}

const fn encode(kind: u64, at: Moment) -> u64 {
    at.as_ms() << 2 | kind
}

const fn decode(word: u64) -> EjectionState {
    let at = Moment::from_ms(word >> 2);
    match word & 3 {
        CLOSED if word == 0 => EjectionState::Closed { since: None },
        CLOSED => EjectionState::Closed { since: Some(at) },
        OPEN => EjectionState::Open { until: at },
        _ => EjectionState::HalfOpen { until: at },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Moment {
        Moment::from_ms(ms)
    }

    #[test]
    fn one_probe_is_given_out_and_comes_back_when_it_was_not_made() {
        let ejection = Ejection::default();
        assert_eq!(ejection.take_probe(at(9), true), None, "closed");
        ejection.open(at(10));
        assert_eq!(ejection.take_probe(at(9), false), None, "too early");
        assert_eq!(ejection.take_probe(at(10), false), Some(at(10)));
        assert_eq!(ejection.take_probe(at(10), true), None, "there is only one");
        ejection.return_probe(at(10));
        assert_eq!(ejection.state(), EjectionState::Open { until: at(10) });
        assert_eq!(ejection.take_probe(at(10), false), Some(at(10)));
        ejection.close(at(11));
        ejection.return_probe(at(10));
        assert_eq!(ejection.state(), EjectionState::Closed { since: Some(at(11)) });
    }

    #[test]
    fn a_connection_permits_the_probe_at_once_and_does_not_put_it_off() {
        let ejection = Ejection::default();
        assert!(!ejection.permit(at(1)));
        ejection.open(at(30));
        assert!(ejection.permit(at(5)));
        assert!(!ejection.permit(at(6)));
        assert_eq!(ejection.take_probe(at(5), false), Some(at(5)));
    }

    #[test]
    fn many_threads_get_one_probe() {
        let ejection = Ejection::default();
        ejection.open(at(0));
        let given = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        given.fetch_add(u64::from(ejection.take_probe(at(1), false).is_some()), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(given.into_inner(), 1);
    }
}
