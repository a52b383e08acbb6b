//! A moving average of latency that follows peaks at once and forgets them slowly, as in finagle and linkerd.

use super::time::Moment;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// After this long without a call an average has half its value, in ms: 10 s to a tenth of e, as in linkerd (`decay` 10 s).
const HALF_LIFE_MS: u64 = 7_000;

/// The average, in µs, and when it was that. The two are written one by one: what a race blurs is within the error of any average.
#[derive(Debug, Default)]
pub(super) struct PeakEwma {
    micros: AtomicU64,
    at: AtomicU64,
}

impl PeakEwma {
    /// The average in µs by now; 0: nothing was measured.
    pub(super) fn micros(&self, now: Moment) -> u64 {
        let measured = Moment::from_ms(self.at.load(Ordering::Relaxed));
        decayed(self.micros.load(Ordering::Relaxed), now.since(measured))
    }

    /// Takes in that a call waited this long in vain: that makes the average longer and never shorter, so that failing fast is no merit.
    pub(super) fn observe_failure(&self, waited: Duration, now: Moment) {
        if waited.as_micros() > u128::from(self.micros(now)) {
            self.observe(waited, now);
        }
    }

    /// Takes one more latency into it.
    pub(super) fn observe(&self, latency: Duration, now: Moment) {
        let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let (before, measured) =
            (self.micros.load(Ordering::Relaxed), Moment::from_ms(self.at.load(Ordering::Relaxed)));
        let average = if latency >= before {
            latency
        } else {
            // Of the way down to the new latency, as much is gone as the time since explains.
            latency + decayed(before - latency, now.since(measured))
        };
        self.micros.store(average, Ordering::Relaxed);
        self.at.store(now.as_ms(), Ordering::Relaxed);
    }
}

/// Half of it for each half-life; straight lines in between.
fn decayed(value: u64, elapsed_ms: u64) -> u64 {
    let halved = u32::try_from(elapsed_ms / HALF_LIFE_MS).ok().and_then(|times| value.checked_shr(times)).unwrap_or(0);
    let part = u128::from(halved) * u128::from(elapsed_ms % HALF_LIFE_MS) / u128::from(2 * HALF_LIFE_MS);
    halved - u64::try_from(part).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_count_at_once_and_fade() {
        let ewma = PeakEwma::default();
        let at = Moment::from_ms;
        ewma.observe(Duration::from_millis(1), at(0));
        ewma.observe(Duration::from_millis(100), at(0));
        assert_eq!(ewma.micros(at(0)), 100_000);
        ewma.observe(Duration::from_millis(1), at(7_000));
        assert_eq!(ewma.micros(at(7_000)), 1_000 + 99_000 / 2);
        assert_eq!(ewma.micros(at(14_000)), 25_250);
        assert_eq!(ewma.micros(at(u64::MAX)), 0);
    }

    #[test]
    fn a_failure_counts_as_slow_as_it_was_and_never_as_fast() {
        let (ewma, now) = (PeakEwma::default(), Moment::from_ms(0));
        ewma.observe(Duration::from_millis(10), now);
        ewma.observe_failure(Duration::from_millis(1), now);
        assert_eq!(ewma.micros(now), 10_000);
        ewma.observe_failure(Duration::from_secs(1), now);
        assert_eq!(ewma.micros(now), 1_000_000);
    }

    #[test]
    fn it_never_grows_by_waiting() {
        let values: Vec<u64> = (0..40).map(|step| decayed(1_000_000, step * 1_000)).collect();
        assert!(values.is_sorted_by(|before, after| before >= after), "{values:?}");
    }
}
