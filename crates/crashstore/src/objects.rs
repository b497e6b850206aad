//! The store in an object store: one object a crash and area.
//!
//! An object holds what a segment holds of one crash: the header, for offset 0, and its frame. Objects appear whole or
//! not at all, so there are no torn tails, and a crash that is saved again takes the place of the one before. The
//! client below tries again what fails in a way that passes; every call here has a deadline on top of that.

mod address;
mod writer;

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use crash::{Annotations, CrashId, Minute, Place, ProcessedCrash, RawCrash};
use futures_util::{StreamExt, TryStreamExt};
use jiff::{Timestamp, civil::Date};
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use tokio::sync::Semaphore;

pub(crate) use self::{address::Address, writer::ObjectWriter};
use crate::{
    Area, Config, Damage, Erased, Error, Found, Freed,
    content::{Undecodable, decode_json, decode_processed, decode_raw},
    header::{self, Header},
    layout::is_writer_name,
    segment::MAX_FRAME,
    usage::{DayUsage, day_of},
};

/// So many crashes are read at a time; each may take its own size in memory.
const READS: usize = 16;
/// So many requests of one listing or check are under way.
const TOGETHER: usize = 8;
/// How long a crash may take, or the list of a minute, tries included.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long it may take to list, read or delete all that a minute or a day has.
const BULK_DEADLINE: Duration = Duration::from_secs(600);
/// What is written that is no crash, and how long that may take.
const TRIAL: &[u8] = b"a trial: this may be deleted";
const TRIAL_DEADLINE: Duration = Duration::from_secs(30);
/// The first bytes of an object, in which its header is.
const PROBE: u64 = 128;

/// Reads, lists and erases crashes in an object store. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Objects {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    /// Stands before every path.
    prefix: String,
    compression_level: i32,
    /// The most that a frame may unpack to.
    limit: u64,
    reads: Semaphore,
}

/// An object whose header and frame belong together.
struct Object {
    header: Header,
    frame: Bytes,
    path: Path,
}

impl Object {
    fn error(&self, what: Undecodable) -> Error {
        let segment = PathBuf::from(self.path.as_ref());
        match what {
            Undecodable::Bad(what) => Error::Damaged { segment, offset: 0, what },
            Undecodable::Newer(format) => Error::Newer { segment, offset: 0, format },
        }
    }
}

