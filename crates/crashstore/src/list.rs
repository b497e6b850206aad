//! What is in the store: minutes, frames, and damage.

use std::path::PathBuf;

use crash::{CrashId, Minute, Place};
use jiff::Timestamp;

use crate::{
    Area, Error,
    layout::Slot,
    local::LocalStore,
    segment::{Scan, Segment, Tail},
};

/// One frame of a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The crash.
    pub id: CrashId,
    /// The area in which it is; area and the id's minute name the folder.
    pub area: Area,
    /// Segment and offset in that folder.
    pub place: Place,
    /// When it was saved. Of several frames in an area the latest counts.
    pub saved_at: Timestamp,
    /// Of a processed crash, which attempt gave it; else 0.
    pub attempt: u16,
    /// Its compressed size.
    pub bytes: u64,
    /// Whether its content was erased.
    pub erased: bool,
}

/// Bytes of a segment that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's path.
    pub segment: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How many bytes it takes.
    pub bytes: u64,
    /// The crash, if its header can be read.
    pub id: Option<CrashId>,
    /// What is wrong, for people.
    pub what: &'static str,
}

/// A segment and all of its headers.
pub(crate) struct SegmentScan {
    pub(crate) name: String,
    pub(crate) segment: Segment,
    pub(crate) scan: Scan,
}

impl LocalStore {
    /// The minutes that an area has folders for, in their order.
    pub(crate) fn minutes(&self, area: Area) -> Result<Vec<Minute>, Error> {
        let layout = self.layout();
        layout
            .minutes(area)
            .map_err(|error| Error::io(format!("listing {}", layout.area(area).display()), error))
    }

    /// The minutes between two, both included, that an area has folders for.
    pub(crate) fn minutes_between(
        &self,
        area: Area,
        first: Minute,
        last: Minute,
    ) -> Result<Vec<Minute>, Error> {
        let layout = self.layout();
        layout
            .minutes_between(area, first, last)
            .map_err(|error| Error::io(format!("listing {}", layout.area(area).display()), error))
    }

    /// The minutes before one that have a segment which was written since then.
    pub(crate) fn written_since(
        &self,
        area: Area,
        until: Minute,
        since: Timestamp,
    ) -> Result<Vec<(Minute, Timestamp)>, Error> {
        let layout = self.layout();
        layout
            .written_since(area, until, since)
            .map_err(|error| Error::io(format!("looking through {}", layout.area(area).display()), error))
    }

    /// The frames of an area in one minute, in the order in which each segment has them. Only headers are read.
    pub(crate) fn list(&self, area: Area, minute: Minute) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for SegmentScan { name, scan, .. } in self.scan((area, minute))? {
            found.extend(scan.entries.iter().map(|entry| Found {
                id: entry.header.id,
                area,
                place: Place { segment: name.clone(), offset: entry.header.offset },
                saved_at: entry.header.saved_at,
                attempt: entry.header.attempt,
                bytes: entry.header.frame_len.into(),
                erased: entry.erased,
            }));
        }
        Ok(found)
    }

    /// Reads every byte of an area in one minute and says what is not as it was written. An unfinished tail is no
    /// damage while its writer may come back for it.
    pub(crate) fn check(&self, area: Area, minute: Minute) -> Result<Vec<Damage>, Error> {
        let slot = (area, minute);
        let mut damage = Vec::new();
        for scanned in self.scan(slot)? {
            let failed = |error| Error::io(format!("checking {}", scanned.segment.path().display()), error);
            let found = scanned.damage().map_err(failed)?;
            // Asked after the reading: a writer that ended meanwhile has cut the tail.
            let from = if self.may_be_torn(slot, &scanned.name)? { scanned.scan.durable } else { u64::MAX };
            damage.extend(found.into_iter().filter(|damage| damage.offset < from));
        }
        Ok(damage)
    }

    /// Reads the headers of all segments of an area and minute.
    pub(crate) fn scan(&self, slot: Slot) -> Result<Vec<SegmentScan>, Error> {
        let layout = self.layout();
        let folder = layout.minute(slot);
        let names = layout
            .segments(slot)
            .map_err(|error| Error::io(format!("listing {}", folder.display()), error))?;
        let mut scans = Vec::with_capacity(names.len());
        for name in names {
            let path = layout.segment(slot, &name);
            let failed = |error| Error::io(format!("reading {}", path.display()), error);
            let Some(segment) = Segment::open(path.clone()).map_err(failed)? else { continue };
            let scan = segment.scan().map_err(failed)?;
            scans.push(SegmentScan { name, segment, scan });
        }
        Ok(scans)
    }
}

impl SegmentScan {
    /// All that is not as it was written, the tail included.
    fn damage(&self) -> std::io::Result<Vec<Damage>> {
        let damage = |offset, bytes, id, what| Damage {
            segment: self.segment.path().to_owned(),
            offset,
            bytes,
            id,
            what,
        };
        let mut found = Vec::new();
        for gap in &self.scan.gaps {
            found.push(damage(gap.start, gap.end - gap.start, None, "no header that can be read"));
        }
        for entry in &self.scan.entries {
            // Looked at again: it may have been erased, or its tail cut, while it was read.
            if !self.segment.is_whole(entry)?
                && let Some(entry) = self.segment.entry(entry.header.offset)?
                && !entry.erased
            {
                let (offset, bytes) = (entry.header.offset, entry.header.end() - entry.header.offset);
                found.push(damage(offset, bytes, Some(entry.header.id), "the frame's checksum is wrong"));
            }
        }
        let tail = match self.scan.tail {
            Tail::None => None,
            Tail::Unfinished => Some("the segment ends inside a frame"),
            Tail::Unreadable => Some("no header that can be read"),
        };
        if let Some(what) = tail {
            let bytes = self.segment.len()?.saturating_sub(self.scan.end);
            found.push(damage(self.scan.end, bytes, None, what));
        }
        found.sort_by_key(|damage| damage.offset);
        Ok(found)
    }
}
