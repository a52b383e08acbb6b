//! Calls and failures of the current window, in one atomic.

use super::time::Moment;
use std::sync::atomic::{AtomicU64, Ordering};

/// Calls and failures since the window began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Calls that ended.
    pub(super) calls: u16,
    /// Those that failed.
    pub(super) failures: u16,
}

/// Counts over windows that follow each other; a new one begins from nothing.
#[derive(Debug, Default)]
pub(super) struct Window(AtomicU64);

impl Window {
    /// Counts one call, and says what the window holds.
    pub(super) fn count(&self, now: Moment, window_ms: u64, failed: bool) -> Counts {
        // A window is told from the one before by 32 bits: enough for one that comes round after years.
        let number = (now.as_ms() / window_ms.max(1)) & 0xffff_ffff;
        let counted = |word: u64| {
            let Counts { mut calls, mut failures } =
                if word >> 32 == number { decode(word) } else { Counts::default() };
            if calls == u16::MAX {
                // The share stays what it is.
                (calls, failures) = (calls / 2, failures / 2);
            }
            Counts { calls: calls + 1, failures: failures + u16::from(failed) }
        };
        let mut counts = Counts::default();
        let update = |word| {
            counts = counted(word);
            Some(number << 32 | u64::from(counts.calls) << 16 | u64::from(counts.failures))
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        counts
    }

    /// Forgets what was counted.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

fn decode(word: u64) -> Counts {
    let [.., c1, c0, f1, f0] = word.to_be_bytes();
    Counts { calls: u16::from_be_bytes([c1, c0]), failures: u16::from_be_bytes([f1, f0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_for_itself() {
        let window = Window::default();
        let at = |ms, failed| window.count(Moment::from_ms(ms), 100, failed);
        assert_eq!(at(100, true), Counts { calls: 1, failures: 1 });
        assert_eq!(at(199, false), Counts { calls: 2, failures: 1 });
        assert_eq!(at(200, false), Counts { calls: 1, failures: 0 });
        window.clear();
        assert_eq!(at(201, true), Counts { calls: 1, failures: 1 });
    }

    #[test]
    fn a_full_window_keeps_its_share() {
        let window = Window::default();
        let mut last = Counts::default();
        for call in 0..70_000 {
            last = window.count(Moment::from_ms(0), 1_000, call % 2 == 0);
        }
        assert!(last.calls > 32_000 && last.calls.abs_diff(last.failures * 2) <= 2, "{last:?}");
    }
}
