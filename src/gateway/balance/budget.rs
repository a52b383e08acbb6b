//! How many repetitions there may be: a bucket that calls and time fill, and repetitions empty.

use super::time::Moment;
use crate::ir::snapshot::RetryBudget;
use std::sync::atomic::{AtomicU64, Ordering};

/// One repetition, in the unit of the bucket: a thousandth, so that what a call or a millisecond fills in is a whole number.
const RETRY: u64 = 1_000;

/// The repetitions that a server has left.
#[derive(Debug)]
pub(super) struct Budget {
    config: RetryBudget,
    level: AtomicU64,
    /// Up to when time has filled it.
    filled: AtomicU64,
}

impl Budget {
    /// A full one.
    pub(super) fn new(config: RetryBudget, now: Moment) -> Self {
        let level = AtomicU64::new(most(&config));
        Self { config, level, filled: AtomicU64::new(now.as_ms()) }
    }

    /// A call was made, which lets part of another be repeated.
    pub(super) fn deposit(&self) {
        self.add(u64::from(self.config.percent) * RETRY / 100);
    }

    /// Takes one repetition out, if there is one.
    pub(super) fn withdraw(&self, now: Moment) -> bool {
        let filled = self.filled.fetch_max(now.as_ms(), Ordering::AcqRel);
        self.add(now.since(Moment::from_ms(filled)).saturating_mul(u64::from(self.config.min_per_second)));
        self.level.fetch_update(Ordering::AcqRel, Ordering::Acquire, |level| level.checked_sub(RETRY)).is_ok()
    }

    fn add(&self, amount: u64) {
        let most = most(&self.config);
        // A full bucket, which is the rule, is only read.
        let more = |level: u64| (level < most).then(|| level.saturating_add(amount).min(most));
        let _ = self.level.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
    }
}

/// What is saved at the most: what time alone fills in within the lifetime, and one repetition at least where there are any.
fn most(config: &RetryBudget) -> u64 {
    let saved = u64::from(config.min_per_second).saturating_mul(config.ttl_ms);
    if config.percent == 0 { saved } else { saved.max(RETRY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(budget: &Budget, at: u64) -> usize {
        (0..1_000).take_while(|_| budget.withdraw(Moment::from_ms(at))).count()
    }

    #[test]
    fn time_and_calls_fill_it_and_it_does_not_overflow() {
        let budget = Budget::new(RetryBudget { percent: 20, min_per_second: 10, ttl_ms: 1_000 }, Moment::from_ms(0));
        assert_eq!(drain(&budget, 0), 10);
        assert_eq!(drain(&budget, 500), 5);
        for _ in 0..10 {
            budget.deposit();
        }
        assert_eq!(drain(&budget, 500), 2);
        assert_eq!(drain(&budget, 1_000_000), 10);
    }

    #[test]
    fn an_empty_budget_repeats_nothing() {
        let budget = Budget::new(RetryBudget { percent: 0, min_per_second: 0, ttl_ms: 1_000 }, Moment::from_ms(0));
        budget.deposit();
        assert_eq!(drain(&budget, 10_000), 0);
    }
}
