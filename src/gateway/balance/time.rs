//! Time as the balancer knows it: a number that its caller reads from a monotonic clock, small enough for an atomic.

/// A point in time, in ms since a moment that the caller chose. It fits into 62 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// This many ms after the caller's beginning.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// In ms since the caller's beginning.
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This many ms later.
    #[must_use]
    pub const fn after(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// In ms since `earlier`; 0 when that is still to come.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}
