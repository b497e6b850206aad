//! The segments that a writer appends to: opened when needed, synced once a batch, abandoned after a failure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use crash::{CrashId, Place};
use jiff::Timestamp;

use crate::{
    Error,
    content::Encoded,
    disk::Disk,
    header::{self, Header},
    layout::{Layout, Slot, segment_name},
    lock::{SegmentLock, WriterLock},
    record::{self, Lines},
    segment::Segment,
    tail,
};

/// When segments are begun and closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// A segment of this size is continued under the next number.
    pub(crate) segment_bytes: u64,
    /// So many are open at a time; the one that was not used for longest is closed for another.
    pub(crate) open: usize,
    /// One that was not used for so long is closed.
    pub(crate) idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 1 << 30, open: 64, idle: Duration::from_secs(120) }
    }
}

/// A frame on its way into a segment.
pub(crate) struct Frame {
    pub(crate) id: CrashId,
    pub(crate) attempt: u16,
    pub(crate) flags: u32,
    pub(crate) encoded: Encoded,
}

/// A segment that is open for appending.
struct Open {
    file: File,
    path: PathBuf,
    number: u32,
    /// Everything before this is durable.
    len: u64,
    /// When the last frame was saved, in microseconds.
    saved_at: i64,
    used: Instant,
    /// Made by this writer, and its folders are not synced yet.
    fresh: bool,
}

impl Open {
    /// A time that is later than all before it in this segment, whatever the clock does: of several frames of one
    /// crash the latest wins, and one writer puts them all here.
    fn now(&mut self) -> Timestamp {
        self.saved_at = Timestamp::now().as_microsecond().max(self.saved_at.saturating_add(1));
        Timestamp::from_microsecond(self.saved_at).unwrap_or(Timestamp::MAX)
    }
}

/// Why a segment could not be appended to.
enum Failure {
    /// Its day was dropped while it was open. Another segment will do.
    Gone,
    Failed(Error),
}

pub(crate) struct Appender {
    layout: Layout,
    disk: Box<dyn Disk>,
    lock: WriterLock,
    limits: Limits,
    open: HashMap<Slot, Open>,
    /// The highest number that is not to be appended to any more.
    sealed: BTreeMap<Slot, u32>,
    /// Folders whose sync failed: the next one would succeed and mean nothing.
    untrusted: BTreeSet<PathBuf>,
}

impl Appender {
    pub(crate) fn new(
        layout: Layout,
        disk: Box<dyn Disk>,
        lock: WriterLock,
        limits: Limits,
        kept: &Lines,
    ) -> Self {
        Self {
            layout,
            disk,
            lock,
            limits,
            open: HashMap::new(),
            sealed: record::sealed(kept),
            untrusted: BTreeSet::new(),
        }
    }

    /// Appends frames to the segment of an area and minute and makes them durable: all of them, or none as far as the
    /// caller may say. A failure abandons the segment, and the frames are tried once more on a new one.
    pub(crate) fn save(&mut self, slot: Slot, frames: &mut [&mut Frame]) -> Result<Vec<Place>, Error> {
        match self.save_once(slot, frames) {
            Ok(places) => Ok(places),
            // A new segment needs room too.
            Err(Failure::Failed(error @ Error::NoSpace { .. })) => Err(error),
            Err(failure) => {
                if let Failure::Failed(error) = &failure {
                    tracing::warn!(
                        area = %slot.0, minute = %slot.1, error = error as &dyn std::error::Error,
                        "a segment was abandoned after a failure; its batch goes to a new one"
                    );
                }
                self.save_once(slot, frames).map_err(|again| match again {
                    Failure::Failed(error) => error,
                    Failure::Gone => {
                        let gone = io::Error::new(io::ErrorKind::NotFound, "the folder was dropped twice");
                        Error::io(format!("appending to {}", self.layout.minute(slot).display()), gone)
                    }
                })
            }
        }
    }

