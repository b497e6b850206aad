//! Locks: one process a writer name, and one process at a time that rewrites a segment.

use std::{
    fs::{File, TryLockError},
    io,
    time::{Duration, Instant},
};

use crate::{Error, disk, layout::Layout};

/// How many names are tried: `name`, `name-2` and so on up to this number.
const LAST_SUCCESSOR: u32 = 64;
/// Whoever rewrites a segment holds its lock for some milliseconds.
const SEGMENT_LOCK_DEADLINE: Duration = Duration::from_secs(10);
const SEGMENT_LOCK_POLL: Duration = Duration::from_millis(5);

/// The right to write under a name, for as long as this is kept; the system takes it back from a process that dies.
#[derive(Debug)]
pub(crate) struct WriterLock {
    pub(crate) name: String,
    _file: File,
}

impl WriterLock {
    /// Takes the name, or the first of its successors that is free.
    pub(crate) fn take(layout: &Layout, name: &str) -> Result<Self, Error> {
        let successors = (2..=LAST_SUCCESSOR).map(|number| format!("{name}-{number}"));
        for name in std::iter::once(name.to_owned()).chain(successors) {
            if let Some(lock) = Self::try_take(layout, &name)? {
                return Ok(lock);
            }
        }
        Err(Error::NameTaken { name: name.to_owned(), last: LAST_SUCCESSOR })
    }

    /// Takes this very name if it is free.
    pub(crate) fn try_take(layout: &Layout, name: &str) -> Result<Option<Self>, Error> {
        let path = layout.lock(name);
        let failed = |source| Error::io(format!("taking the lock {}", path.display()), source);
        // The file stays for ever: were it removed, two processes could hold two locks of one name.
        let file = disk::options().create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { name: name.to_owned(), _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// Holds the exclusive lock of a segment until it is dropped. See `erase` for who needs it, and why.
pub(crate) struct SegmentLock<'a>(&'a File);

impl<'a> SegmentLock<'a> {
    pub(crate) fn take(file: &'a File) -> io::Result<Self> {
        let deadline = Instant::now() + SEGMENT_LOCK_DEADLINE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(SEGMENT_LOCK_POLL);
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "another process holds the segment's lock",
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

impl Drop for SegmentLock<'_> {
    fn drop(&mut self) {
        // Closing the file would give it back as well.
        let _unlocked = self.0.unlock();
    }
}
