//! Compaction: superseded frames are taken back.
//!
//! Processing a crash again appends a newer frame, and the older one is of no use any more. It is taken back by what an
//! erasure does (see `erase`): 8 bytes make it skippable, and its bytes go back to the filesystem. So nothing moves:
//! places, open writers and readers stay as they are, and a reader that is in the middle of the frame finds its checksum
//! wrong, looks again, and takes the later one. Of one segment all superseded frames are done with two syncs.
//!
//! The latest frame still decides what becomes of a crash. An older one goes only when the latest one is not erased, is
//! whole by its checksum, is surely on the disk (its batch was followed by another, or its writer has closed the segment),
//! and is old enough that no clock of another machine can have put it there too early.
//!
//! Killed after the first sync, the frames of one segment are skipped by everyone and still take their room, until their
//! day is dropped.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use crash::{CrashId, Minute};
use jiff::Timestamp;
use rustix::fs::{FallocateFlags, fallocate};

use crate::{
    Area, Error, disk,
    header::{HEAD, Header, VERSION},
    layout::Slot,
    list::SegmentScan,
    local::LocalStore,
    lock::SegmentLock,
    segment::{Entry, Segment},
};

/// A smaller frame shares its block with its neighbours, and taking it back frees nothing.
const WORTH_IT: u32 = 4096;
/// How much is written and taken back to see whether the filesystem can.
const PROBE: usize = 64 << 10;

/// What a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compacted {
    /// Minutes whose segments were looked into, for they had changed.
    pub minutes: u64,
    /// Frames that were taken back.
    pub frames: u64,
    /// What the filesystem got back.
    pub bytes: u64,
    /// Where to go on; nothing when the area is done.
    pub next: Option<Minute>,
}

/// Which minutes of an area are compacted.
#[derive(Debug, Clone, Copy)]
pub struct CompactionOrder {
    /// The area.
    pub area: Area,
    /// The first minute to look at; all without.
    pub from: Option<Minute>,
    /// Only minutes of which a segment has changed since then; all without.
    pub changed_since: Option<Timestamp>,
    /// Only frames go whose crash has a later one from before this time.
    pub saved_before: Timestamp,
    /// No further minute is begun after so long.
    pub budget: Duration,
}

impl LocalStore {
    /// Whether the filesystem takes back what is in the middle of a file.
    pub(crate) fn can_compact(&self) -> Result<bool, Error> {
        let path = self.layout().writers().join("compaction.probe");
        let probed = probe(&path);
        // It is made anew each time.
        let _removed = fs::remove_file(&path);
        probed.map_err(|error| {
            Error::io(format!("trying to give back a part of the file {}", path.display()), error)
        })
    }

    /// Takes superseded frames back, minute by minute.
    pub(crate) fn compact(&self, order: &CompactionOrder) -> Result<Compacted, Error> {
        let began = Instant::now();
        let mut compacted = Compacted::default();
        for minute in self.minutes(order.area)? {
            if order.from.is_some_and(|from| minute < from) {
                continue;
            }
            if began.elapsed() > order.budget {
                compacted.next = Some(minute);
                break;
            }
            let slot = (order.area, minute);
            if self.has_changed(slot, order.changed_since)? {
                compacted.minutes += 1;
                self.compact_minute(slot, order.saved_before, &mut compacted)?;
            }
        }
        Ok(compacted)
    }