impl Objects {
    /// Gets ready to speak to the object store of the configuration; asks it nothing.
    pub(crate) fn open(config: &Config, limit: u64) -> Result<Self, Error> {
        let address = Address::parse(config.url.as_deref().unwrap_or_default())?;
        let inner = Inner {
            store: address.connect(config)?,
            prefix: address.prefix,
            compression_level: config.compression_level,
            limit,
            reads: Semaphore::new(READS),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn writer(&self, name: &str) -> Result<ObjectWriter, Error> {
        if !is_writer_name(name) {
            return Err(Error::InvalidName { name: name.to_owned() });
        }
        Ok(ObjectWriter::new(name, self.clone()))
    }

    pub(crate) async fn raw(&self, id: CrashId) -> Result<Option<RawCrash>, Error> {
        let Some(object) = self.get(Area::Raw, id).await? else { return Ok(None) };
        let has_private = object.header.flags & header::HAS_PRIVATE != 0;
        let limit = self.inner.limit;
        let mut crash = decode(object, move |frame| decode_raw(frame, id, limit)).await?;
        if has_private {
            crash.private = match self.private(id).await {
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

    pub(crate) async fn private(&self, id: CrashId) -> Result<Option<Annotations>, Error> {
        let Some(object) = self.get(Area::Private, id).await? else { return Ok(None) };
        let limit = self.inner.limit;
        decode(object, move |frame| decode_json(frame, limit)).await.map(Some)
    }

    pub(crate) async fn processed(&self, id: CrashId) -> Result<Option<ProcessedCrash>, Error> {
        let Some(object) = self.get(Area::Processed, id).await? else { return Ok(None) };
        let limit = self.inner.limit;
        decode(object, move |frame| decode_processed(frame, limit)).await.map(Some)
    }

    /// The objects of a crash, with what their headers say.
    pub(crate) async fn find(&self, id: CrashId) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        for area in Area::ALL {
            let path = self.path(area, id);
            let looking = known(self.beginning(&path));
            let Some((meta, bytes)) = within("looking for a crash", DEADLINE, looking).await? else {
                continue;
            };
            let listed = found_in(area, id, &meta);
            found.push(match Header::read(&bytes, 0) {
                Some(header) => Found { saved_at: header.saved_at, attempt: header.attempt, ..listed },
                None => listed,
            });
        }
        Ok(found)
    }

    pub(crate) async fn minutes(&self, area: Area) -> Result<Vec<Minute>, Error> {
        let listing = async {
            let days = self.inner.store.list_with_delimiter(Some(&self.area(area))).await?.common_prefixes;
            let minutes = days.into_iter().map(|day| async move {
                self.inner.store.list_with_delimiter(Some(&day)).await.map(|found| found.common_prefixes)
            });
            let folders: Vec<Vec<Path>> =
                futures_util::stream::iter(minutes).buffered(TOGETHER).try_collect().await?;
            let mut minutes: Vec<Minute> = folders.iter().flatten().filter_map(minute_of).collect();
            minutes.sort_unstable();
            Ok(minutes)
        };
        within("listing the minutes", BULK_DEADLINE, listing).await
    }

    /// A list of the minutes' folders a day; the objects in them are not listed.
    pub(crate) async fn minutes_between(
        &self,
        area: Area,
        first: Minute,
        last: Minute,
    ) -> Result<Vec<Minute>, Error> {
        let days = first.day().series(jiff::Span::new().days(1)).take_while(|day| *day <= last.day());
        let folders = days.map(|day| {
            let folder = self.area(area).join(day.strftime("%Y%m%d").to_string());
            async move {
                self.inner.store.list_with_delimiter(Some(&folder)).await.map(|found| found.common_prefixes)
            }
        });
        let listing = futures_util::stream::iter(folders).buffered(TOGETHER).try_collect::<Vec<Vec<Path>>>();
        let folders = within("listing minutes", BULK_DEADLINE, listing).await?;
        let minutes = folders.iter().flatten().filter_map(minute_of);
        let mut minutes: Vec<Minute> = minutes.filter(|minute| (first..=last).contains(minute)).collect();
        minutes.sort_unstable();
        Ok(minutes)
    }

    /// Lists every object of the minutes between two.
    pub(crate) async fn written_since(
        &self,
        area: Area,
        first: Minute,
        until: Minute,
        since: Timestamp,
    ) -> Result<Vec<(Minute, Timestamp)>, Error> {
        let mut written = Vec::new();
        for minute in self.minutes_between(area, first, until).await? {
            let frames = if minute < until { self.list(area, minute).await? } else { Vec::new() };
            let latest = frames.iter().map(|frame| frame.saved_at).max();
            written.extend(latest.filter(|latest| *latest >= since).map(|latest| (minute, latest)));
        }
        Ok(written)
    }

    pub(crate) async fn days(&self, area: Area) -> Result<Vec<Date>, Error> {
        let folder = self.area(area);
        let listing = self.inner.store.list_with_delimiter(Some(&folder));
        let folders = within("listing the days", DEADLINE, listing).await?.common_prefixes;
        Ok(folders.iter().filter_map(|folder| day_of(folder.filename()?)).collect())
    }

    /// What the objects of a day take.
    pub(crate) async fn usage(&self, area: Area, day: Date) -> Result<DayUsage, Error> {
        let folder = Path::from(format!("{}/{}", self.area(area), day.strftime("%Y%m%d")));
        let none = DayUsage { day, files: 0, bytes: 0 };
        let adding = self.inner.store.list(Some(&folder)).try_fold(none, |sum, meta| async move {
            Ok(DayUsage { files: sum.files + 1, bytes: sum.bytes + meta.size, ..sum })
        });
        within("measuring a day", BULK_DEADLINE, adding).await
    }

    pub(crate) async fn list(&self, area: Area, minute: Minute) -> Result<Vec<Found>, Error> {
        let listing = self
            .inner
            .store
            .list(Some(&self.minute(area, minute)))
            .try_filter_map(|meta| std::future::ready(Ok(as_found(area, &meta))));
        let mut found: Vec<Found> =
            within("listing a minute", DEADLINE, listing.try_collect::<Vec<_>>()).await?;
        found.sort_by_key(|found| found.id);
        Ok(found)
    }

    pub(crate) async fn check(&self, area: Area, minute: Minute) -> Result<Vec<Damage>, Error> {
        let found = self.list(area, minute).await?;
        let checks = found.into_iter().map(|found| async move {
            let path = self.path(area, found.id);
            let Some(bytes) = self.read(&path).await? else { return Ok(None) };
            let what = open(&bytes, found.id).err();
            Ok::<_, Error>(what.map(|what| Damage {
                segment: PathBuf::from(path.as_ref()),
                offset: 0,
                bytes: bytes.len() as u64,
                id: Some(found.id),
                what,
            }))
        });
        let checking = futures_util::stream::iter(checks).buffered(TOGETHER).try_collect::<Vec<_>>();
        let damage = tokio::time::timeout(BULK_DEADLINE, checking)
            .await
            .unwrap_or_else(|_| Err(timed_out("checking a minute", BULK_DEADLINE)))?;
        Ok(damage.into_iter().flatten().collect())
    }

    /// Deletes the objects of a crash, the private annotations first.
    pub(crate) async fn erase(&self, id: CrashId) -> Result<Erased, Error> {
        let mut erased = Erased::default();
        for area in [Area::Private, Area::Raw, Area::Processed] {
            let path = self.path(area, id);
            let deleting = async {
                // What is wrong with a bucket is said to a GET alone: the answer to a HEAD has no body.
                let (meta, _) = self.beginning(&path).await?;
                self.inner.store.delete(&path).await?;
                Ok(meta.size)
            };
            if let Some(bytes) = within("erasing a crash", DEADLINE, known(deleting)).await? {
                erased.frames += 1;
                erased.bytes += bytes;
            }
        }
        Ok(erased)
    }

    /// Lists a day and deletes what is listed, many objects a request where the object store can.
    pub(crate) async fn drop_day(&self, area: Area, day: Date) -> Result<Freed, Error> {
        let folder = Path::from(format!("{}/{}", self.area(area), day.strftime("%Y%m%d")));
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        let locations = self.inner.store.list(Some(&folder)).map_ok(move |meta| {
            counted.fetch_add(meta.size, Ordering::Relaxed);
            meta.location
        });
        let deleting = async {
            let mut files = 0;
            let mut failed = None;
            let mut deleted = self.inner.store.delete_stream(locations.boxed());
            // One that fails does not keep the others.
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) => files += 1,
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => failed = Some(error),
                }
            }
            failed.map_or(Ok(files), Err)
        };
        let files = within("dropping a day", BULK_DEADLINE, deleting).await?;
        Ok(Freed { files, bytes: bytes.load(Ordering::Relaxed) })
    }

    /// Does with an object beside the areas what is done with crashes.
    pub(crate) async fn try_out(&self) -> Result<(), Error> {
        let path = Path::from(format!("{}/trial-{:016x}", self.inner.prefix, rand::random::<u64>()));
        let trying = async {
            self.inner.store.list_with_delimiter(Some(&self.area(Area::Raw))).await?;
            self.inner.store.put(&path, PutPayload::from_static(TRIAL)).await?;
            let read = self.inner.store.get(&path).await?.bytes().await?;
            self.inner.store.delete(&path).await?;
            Ok(read)
        };
        let read = within("trying what crashes need", DEADLINE, trying).await?;
        if read == TRIAL {
            Ok(())
        } else {
            let other = std::io::Error::other("it gave back other bytes than were written");
            Err(Error::io(format!("reading {path} from the object store"), other))
        }
    }

    /// Writes an object beside the areas, one name a writer, and takes it back: a collector may have no right to do more
    /// than write, and then the object stays.
    async fn try_writing(&self, name: &str) -> Result<(), Error> {
        let path = Path::from(format!("{}/trial-{name}", self.inner.prefix));
        let putting = self.inner.store.put(&path, PutPayload::from_static(TRIAL));
        within("trying whether crashes are taken", TRIAL_DEADLINE, putting).await?;
        let deleting = self.inner.store.delete(&path);
        if let Err(error) = within("deleting a trial", TRIAL_DEADLINE, deleting).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "a trial stays in the object store");
        }
        Ok(())
    }

    /// Puts an object in its place, whole.
    async fn put(&self, area: Area, id: CrashId, bytes: Bytes) -> Result<(), Error> {
        let path = self.path(area, id);
        let putting = self.inner.store.put(&path, PutPayload::from(bytes));
        within(&format!("saving crash {id}"), DEADLINE, putting).await.map(drop)
    }

    async fn get(&self, area: Area, id: CrashId) -> Result<Option<Object>, Error> {
        let path = self.path(area, id);
        let Some(bytes) = self.read(&path).await? else { return Ok(None) };
        match open(&bytes, id) {
            Ok((header, frame)) => {
                let object = Object { header, frame, path };
                if object.header.version > header::VERSION {
                    return Err(object.error(Undecodable::Newer(object.header.version.into())));
                }
                Ok(Some(object))
            }
            Err(what) => {
                let segment = PathBuf::from(path.as_ref());
                Err(Error::Damaged { segment, offset: 0, what: what.to_owned() })
            }
        }
    }

    /// What is known of an object, and its first bytes.
    async fn beginning(&self, path: &Path) -> object_store::Result<(ObjectMeta, Bytes)> {
        let options = GetOptions { range: Some(GetRange::Bounded(0..PROBE)), ..GetOptions::default() };
        let result = self.inner.store.get_opts(path, options).await?;
        let meta = result.meta.clone();
        Ok((meta, result.bytes().await?))
    }

    /// The bytes of an object; nothing when it is not there.
    async fn read(&self, path: &Path) -> Result<Option<Bytes>, Error> {
        let reading = async {
            let _turn = self.inner.reads.acquire().await.expect("the semaphore is never closed");
            let result = self.inner.store.get(path).await?;
            if result.meta.size > u64::from(MAX_FRAME) {
                return Ok(Bytes::new());
            }
            result.bytes().await
        };
        within("reading a crash", DEADLINE, known(reading)).await
    }

    fn area(&self, area: Area) -> Path {
        Path::from(format!("{}/{area}", self.inner.prefix))
    }

    fn minute(&self, area: Area, minute: Minute) -> Path {
        Path::from(format!("{}/{area}/{minute}", self.inner.prefix))
    }

    fn path(&self, area: Area, id: CrashId) -> Path {
        let minute = id.minute();
        Path::from(format!("{}/{area}/{minute}/{id}{}", self.inner.prefix, area.ending()))
    }
}