    fn save_once(&mut self, slot: Slot, frames: &mut [&mut Frame]) -> Result<Vec<Place>, Failure> {
        let mut segment = self.take(slot).map_err(Failure::Failed)?;
        match self.append(slot, &mut segment, frames) {
            Ok(offsets) => {
                let name = segment_name(&self.lock.name, segment.number);
                segment.used = Instant::now();
                self.open.insert(slot, segment);
                Ok(offsets.into_iter().map(|offset| Place { segment: name.clone(), offset }).collect())
            }
            Err(Failure::Gone) => Err(Failure::Gone),
            Err(failure) => {
                self.abandon(slot, &segment);
                Err(failure)
            }
        }
    }

    fn append(
        &mut self,
        slot: Slot,
        segment: &mut Open,
        frames: &mut [&mut Frame],
    ) -> Result<Vec<u64>, Failure> {
        let failed = |what: &str, path: &PathBuf, source| {
            Failure::Failed(Error::io(format!("{what} {}", path.display()), source))
        };
        let batch = segment.len;
        let mut offset = batch;
        let mut offsets = Vec::with_capacity(frames.len());
        for frame in frames {
            let header = Header {
                version: header::VERSION,
                attempt: frame.attempt,
                id: frame.id,
                saved_at: segment.now(),
                offset,
                batch,
                flags: frame.flags,
                frame_len: frame.encoded.len(),
                frame_crc: frame.encoded.crc(),
                len: header::len_at(offset),
            };
            let bytes = frame.encoded.with_header(&header);
            self.disk
                .write(&segment.file, &segment.path, bytes, offset)
                .map_err(|error| failed("appending to", &segment.path, error))?;
            offsets.push(offset);
            offset = header.end();
        }

        self.disk
            .sync(&segment.file, &segment.path)
            .map_err(|error| failed("syncing", &segment.path, error))?;
        if segment.fresh {
            self.sync_folders(slot)?;
        }
        // A file without a name is one that nobody will read: its day was dropped while we wrote.
        let links =
            segment.file.metadata().map_err(|error| failed("looking at", &segment.path, error))?.nlink();
        if links == 0 {
            return Err(Failure::Gone);
        }
        segment.len = offset;
        segment.fresh = false;
        Ok(offsets)
    }

    /// The folders that may be new with a segment, from the inside out. All are synced whoever made them: the process
    /// that did may not have come to it yet.
    fn folders(&self, (area, minute): Slot) -> [PathBuf; 4] {
        [
            self.layout.minute((area, minute)),
            self.layout.day(area, minute.day()),
            self.layout.area(area),
            self.layout.root().to_owned(),
        ]
    }

