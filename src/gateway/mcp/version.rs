//! The protocol's revisions and its two eras.

use std::fmt;

/// How a peer speaks: with sessions and `initialize`, or with everything on each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25.
    Legacy,
    /// 2026-07-28 and later.
    Modern,
}

/// A known revision. They are ordered by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 2024-11-05: HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP, JSON-RPC batches.
    V2025_03_26,
    /// 2025-06-18: the `MCP-Protocol-Version` header, no more batches.
    V2025_06_18,
    /// 2025-11-25: the last with sessions.
    V2025_11_25,
    /// 2026-07-28: stateless.
    V2026_07_28,
}

impl Version {
    /// Every known revision, oldest first.
    pub const ALL: [Self; 5] =
        [Self::V2024_11_05, Self::V2025_03_26, Self::V2025_06_18, Self::V2025_11_25, Self::V2026_07_28];

    /// What a Streamable HTTP request without a version header speaks, as the specification says.
    pub const ASSUMED: Self = Self::V2025_03_26;

    /// The newest revision of the legacy era.
    pub const LATEST_LEGACY: Self = Self::V2025_11_25;

    /// The revision written so, if it is known.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The revision as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V2024_11_05 => "2024-11-05",
            Self::V2025_03_26 => "2025-03-26",
            Self::V2025_06_18 => "2025-06-18",
            Self::V2025_11_25 => "2025-11-25",
            Self::V2026_07_28 => "2026-07-28",
        }
    }

    /// The era it belongs to.
    pub const fn era(self) -> Era {
        match self {
            Self::V2026_07_28 => Era::Modern,
            _ => Era::Legacy,
        }
    }

    /// Whether one body may carry several messages. Only this revision had it.
    pub fn has_batches(self) -> bool {
        self == Self::V2025_03_26
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The revision to answer an `initialize` with: the one asked for when it is offered, else the newest offered one that has
/// an `initialize`. `None` when none is offered that has.
pub fn negotiate(requested: &str, offered: &[Version]) -> Option<Version> {
    let legacy = || offered.iter().copied().filter(|version| version.era() == Era::Legacy);
    legacy().find(|version| version.as_str() == requested).or_else(|| legacy().max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_and_read_in_order() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
        }
        assert!(Version::ALL.is_sorted() && Version::ALL.map(Version::as_str).is_sorted());
        assert_eq!(Version::parse("2026-07-29"), None);
    }

    #[test]
    fn initialize_gets_what_it_asks_for_or_the_newest_that_has_it() {
        assert_eq!(negotiate("2025-03-26", &Version::ALL), Some(Version::V2025_03_26));
        for strange in ["2026-07-28", "1.0", ""] {
            assert_eq!(negotiate(strange, &Version::ALL), Some(Version::LATEST_LEGACY));
        }
        assert_eq!(negotiate("2025-11-25", &Version::ALL[..2]), Some(Version::V2025_03_26));
        assert_eq!(negotiate("2025-11-25", &[Version::V2026_07_28]), None);
    }
}
