//! The crash id, which carries its time.

use std::{fmt, str::FromStr};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::Minute;

const SECONDS_PER_DAY: u32 = 86_400;
/// Where the throttle digit stands in the text form.
const THROTTLE_POSITION: usize = 29;
/// What Mozilla's clients put before an id.
const PREFIX: &str = "bp-";

/// The name of one crash: a lower-case UUID from which its day, its minute and its place follow.
///
/// | hex digits | meaning |
/// |---|---|
/// | 1-5 | the second of the UTC day in which it was received |
/// | 13 | `4`, the version of a random UUID |
/// | 17 | the two variant bits of RFC 9562, then two random bits |
/// | 26 | the throttle digit: `0` accepted, `1` deferred |
/// | 27-32 | `yymmdd`, the UTC day (2000 to 2099) |
/// | all others | 74 random bits |
///
/// Made once, by the collector. Ids of the `bp-<uuid>` form are read too; they are written without the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CrashId(Uuid);

/// The part of a collector's verdict that the id shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThrottleDigit {
    /// `0`: the crash is processed at once.
    Accept,
    /// `1`: the crash is stored and processed when somebody asks for it.
    Defer,
}

/// Why a text is no crash id, or why none could be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 32 hex digits in the form of a UUID.
    #[error(
        "a crash id is a UUID such as 1047b2a3-5c1f-4c0e-9d5a-2f1b60261123, with or without 'bp-' before it"
    )]
    NotAUuid,
    /// A UUID, but of another version or variant.
    #[error("this UUID is not of version 4, so no collector made it")]
    NotVersion4,
    /// The first five digits are no second of a day.
    #[error("the first five digits of a crash id are a second of the day, below 15180 (hexadecimal)")]
    SecondOutOfRange,
    /// The throttle digit is neither 0 nor 1.
    #[error("the seventh digit from the end of a crash id is 0 or 1")]
    UnknownThrottle,
    /// The last six digits are no day.
    #[error("the last six digits of a crash id are its day, yymmdd")]
    NoSuchDay,
    /// The clock shows a year that two digits cannot say.
    #[error("the clock says {year}, and crash ids are for the years 2000 to 2099: set the clock")]
    ClockOutOfRange {
        /// What the clock said.
        year: i16,
    },
    /// Not 16 hex digits, or a day or second outside their range.
    #[error("the short form of a crash id is 16 hexadecimal digits")]
    NotAShortId,
}

impl CrashId {
    /// Makes the id of a crash received at `received`, with chance from `random` (74 of its bits are used).
    ///
    /// # Errors
    /// [`IdError::ClockOutOfRange`] outside the years 2000 to 2099.
    pub fn new(received: Timestamp, throttle: ThrottleDigit, random: u128) -> Result<Self, IdError> {
        let utc = received.to_zoned(TimeZone::UTC).datetime();
        let year = utc.year();
        if !(2000..=2099).contains(&year) {
            return Err(IdError::ClockOutOfRange { year });
        }
        let second = u32::from(utc.hour().unsigned_abs()) * 3600
            + u32::from(utc.minute().unsigned_abs()) * 60
            + u32::from(utc.second().unsigned_abs());

        let mut day_digits = 0u128;
        for part in [
            year.unsigned_abs() % 100,
            u16::from(utc.month().unsigned_abs()),
            u16::from(utc.day().unsigned_abs()),
        ] {
            day_digits = day_digits << 8 | u128::from(part / 10) << 4 | u128::from(part % 10);
        }

        let fixed = u128::from(second) << 108
            | 0x4 << 76
            | 0b10 << 62
            | match throttle {
                ThrottleDigit::Accept => 0,
                ThrottleDigit::Defer => 1 << 24,
            }
            | day_digits;
        Ok(Self(Uuid::from_u128(random & Self::RANDOM_BITS | fixed)))
    }

    /// The bits that chance decides.
    const RANDOM_BITS: u128 = !(0xfffff << 108 | 0xf << 76 | 0b11 << 62 | 0xfff_ffff);

