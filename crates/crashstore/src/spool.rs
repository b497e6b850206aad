//! The spool: where a collector saves raw crashes on its own machine while the store does not take them.
//!
//! It is a folder of segments like a local store, durable in the same way. What is in it is known to nobody else, so an
//! id is published only after its crash was moved into the store. [`SpoolingWriter`] saves, [`Mover`] moves, `breaker`
//! decides when the store is tried again, `owner` says whose spool it is, and `outside` is what commands see.
//!
//! # Who has what
//!
//! A spool belongs to all collectors of a machine. Each has a writer in it while it spools, under the writer's lock.
//! What a writer has left is moved by whoever takes its lock: the collector itself, which closes its writer first, or
//! another one once the process is gone. So nothing is appended to a segment that is being moved.
//!
//! # What a kill leaves, between any two lines
//!
//! A crash is saved in the spool, answered, saved in the store, published, and at last its segment is unlinked with all
//! others in it. Killed before the answer, the client sends it again. Killed later, the whole segment is moved again at the
//! next start: the same crash takes the same place in the store, and an id that is published twice gives one fact. An id
//! that neither queue nor journal took is left to the sweep of the store.
//!
//! A segment with something in it that cannot be moved, ever or for now, stays, and what was moved of it is erased in
//! place: so no restart moves that again, and it takes no room.

mod breaker;
mod mover;
mod outside;
mod owner;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crash::{Place, RawCrash};
use settings::Size;
use tokio::sync::Notify;

use self::breaker::Breaker;
pub use self::{
    mover::{Mover, Passed},
    outside::{SpoolDepth, spool_depth, spooled, spooled_short},
};
use crate::{
    Config, CrashStore, Error, Writer, content::LIMIT, local::LocalStore, space::Watch, writer::SegmentWriter,
};

/// How long opening the spool's writer may take, or measuring what the spool has.
const DEADLINE: Duration = Duration::from_secs(30);
/// What a crash takes beside its dumps, at most: annotations, headers, and what a filesystem rounds up.
const BESIDE: u64 = 256 << 10;
/// A full spool is measured again after so long.
const MEASURE_AGAIN: Duration = Duration::from_secs(1);

/// The spool is measured so often while it takes crashes, and after so many bytes: other processes fill it too.
const MEASURE_WHILE_SPOOLING: Duration = Duration::from_secs(5);
const UNMEASURED: u64 = 64 << 20;
/// So often a crash is saved again whose writer was closed just then.
const TRIES: u32 = 3;

/// Where a raw crash was saved.
#[derive(Debug, Clone)]
pub enum Saved {
    /// In the store: its id may be published.
    Stored(Place),
    /// In the spool of this machine. Its id is published when it has been moved.
    Spooled {
        /// What the store said; nothing where it was not asked, for it failed a moment before.
        why: Option<Error>,
    },
}

/// Who takes raw crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// The store.
    Store,
    /// The spool of this machine alone.
    Spool,
}

/// Saves raw crashes in the store, or in the spool while the store does not take them. Cheap to clone; made by
/// [`CrashStore::spooling_writer`].
#[derive(Debug, Clone)]
pub struct SpoolingWriter {
    writer: Writer,
    /// The store of the writer, for what is erased in the middle of being moved.
    store: CrashStore,
    /// How long the store has for a crash.
    timeout: Duration,
    spool: Option<Arc<Spool>>,
}

/// The spool, as one collector has it.
#[derive(Debug)]
struct Spool {
    store: LocalStore,
    path: PathBuf,
    name: String,
    limit: Size,
    /// Open while something is spooled; the mover closes it.
    writer: tokio::sync::Mutex<Option<SegmentWriter>>,
    room: Mutex<Room>,
    breaker: Breaker,
    /// Told when something was spooled.
    news: Notify,
}

/// How much the spool has, counted generously.
#[derive(Debug, Default)]
struct Room {
    measured: u64,
    measured_at: Option<Instant>,
    /// What was saved since, at most.
    since: u64,
}

impl CrashStore {
    /// Opens a writer for raw crashes that turns to the spool of this machine while the store does not take them, or
    /// to nothing else where no spool is configured. Blocks on the disk.
    ///
    /// # Errors
    /// As for [`CrashStore::writer`]; also when the spool's folder cannot be made.
    pub fn spooling_writer(&self, config: &Config, name: &str) -> Result<SpoolingWriter, Error> {
        let spool = config.spool_folder().map(|path| Spool::open(config, path, name)).transpose()?;
        Ok(SpoolingWriter {
            writer: self.writer(name)?,
            store: self.clone(),
            timeout: config.timeout.get(),
            spool: spool.map(Arc::new),
        })
    }
}

