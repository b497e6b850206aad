//! What the text of a version or a build id says.

use jiff::civil::Date;

/// Numbers of a version that are looked at; no product has more, and a hostile one would fill the table.
const MOST_NUMBERS: usize = 8;

/// The release that a version leads to: its numbers before the first letter, `128.0` for `128.0b3`.
pub(crate) fn release_version(version: &str) -> &str {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let release = version.get(..end).unwrap_or_default().trim_end_matches('.');
    if release.is_empty() { version } else { release }
}

/// What versions are sorted by: their numbers, with -3 for alpha, -2 for beta and -1 for a candidate, and 0 at the end.
///
/// The 0 puts a release after its own betas: `[1, 0, 0]` after `[1, 0, -2, 3, 0]`.
pub(crate) fn version_key(version: &str) -> Vec<i32> {
    let mut key = Vec::new();
    let mut rest = version;
    while key.len() < MOST_NUMBERS
        && let Some(first) = rest.chars().next()
    {
        let is_same: fn(char) -> bool = match first {
            '0'..='9' => |c| c.is_ascii_digit(),
            'a'..='z' | 'A'..='Z' => |c| c.is_ascii_alphabetic(),
            _ => |c| !c.is_ascii_alphanumeric(),
        };
        let (token, after) = rest.split_at(rest.find(|c| !is_same(c)).unwrap_or(rest.len()));
        rest = after;
        match token.to_ascii_lowercase().as_str() {
            "a" | "alpha" => key.push(-3),
            "b" | "beta" => key.push(-2),
            "rc" | "pre" => key.push(-1),
            number if first.is_ascii_digit() => key.push(number.parse().unwrap_or(i32::MAX)),
            _ => {}
        }
    }
    key.push(0);
    key
}

/// The day that a build id begins with, as `yyyymmdd`.
pub(crate) fn build_day(build: &str) -> Option<Date> {
    let digits = build.get(..8).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number: u32 = digits.parse().ok()?;
    let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
    // A serial number of eight digits is no day.
    if !(1990..2100).contains(&year) {
        return None;
    }
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_sort_by_their_key_as_people_sort_them() {
        let sorted =
            ["0.9", "1.0a1", "1.0a2", "1.0b3", "1.0b10", "1.0rc1", "1.0", "1.0.1", "1.9", "1.10", "128.0esr"];
        for pair in sorted.windows(2) {
            assert!(version_key(pair[0]) < version_key(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn the_release_of_a_version_is_its_numbers() {
        for (version, release) in
            [("128.0b3", "128.0"), ("1.2.3", "1.2.3"), ("1.2.b", "1.2"), ("unknown", "unknown"), ("", "")]
        {
            assert_eq!(release_version(version), release);
        }
    }

    #[test]
    fn a_build_day_is_read_from_ids_that_begin_with_one() {
        assert_eq!(build_day("20261123140312"), Some(jiff::civil::date(2026, 11, 23)));
        for none in ["", "2026112", "20261323", "12345678", "2026-11-23", "abcdefgh", "２０２６１１２３"]
        {
            assert_eq!(build_day(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_short_key(text: String) {
            prop_assert!(version_key(&text).len() <= MOST_NUMBERS + 1);
            prop_assert!(release_version(&text).len() <= text.len());
            prop_assert!(build_day(&text).is_none() || text.len() >= 8);
        }
    }
}
