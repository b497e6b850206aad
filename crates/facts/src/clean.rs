//! Making what a client sent fit for a row: text without NUL and of a bounded length, numbers within their column's range.

use std::borrow::Cow;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// What stands for a NUL, which PostgreSQL can hold in no text.
const REPLACEMENT: &str = "\u{fffd}";
/// Between the beginning of a cut name and its fingerprint.
const CUT: char = '~';

/// Text that PostgreSQL takes.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', REPLACEMENT)) } else { Cow::Borrowed(text) }
}

/// The text's beginning, of at most `bytes` bytes.
pub(crate) fn beginning(original: &str, bytes: usize) -> String {
    let text = text(original);
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default().to_owned()
}

/// A name of at most `bytes` bytes: when it is longer its end gives way to a fingerprint, so that names stay distinct.
///
/// Names are bounded because an index takes entries of up to 2,704 bytes only.
pub(crate) fn name(original: &str, bytes: usize) -> String {
    if text(original).len() <= bytes {
        return text(original).into_owned();
    }
    let fingerprint: String =
        Sha256::digest(original).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut name = beginning(original, bytes.saturating_sub(fingerprint.len() + 1));
    name.push(CUT);
    name + &fingerprint
}

/// The same, or `unknown` when there is no name.
pub(crate) fn name_or(original: &str, bytes: usize, unknown: &str) -> String {
    let trimmed = original.trim();
    if trimmed.is_empty() { unknown.to_owned() } else { name(trimmed, bytes) }
}

/// What was wrong with values, for the notes of a crash. Keys are named and values never.
#[derive(Debug, Default)]
pub(crate) struct Complaints(pub(crate) Vec<String>);

impl Complaints {
    pub(crate) fn add(&mut self, complaint: impl Into<String>) {
        self.0.push(format!("facts: {}", complaint.into()));
    }

    /// A number for a column of a smaller type; nothing when it does not fit.
    pub(crate) fn fit<W: Copy, N: TryFrom<W>>(&mut self, key: &str, number: Option<W>) -> Option<N> {
        let fitting = number.map(N::try_from)?;
        if fitting.is_err() {
            self.add(format!("{key} is out of range"));
        }
        fitting.ok()
    }

    /// A time by a client's clock; nothing when no calendar of ours reaches that far.
    pub(crate) fn time(&mut self, key: &str, time: Option<Timestamp>) -> Option<Timestamp> {
        let plausible = time.filter(|time| is_plausible(*time));
        if plausible != time {
            self.add(format!("{key} is out of range"));
        }
        plausible
    }

    /// A share in (0, 1], as exact as its column.
    pub(crate) fn share(&mut self, key: &str, share: f64) -> f64 {
        /// The smallest that the column holds.
        const SMALLEST: f64 = 0.000_001;
        if share > 0.0 && share <= 1.0 {
            return share.max(SMALLEST);
        }
        self.add(format!("{key} is no share"));
        1.0
    }
}

/// Whether a time is within 1970 to 2199; both our types and PostgreSQL's reach further, but not equally far.
pub(crate) fn is_plausible(time: Timestamp) -> bool {
    (0..7_258_118_400).contains(&time.as_second())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_never_longer_than_it_may_be_and_holds_no_nul(text: String, bytes in 16usize..64) {
            let name = name(&text, bytes);
            prop_assert!(name.len() <= bytes && !name.contains('\0'));
            prop_assert!(beginning(&text, bytes).len() <= bytes);
        }

        #[test]
        fn long_names_that_differ_at_the_end_stay_distinct(text in ".{64}", end in "[a-z]{1,3}") {
            prop_assert_ne!(name(&text, 32), name(&format!("{text}{end}"), 32));
        }
    }

    #[test]
    fn a_number_that_does_not_fit_is_dropped_and_its_key_is_named() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.fit::<u64, i32>("uptime", Some(7)), Some(7));
        assert_eq!(complaints.fit::<u64, i32>("uptime", Some(u64::MAX)), None);
        assert_eq!(complaints.fit::<u64, i32>("age", None), None);
        assert_eq!(complaints.0, ["facts: uptime is out of range"]);
    }

    #[test]
    fn a_share_is_above_zero_and_at_most_one() {
        let mut complaints = Complaints::default();
        for (share, taken) in
            [(0.25, 0.25), (1.0, 1.0), (1e-9, 0.000_001), (0.0, 1.0), (f64::NAN, 1.0), (7.0, 1.0)]
        {
            assert_eq!(complaints.share("sample_rate", share), taken, "{share}");
        }
        assert_eq!(complaints.0.len(), 3);
    }
}