    /// The UUID, as databases want it.
    #[must_use]
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// The 16 bytes of the UUID, most significant first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// Reads the 16 bytes of [`CrashId::to_bytes`].
    ///
    /// # Errors
    /// As for the text form.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, IdError> {
        Self::from_uuid(Uuid::from_bytes(bytes))
    }

    /// Takes a UUID that came from a database or a file as a crash id.
    ///
    /// # Errors
    /// As for the text form.
    pub fn from_uuid(uuid: Uuid) -> Result<Self, IdError> {
        let id = Self(uuid);
        let bits = uuid.as_u128();
        if bits >> 76 & 0xf != 4 || bits >> 62 & 0b11 != 0b10 {
            return Err(IdError::NotVersion4);
        }
        if id.second_of_day() >= SECONDS_PER_DAY {
            return Err(IdError::SecondOutOfRange);
        }
        if bits >> 24 & 0xf > 1 {
            return Err(IdError::UnknownThrottle);
        }
        id.checked_day().ok_or(IdError::NoSuchDay)?;
        Ok(id)
    }

    /// The UTC day in which the crash was received; it partitions the facts.
    #[must_use]
    pub fn day(self) -> Date {
        self.checked_day().expect("the day was checked when the id was made")
    }

    fn checked_day(self) -> Option<Date> {
        let bits = self.0.as_u128();
        let digit = |shift: u32| u8::try_from(bits >> shift & 0xf).ok().filter(|digit| *digit <= 9);
        let two =
            |shift: u32| Some(i8::try_from(digit(shift + 4)? * 10 + digit(shift)?).expect("two digits fit"));
        Date::new(2000 + i16::from(two(16)?), two(8)?, two(0)?).ok()
    }

    /// The second of the UTC day in which the crash was received, below 86,400.
    #[must_use]
    pub fn second_of_day(self) -> u32 {
        u32::try_from(self.0.as_u128() >> 108).expect("20 bits fit")
    }

    /// When the crash was received, to the second.
    #[must_use]
    pub fn received_at(self) -> Timestamp {
        let midnight = self.day().to_zoned(TimeZone::UTC).expect("UTC has every midnight").timestamp();
        midnight + jiff::SignedDuration::from_secs(i64::from(self.second_of_day()))
    }

    /// The minute in which the crash was received; it names the crash's folder.
    #[must_use]
    pub fn minute(self) -> Minute {
        let minute = self.second_of_day() / 60;
        Minute::new(self.day(), minute / 60, minute % 60)
            .expect("a second of the day is in one of its minutes")
    }

    /// Whether the collector deferred the crash.
    #[must_use]
    pub fn throttle_digit(self) -> ThrottleDigit {
        if self.0.as_u128() >> 24 & 0xf == 0 { ThrottleDigit::Accept } else { ThrottleDigit::Defer }
    }

    /// The 16-digit form, for clients that want a short id.
    #[must_use]
    pub fn short(self) -> ShortId {
        let bits = self.0.as_u128();
        let days =
            u64::try_from((self.day() - ShortId::EPOCH).get_days()).expect("ids begin in the year 2000");
        // The first 31 random bits: seven digits, the version is passed over, three bits more.
        let random = u64::try_from((bits >> 80 & 0xfff_ffff) << 3 | bits >> 73 & 0b111).expect("31 bits fit");
        ShortId(days << 48 | u64::from(self.second_of_day()) << 31 | random)
    }

    /// The number in [0, 1) by which rules sample: always the same for one crash, deferred or not.
    ///
    /// It is the first 8 bytes of the SHA-256 of the id's text, with the throttle digit written as 0, over 2^64;
    /// of the 64 bits the 53 that a float holds are used, so that the result stays below 1.
    #[must_use]
    pub fn draw(self) -> f64 {
        let mut text = self.to_string();
        text.replace_range(THROTTLE_POSITION..=THROTTLE_POSITION, "0");
        let digest = Sha256::digest(text.as_bytes());
        let first: [u8; 8] = digest.first_chunk().copied().expect("a SHA-256 has 32 bytes");
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exactly what a float holds")]
        let numerator = (u64::from_be_bytes(first) >> 11) as f64;
        numerator / (1u64 << 53) as f64
    }
}

impl fmt::Display for CrashId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(formatter)
    }
}

impl FromStr for CrashId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let text = text.strip_prefix(PREFIX).unwrap_or(text);
        // The 36-character form alone: braces, URNs and bare digits name no crash.
        if text.len() != 36 {
            return Err(IdError::NotAUuid);
        }
        Self::from_uuid(Uuid::try_parse(text).map_err(|_| IdError::NotAUuid)?)
    }
}

