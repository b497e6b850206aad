use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::time;

use jiff::fmt::friendly::{Designator, SpanPrinter};
use jiff::{Span, SpanRelativeTo};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A length of time as people write it: `"30s"`, `"1m 30s"`, `"200ms"`, `"90d"`.
///
/// Days are 24 hours and weeks 7 days; months and years are refused, because they have no fixed length. It
/// dereferences to [`std::time::Duration`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

/// A text that is no [`Duration`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a length of time such as \"30s\", \"1m 30s\" or \"200ms\": {0}")]
pub struct InvalidDuration(String);

impl Duration {
    /// So many seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(time::Duration::from_millis(milliseconds))
    }

    /// The same as the standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl Deref for Duration {
    type Target = time::Duration;

    fn deref(&self) -> &time::Duration {
        &self.0
    }
}

impl From<time::Duration> for Duration {
    fn from(duration: time::Duration) -> Self {
        Self(duration)
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = |error: jiff::Error| InvalidDuration(error.to_string());
        let span: Span = jiff::fmt::friendly::SpanParser::new().parse_span(text.trim()).map_err(invalid)?;
        if span.get_years() != 0 || span.get_months() != 0 {
            return Err(InvalidDuration("years and months have no fixed length, use days".to_owned()));
        }
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(invalid)?;
        let length =
            time::Duration::try_from(length).map_err(|_| InvalidDuration("it is negative".to_owned()))?;
        Ok(Self(length))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY: u64 = 24 * 60 * 60;
        let (days, rest) = (self.as_secs() / DAY, self.as_secs() % DAY);
        let printer = SpanPrinter::new().designator(Designator::Compact);
        let time_of_day = time::Duration::new(rest, self.subsec_nanos());
        match (days, time_of_day.is_zero()) {
            (0, _) => f.write_str(&printer.unsigned_duration_to_string(&time_of_day)),
            (_, true) => write!(f, "{days}d"),
            (_, false) => write!(f, "{days}d {}", printer.unsigned_duration_to_string(&time_of_day)),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"30s\", \"1m 30s\" or \"200ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("1m 30s", 90_000),
            ("200ms", 200),
            ("2 minutes", 120_000),
            ("1h30m", 5_400_000),
            ("90d", 90 * 86_400_000),
            ("2w", 14 * 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn what_has_no_unit_no_fixed_length_or_no_positive_length_is_refused() {
        for text in ["30", "", "s", "-5s", "5s ago", "1 month", "1y", "soon", "99999999999999999999s"] {
            let refused = text.parse::<Duration>().unwrap_err().to_string();
            assert!(refused.starts_with("expected a length of time"), "{text}: {refused}");
        }
    }

    #[test]
    fn days_are_written_as_days() {
        assert_eq!(Duration::from_secs(90 * 86_400).to_string(), "90d");
        assert_eq!(Duration::from_secs(86_400 + 90).to_string(), "1d 1m 30s");
        assert_eq!(Duration::from_millis(1_500).to_string(), "1s 500ms");
        assert_eq!(Duration::default().to_string(), "0s");
    }

    proptest! {
        #[test]
        fn every_length_reads_back_as_it_was_written(seconds in 0..100_000_000_000_u64, nanoseconds in 0..1_000_000_000_u32) {
            let duration = Duration::from(time::Duration::new(seconds, nanoseconds));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn any_text_is_refused_or_understood_for_good(text in "[ -]?[0-9.]{0,6} ?.{0,6}") {
            if let Ok(value) = text.parse::<Duration>() {
                prop_assert_eq!(value.to_string().parse(), Ok(value));
            }
        }
    }
}
