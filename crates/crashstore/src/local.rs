//! The store on a local disk: opening it, and reading crashes from segments.
//!
//! What is here blocks on the disk; [`CrashStore`](crate::CrashStore) does it away from async threads.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crash::{Annotations, CrashId, Place, ProcessedCrash, RawCrash};
use tokio::sync::Semaphore;

use crate::{
    Area, Config, Error,
    content::{self, Undecodable, decode_json, decode_processed, decode_raw},
    disk,
    header::{self, Header},
    layout::{Layout, parse_segment_name},
    list::SegmentScan,
    record,
    segment::Segment,
    space::Watermarks,
};

/// So many crashes are read at a time; each may take its own size in memory.
const READS: usize = 16;

/// Reads, lists and erases crashes in segments. Cheap to clone, and safe in any number of processes at once.
#[derive(Debug, Clone)]
pub(crate) struct LocalStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    compression_level: i32,
    watermarks: Watermarks,
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

impl LocalStore {
    /// Opens the store and makes its folders, if it may. A reader needs no more than the right to read.
    pub(crate) fn open(path: &Path, config: &Config, limit: u64) -> Result<Self, Error> {
        let store = Self::at(path, config, limit);
        match store.create_folders() {
            Err(error) if !path.is_dir() => Err(error),
            // One that only reads may have no right to make folders.
            Ok(()) | Err(_) => Ok(store),
        }
    }

    /// For reading alone: a folder that is not there is empty, and is not made.
    pub(crate) fn reader(path: &Path) -> Self {
        Self::at(path, &Config::default(), content::LIMIT)
    }

    fn at(path: &Path, config: &Config, limit: u64) -> Self {
        let inner = Inner {
            layout: Layout::new(path.to_owned()),
            compression_level: config.compression_level,
            watermarks: config.watermarks(),
            limit,
            reads: Arc::new(Semaphore::new(READS)),
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn compression_level(&self) -> i32 {
        self.inner.compression_level
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        self.inner.watermarks
    }

    pub(crate) fn create_folders(&self) -> Result<(), Error> {
        let areas = Area::ALL.iter().map(|area| self.layout().area(*area));
        for folder in areas.chain([self.layout().writers()]) {
            create_durably(&folder)
                .map_err(|error| Error::io(format!("making the folder {}", folder.display()), error))?;
        }
        Ok(())
    }

    /// Does what blocks on the disk away from async threads, so many at a time and within a deadline.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        doing: &str,
        deadline: Duration,
        job: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let working = async {
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
        tokio::time::timeout(deadline, working)
            .await
            .unwrap_or_else(|_| Err(Error::TimedOut { doing: doing.to_owned(), deadline }))
    }

    pub(crate) fn read_raw(&self, id: CrashId, place: Option<&Place>) -> Result<Option<RawCrash>, Error> {
        let Some(read) = self.read(Area::Raw, id, place)? else { return Ok(None) };
        let mut crash = decode_raw(&read.frame, id, self.inner.limit).map_err(|what| read.error(what))?;
        if read.header.flags & header::HAS_PRIVATE != 0 {
            crash.private = match self.read_private(id, None) {
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

    pub(crate) fn read_private(
        &self,
        id: CrashId,
        place: Option<&Place>,
    ) -> Result<Option<Annotations>, Error> {
        let Some(read) = self.read(Area::Private, id, place)? else { return Ok(None) };
        decode_json(&read.frame, self.inner.limit).map(Some).map_err(|what| read.error(what))
    }

    pub(crate) fn read_processed(
        &self,
        id: CrashId,
        place: Option<&Place>,
    ) -> Result<Option<ProcessedCrash>, Error> {
        let Some(read) = self.read(Area::Processed, id, place)? else { return Ok(None) };
        decode_processed(&read.frame, self.inner.limit).map(Some).map_err(|what| read.error(what))
    }

    /// The frame at a place, or else the one that a search finds.
    fn read(&self, area: Area, id: CrashId, place: Option<&Place>) -> Result<Option<Read>, Error> {
        match place.map(|place| self.read_at(area, id, place)).transpose()?.flatten() {
            Some(read) => Ok(Some(read)),
            // The place is a hint: what stands there now may be something else.
            None => self.read_latest(area, id),
        }
    }

    /// The frame at a place, if it is the crash's and whole.
    fn read_at(&self, area: Area, id: CrashId, place: &Place) -> Result<Option<Read>, Error> {
        // It came over the wire: it may name no file but a segment.
        if parse_segment_name(&place.segment).is_none() {
            return Ok(None);
        }
        let path = self.layout().segment((area, id.minute()), &place.segment);
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
                // Taken back because of the later one that cannot be read now, or erased: then the later one will be.
                return damaged.map_or(Ok(None), Err);
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