impl Serialize for CrashId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CrashId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The short form of a crash id: 16 hex digits that name a day, a second and 31 random bits.
///
/// From the most significant bit: days since 2000-01-01 (16 bits), second of the day (17 bits), the id's first 31
/// random bits. It finds the crash, but is not enough to write the id out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ShortId(u64);

impl ShortId {
    const EPOCH: Date = jiff::civil::date(2000, 1, 1);

    /// The minute in which the crash was received.
    #[must_use]
    pub fn minute(self) -> Minute {
        let day = Self::EPOCH + jiff::Span::new().days(i64::try_from(self.0 >> 48).expect("16 bits fit"));
        let minute = self.second_of_day() / 60;
        Minute::new(day, minute / 60, minute % 60).expect("the second was checked when the short id was read")
    }

    /// The first and the last that can be an id of this short form on its day, with others between them: ids are
    /// ordered by their second of the day and then by chance, and all of the second and the beginning of the chance
    /// are known.
    #[must_use]
    pub fn bounds(self) -> (Uuid, Uuid) {
        let random = u128::from(self.0 & 0x7fff_ffff);
        let known =
            u128::from(self.second_of_day()) << 108 | random >> 3 << 80 | 0x4 << 76 | (random & 0b111) << 73;
        (Uuid::from_u128(known), Uuid::from_u128(known | ((1 << 73) - 1)))
    }

    fn second_of_day(self) -> u32 {
        u32::try_from(self.0 >> 31 & 0x1_ffff).expect("17 bits fit")
    }

    /// Whether this is the short form of `id`.
    #[must_use]
    pub fn matches(self, id: CrashId) -> bool {
        id.short() == self
    }
}

