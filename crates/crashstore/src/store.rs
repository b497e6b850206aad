//! Opening the store, and reading crashes from it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crash::{Annotations, CrashId, Place, ProcessedCrash, RawCrash, ShortId};
use tokio::sync::Semaphore;

use crate::{
    Area, Config, Error,
    content::{self, Undecodable, decode_json, decode_processed, decode_raw},
    disk,
    header::{self, Header},
    layout::{Layout, parse_segment_name},
    list::{Found, SegmentScan},
    record,
    segment::Segment,
};

/// So many crashes are read at a time; each may take its own size in memory.
const READS: usize = 16;
/// A disk that has not given a crash by then is broken.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// Reads, lists and erases crashes, and makes writers. Cheap to clone, and safe in any number of processes at once.
#[derive(Debug, Clone)]
pub struct CrashStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    compression_level: i32,
    /// The most that a frame may unpack to.
    limit: u64,
    reads: Arc<Semaphore>,
}

/// A frame as it is in the store, with where it was.
struct Read {
    frame: Vec<u8>,
    header: Header,
    path: PathBuf,
}

impl Read {
    fn error(&self, what: Undecodable) -> Error {
        let (segment, offset) = (self.path.clone(), self.header.offset);
        match what {
            Undecodable::Bad(what) => Error::Damaged { segment, offset, what },
            Undecodable::Newer(format) => Error::Newer { segment, offset, format },
        }
    }
}

impl CrashStore {
    /// Opens the store and makes its folders, if it may. A reader needs no more than the right to read.
    ///
    /// # Errors
    /// When the folder is not there and cannot be made, or the compression level is none.
    pub fn open(config: &Config) -> Result<Self, Error> {
        Self::with_limit(config, content::LIMIT)
    }

