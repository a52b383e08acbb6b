//! Latencies in log-linear buckets: constant memory, and percentiles within 1.6 % of the true value.

use std::time::Duration;

/// Buckets per power of two; the relative error is at most one half of its inverse.
const STEPS: u64 = 1 << STEP_BITS;
/// `STEPS` as a power of two.
const STEP_BITS: u32 = 5;
/// Enough for every `u64` of nanoseconds.
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) << STEP_BITS;

/// Counts of durations.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// How many durations were recorded.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The duration, in µs, that `per_mille` of a thousand calls stayed within.
    pub(crate) fn percentile_us(&self, per_mille: u64) -> f64 {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return middle_us(index);
            }
        }
        0.0
    }
}

/// Values below `STEPS` have a bucket each; above, each power of two is cut into `STEPS` equal parts.
fn bucket(nanos: u64) -> usize {
    let shift = (64 - nanos.leading_zeros()).saturating_sub(STEP_BITS + 1);
    // At most 64 × 32, which fits any usize.
    usize::try_from(u64::from(shift) * STEPS + (nanos >> shift)).unwrap_or(BUCKETS - 1)
}

#[allow(clippy::cast_precision_loss)] // a percentile of durations far below 2^52 ns
fn middle_us(index: usize) -> f64 {
    let index = index as u64;
    let shift = (index / STEPS).saturating_sub(1);
    let low = (index - shift * STEPS) << shift;
    (low as f64 + (1_u64 << shift) as f64 / 2.0) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_whose_middle_is_near() {
        for nanos in (0..200).chain([999, 1_000, 65_535, 65_536, 1_234_567, 987_654_321, u64::from(u32::MAX)]) {
            let middle = middle_us(bucket(nanos)) * 1000.0;
            #[allow(clippy::cast_precision_loss)]
            let error = (middle - nanos as f64).abs();
            #[allow(clippy::cast_precision_loss)]
            let allowed = (nanos as f64 * 0.016).max(0.5);
            assert!(error <= allowed, "{nanos} ns is shown as {middle} ns");
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn percentiles_count_from_the_fastest() {
        let mut histogram = Histogram::new();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        assert!((histogram.percentile_us(500) - 500.0).abs() < 10.0);
        assert!((histogram.percentile_us(990) - 990.0).abs() < 17.0);
        assert_eq!(histogram.total(), 1000);
    }

    #[test]
    fn an_empty_one_has_no_percentile() {
        assert!(Histogram::new().percentile_us(500).abs() < f64::EPSILON);
    }
}
