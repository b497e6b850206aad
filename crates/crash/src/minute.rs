//! The minute of a crash, which names its folder.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// One UTC minute, written `yyyymmdd/hhmm`: the folder of every crash that was received in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Minute {
    day: Date,
    of_day: u16,
}

/// A text that is no minute.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a minute is written yyyymmdd/hhmm")]
pub struct MinuteError;

impl Minute {
    /// The minute of that hour (below 24) and minute (below 60) on a UTC day.
    ///
    /// # Errors
    /// [`MinuteError`] when hour or minute is out of range.
    pub fn new(day: Date, hour: u32, minute: u32) -> Result<Self, MinuteError> {
        if hour >= 24 || minute >= 60 {
            return Err(MinuteError);
        }
        Ok(Self { day, of_day: u16::try_from(hour * 60 + minute).map_err(|_| MinuteError)? })
    }

    /// The minute that `at` is in.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        let utc = at.to_zoned(TimeZone::UTC);
        let of_day = u16::from(utc.hour().unsigned_abs()) * 60 + u16::from(utc.minute().unsigned_abs());
        Self { day: utc.date(), of_day }
    }

    /// The UTC day.
    #[must_use]
    pub fn day(self) -> Date {
        self.day
    }

    /// When the minute begins.
    #[must_use]
    pub fn start(self) -> Timestamp {
        let midnight = self.day.to_zoned(TimeZone::UTC).expect("UTC has every midnight").timestamp();
        midnight + jiff::SignedDuration::from_secs(i64::from(self.of_day) * 60)
    }

    /// `yyyymmdd`, the folder of the day.
    #[must_use]
    pub fn day_folder(self) -> String {
        self.day.strftime("%Y%m%d").to_string()
    }

    /// `hhmm`, the folder of the minute within its day.
    #[must_use]
    pub fn minute_folder(self) -> String {
        format!("{:02}{:02}", self.of_day / 60, self.of_day % 60)
    }
}

impl fmt::Display for Minute {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.day_folder(), self.minute_folder())
    }
}

impl FromStr for Minute {
    type Err = MinuteError;

    fn from_str(text: &str) -> Result<Self, MinuteError> {
        let digits: String = match text.split_once('/') {
            Some((day, minute)) if day.len() == 8 && minute.len() == 4 => [day, minute].concat(),
            _ => return Err(MinuteError),
        };
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(MinuteError);
        }
        let number = |range: std::ops::Range<usize>| {
            digits.get(range).and_then(|part| part.parse::<i16>().ok()).ok_or(MinuteError)
        };
        let small = |range| i8::try_from(number(range)?).map_err(|_| MinuteError);
        let day = Date::new(number(0..4)?, small(4..6)?, small(6..8)?).map_err(|_| MinuteError)?;
        Self::new(day, u32::from(number(8..10)?.unsigned_abs()), u32::from(number(10..12)?.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_reads_back_from_its_folder() {
        let at: Timestamp = "2026-11-23T23:59:59.9Z".parse().unwrap();
        assert_eq!(Minute::of(at).to_string(), "20261123/2359");
        assert_eq!("20261123/2359".parse(), Ok(Minute::of(at)));
        assert_eq!(Minute::of(at).start().to_string(), "2026-11-23T23:59:00Z");
    }

    #[test]
    fn a_folder_that_is_no_minute_is_refused() {
        for text in [
            "",
            "20261123",
            "20261123/2460",
            "20261123/2400",
            "20261323/0000",
            "2026112/30000",
            "20261123/-100",
        ] {
            assert_eq!(text.parse::<Minute>(), Err(MinuteError), "{text}");
        }
    }
}
