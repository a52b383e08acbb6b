//! Whether a call that failed is made again, and after what wait.

use super::budget::Budget;
use super::time::Moment;
use crate::ir::snapshot::{Failover, RetryCause};

/// The longest wait between two attempts, in ms: with doubling, many attempts must not park a call for minutes.
const MAX_BACKOFF_MS: u64 = 10_000;

/// What is known of an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why; `None` for what would fail the same way anywhere.
    pub cause: Option<RetryCause>,
    /// Whether any of the call may have reached the endpoint.
    pub sent: bool,
    /// Whether something of the answer, or a question of the server's, went to the client already.
    pub relayed: bool,
}

/// Whether a call may run twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Safety {
    /// It is no tool call, or its tool says `readOnlyHint` or `idempotentHint`.
    Repeatable,
    /// Its tool says nothing of the kind.
    Unsafe,
}

impl Safety {
    /// Whether it may run twice, on a server with this configuration.
    pub fn is_repeatable(self, failover: &Failover) -> bool {
        self == Self::Repeatable || failover.retry_unsafe_tools
    }
}

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Another attempt, after this wait in ms.
    Repeat {
        /// The wait, in ms.
        after_ms: u64,
    },
    /// The failure is the client's to know.
    Stop(Stop),
}

/// Why there is no other attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// The client has seen part of the answer.
    Relayed,
    /// The call may have run, and must not run twice.
    Unsafe,
    /// The configuration names no repetition after this cause.
    Cause,
    /// All attempts were made.
    Attempts,
    /// The wait would end after the deadline.
    Deadline,
    /// Too many calls are repeated already.
    Budget,
}

/// Decides, after `made` attempts of which the last failed. A repetition is taken from the budget.
pub(super) fn decide(
    failover: &Failover,
    budget: &Budget,
    (failure, safety): (Failure, Safety),
    made: u32,
    (now, deadline): (Moment, Moment),
    random: u64,
) -> Decision {
    if failure.relayed {
        return Decision::Stop(Stop::Relayed);
    }
    if failure.sent && !safety.is_repeatable(failover) {
        return Decision::Stop(Stop::Unsafe);
    }
    if !failure.cause.is_some_and(|cause| failover.retry_on.contains(&cause)) {
        return Decision::Stop(Stop::Cause);
    }
    if made >= failover.attempts {
        return Decision::Stop(Stop::Attempts);
    }
    let after_ms = backoff_ms(failover.backoff_ms, made, random);
    if now.after(after_ms) >= deadline {
        return Decision::Stop(Stop::Deadline);
    }
    if !budget.withdraw(now) {
        return Decision::Stop(Stop::Budget);
    }
    Decision::Repeat { after_ms }
}

/// The wait after `made` attempts: doubled with each, and up to a half shorter, so that calls that failed together do not come back
/// together.
fn backoff_ms(first_ms: u64, made: u32, random: u64) -> u64 {
    let whole = first_ms.saturating_mul(1 << made.saturating_sub(1).min(32)).min(MAX_BACKOFF_MS);
    whole - random % (whole / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::snapshot::RetryBudget;
    use proptest::prelude::*;

    const RESET: Failure = Failure { cause: Some(RetryCause::Reset), sent: true, relayed: false };

    fn decided(failover: &Failover, failure: Failure, safety: Safety, made: u32, deadline: u64) -> Decision {
        let budget = Budget::new(RetryBudget::default(), Moment::from_ms(0));
        decide(failover, &budget, (failure, safety), made, (Moment::from_ms(0), Moment::from_ms(deadline)), 0)
    }

    #[test]
    fn each_reason_to_stop() {
        use Safety::{Repeatable, Unsafe};
        let failover = Failover::default();
        let unsafe_too = Failover { retry_unsafe_tools: true, ..Failover::default() };
        let code = Failover { retry_on: vec![RetryCause::JsonRpcCode(-1)], ..Failover::default() };
        let coded = Failure { cause: Some(RetryCause::JsonRpcCode(-1)), ..RESET };
        let repeat = Decision::Repeat { after_ms: 100 };
        let cases = [
            (&failover, RESET, Repeatable, 1, 1_000, repeat),
            (&failover, RESET, Unsafe, 1, 1_000, Decision::Stop(Stop::Unsafe)),
            (&unsafe_too, RESET, Unsafe, 1, 1_000, repeat),
            (&failover, Failure { sent: false, ..RESET }, Unsafe, 1, 1_000, repeat),
            (&failover, Failure { relayed: true, ..RESET }, Repeatable, 1, 1_000, Decision::Stop(Stop::Relayed)),
            (&failover, Failure { cause: None, ..RESET }, Repeatable, 1, 1_000, Decision::Stop(Stop::Cause)),
            (&failover, coded, Repeatable, 1, 1_000, Decision::Stop(Stop::Cause)),
            (&code, coded, Repeatable, 1, 1_000, repeat),
            (&code, RESET, Repeatable, 1, 1_000, Decision::Stop(Stop::Cause)),
            (&failover, RESET, Repeatable, 3, 1_000, Decision::Stop(Stop::Attempts)),
            (&failover, RESET, Repeatable, 1, 100, Decision::Stop(Stop::Deadline)),
            (&failover, RESET, Repeatable, 2, 201, Decision::Repeat { after_ms: 200 }),
        ];
        for (failover, failure, safety, made, deadline, expected) in cases {
            assert_eq!(decided(failover, failure, safety, made, deadline), expected, "{failure:?} {safety:?} {made}");
        }
    }

    #[test]
    fn the_budget_ends_repetitions_and_nothing_else_takes_from_it() {
        let (failover, now) = (Failover::default(), Moment::from_ms(0));
        let config = RetryBudget { percent: 20, min_per_second: 1, ttl_ms: 2_000 };
        let budget = Budget::new(config, now);
        let after = |failure| decide(&failover, &budget, (failure, Safety::Repeatable), 1, (now, now.after(1_000)), 0);
        assert_eq!(after(Failure { cause: None, ..RESET }), Decision::Stop(Stop::Cause));
        assert!(matches!([after(RESET), after(RESET)], [Decision::Repeat { .. }, Decision::Repeat { .. }]));
        assert_eq!(after(RESET), Decision::Stop(Stop::Budget));
    }

    proptest! {
        #[test]
        fn waits_double_up_to_the_longest(first in 0u64..20_000, made in 1u32..100, random: u64) {
            let whole = first.saturating_mul(1u64.checked_shl(made - 1).unwrap_or(u64::MAX)).min(MAX_BACKOFF_MS);
            let wait = backoff_ms(first, made, random);
            prop_assert!(wait <= whole && wait >= whole / 2, "{wait} of {whole}");
        }
    }
}
