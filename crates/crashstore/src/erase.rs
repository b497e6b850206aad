//! Erasing one crash.
//!
//! A frame is erased in place: its first 8 bytes become the head of a skippable frame of the same length, in one
//! write to one sector, and are synced; then the rest is given back to the filesystem, or overwritten with zeros. From
//! the first sync on no reader takes the frame for a crash, and every tool that knows zstd skips it. What is killed
//! between the two leaves bytes that are unreachable but there: erasing again finishes the work, as often as it takes.
//!
//! # Who may change what, and which locks that takes
//!
//! - Appending takes the writer's lock, held for the life of the writer. It touches nothing before the segment's end
//!   and needs no lock against erasing, which touches nothing but frames inside the segment.
//! - Cutting (a torn tail, or what an abandoned segment holds unanswered) takes the segment's own lock too.
//! - Erasing takes the segment's lock, in whatever process it runs, and reads the header again under it. Without that
//!   a frame of a failed batch could be cut off between the reading and the write, and the write would make the file
//!   long again, with a hole where the next reader expects a header.
//! - Dropping a day takes no lock. A frame that is erased or appended to in an unlinked file is gone with the file; a
//!   writer notices that its file has no name any more before it answers.
//!
//! An erasure finds what is in the store when it runs. Whoever erases a crash that may be in the middle of being
//! processed has to erase again after that has ended.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crash::CrashId;
use rustix::fs::{FallocateFlags, fallocate};

use crate::{
    Area, Error, disk,
    header::{HEAD, Header},
    local::LocalStore,
    lock::SegmentLock,
    segment::Segment,
};

/// Zeros are written so many at a time where the filesystem cannot punch holes.
const ZEROS: usize = 64 << 10;

/// What an erasure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Erased {
    /// Frames of the crash that hold nothing any more, those of earlier erasures included.
    pub frames: u64,
    /// The compressed size of what they held.
    pub bytes: u64,
}

impl std::ops::AddAssign for Erased {
    fn add_assign(&mut self, more: Self) {
        self.frames += more.frames;
        self.bytes += more.bytes;
    }
}

impl LocalStore {
    /// Erases all frames of a crash in all areas, durably: the private annotations first.
    pub(crate) fn erase(&self, id: CrashId) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        for area in [Area::Private, Area::Raw, Area::Processed] {
            let mut frames = Vec::new();
            for scanned in self.scan((area, id.minute()))? {
                let path = scanned.segment.path();
                let own = scanned.scan.entries.iter().filter(|entry| entry.header.id == id);
                frames.extend(own.map(|entry| (entry.header, path.to_owned())));
            }
            // The latest frame decides whether the crash is there, so it goes last: a crash is never half erased and
            // found in an older form.
            frames.sort_by_key(|(header, _)| header.saved_at);
            for (header, path) in frames {
                let done = erase_frame(&path, &header)
                    .map_err(|error| Error::io(format!("erasing from {}", path.display()), error))?;
                if done {
                    erased.frames += 1;
                    erased.bytes += u64::from(header.frame_len);
                }
            }
        }
        Ok(erased)
    }
}

/// Erases one frame, or does again what an earlier erasure may have left. False when the frame is not there any more.
pub(crate) fn erase_frame(path: &Path, header: &Header) -> io::Result<bool> {
    let file = match disk::options().open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let segment = Segment::of(file, PathBuf::from(path));
    let file = segment.file();
    let _lock = SegmentLock::take(file)?;
    if segment.entry(header.offset)?.is_none_or(|entry| entry.header != *header) {
        return Ok(false);
    }
    let start = header.frame_start();
    file.write_all_at(&header.erasure(), start)?;
    file.sync_data()?;
    discard(file, start + HEAD as u64, header.end())?;
    file.sync_data()?;
    Ok(true)
}

/// Makes bytes zeros, and gives their room back where the filesystem can.
fn discard(file: &File, start: u64, end: u64) -> io::Result<()> {
    let punched = fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, end - start);
    match punched {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => overwrite(file, start, end),
        Err(error) => Err(error.into()),
    }
}

fn overwrite(file: &File, start: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS];
    let mut offset = start;
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(ZEROS).min(ZEROS);
        file.write_all_at(zeros.get(..left).unwrap_or_default(), offset)?;
        offset += left as u64;
    }
    Ok(())
}