/// Takes an object apart; says what is wrong where it is not what was written for this crash.
fn open(bytes: &Bytes, id: CrashId) -> Result<(Header, Bytes), &'static str> {
    let header = Header::read(bytes, 0).ok_or("no header that can be read")?;
    if header.id != id {
        return Err("the header is that of another crash");
    }
    let start = usize::try_from(header.len).map_err(|_| "no header that can be read")?;
    if start > bytes.len() || bytes.len() - start != header.frame_len as usize {
        return Err("the frame has another length than its header says");
    }
    let frame = bytes.slice(start..);
    if crc32fast::hash(&frame) != header.frame_crc {
        return Err("the frame's checksum is wrong");
    }
    Ok((header, frame))
}

/// Unpacks away from async threads: it keeps a core busy.
async fn decode<T: Send + 'static>(
    object: Object,
    read: impl FnOnce(&[u8]) -> Result<T, Undecodable> + Send + 'static,
) -> Result<T, Error> {
    let decoding =
        tokio::task::spawn_blocking(move || read(&object.frame).map_err(|what| object.error(what)));
    decoding.await.unwrap_or_else(|error| Err(Error::io("unpacking a crash", std::io::Error::other(error))))
}

/// What a listing says of an object; nothing for a name that is none of ours.
fn as_found(area: Area, meta: &ObjectMeta) -> Option<Found> {
    let id: CrashId = meta.location.filename()?.strip_suffix(area.ending())?.parse().ok()?;
    Some(found_in(area, id, meta))
}