    fn sync_folders(&mut self, slot: Slot) -> Result<(), Failure> {
        for path in self.folders(slot) {
            let failed =
                |error| Failure::Failed(Error::io(format!("syncing the folder {}", path.display()), error));
            let folder = match File::open(&path) {
                Ok(folder) => folder,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Failure::Gone),
                Err(error) => return Err(failed(error)),
            };
            if let Err(error) = self.disk.sync_folder(&folder, &path) {
                let failure = failed(error);
                self.untrusted.insert(path);
                return Err(failure);
            }
        }
        Ok(())
    }

    /// The open segment of an area and minute, or another one that is opened or begun.
    fn take(&mut self, slot: Slot) -> Result<Open, Error> {
        let full = match self.open.remove(&slot) {
            Some(open) if open.len < self.limits.segment_bytes => return Ok(open),
            full => full,
        };
        if let Some(path) = self.folders(slot).into_iter().find(|folder| self.untrusted.contains(folder)) {
            return Err(Error::UntrustedFolder { path });
        }
        self.make_room();
        if let Some(full) = full {
            return self.begin(slot, full.number + 1, full.saved_at);
        }

        let failed =
            |error| Error::io(format!("opening a segment in {}", self.layout.minute(slot).display()), error);
        let highest = self.layout.highest(slot, &self.lock.name).map_err(failed)?;
        let sealed = self.sealed.get(&slot).copied();
        if let Some(number) = highest.filter(|number| Some(*number) > sealed)
            && let Some(open) = self.resume(slot, number)?
        {
            return Ok(open);
        }
        let number = highest.max(sealed).map_or(0, |number| number + 1);
        self.begin(slot, number, 0)
    }

    /// Goes on with a segment that was closed in order, unless it is full or does not read as it should.
    fn resume(&mut self, slot: Slot, number: u32) -> Result<Option<Open>, Error> {
        let path = self.layout.segment(slot, &segment_name(&self.lock.name, number));
        let failed = |error| Error::io(format!("reopening {}", path.display()), error);
        self.note(slot, number)?;
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let segment = Segment::of(file, path.clone());
        let Some(resumed) = tail::resume(&mut *self.disk, &segment).map_err(failed)? else { return Ok(None) };
        if resumed.len >= self.limits.segment_bytes {
            return Ok(None);
        }
        Ok(Some(Open {
            file: segment.into_file(),
            path,
            number,
            len: resumed.len,
            saved_at: resumed.saved_at,
            used: Instant::now(),
            fresh: resumed.len == 0,
        }))
    }

    /// Begins a new segment. Its folders are synced with its first batch.
    fn begin(&mut self, slot: Slot, number: u32, saved_at: i64) -> Result<Open, Error> {
        let path = self.layout.segment(slot, &segment_name(&self.lock.name, number));
        self.note(slot, number)?;
        let folder = self.layout.minute(slot);
        let created = self.disk.create_folder(&folder).and_then(|()| self.disk.create(&path));
        let created = match created {
            // The day was dropped between the two.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk.create_folder(&folder).and_then(|()| self.disk.create(&path))
            }
            created => created,
        };
        let file =
            created.map_err(|error| Error::io(format!("beginning the segment {}", path.display()), error))?;
        Ok(Open { file, path, number, len: 0, saved_at, used: Instant::now(), fresh: true })
    }

    /// Records that a segment is about to be appended to.
    fn note(&mut self, slot: Slot, number: u32) -> Result<(), Error> {
        let mut lines = self.lines();
        lines.insert((slot, number));
        record::write(&mut *self.disk, &self.layout, &self.lock.name, &lines)
    }

    fn lines(&self) -> Lines {
        let open = self.open.iter().map(|(slot, open)| (*slot, open.number));
        // A segment with a higher number keeps the writer away from the sealed ones.
        let sealed = self.sealed.iter().filter(|(slot, _)| !self.open.contains_key(slot));
        open.chain(sealed.map(|(slot, number)| (*slot, *number))).collect()
    }

    /// Leaves a segment alone for good: after a failed sync the system may believe bytes durable that are not.
    fn abandon(&mut self, slot: Slot, segment: &Open) {
        let path = segment.path.display().to_string();
        let tidied = if segment.len == 0 {
            // Nothing was answered from it, so the number is free again once the file is gone.
            self.disk.remove(&segment.path)
        } else {
            // Readers need not see what was not answered.
            SegmentLock::take(&segment.file)
                .and_then(|_lock| self.disk.cut(&segment.file, &segment.path, segment.len))
        };
        if let Err(error) = &tidied {
            tracing::warn!(segment = path, %error, "what was not answered is still in an abandoned segment");
        }
        if segment.len > 0 || tidied.is_err() {
            self.sealed.insert(slot, segment.number);
        }
    }

    /// Closes the segments that were used longest ago, until there is room for another.
    fn make_room(&mut self) {
        while self.open.len() >= self.limits.open {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.used).map(|(slot, _)| *slot);
            let Some(slot) = oldest else { return };
            self.open.remove(&slot);
        }
    }

    /// Closes the segments that were not used for a while.
    pub(crate) fn close_idle(&mut self) {
        let before = self.open.len();
        let idle = self.limits.idle;
        self.open.retain(|_, open| open.used.elapsed() < idle);
        if self.open.len() < before {
            self.write_record();
        }
    }

    /// Closes all segments, in order, and gives the writer's name back.
    pub(crate) fn close(mut self) {
        self.open.clear();
        self.write_record();
    }

    /// Takes closed segments out of the record. Where that fails they are passed over at the next start, no more.
    fn write_record(&mut self) {
        let lines = self.lines();
        if let Err(error) = record::write(&mut *self.disk, &self.layout, &self.lock.name, &lines) {
            tracing::warn!(error = &error as &dyn std::error::Error, "the writer's record was not renewed");
        }
    }
}
