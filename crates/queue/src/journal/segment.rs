//! Segments: text files with a line an id.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crash::QueueName;
use serde::{Deserialize, Serialize};

use crate::message::Message;

const ENDING: &str = "journal";
const CHECKSUM_DIGITS: usize = 8;
/// No line of ours is longer; a file of another kind must not be read into memory to find its first line's end.
const LONGEST_LINE: u64 = 64 * 1024;

/// A line of the journal: what is to be published where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) queue: QueueName,
    #[serde(flatten)]
    pub(crate) message: Message,
}

impl Entry {
    pub(crate) fn line(&self) -> String {
        let json = serde_json::to_string(self).expect("plain fields are JSON");
        format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()))
    }

    /// `None` for a line that was torn or damaged.
    fn read(line: &[u8]) -> Option<Self> {
        let (checksum, rest) = line.split_at_checked(CHECKSUM_DIGITS)?;
        let json = rest.strip_prefix(b" ")?;
        let expected = u32::from_str_radix(std::str::from_utf8(checksum).ok()?, 16).ok()?;
        if crc32fast::hash(json) != expected {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

/// What one look into a segment found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) entries: Vec<Entry>,
    /// Lines that say nothing any more.
    pub(crate) damaged: u64,
    /// Where the next look begins; `None` at the end.
    pub(crate) next: Option<u64>,
}

/// Reads up to `most` lines from `offset` on. A damaged line is passed over; what has no end was never promised.
pub(crate) fn read(path: &Path, offset: u64, most: usize) -> io::Result<Window> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut file = BufReader::new(file);
    let mut window = Window::default();
    let mut position = offset;
    let mut line = Vec::new();
    for _ in 0..most {
        line.clear();
        let length = io::Read::take(&mut file, LONGEST_LINE).read_until(b'\n', &mut line)?;
        position += u64::try_from(length).unwrap_or(u64::MAX);
        if length == 0 {
            return Ok(window);
        }
        match line.strip_suffix(b"\n").and_then(Entry::read) {
            Some(entry) => window.entries.push(entry),
            None => window.damaged += 1,
        }
    }
    window.next = Some(position);
    Ok(window)
}

/// The segment with this number.
pub(crate) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016}.{ENDING}"))
}

/// The numbers of the segments in a folder, the oldest first.
pub(crate) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|ending| ending == ENDING)
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(second: u32) -> Entry {
        let crash_id = format!("{second:05x}2a3-5c1f-4c0e-9d5a-2f1b60261123").parse().unwrap();
        Entry {
            queue: QueueName::Standard,
            message: Message::new(crash_id, "2026-11-23T10:00:00Z".parse().unwrap()),
        }
    }

    fn written(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), 1);
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_segment_cut_at_any_byte_gives_every_whole_line_and_nothing_else() {
        let lines: Vec<String> = (1..4).map(|second| entry(second).line()).collect();
        let text = lines.concat();
        for cut in 0..=text.len() {
            let (_folder, path) = written(&text.as_bytes()[..cut]);
            let whole = text[..cut].matches('\n').count();
            let window = read(&path, 0, 10).unwrap();
            assert_eq!(window.entries, (1..4).map(entry).take(whole).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(window.next, None);
        }
    }

    #[test]
    fn a_damaged_line_costs_itself_alone() {
        let mut text = [entry(1).line(), entry(2).line(), entry(3).line()].concat().into_bytes();
        let middle = text.len() / 2;
        text[middle] ^= 1;
        let (_folder, path) = written(&text);
        let window = read(&path, 0, 10).unwrap();
        assert_eq!((window.entries, window.damaged), (vec![entry(1), entry(3)], 1));
    }

    #[test]
    fn a_tail_of_zeros_is_a_torn_tail() {
        let mut text = entry(1).line().into_bytes();
        text.extend([0; 300_000]);
        let (_folder, path) = written(&text);
        let window = read(&path, 0, 100).unwrap();
        assert_eq!((window.entries, window.next), (vec![entry(1)], None));
    }

    #[test]
    fn windows_follow_one_another() {
        let (_folder, path) =
            written([entry(1).line(), entry(2).line(), entry(3).line()].concat().as_bytes());
        let first = read(&path, 0, 2).unwrap();
        assert_eq!(first.entries, [entry(1), entry(2)]);
        let second = read(&path, first.next.unwrap(), 2).unwrap();
        assert_eq!((second.entries, second.next), (vec![entry(3)], None));
    }

    #[test]
    fn segments_are_found_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["0000000000000010.journal", "0000000000000009.journal", "lock", "x.journal"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(numbers(folder.path()).unwrap(), [9, 10]);
    }
}