    fn has_changed(&self, slot: Slot, since: Option<Timestamp>) -> Result<bool, Error> {
        let Some(since) = since.map(SystemTime::from) else { return Ok(true) };
        let layout = self.layout();
        let failed = |error| Error::io(format!("looking at {}", layout.minute(slot).display()), error);
        for name in layout.segments(slot).map_err(failed)? {
            match fs::metadata(layout.segment(slot, &name)).and_then(|metadata| metadata.modified()) {
                Ok(modified) if modified >= since => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(false)
    }

    fn compact_minute(
        &self,
        slot: Slot,
        saved_before: Timestamp,
        compacted: &mut Compacted,
    ) -> Result<(), Error> {
        let scans = self.scan(slot)?;
        let mut superseded = BTreeMap::<PathBuf, Vec<Header>>::new();
        for frames in by_crash(&scans).into_values() {
            let Some(((latest, latest_entry), older)) = frames.split_last() else { continue };
            let going: Vec<_> = older
                .iter()
                .filter(|(_, entry)| !entry.erased && entry.header.frame_len >= WORTH_IT)
                .collect();
            if going.is_empty() || !self.can_be_relied_on(slot, latest, latest_entry, saved_before)? {
                continue;
            }
            for (scanned, entry) in going {
                superseded.entry(scanned.segment.path().to_owned()).or_default().push(entry.header);
            }
        }
        for (path, headers) in superseded {
            let (frames, bytes) = take_back(&path, &headers)
                .map_err(|error| Error::io(format!("compacting {}", path.display()), error))?;
            compacted.frames += frames;
            compacted.bytes += bytes;
        }
        Ok(())
    }

    /// Whether a crash's latest frame may be all that is left of it.
    fn can_be_relied_on(
        &self,
        slot: Slot,
        scanned: &SegmentScan,
        entry: &Entry,
        saved_before: Timestamp,
    ) -> Result<bool, Error> {
        let Header { saved_at, version, offset, .. } = entry.header;
        if entry.erased || saved_at >= saved_before || version > VERSION {
            return Ok(false);
        }
        if offset >= scanned.scan.durable && self.may_be_torn(slot, &scanned.name)? {
            return Ok(false);
        }
        let path = scanned.segment.path();
        let failed = |error| Error::io(format!("reading {}", path.display()), error);
        let is_whole = scanned.segment.is_whole(entry).map_err(failed)?;
        // Nobody has erased it meanwhile.
        let now = scanned.segment.entry(offset).map_err(failed)?;
        Ok(is_whole && now.is_some_and(|now| now.header == entry.header && !now.erased))
    }
}

/// The frames of each crash, the one that counts last.
fn by_crash(scans: &[SegmentScan]) -> BTreeMap<CrashId, Vec<(&SegmentScan, &Entry)>> {
    let mut frames = BTreeMap::<CrashId, Vec<(&SegmentScan, &Entry)>>::new();
    for scanned in scans {
        for entry in &scanned.scan.entries {
            frames.entry(entry.header.id).or_default().push((scanned, entry));
        }
    }
    for of_one in frames.values_mut() {
        of_one.sort_by_key(|(scanned, entry)| (entry.header.saved_at, &scanned.name, entry.header.offset));
    }
    frames
}

/// Takes frames of one segment back; returns how many, and what the filesystem got back.
fn take_back(path: &Path, headers: &[Header]) -> io::Result<(u64, u64)> {
    let file = match disk::options().open(path) {
        Ok(file) => file,
        // Dropped with its day.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, 0)),
        Err(error) => return Err(error),
    };
    let segment = Segment::of(file, path.to_owned());
    let file = segment.file();
    let _lock = SegmentLock::take(file)?;
    let before = file.metadata()?.blocks();
    let mut going = Vec::new();
    for header in headers {
        // Cut off or erased since it was looked at.
        if segment.entry(header.offset)?.is_some_and(|entry| entry.header == *header && !entry.erased) {
            file.write_all_at(&header.erasure(), header.frame_start())?;
            going.push(header);
        }
    }
    // Without this one, a power cut could leave holes in frames that nobody knows to skip.
    file.sync_data()?;
    for header in &going {
        let start = header.frame_start() + HEAD as u64;
        punch(file, start, header.end() - start)?;
    }
    file.sync_data()?;
    let after = file.metadata()?.blocks();
    Ok((going.len() as u64, before.saturating_sub(after) * 512))
}

fn punch(file: &fs::File, start: u64, bytes: u64) -> io::Result<()> {
    Ok(fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, bytes)?)
}

fn probe(path: &Path) -> io::Result<bool> {
    let mut file = fs::File::create(path)?;
    file.write_all(&[1; PROBE])?;
    file.sync_data()?;
    let before = file.metadata()?.blocks();
    match punch(&file, 0, PROBE as u64) {
        Ok(()) => Ok(file.metadata()?.blocks() < before),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
        Err(error) => Err(error),
    }
}