impl SpoolingWriter {
    /// Whether there is a spool to turn to.
    #[must_use]
    pub fn has_spool(&self) -> bool {
        self.spool.is_some()
    }

    /// How much room the filesystem of the store has left; nothing where it is no filesystem.
    #[must_use]
    pub fn space(&self) -> Option<&Watch> {
        self.writer.space()
    }

    /// Moves what is in the spool, where there is one.
    #[must_use]
    pub fn mover(&self) -> Option<Mover> {
        self.spool.clone().map(|spool| Mover::new(spool, self.store.clone(), self.writer.clone()))
    }

    /// Saves a raw crash. When this returns it is durable, here or there.
    ///
    /// After a failure of the store the crash may be in both. It will be moved all the same, and be one crash.
    ///
    /// # Errors
    /// Then nothing may be promised to the client: neither took it, or the crash can be saved nowhere.
    pub async fn save(&self, crash: &RawCrash) -> Result<Saved, Error> {
        let Some(spool) = &self.spool else { return self.writer.save_raw(crash).await.map(Saved::Stored) };
        let mut why = None;
        if spool.breaker.admits(Instant::now()) {
            match self.save_in_time(spool, crash).await {
                Ok(place) => return Ok(Saved::Stored(place)),
                Err(error) if error.is_of_the_crash() => return Err(error),
                Err(error) => why = Some(error),
            }
        }
        match spool.save(crash).await {
            Ok(()) => Ok(Saved::Spooled { why }),
            // The store was left alone for a moment in which it may have come back.
            Err(error) if why.is_none() && !error.is_of_the_crash() => {
                self.save_in_time(spool, crash).await.map(Saved::Stored).map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Saves in the store, and tells the breaker how that went.
    async fn save_in_time(&self, spool: &Spool, crash: &RawCrash) -> Result<Place, Error> {
        let deadline = self.timeout;
        let saved = tokio::time::timeout(deadline, self.writer.save_raw(crash)).await.unwrap_or_else(|_| {
            Err(Error::TimedOut { doing: format!("saving crash {}", crash.id()), deadline })
        });
        match &saved {
            Ok(_) => spool.breaker.succeeded(),
            Err(error) if error.is_of_one_crash() => {}
            Err(error) => spool.breaker.failed(Instant::now(), error),
        }
        saved
    }

    /// Tries with something small that is no crash whether the store takes crashes, and then whether the spool does.
    ///
    /// # Errors
    /// What the store said, when neither does.
    pub async fn try_out(&self) -> Result<Takes, Error> {
        let Some(spool) = &self.spool else { return self.writer.try_out().await.map(|()| Takes::Store) };
        match spool.try_store(&self.writer).await {
            Ok(()) => Ok(Takes::Store),
            Err(error) => spool.try_out().await.map(|()| Takes::Spool).map_err(|_| error),
        }
    }

    /// Waits until everything that was accepted is durable and answered; what is in the spool stays there.
    pub async fn close(self) {
        if let Some(spool) = &self.spool {
            spool.close_writer().await;
        }
        self.writer.close().await;
    }
}

impl Spool {
    fn open(config: &Config, path: PathBuf, name: &str) -> Result<Self, Error> {
        let store = LocalStore::open(&path, config, LIMIT)?;
        owner::take(&store, config)?;
        Ok(Self {
            store,
            path,
            name: name.to_owned(),
            limit: config.spool_limit,
            writer: tokio::sync::Mutex::default(),
            room: Mutex::default(),
            breaker: Breaker::default(),
            news: Notify::new(),
        })
    }

    async fn save(&self, crash: &RawCrash) -> Result<(), Error> {
        let bytes = crash.dumps.iter().map(|dump| dump.bytes.len() as u64).sum::<u64>() + BESIDE;
        self.make_sure_of_room(bytes).await?;
        let mut tries = 0..TRIES;
        loop {
            let writer = self.open_writer().await?;
            let error = match writer.save_raw(crash).await {
                Ok(_) => {
                    self.news.notify_one();
                    return Ok(());
                }
                Err(error @ (Error::Closed { .. } | Error::UntrustedFolder { .. })) => error,
                Err(error) => return Err(error),
            };
            // The mover has closed it in this moment, or it is of no use any more: the next one opens another.
            self.forget(&writer).await;
            let is_closed = matches!(error, Error::Closed { .. });
            if !is_closed || tries.next().is_none() {
                // Of the spool's writer alone: the process has not to be started again for it.
                let doing = format!("saving crash {} in the spool", crash.id());
                return Err(Error::io(doing, io::Error::other(error)));
            }
        }
    }

    /// Takes this writer away, and not the one that another task has opened since.
    async fn forget(&self, writer: &SegmentWriter) {
        self.writer.lock().await.take_if(|current| current.is(writer));
    }

    /// Tries whether the store takes crashes, and tells the breaker.
    async fn try_store(&self, store: &Writer) -> Result<(), Error> {
        let tried = store.try_out().await;
        match &tried {
            Ok(()) => self.breaker.succeeded(),
            Err(error) => self.breaker.failed(Instant::now(), error),
        }
        tried
    }

    /// Tries whether the spool takes crashes.
    async fn try_out(&self) -> Result<(), Error> {
        self.make_sure_of_room(BESIDE).await?;
        self.open_writer().await?.try_out().await
    }

    async fn open_writer(&self) -> Result<SegmentWriter, Error> {
        let mut writer = self.writer.lock().await;
        if let Some(writer) = &*writer {
            return Ok(writer.clone());
        }
        let name = self.name.clone();
        let open = move |store: &LocalStore| SegmentWriter::open(store, &name);
        let opened = self.store.blocking("opening the spool's writer", DEADLINE, open).await?;
        *writer = Some(opened.clone());
        Ok(opened)
    }

    /// Closes the segments that this process has open, so that they can be moved.
    async fn close_writer(&self) {
        let writer = self.writer.lock().await.take();
        if let Some(writer) = writer {
            writer.close().await;
        }
    }

    /// Refuses what would make the spool larger than it may be. Several at once may overrun it by what they have.
    async fn make_sure_of_room(&self, bytes: u64) -> Result<(), Error> {
        if !self.is_stale(bytes) && self.takes(bytes) {
            return Ok(());
        }
        let full = || Error::SpoolFull { path: self.path.clone(), limit: self.limit.bytes() };
        if self.was_measured_just_now() && !self.is_stale(bytes) {
            return Err(full());
        }
        let measured = self.store.blocking("measuring the spool", DEADLINE, outside::bytes).await?;
        let room = Room { measured, measured_at: Some(Instant::now()), since: 0 };
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = room;
        if self.takes(bytes) { Ok(()) } else { Err(full()) }
    }

    /// Whether others may have filled it meanwhile: it is the spool of all collectors of this machine.
    fn is_stale(&self, bytes: u64) -> bool {
        let room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = room.measured_at.is_none_or(|at| at.elapsed() >= MEASURE_WHILE_SPOOLING);
        is_old || room.since + bytes > UNMEASURED
    }

    /// Measuring looks at every file: not for each crash that a full spool refuses.
    fn was_measured_just_now(&self) -> bool {
        let measured_at = self.room.lock().unwrap_or_else(PoisonError::into_inner).measured_at;
        measured_at.is_some_and(|at| at.elapsed() < MEASURE_AGAIN)
    }

    /// Whether there surely is room; if so, it is taken.
    fn takes(&self, bytes: u64) -> bool {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = room.measured_at.is_some() && room.measured + room.since + bytes <= self.limit.bytes();
        if fits {
            room.since += bytes;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(folder: &std::path::Path) -> Spool {
        let config = Config { path: folder.join("store"), ..Config::default() };
        Spool::open(&config, folder.join("spool"), "node-1").unwrap()
    }

    #[tokio::test]
    async fn a_writer_that_is_gone_takes_no_newer_one_along() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(folder.path());
        let old = spool.open_writer().await.unwrap();
        spool.close_writer().await;
        let new = spool.open_writer().await.unwrap();
        spool.forget(&old).await;
        assert!(spool.open_writer().await.unwrap().is(&new));
        spool.forget(&new).await;
        assert!(!spool.open_writer().await.unwrap().is(&new));
    }

    #[tokio::test]
    async fn a_spool_that_takes_crashes_is_measured_again_after_a_while_and_after_so_much() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool(folder.path());
        assert!(spool.is_stale(1));
        spool.make_sure_of_room(1).await.unwrap();
        assert!(!spool.is_stale(1) && spool.is_stale(UNMEASURED + 1));
        let long_ago = Instant::now().checked_sub(MEASURE_WHILE_SPOOLING);
        spool.room.lock().unwrap().measured_at = long_ago;
        assert!(spool.is_stale(1));
    }
}
