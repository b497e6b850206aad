//! What can go wrong with the crash store.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use crash::CrashId;

use crate::space::Reading;

/// Why the crash store could not do what it was asked to do.
///
/// One failure of the disk answers every save that waited for it, so errors can be cloned.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The filesystem has no room left, or so little that it is kept back. Nothing that was answered is touched; saves
    /// work again once there is room.
    #[error(
        "no space left for the crash store while {doing}: free space on its filesystem, or drop old days (crashmill expire)"
    )]
    NoSpace {
        /// What was being done, with its path.
        doing: String,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The operating system refused something.
    #[error("{doing}")]
    Io {
        /// What was being done, with its path.
        doing: String,
        /// What the operating system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A folder could not be synced before, so that nothing new in it can be promised to last.
    #[error(
        "the folder {} could not be synced before: check the disk and the kernel's log, then restart this writer",
        path.display()
    )]
    UntrustedFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The bytes of a frame are not the ones that were written, and no other frame of the crash is whole.
    #[error("damaged frame at byte {offset} of {}: {what}; restore it from a copy", segment.display())]
    Damaged {
        /// The segment's path, or the object's.
        segment: PathBuf,
        /// Where the frame's header stands in it.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A later release of this program wrote it.
    #[error(
        "byte {offset} of {} was written by a later release (format {format}): upgrade this program",
        segment.display()
    )]
    Newer {
        /// The segment's path.
        segment: PathBuf,
        /// Where the frame's header stands in it.
        offset: u64,
        /// The format's version.
        format: u32,
    },
    /// The crash is larger than a reader would accept.
    #[error("crash {id} has {bytes} bytes, more than the {limit} that the crash store takes")]
    TooLarge {
        /// The crash.
        id: CrashId,
        /// Its size, uncompressed.
        bytes: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// The dumps of a raw crash do not fit what its metadata says of them.
    #[error("crash {id} cannot be written as a tar: {what}")]
    Unwritable {
        /// The crash.
        id: CrashId,
        /// What does not fit.
        what: String,
    },
    /// A writer's name that could not be a file name.
    #[error("'{name}' is no writer name: use 1 to 100 of A-Z a-z 0-9 . _ -, and no dot in front")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// Every name that could be tried is held by a running writer.
    #[error(
        "'{name}' and its successors up to '{name}-{last}' are held by running writers: choose another name"
    )]
    NameTaken {
        /// The name that was asked for.
        name: String,
        /// The last number that was tried.
        last: u32,
    },
    /// The compression level is none that zstd knows.
    #[error("crashstore.compression_level is {level}, and levels go from {min} to {max}: 3 is a good one")]
    CompressionLevel {
        /// The configured level.
        level: i32,
        /// The lowest level.
        min: i32,
        /// The highest level.
        max: i32,
    },
    /// The address of the object store is none.
    #[error("crashstore.url: {what}; write s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")]
    Address {
        /// What is wrong with it.
        what: String,
    },
    /// The spool's folder is the store, or another store's spool.
    #[error("crashstore.spool: {what}")]
    Spool {
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// The disk takes crashes, but not one so large.
    #[error("crash {id} is too large for what room is left: {reading}")]
    NoRoomFor {
        /// The crash.
        id: CrashId,
        /// What room there would be with it.
        reading: Arc<Reading>,
    },
    /// The object store refused something, or could not be reached.
    #[error("{doing} in the object store")]
    ObjectStore {
        /// What was being done.
        doing: String,
        /// What the object store, or the way to it, said.
        #[source]
        source: Arc<object_store::Error>,
    },
    /// The spool has all that it may have.
    #[error(
        "the spool {} has its {limit} bytes (crashstore.spool_limit): make the crash store take crashes again, or give \
         the spool more room",
        path.display()
    )]
    SpoolFull {
        /// The spool's folder.
        path: PathBuf,
        /// The most that it may have.
        limit: u64,
    },
    /// The writer was closed, or its thread died.
    #[error("the writer '{name}' of the crash store is closed")]
    Closed {
        /// The writer's name.
        name: String,
    },
    /// The disk or the object store did not answer in time. A save that timed out may or may not be there.
    #[error(
        "{doing} took longer than {} s: the disk, the object store or the machine is overloaded, or hangs",
        deadline.as_secs()
    )]
    TimedOut {
        /// What was being done.
        doing: String,
        /// How long was waited.
        deadline: Duration,
    },
}

impl Error {
    /// Says what was being done when the object store failed.
    pub(crate) fn object_store(doing: impl Into<String>, source: object_store::Error) -> Self {
        Self::ObjectStore { doing: doing.into(), source: Arc::new(source) }
    }

    /// Whether it is the crash's own fault: no store takes it, now or later.
    #[must_use]
    pub fn is_of_the_crash(&self) -> bool {
        matches!(self, Self::TooLarge { .. } | Self::Unwritable { .. })
    }

    /// Whether it says something of this one crash alone: others may be taken all the same.
    #[must_use]
    pub fn is_of_one_crash(&self) -> bool {
        self.is_of_the_crash() || matches!(self, Self::NoRoomFor { .. })
    }

    /// Says what was being done when the operating system refused.
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let (doing, full) = (doing.into(), is_full(&source));
        let source = Arc::new(source);
        if full { Self::NoSpace { doing, source } } else { Self::Io { doing, source } }
    }

    /// Says that what room is left is kept back, before anything was written.
    pub(crate) fn kept_back(id: CrashId, reading: Reading, would_others_fit: bool) -> Self {
        if would_others_fit {
            return Self::NoRoomFor { id, reading: Arc::new(reading) };
        }
        let source = io::Error::new(io::ErrorKind::StorageFull, reading.to_string());
        Self::NoSpace { doing: format!("saving crash {id}"), source: Arc::new(source) }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