impl fmt::Display for ShortId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl FromStr for ShortId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(IdError::NotAShortId);
        }
        let id = Self(u64::from_str_radix(text, 16).map_err(|_| IdError::NotAShortId)?);
        // 36,524 days after 2000-01-01 is 2099-12-31, the last day that an id can say.
        if id.second_of_day() >= SECONDS_PER_DAY || id.0 >> 48 > 36_524 {
            return Err(IdError::NotAShortId);
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moments() -> impl Strategy<Value = Timestamp> {
        // All of 2000 to 2099, to the nanosecond's half.
        (946_684_800i64..4_102_444_800, 0..1_000_000_000i32)
            .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
    }

    fn digits() -> impl Strategy<Value = ThrottleDigit> {
        prop_oneof![Just(ThrottleDigit::Accept), Just(ThrottleDigit::Defer)]
    }

    proptest! {
        #[test]
        fn an_id_reads_back_from_its_text_its_bytes_and_its_prefixed_form(at in moments(), digit in digits(), random: u128) {
            let id = CrashId::new(at, digit, random).unwrap();
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            prop_assert_eq!(format!("bp-{id}").parse(), Ok(id));
            prop_assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
            prop_assert_eq!(CrashId::from_bytes(id.to_bytes()), Ok(id));
            prop_assert_eq!(id.to_string(), id.to_string().to_lowercase());
        }

        #[test]
        fn an_id_is_a_valid_random_uuid(at in moments(), digit in digits(), random: u128) {
            let uuid = CrashId::new(at, digit, random).unwrap().uuid();
            prop_assert_eq!(uuid.get_version(), Some(uuid::Version::Random));
            prop_assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        }

        #[test]
        fn an_id_carries_its_day_second_minute_and_throttle(at in moments(), digit in digits(), random: u128) {
            let id = CrashId::new(at, digit, random).unwrap();
            let utc = at.to_zoned(TimeZone::UTC);
            prop_assert_eq!(id.day(), utc.date());
            prop_assert_eq!(id.received_at().as_second(), at.as_second());
            prop_assert_eq!(id.throttle_digit(), digit);
            prop_assert_eq!(id.minute().to_string(), utc.strftime("%Y%m%d/%H%M").to_string());
            prop_assert!(id.to_string().ends_with(&utc.strftime("%y%m%d").to_string()));
            prop_assert_eq!(u32::from_str_radix(&id.to_string()[..5], 16).unwrap(), id.second_of_day());
        }

        #[test]
        fn exactly_74_bits_are_random(at in moments(), digit in digits(), one: u128, other: u128) {
            prop_assert_eq!(CrashId::RANDOM_BITS.count_ones(), 74);
            let ids = [one, other].map(|random| CrashId::new(at, digit, random).unwrap().uuid().as_u128());
            prop_assert_eq!(ids[0] ^ ids[1], (one ^ other) & CrashId::RANDOM_BITS);
        }

        #[test]
        fn the_short_form_finds_its_crash_and_its_minute(at in moments(), digit in digits(), random: u128) {
            let id = CrashId::new(at, digit, random).unwrap();
            let short: ShortId = id.short().to_string().parse().unwrap();
            prop_assert!(short.matches(id));
            prop_assert_eq!(short.minute(), id.minute());
            let changed = CrashId::new(at, digit, random ^ 1 << 107).unwrap();
            prop_assert!(!short.matches(changed));
        }

        #[test]
        fn the_draw_is_below_one_and_ignores_the_throttle_digit(at in moments(), random: u128) {
            let accepted = CrashId::new(at, ThrottleDigit::Accept, random).unwrap();
            let deferred = CrashId::new(at, ThrottleDigit::Defer, random).unwrap();
            prop_assert!((0.0..1.0).contains(&accepted.draw()));
            prop_assert_eq!(accepted.draw(), deferred.draw());
        }

        #[test]
        fn any_text_is_an_id_or_an_error_and_never_a_panic(text in ".{0,40}") {
            if let Ok(id) = text.parse::<CrashId>() {
                prop_assert!(id.short().matches(id) && id.minute().day() == id.day());
            }
            if let Ok(short) = text.parse::<ShortId>() {
                prop_assert_eq!(short.to_string(), text.to_lowercase());
            }
        }
    }

    #[test]
    fn the_first_31_random_bits_of_the_short_form_pass_over_the_version() {
        let at = Timestamp::new(946_684_800 + 86_400, 0).unwrap();
        let id = CrashId::new(at, ThrottleDigit::Accept, u128::MAX).unwrap();
        assert_eq!(id.to_string(), "00000fff-ffff-4fff-bfff-fffff0000102");
        assert_eq!(id.short().to_string(), "000100007fffffff");
    }

    #[test]
    fn the_draw_of_a_known_id_is_the_documented_hash() {
        let id: CrashId = "0b4d3a6e-72c1-4f0b-8a57-3c9d51261123".parse().unwrap();
        // sha256("0b4d3a6e-72c1-4f0b-8a57-3c9d50261123"), first 8 bytes over 2^64, computed with coreutils and bc.
        assert!((id.draw() - KNOWN_DRAW).abs() < 1e-12, "{}", id.draw());
    }

    const KNOWN_DRAW: f64 = 0.07054426181693392;

    #[test]
    fn a_uuid_that_no_collector_made_is_refused_with_the_reason() {
        for (text, error) in [
            ("", IdError::NotAUuid),
            ("0b4d3a6e72c14f0b8a573c9d50261123", IdError::NotAUuid),
            ("0b4d3a6e-72c1-1f0b-8a57-3c9d50261123", IdError::NotVersion4),
            ("0b4d3a6e-72c1-4f0b-0a57-3c9d50261123", IdError::NotVersion4),
            ("15180a6e-72c1-4f0b-8a57-3c9d50261123", IdError::SecondOutOfRange),
            ("0b4d3a6e-72c1-4f0b-8a57-3c9d52261123", IdError::UnknownThrottle),
            ("0b4d3a6e-72c1-4f0b-8a57-3c9d50261323", IdError::NoSuchDay),
            ("0b4d3a6e-72c1-4f0b-8a57-3c9d50260230", IdError::NoSuchDay),
            ("0b4d3a6e-72c1-4f0b-8a57-3c9d502611fa", IdError::NoSuchDay),
        ] {
            assert_eq!(text.parse::<CrashId>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_clock_outside_the_century_makes_no_id() {
        let at: Timestamp = "1999-12-31T23:59:59Z".parse().unwrap();
        assert_eq!(CrashId::new(at, ThrottleDigit::Accept, 0), Err(IdError::ClockOutOfRange { year: 1999 }));
    }
}