    pub(crate) fn with_limit(config: &Config, limit: u64) -> Result<Self, Error> {
        let levels = zstd::compression_level_range();
        let (level, min, max) = (config.compression_level, 1, *levels.end());
        if !(min..=max).contains(&level) {
            return Err(Error::CompressionLevel { level, min, max });
        }
        let layout = Layout::new(config.path.clone());
        let reads = Arc::new(Semaphore::new(READS));
        let store = Self { inner: Arc::new(Inner { layout, compression_level: level, limit, reads }) };
        match store.create_folders() {
            Err(error) if !config.path.is_dir() => Err(error),
            // One that only reads may have no right to make folders.
            Ok(()) | Err(_) => Ok(store),
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn compression_level(&self) -> i32 {
        self.inner.compression_level
    }

    pub(crate) fn create_folders(&self) -> Result<(), Error> {
        let areas = Area::ALL.iter().map(|area| self.layout().area(*area));
        for folder in areas.chain([self.layout().writers()]) {
            create_durably(&folder)
                .map_err(|error| Error::io(format!("making the folder {}", folder.display()), error))?;
        }
        Ok(())
    }

    /// Reads a raw crash: from `place` when that is known and right, else by a search of the crash's minute. The private
    /// annotations are in it for as long as they are kept. Nothing when the crash is not there (any more).
    ///
    /// # Errors
    /// [`Error::Damaged`] when no frame of the crash is whole; [`Error::Newer`] when a later release wrote it.
    pub async fn raw(&self, id: CrashId, place: Option<&Place>) -> Result<Option<RawCrash>, Error> {
        let place = place.cloned();
        self.blocking("reading a raw crash", move |store| store.read_raw(id, place.as_ref())).await
    }

    /// Reads the private annotations of a crash. Nothing when it has none, or has them no more.
    ///
    /// # Errors
    /// As for [`CrashStore::raw`].
    pub async fn private(&self, id: CrashId) -> Result<Option<Annotations>, Error> {
        self.blocking("reading private annotations", move |store| store.read_private(id)).await
    }

    /// Reads the latest result of processing a crash. Nothing when there is none.
    ///
    /// # Errors
    /// As for [`CrashStore::raw`].
    pub async fn processed(&self, id: CrashId) -> Result<Option<ProcessedCrash>, Error> {
        self.blocking("reading a processed crash", move |store| store.read_processed(id)).await
    }

    /// Every frame of a crash in every area, also erased and superseded ones.
    ///
    /// # Errors
    /// What the operating system refused.
    pub async fn find(&self, id: CrashId) -> Result<Vec<Found>, Error> {
        self.blocking("looking for a crash", move |store| {
            let mut found = Vec::new();
            for area in Area::ALL {
                let frames = store.list(area, id.minute())?;
                found.extend(frames.into_iter().filter(|frame| frame.id == id));
            }
            Ok(found)
        })
        .await
    }

    /// The crashes with this short id, of which there is one but for a chance in billions.
    ///
    /// # Errors
    /// What the operating system refused.
    pub async fn find_short(&self, short: ShortId) -> Result<Vec<CrashId>, Error> {
        self.blocking("looking for a crash", move |store| {
            let mut ids = Vec::new();
            for area in Area::ALL {
                let frames = store.list(area, short.minute())?;
                ids.extend(frames.into_iter().map(|frame| frame.id).filter(|id| short.matches(*id)));
            }
            ids.sort_unstable();
            ids.dedup();
            Ok(ids)
        })
        .await
    }

    /// Does what blocks on the disk away from async threads, so many at a time and within a deadline.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        doing: &str,
        job: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let reading = async {
            let permit =
                self.inner.reads.clone().acquire_owned().await.expect("the semaphore is never closed");
            let job = move || {
                let result = job(&store);
                drop(permit);
                result
            };
            tokio::task::spawn_blocking(job)
                .await
                .unwrap_or_else(|error| Err(Error::io(doing.to_owned(), io::Error::other(error))))
        };
        tokio::time::timeout(READ_DEADLINE, reading)
            .await
            .unwrap_or_else(|_| Err(Error::TimedOut { doing: doing.to_owned(), deadline: READ_DEADLINE }))
    }

    fn read_raw(&self, id: CrashId, place: Option<&Place>) -> Result<Option<RawCrash>, Error> {
        let read = match place.map(|place| self.read_at(id, place)).transpose()?.flatten() {
            Some(read) => read,
            // The place is a hint: what stands there now may be something else.
            None => match self.read_latest(Area::Raw, id)? {
                Some(read) => read,
                None => return Ok(None),
            },
        };
        let mut crash = decode_raw(&read.frame, id, self.inner.limit).map_err(|what| read.error(what))?;
        if read.header.flags & header::HAS_PRIVATE != 0 {
            crash.private = match self.read_private(id) {
                Ok(private) => private.unwrap_or_default(),
                // The crash can be processed without them.
                Err(error @ Error::Damaged { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(crash_id = %id, error, "the private annotations of a crash cannot be read");
                    Annotations::default()
                }
                Err(error) => return Err(error),
            };
        }
        Ok(Some(crash))
    }

    fn read_private(&self, id: CrashId) -> Result<Option<Annotations>, Error> {
        let Some(read) = self.read_latest(Area::Private, id)? else { return Ok(None) };
        decode_json(&read.frame, self.inner.limit).map(Some).map_err(|what| read.error(what))
    }

    fn read_processed(&self, id: CrashId) -> Result<Option<ProcessedCrash>, Error> {
        let Some(read) = self.read_latest(Area::Processed, id)? else { return Ok(None) };
        decode_processed(&read.frame, self.inner.limit).map(Some).map_err(|what| read.error(what))
    }

    /// The raw frame at a place, if it is the crash's and whole.
    fn read_at(&self, id: CrashId, place: &Place) -> Result<Option<Read>, Error> {
        // It came over the wire: it may name no file but a segment.
        if parse_segment_name(&place.segment).is_none() {
            return Ok(None);
        }
        let path = self.layout().segment((Area::Raw, id.minute()), &place.segment);
        let read = || {
            let Some(segment) = Segment::open(path.clone())? else { return Ok(None) };
            let entry = segment.entry(place.offset)?.filter(|entry| entry.header.id == id && !entry.erased);
            let Some(entry) = entry else { return Ok(None) };
            Ok(segment.frame(&entry.header)?.map(|frame| Read {
                frame,
                header: entry.header,
                path: path.clone(),
            }))
        };
        let read = read().map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
        read.map(checked_version).transpose()
    }

    /// The frame of a crash that was saved last; an older one when that is damaged. Nothing when it is erased.
    fn read_latest(&self, area: Area, id: CrashId) -> Result<Option<Read>, Error> {
        let slot = (area, id.minute());
        let scans = self.scan(slot)?;
        let mut frames: Vec<_> = scans
            .iter()
            .flat_map(|scanned| scanned.scan.entries.iter().map(move |entry| (scanned, entry)))
            .filter(|(_, entry)| entry.header.id == id)
            .collect();
        frames.sort_by_key(|(scanned, entry)| (entry.header.saved_at, &scanned.name, entry.header.offset));

        let mut damaged = None;
        for (SegmentScan { segment, scan, name }, entry) in frames.into_iter().rev() {
            let path = segment.path().to_owned();
            let failed = |error| Error::io(format!("reading {}", path.display()), error);
            if entry.erased {
                return Ok(None);
            }
            let offset = entry.header.offset;
            if let Some(frame) = segment.frame(&entry.header).map_err(failed)? {
                return checked_version(Read { frame, header: entry.header, path }).map(Some);
            }
            match segment.entry(offset).map_err(failed)? {
                // Erased while it was read.
                Some(now) if now.erased => return Ok(None),
                // Cut off while it was read: it was never answered.
                None => continue,
                Some(_) => {}
            }
            if offset < scan.durable || !self.may_be_torn(slot, name)? {
                let what = "its bytes are not the ones that were written".to_owned();
                damaged.get_or_insert(Error::Damaged { segment: path, offset, what });
            }
        }
        damaged.map_or(Ok(None), Err)
    }

    /// Whether the end of a segment may be unfinished: its writer has it open, or did not close it in order.
    pub(crate) fn may_be_torn(&self, slot: (Area, crash::Minute), name: &str) -> Result<bool, Error> {
        let Some((writer, number)) = parse_segment_name(name) else { return Ok(false) };
        Ok(record::read(self.layout(), writer)?.contains(&(slot, number)))
    }
}

fn checked_version(read: Read) -> Result<Read, Error> {
    let version = read.header.version;
    if version > header::VERSION { Err(read.error(Undecodable::Newer(version.into()))) } else { Ok(read) }
}

/// Makes a folder and every missing one above it, each durable in the one above.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_durably(parent)?;
    disk::create_folder(path)?;
    disk::sync_folder(&mut disk::LocalDisk, parent)
}
