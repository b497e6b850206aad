//! Areas, folders and file names: where a segment is.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use crash::Minute;
use jiff::{Timestamp, civil::Date};

/// One of the three parts of the store, each with a retention of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// Raw crashes: `crash.json` and the dumps.
    Raw,
    /// The annotations of raw crashes that can identify a person.
    Private,
    /// Processed crashes.
    Processed,
}

/// A text that names no area.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the areas of the crash store are raw, private and processed")]
pub struct UnknownArea;

impl Area {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Private, Self::Processed];

    /// The name of the area, which is that of its folder.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Private => "private",
            Self::Processed => "processed",
        }
    }

    /// What the file names of the area's segments, and the names of its objects, end with.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Raw => ".tar.zst",
            Self::Private | Self::Processed => ".json.zst",
        }
    }
}

impl fmt::Display for Area {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Area {
    type Err = UnknownArea;

    fn from_str(text: &str) -> Result<Self, UnknownArea> {
        Self::ALL.into_iter().find(|area| area.as_str() == text).ok_or(UnknownArea)
    }
}

/// Where a writer's segments of one area and minute are, but for their number.
pub(crate) type Slot = (Area, Minute);

/// The longest name of a writer; the rest of a file name's 255 bytes is for numbers and endings.
const MAX_NAME: usize = 100;

/// Whether `name` may name a writer.
pub(crate) fn is_writer_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The name of a writer's segment: the writer's own for number 0, then `+1`, `+2` and so on.
pub(crate) fn segment_name(writer: &str, number: u32) -> String {
    if number == 0 { writer.to_owned() } else { format!("{writer}+{number}") }
}

/// Reads [`segment_name`]: the writer and the number. Nothing for a name that no writer gives.
pub(crate) fn parse_segment_name(name: &str) -> Option<(&str, u32)> {
    let (writer, number) = match name.split_once('+') {
        None => (name, 0),
        Some((writer, digits)) => {
            let number = digits.parse().ok().filter(|number: &u32| *number > 0)?;
            // One name a number: neither "+01" nor "++1".
            (writer, (digits == number.to_string()).then_some(number)?)
        }
    };
    is_writer_name(writer).then_some((writer, number))
}

/// The folders of one store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn area(&self, area: Area) -> PathBuf {
        self.root.join(area.as_str())
    }

    pub(crate) fn day(&self, area: Area, day: Date) -> PathBuf {
        self.area(area).join(day.strftime("%Y%m%d").to_string())
    }

    pub(crate) fn minute(&self, (area, minute): Slot) -> PathBuf {
        self.area(area).join(minute.day_folder()).join(minute.minute_folder())
    }

    pub(crate) fn segment(&self, slot: Slot, name: &str) -> PathBuf {
        self.minute(slot).join(format!("{name}{}", slot.0.ending()))
    }

    /// Locks and records of the writers.
    pub(crate) fn writers(&self) -> PathBuf {
        self.root.join("writers")
    }

    pub(crate) fn lock(&self, writer: &str) -> PathBuf {
        self.writers().join(format!("{writer}.lock"))
    }

    pub(crate) fn record(&self, writer: &str) -> PathBuf {
        self.writers().join(format!("{writer}.segments"))
    }

    /// The names of all segments of an area in a minute, in the order of the names; none when the folder is gone.
    pub(crate) fn segments(&self, slot: Slot) -> io::Result<Vec<String>> {
        let ending = slot.0.ending();
        let mut names = names(&self.minute(slot))?;
        names.retain_mut(|name| {
            let Some(stem) = name.strip_suffix(ending) else { return false };
            let (known, len) = (parse_segment_name(stem).is_some(), stem.len());
            name.truncate(len);
            known
        });
        Ok(names)
    }

    /// The highest number of a writer's segments in an area and minute.
    pub(crate) fn highest(&self, slot: Slot, writer: &str) -> io::Result<Option<u32>> {
        let names = self.segments(slot)?;
        let own = names.iter().filter_map(|name| parse_segment_name(name));
        Ok(own.filter(|(name, _)| *name == writer).map(|(_, number)| number).max())
    }

    /// All minutes for which the area has a folder, in their order.
    pub(crate) fn minutes(&self, area: Area) -> io::Result<Vec<Minute>> {
        self.minutes_of(area, |_| true)
    }

    /// The minutes between two, both included, for which the area has a folder. Days outside are not looked into.
    pub(crate) fn minutes_between(&self, area: Area, first: Minute, last: Minute) -> io::Result<Vec<Minute>> {
        let days = first.day_folder()..=last.day_folder();
        let mut minutes = self.minutes_of(area, |day| days.contains(day))?;
        minutes.retain(|minute| (first..=last).contains(minute));
        Ok(minutes)
    }

    /// The minutes before one that have a segment which was written since then, each with the latest time. Nothing is
    /// opened.
    pub(crate) fn written_since(
        &self,
        area: Area,
        until: Minute,
        since: Timestamp,
    ) -> io::Result<Vec<(Minute, Timestamp)>> {
        let last_day = until.day_folder();
        let mut written = Vec::new();
        for minute in self.minutes_of(area, |day| *day <= last_day)? {
            if minute >= until {
                break;
            }
            let latest = written_last(&self.minute((area, minute)))?;
            written.extend(latest.filter(|latest| *latest >= since).map(|latest| (minute, latest)));
        }
        Ok(written)
    }

    fn minutes_of(&self, area: Area, is_wanted: impl Fn(&String) -> bool) -> io::Result<Vec<Minute>> {
        let mut minutes = Vec::new();
        for day in names(&self.area(area))? {
            if day.len() != 8 || !is_wanted(&day) {
                continue;
            }
            let folders = names(&self.area(area).join(&day))?;
            minutes
                .extend(folders.iter().filter_map(|minute| format!("{day}/{minute}").parse::<Minute>().ok()));
        }
        minutes.sort_unstable();
        Ok(minutes)
    }
}

/// When a file of the folder was last written; nothing for a folder that is empty or gone.
fn written_last(folder: &Path) -> io::Result<Option<Timestamp>> {
    let gone = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(None),
        _ => Err(error),
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return gone(error),
    };
    let mut latest = None;
    for entry in entries {
        match entry?.metadata().and_then(|metadata| metadata.modified()) {
            // A time that no calendar has is later than any other.
            Ok(modified) => {
                latest = latest.max(Some(Timestamp::try_from(modified).unwrap_or(Timestamp::MAX)));
            }
            Err(error) => latest = latest.max(gone(error)?),
        }
    }
    Ok(latest)
}

/// The sorted names in a folder, and none when it is not there: another process may have dropped it just now.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        // Names that are not UTF-8 are none of ours.
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_name_reads_back() {
        for (writer, number) in [("node-1", 0), ("node-1-2", 17), ("a.b_c", u32::MAX)] {
            assert_eq!(parse_segment_name(&segment_name(writer, number)), Some((writer, number)));
        }
    }

    #[test]
    fn a_name_that_no_writer_gives_is_no_segment() {
        for name in
            ["", ".hidden", "a/b", "../x", "a+", "a+0", "a+01", "a++1", "a+1+2", "a+x", "a+-1", "é", "a b"]
        {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }
}
