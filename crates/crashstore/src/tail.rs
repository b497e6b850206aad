//! Torn tails: what a writer left that was killed in the middle of a batch.
//!
//! Every header says where its batch begins, and a batch is only begun when the one before it is durable. So the
//! latest batch that a segment knows of is the only one that can be torn, whatever a power cut made of the order of
//! its sectors: frames before it are never looked at and never cut, damaged or not, and from its first frame that is
//! not whole everything goes. Nothing in it was answered, for one sync makes all of a batch durable.

use std::{io, path::PathBuf};

use crate::{
    Error,
    disk::Disk,
    layout::{Layout, segment_name},
    lock::{SegmentLock, WriterLock},
    record::{self, Lines},
    segment::{Scan, Segment, Tail},
};

/// A torn tail that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment's path.
    pub segment: PathBuf,
    /// The length that is left.
    pub at: u64,
    /// How many bytes went.
    pub bytes: u64,
}

/// Cuts the torn tails of the segments in a writer's record, and leaves in the record those that it must go on
/// passing over. Bounded by what the writer had open when it ended; the caller holds the writer's lock.
pub(crate) fn recover(
    disk: &mut dyn Disk,
    layout: &Layout,
    lock: &WriterLock,
) -> Result<(Lines, Vec<Cut>), Error> {
    let writer = &lock.name;
    let found = record::read(layout, writer)?;
    let (mut kept, mut cuts) = (Lines::new(), Vec::new());
    for &(slot, number) in &found {
        let path = layout.segment(slot, &segment_name(writer, number));
        match cut_torn(disk, path.clone()) {
            // Gone: never made, or dropped with its day.
            Ok(None) => continue,
            Ok(Some(cut)) => cuts.extend(cut),
            // It is passed over from now on, so its tail is in nobody's way.
            Err(error) => {
                tracing::warn!(segment = %path.display(), %error, "the torn tail of a segment could not be cut");
            }
        }
        // A later segment keeps the writer away from this one without a line.
        let superseded = layout.highest(slot, writer).is_ok_and(|highest| highest > Some(number));
        if path.exists() && !superseded {
            kept.insert((slot, number));
        }
    }
    if kept != found {
        record::write(disk, layout, writer, &kept)?;
    }
    for cut in &cuts {
        tracing::info!(segment = %cut.segment.display(), at = cut.at, bytes = cut.bytes, "a torn tail was cut off");
    }
    Ok((kept, cuts))
}

/// Cuts the segment of a writer that was killed. The outer nothing: there is no segment.
fn cut_torn(disk: &mut dyn Disk, path: PathBuf) -> io::Result<Option<Option<Cut>>> {
    if !path.exists() {
        return Ok(None);
    }
    let segment = Segment::of(disk.open(&path)?, path);
    let _lock = SegmentLock::take(segment.file())?;
    let scan = segment.scan()?;
    let Some(at) = torn_from(&segment, &scan)? else { return Ok(Some(None)) };
    let bytes = segment.len()?.saturating_sub(at);
    if at == 0 {
        // Not one whole frame: other tools would take an empty file for a damaged one.
        disk.remove(segment.path())?;
    } else {
        disk.cut(segment.file(), segment.path(), at)?;
        disk.sync(segment.file(), segment.path())?;
    }
    // Removing an empty segment cuts nothing.
    Ok(Some((bytes > 0).then(|| Cut { segment: segment.path().to_owned(), at, bytes })))
}

/// Where the first thing stands that is not whole and was never answered.
fn torn_from(segment: &Segment, scan: &Scan) -> io::Result<Option<u64>> {
    let mut torn = (scan.tail != Tail::None || scan.entries.is_empty()).then_some(scan.end);
    if let Some(gap) = scan.gaps.iter().find(|gap| gap.start >= scan.durable) {
        torn = Some(gap.start);
    }
    for entry in scan.entries.iter().filter(|entry| entry.header.offset >= scan.durable) {
        if torn.is_some_and(|torn| torn <= entry.header.offset) {
            break;
        }
        if !segment.is_whole(entry)? {
            return Ok(Some(entry.header.offset));
        }
    }
    Ok(torn)
}

/// The length at which a writer may go on with a segment that it once closed in order. Nothing when it should rather
/// begin a new one.
///
/// What is cut here is what surely was never answered: zeros, or the beginning of a frame. Other bytes that cannot be
/// read may be a damaged frame, and stay for whoever wants to look.
pub(crate) fn resume(disk: &mut dyn Disk, segment: &Segment) -> io::Result<Option<Resumed>> {
    let _lock = SegmentLock::take(segment.file())?;
    let scan = segment.scan()?;
    let sound = scan.gaps.is_empty() && scan.tail != Tail::Unreadable;
    if !sound || torn_from(segment, &scan)?.is_some_and(|torn| torn < scan.end) {
        return Ok(None);
    }
    if scan.tail == Tail::Unfinished {
        disk.cut(segment.file(), segment.path(), scan.end)?;
        disk.sync(segment.file(), segment.path())?;
    }
    let saved_at = scan.entries.iter().map(|entry| entry.header.saved_at.as_microsecond()).max();
    Ok(Some(Resumed { len: scan.end, saved_at: saved_at.unwrap_or(0) }))
}

/// Where and when a segment goes on.
pub(crate) struct Resumed {
    pub(crate) len: u64,
    /// The latest time at which a frame of it was saved, in microseconds.
    pub(crate) saved_at: i64,
}
