//! The `[retention]` section: how long each kind of thing is kept, and what that means for one crash.

use std::{fmt, str::FromStr, time::Duration as StdDuration};

use crash::CrashId;
use crashstore::Area;
use jiff::{Span, Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use settings::Duration;

/// How long things are kept. Whole UTC days go, once the last second of them is older than this; rollups are kept for ever.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Raw crashes with their dumps, and the records of attempts and dead letters.
    pub raw: Keep,
    /// Private annotations, in the crash store and in the database.
    pub private: Keep,
    /// Processed crashes.
    pub processed: Keep,
    /// Facts. A partition goes as a whole, so that weekly ones stay up to six days longer.
    pub facts: Keep,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            raw: Keep::weeks(26),
            private: Keep::weeks(4),
            processed: Keep::weeks(26),
            facts: Keep::weeks(104),
        }
    }
}

/// For how long: `"26w"`, or `"forever"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// So long.
    For(Duration),
    /// Nothing of it is ever dropped.
    Forever,
}

const FOREVER: &str = "forever";
const DAY: StdDuration = StdDuration::from_secs(24 * 60 * 60);

impl Keep {
    const fn weeks(weeks: u64) -> Self {
        Self::For(Duration::from_secs(weeks * 7 * 24 * 60 * 60))
    }

    /// The first day that is still kept; nothing when all are.
    #[must_use]
    pub fn first_day(self, now: Timestamp) -> Option<Date> {
        let Self::For(length) = self else { return None };
        let begin = now.checked_sub(length.get()).ok()?;
        // The day of that moment has seconds that are younger.
        Some(begin.to_zoned(TimeZone::UTC).date())
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(length) => length.fmt(formatter),
            Self::Forever => formatter.write_str(FOREVER),
        }
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == FOREVER {
            return Ok(Self::Forever);
        }
        let length: Duration =
            text.parse().map_err(|error| format!("{error}; or \"{FOREVER}\" for what is never dropped"))?;
        if length.get() < DAY {
            return Err(format!("\"{text}\" is less than a day, and what is dropped are whole days"));
        }
        Ok(Self::For(length))
    }
}

impl Serialize for Keep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// What has a retention of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Raw crashes.
    Raw,
    /// Private annotations.
    Private,
    /// Processed crashes.
    Processed,
    /// Facts.
    Facts,
}

impl Kept {
    /// All of them; what can identify a person first.
    pub const ALL: [Self; 4] = [Self::Private, Self::Raw, Self::Processed, Self::Facts];

    /// Its name in the configuration and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Private => "private",
            Self::Processed => "processed",
            Self::Facts => "facts",
        }
    }

    /// The area of the crash store in which it is.
    #[must_use]
    pub fn area(self) -> Option<Area> {
        match self {
            Self::Raw => Some(Area::Raw),
            Self::Private => Some(Area::Private),
            Self::Processed => Some(Area::Processed),
            Self::Facts => None,
        }
    }

    /// The tables of the database whose partitions go with it.
    #[must_use]
    pub fn tables(self) -> &'static [&'static str] {
        match self {
            // What was tried in vain is of use for as long as it can be tried again.
            Self::Raw => &["crash_attempt", "dead_letter"],
            Self::Private => &["crash_private"],
            Self::Processed => &[],
            Self::Facts => &["crash_addon", "crash_reject", "crash_degraded", "fact_dump", "fact_crash"],
        }
    }
}

impl From<Area> for Kept {
    fn from(area: Area) -> Self {
        match area {
            Area::Raw => Self::Raw,
            Area::Private => Self::Private,
            Area::Processed => Self::Processed,
        }
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kept = Self::ALL.into_iter().find(|kept| kept.as_str() == text);
        kept.ok_or_else(|| "what is kept is raw, private, processed and facts".to_owned())
    }
}

impl Retention {
    /// For how long something is kept.
    #[must_use]
    pub fn of(&self, kept: Kept) -> Keep {
        match kept {
            Kept::Raw => self.raw,
            Kept::Private => self.private,
            Kept::Processed => self.processed,
            Kept::Facts => self.facts,
        }
    }

    /// Whether what is kept of a crash may be dropped at this time: its whole day is older than the retention.
    ///
    /// `where` says `expired` of a crash that is nowhere any more and whose raw crash is past its retention.
    #[must_use]
    pub fn is_expired(&self, kept: impl Into<Kept>, id: CrashId, now: Timestamp) -> bool {
        self.of(kept.into()).first_day(now).is_some_and(|first| id.day() < first)
    }

    /// The day on which a day's data may be dropped.
    #[must_use]
    pub fn goes_on(&self, kept: Kept, day: Date) -> Option<Date> {
        let Keep::For(length) = self.of(kept) else { return None };
        let days = i64::try_from(length.get().as_secs().div_ceil(DAY.as_secs())).ok()?;
        day.checked_add(Span::new().try_days(days + 1).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use crash::ThrottleDigit;
    use jiff::civil::date;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_crash_expires_when_the_last_second_of_its_day_is_old_enough() {
        let retention = Retention::default();
        let id = CrashId::new(at("2026-10-01T00:00:00Z"), ThrottleDigit::Accept, 1).unwrap();
        for (now, private, raw) in [
            ("2026-10-29T00:00:00Z", false, false),
            ("2026-10-29T23:59:59Z", false, false),
            ("2026-10-30T00:00:00Z", true, false),
            ("2027-04-02T00:00:00Z", true, true),
        ] {
            assert_eq!(retention.is_expired(Area::Private, id, at(now)), private, "{now}");
            assert_eq!(retention.is_expired(Area::Raw, id, at(now)), raw, "{now}");
            assert!(!retention.is_expired(Kept::Facts, id, at(now)), "{now}");
        }
        assert_eq!(retention.goes_on(Kept::Private, date(2026, 10, 1)), Some(date(2026, 10, 30)));
    }

    #[test]
    fn what_is_kept_for_ever_never_expires() {
        let retention = Retention { raw: Keep::Forever, ..Retention::default() };
        let id = CrashId::new(at("2001-01-01T00:00:00Z"), ThrottleDigit::Accept, 1).unwrap();
        assert!(!retention.is_expired(Area::Raw, id, at("2026-10-29T00:00:00Z")));
        assert!(retention.is_expired(Area::Processed, id, at("2026-10-29T00:00:00Z")));
        assert_eq!(retention.goes_on(Kept::Raw, id.day()), None);
    }

    #[test]
    fn a_retention_reads_back_and_one_of_less_than_a_day_is_refused() {
        for text in ["forever", "28d", "1d 12h"] {
            assert_eq!(text.parse::<Keep>().unwrap().to_string(), text);
        }
        assert_eq!("26w".parse(), Ok(Keep::weeks(26)));
        for text in ["0s", "23h", "never", ""] {
            assert!(text.parse::<Keep>().is_err(), "{text}");
        }
    }
}
