use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};

use crate::Size;

/// A whole is so many hundredths of a percent.
const WHOLE: u16 = 10_000;

/// A part of something whose size differs from machine to machine, such as a disk: `"2GiB"`, `"5%"`, or the smaller of
/// the two, `"5% up to 2GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// In hundredths of a percent.
    share: Option<u16>,
    most: Option<Size>,
}

/// A text that is no [`Portion`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a size or a share such as \"2GiB\", \"5%\" or \"5% up to 2GiB\"")]
pub struct InvalidPortion;

impl Portion {
    /// So many percent, and no more than so much.
    pub const fn percent_up_to(percent: u8, most: Size) -> Self {
        let hundredths = percent as u16 * 100;
        Self { share: Some(if hundredths < WHOLE { hundredths } else { WHOLE }), most: Some(most) }
    }

    /// So much, whatever the whole.
    pub const fn size(size: Size) -> Self {
        Self { share: None, most: Some(size) }
    }

    /// How many bytes that is of so many.
    pub fn of(self, whole: u64) -> u64 {
        let share = self.share.map_or(u64::MAX, |share| {
            let share = u128::from(whole) * u128::from(share) / u128::from(WHOLE);
            u64::try_from(share).unwrap_or(u64::MAX)
        });
        share.min(self.most.map_or(u64::MAX, Size::bytes))
    }
}

impl FromStr for Portion {
    type Err = InvalidPortion;

    fn from_str(text: &str) -> Result<Self, InvalidPortion> {
        let size = |text: &str| text.parse::<Size>().map_err(|_| InvalidPortion);
        let Some((share, rest)) = text.split_once('%') else { return Ok(Self::size(size(text)?)) };
        let most = match rest.trim() {
            "" => None,
            rest => Some(size(rest.strip_prefix("up to ").ok_or(InvalidPortion)?)?),
        };
        Ok(Self { share: Some(hundredths(share.trim())?), most })
    }
}

/// Reads a percentage with up to two decimals.
fn hundredths(text: &str) -> Result<u16, InvalidPortion> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| match text.len() {
        1..=3 if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<u16>().map_err(|_| InvalidPortion)
        }
        _ => Err(InvalidPortion),
    };
    let part = match part.len() {
        1 => digits(part)? * 10,
        2 => digits(part)?,
        _ => return Err(InvalidPortion),
    };
    let all = u32::from(digits(whole)?) * 100 + u32::from(part);
    u16::try_from(all).ok().filter(|all| *all <= WHOLE).ok_or(InvalidPortion)
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(share) = self.share {
            write!(f, "{}", share / 100)?;
            match share % 100 {
                0 => {}
                part if part % 10 == 0 => write!(f, ".{}", part / 10)?,
                part => write!(f, ".{part:02}")?,
            }
            f.write_str("%")?;
        }
        match (self.share, self.most) {
            (Some(_), Some(most)) => write!(f, " up to {most}"),
            (None, Some(most)) => write!(f, "{most}"),
            (_, None) => Ok(()),
        }
    }
}

impl Serialize for Portion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Portion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_portion_is_a_size_a_share_or_the_smaller_of_the_two() {
        let of = |text: &str, whole| text.parse::<Portion>().unwrap().of(whole);
        assert_eq!(of("2GiB", 10 << 30), 2 << 30);
        assert_eq!(of("5%", 1000), 50);
        assert_eq!(of("2.5%", 1000), 25);
        assert_eq!(of("0.25 %", 10_000), 25);
        assert_eq!(of("5% up to 2GiB", 10 << 30), (10 << 30) / 20);
        assert_eq!(of("5% up to 2GiB", 1 << 40), 2 << 30);
        assert_eq!(of("100%", u64::MAX), u64::MAX);
        assert_eq!(Portion::percent_up_to(5, Size::gib(2)).to_string(), "5% up to 2GiB");
    }

    #[test]
    fn what_is_no_portion_is_refused() {
        for text in
            ["", "%", "101%", "-1%", "5%2GiB", "5% or 2GiB", "5% up to", "5.123%", "1.%", "+5%", "five"]
        {
            assert_eq!(text.parse::<Portion>(), Err(InvalidPortion), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_portion_reads_back_as_it_was_written(share in proptest::option::of(0..=WHOLE), most: u64) {
            for most in [Some(Size::from_bytes(most)), None] {
                let portion = Portion { share, most };
                if share.is_some() || most.is_some() {
                    prop_assert_eq!(portion.to_string().parse(), Ok(portion));
                }
            }
        }
    }
}
