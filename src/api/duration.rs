//! Lengths of time as people write them: `10s`, `1m30s`, `100ms`.

use super::patterns::DURATION;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration as StdDuration;

/// Four parts of five digits and a two-letter unit.
const MAX_DURATION_LENGTH: usize = 28;

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A length of time in whole milliseconds, written in Go's form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    millis: u64,
}

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write up to four numbers with units h, m, s or ms, like 10s, 1m30s or 100ms")]
pub struct NotADuration(pub String);

impl Duration {
    /// A duration of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// A duration of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self { millis: seconds * 1_000 }
    }

    /// Its length in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }
}

impl From<Duration> for StdDuration {
    fn from(duration: Duration) -> Self {
        Self::from_millis(duration.millis)
    }
}

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self::from_millis).ok_or_else(|| NotADuration(text.chars().take(MAX_DURATION_LENGTH).collect()))
    }
}

/// Reads one to four numbers with units; the sum of four times 99999 h is far below what a u64 holds.
fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut millis = 0;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(|byte| !byte.is_ascii_digit()).count();
        let (unit, tail) = tail.split_at(letters);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        millis += number.parse::<u64>().ok()? * factor;
        rest = tail;
        if rest.is_empty() {
            return Some(millis);
        }
    }
    None
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (unit, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": MAX_DURATION_LENGTH, "pattern": DURATION })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_read_as_go_reads_them() {
        for (text, millis) in
            [("0s", 0), ("10s", 10_000), ("1m30s", 90_000), ("100ms", 100), ("1h1m1s1ms", 3_661_001), ("1s1s", 2_000)]
        {
            assert_eq!(text.parse(), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_gateway_api_refuses_is_refused() {
        for text in ["", "10", "s", "-1s", "1.5s", "1d", "1us", "100000s", "1s ", "1h1h1h1h1h", "1m 30s", "١s"] {
            assert_eq!(text.parse::<Duration>(), Err(NotADuration(text.to_owned())));
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(millis in 0_u64..=99_999 * 3_600_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn the_parser_and_the_pattern_agree(text in "[0-9hms.]{0,12}|([0-9]{1,6}(h|m|s|ms)){0,5}") {
            let matches = regex::Regex::new(DURATION).unwrap().is_match(&text);
            prop_assert_eq!(text.parse::<Duration>().is_ok(), matches);
        }
    }
}
