//! Which of two generations is newer, whatever way they came.

/// How new a generation is.
///
/// What is pushed comes at once, what is mounted up to a minute later and in halves. So the operator numbers its generations,
/// and whatever is lower than what the gateway was given before is passed over, without a word: it is not wrong, only late.
/// Under one number a push is the newer one: that is how a generation without a number, from files that somebody wrote, yields
/// to the first push.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    revision: u64,
    pushed: bool,
}

impl Rank {
    /// Read from files, which say this revision; 0 when they say none.
    pub fn mounted(revision: u64) -> Self {
        Self { revision, pushed: false }
    }

    /// Came over the admin channel.
    pub fn pushed(revision: u64) -> Self {
        Self { revision, pushed: true }
    }

    /// The number.
    pub fn revision(self) -> u64 {
        self.revision
    }
}