fn found_in(area: Area, id: CrashId, meta: &ObjectMeta) -> Found {
    let saved_at = Timestamp::from_microsecond(meta.last_modified.timestamp_micros()).unwrap_or_default();
    let bytes = meta.size.saturating_sub(header::len_at(0));
    Found { id, area, place: place(id), saved_at, attempt: 0, bytes, erased: false }
}

/// The place of an object: its crash, and its first byte.
fn place(id: CrashId) -> Place {
    Place { segment: id.to_string(), offset: 0 }
}

fn minute_of(folder: &Path) -> Option<Minute> {
    let mut parts = folder.as_ref().rsplit('/');
    let (minute, day) = (parts.next()?, parts.next()?);
    format!("{day}/{minute}").parse().ok()
}

/// Nothing in place of an object that is not there. A bucket that is not there is a failure: every crash would
/// look erased.
async fn known<T>(asking: impl Future<Output = object_store::Result<T>>) -> object_store::Result<Option<T>> {
    match asking.await {
        Ok(value) => Ok(Some(value)),
        Err(error @ object_store::Error::NotFound { .. }) => {
            let said = error.to_string();
            let bucket = ["NoSuchBucket", "ContainerNotFound", "bucket does not exist"];
            if bucket.iter().any(|text| said.contains(text)) { Err(error) } else { Ok(None) }
        }
        Err(error) => Err(error),
    }
}

async fn within<T>(
    doing: &str,
    deadline: Duration,
    asking: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(deadline, asking).await {
        Ok(result) => result.map_err(|error| Error::object_store(doing, error)),
        Err(_) => Err(timed_out(doing, deadline)),
    }
}

fn timed_out(doing: &str, deadline: Duration) -> Error {
    Error::TimedOut { doing: format!("{doing} in the object store"), deadline }
}
