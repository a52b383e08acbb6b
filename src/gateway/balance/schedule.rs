//! When the next health check of an endpoint is due.

use crate::ir::snapshot::HealthCheck;

/// Between the first checks, in ms: what is new should be known soon.
const FIRST_MS: u64 = 1_000;

/// How long to wait before the next check of an endpoint, in ms, after `made` checks. The first ones follow each other fast, as many as it
/// takes to find it unhealthy. Each wait is up to a quarter shorter or longer, and the first is anything up to a whole one, so that
/// endpoints that come together are not asked together.
pub fn next_check_ms(check: &HealthCheck, made: u32, random: u64) -> u64 {
    let usual = if made < check.unhealthy_threshold { check.interval_ms.min(FIRST_MS) } else { check.interval_ms };
    if made == 0 {
        return random % (usual + 1);
    }
    let quarter = usual / 4;
    usual - quarter + random % (2 * quarter + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_checks_are_fast() {
        let check = HealthCheck::default();
        let waits: Vec<u64> = (0..5).map(|made| next_check_ms(&check, made, 0)).collect();
        assert_eq!(waits, [0, 750, 750, 7_500, 7_500]);
    }

    proptest! {
        #[test]
        fn jitter_keeps_to_a_quarter(interval_ms in 1u64..100_000, made in 3u32..100, random: u64) {
            let wait = next_check_ms(&HealthCheck { interval_ms, ..HealthCheck::default() }, made, random);
            prop_assert!(wait.abs_diff(interval_ms) <= interval_ms / 4, "{wait}");
        }
    }
}
