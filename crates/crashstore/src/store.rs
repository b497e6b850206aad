//! The crash store, whatever it stands on: segments on a local disk, or objects in an object store.

use std::time::Duration;

use crash::{Annotations, CrashId, Minute, Place, ProcessedCrash, RawCrash, ShortId};
use jiff::{Timestamp, civil::Date};

use crate::{
    Area, Config, Cut, Damage, Erased, Error, Found, Freed, Writer, content::LIMIT, local::LocalStore,
    objects::Objects, writer::SegmentWriter,
};

/// A disk that has not given a crash, or the list of a minute, by then is broken.
const READ_DEADLINE: Duration = Duration::from_secs(60);
/// How long it may take to read or unlink all that a minute or a day has on a disk.
const BULK_DEADLINE: Duration = Duration::from_secs(600);

/// Reads, lists and erases crashes, and makes writers. Cheap to clone, and safe in any number of processes at once.
#[derive(Debug, Clone)]
pub struct CrashStore {
    pub(crate) backend: Backend,
    /// The spool of this machine: what is erased must not come back from there.
    spool: Option<LocalStore>,
}

#[derive(Debug, Clone)]
pub(crate) enum Backend {
    Local(LocalStore),
    Objects(Objects),
}

impl CrashStore {
    /// Opens the store: a folder, which is made if it may be (a reader needs no more than the right to read), or an
    /// object store, which is asked nothing yet.
    ///
    /// # Errors
    /// When the folder is not there and cannot be made, or the configuration makes no sense.
    pub fn open(config: &Config) -> Result<Self, Error> {
        Self::with_limit(config, LIMIT)
    }

    /// With another limit for what a frame may unpack to.
    pub(crate) fn with_limit(config: &Config, limit: u64) -> Result<Self, Error> {
        config.check()?;
        let backend = if config.url.is_some() {
            Backend::Objects(Objects::open(config, limit)?)
        } else {
            Backend::Local(LocalStore::open(&config.path, config, limit)?)
        };
        Ok(Self { backend, spool: config.spool_folder().map(|path| LocalStore::reader(&path)) })
    }

    /// Opens a writer under a stable name, which every start of one daemon should use again: letters, digits, `.`,
    /// `_` and `-`. On a disk, a name that another process holds is passed over for `name-2`, then `name-3`, up to
    /// `name-64`, and the torn tails that the last holder of the name left are cut. Blocks on the disk.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NameTaken`], or what the operating system refused.
    pub fn writer(&self, name: &str) -> Result<Writer, Error> {
        Ok(match &self.backend {
            Backend::Local(local) => Writer::to_segments(SegmentWriter::open(local, name)?),
            Backend::Objects(objects) => Writer::to_objects(objects.writer(name)?),
        })
    }

    /// Reads a raw crash: from `place` when that is known and right, else by a search of the crash's minute. The private
    /// annotations are in it for as long as they are kept. Nothing when the crash is not there (any more).
    ///
    /// # Errors
    /// [`Error::Damaged`] when no frame of the crash is whole; [`Error::Newer`] when a later release wrote it.
    pub async fn raw(&self, id: CrashId, place: Option<&Place>) -> Result<Option<RawCrash>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let place = place.cloned();
                let read = move |local: &LocalStore| local.read_raw(id, place.as_ref());
                local.blocking("reading a raw crash", READ_DEADLINE, read).await
            }
            Backend::Objects(objects) => objects.raw(id).await,
        }
    }

    /// Reads the private annotations of a crash. Nothing when it has none, or has them no more.
    ///
    /// # Errors
    /// As for [`CrashStore::raw`].
    pub async fn private(&self, id: CrashId) -> Result<Option<Annotations>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let read = move |local: &LocalStore| local.read_private(id, None);
                local.blocking("reading private annotations", READ_DEADLINE, read).await
            }
            Backend::Objects(objects) => objects.private(id).await,
        }
    }

    /// Reads the latest result of processing a crash. Nothing when there is none.
    ///
    /// # Errors
    /// As for [`CrashStore::raw`].
    pub async fn processed(&self, id: CrashId) -> Result<Option<ProcessedCrash>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let read = move |local: &LocalStore| local.read_processed(id, None);
                local.blocking("reading a processed crash", READ_DEADLINE, read).await
            }
            Backend::Objects(objects) => objects.processed(id).await,
        }
    }

    /// Every frame of a crash in every area; on a disk also erased and superseded ones.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn find(&self, id: CrashId) -> Result<Vec<Found>, Error> {
        if let Backend::Objects(objects) = &self.backend {
            return objects.find(id).await;
        }
        let mut found = Vec::new();
        for area in Area::ALL {
            let frames = self.list(area, id.minute()).await?;
            found.extend(frames.into_iter().filter(|frame| frame.id == id));
        }
        Ok(found)
    }

    /// The crashes with this short id, of which there is one but for a chance in billions.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn find_short(&self, short: ShortId) -> Result<Vec<CrashId>, Error> {
        let mut ids = Vec::new();
        for area in Area::ALL {
            let frames = self.list(area, short.minute()).await?;
            ids.extend(frames.into_iter().map(|frame| frame.id).filter(|id| short.matches(*id)));
        }
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    /// The minutes that an area has crashes of, in their order.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn minutes(&self, area: Area) -> Result<Vec<Minute>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let list = move |local: &LocalStore| local.minutes(area);
                local.blocking("listing the minutes of the crash store", READ_DEADLINE, list).await
            }
            Backend::Objects(objects) => objects.minutes(area).await,
        }
    }

    /// The minutes between two, both included, that an area has crashes of, in their order. Costs what the days between
    /// them hold, and not what the store holds.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn minutes_between(
        &self,
        area: Area,
        first: Minute,
        last: Minute,
    ) -> Result<Vec<Minute>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let list = move |local: &LocalStore| local.minutes_between(area, first, last);
                local.blocking("listing minutes of the crash store", READ_DEADLINE, list).await
            }
            Backend::Objects(objects) => objects.minutes_between(area, first, last).await,
        }
    }

    /// The minutes before one to which something was written since then, each with the latest time of that: crashes came
    /// late, or frames were erased or moved together. On a disk every segment's time is looked at, whatever its age. An
    /// object store has to be asked for every object, so minutes before `reach` are left out there.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn written_since(
        &self,
        area: Area,
        reach: Minute,
        until: Minute,
        since: Timestamp,
    ) -> Result<Vec<(Minute, Timestamp)>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let look = move |local: &LocalStore| local.written_since(area, until, since);
                local.blocking("looking for crashes that came late", BULK_DEADLINE, look).await
            }
            Backend::Objects(objects) => objects.written_since(area, reach, until, since).await,
        }
    }

    /// The frames of an area in one minute. On a disk they are in the order in which each segment has them, and only
    /// headers are read. An object store is asked for a list alone: `saved_at` is then the object store's time, and
    /// `attempt` is 0.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn list(&self, area: Area, minute: Minute) -> Result<Vec<Found>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let list = move |local: &LocalStore| local.list(area, minute);
                local.blocking("listing a minute of the crash store", READ_DEADLINE, list).await
            }
            Backend::Objects(objects) => objects.list(area, minute).await,
        }
    }

    /// Reads every byte of an area in one minute and says what is not as it was written. An unfinished tail of a segment
    /// is no damage while its writer may come back for it.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn check(&self, area: Area, minute: Minute) -> Result<Vec<Damage>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let check = move |local: &LocalStore| local.check(area, minute);
                local.blocking("checking a minute of the crash store", BULK_DEADLINE, check).await
            }
            Backend::Objects(objects) => objects.check(area, minute).await,
        }
    }

    /// Erases all that there is of a crash in all areas, durably: the private annotations first. What waits for it in the
    /// spool of this machine goes too, and first, for it would be moved into the store; the spools of other machines are
    /// out of reach.
    ///
    /// # Errors
    /// When it was not all done. Call it again: what is erased stays erased.
    pub async fn erase(&self, id: CrashId) -> Result<Erased, Error> {
        let erase = move |local: &LocalStore| local.erase(id);
        let mut erased = Erased::default();
        if let Some(spool) = &self.spool {
            erased += spool.blocking("erasing a crash from the spool", READ_DEADLINE, erase).await?;
        }
        erased += match &self.backend {
            Backend::Local(local) => local.blocking("erasing a crash", READ_DEADLINE, erase).await?,
            Backend::Objects(objects) => objects.erase(id).await?,
        };
        Ok(erased)
    }

    /// Takes all that an area has of a day: segments are unlinked, objects deleted. A day that is not there frees
    /// nothing. Crashes that are saved to it meanwhile make it again.
    ///
    /// # Errors
    /// When it was not all done. Call it again.
    pub async fn drop_day(&self, area: Area, day: Date) -> Result<Freed, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let drop = move |local: &LocalStore| local.drop_day(area, day);
                local.blocking("dropping a day of the crash store", BULK_DEADLINE, drop).await
            }
            Backend::Objects(objects) => objects.drop_day(area, day).await,
        }
    }

    /// Cuts the torn tails of all writers that do not run, so that a writer that never returns leaves none; a tail that
    /// could not be cut is logged and left. Objects are whole or not there, and have none.
    ///
    /// # Errors
    /// What the operating system refused.
    pub async fn cut_tails(&self) -> Result<Vec<Cut>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                local.blocking("cutting torn tails", BULK_DEADLINE, LocalStore::cut_tails).await
            }
            Backend::Objects(_) => Ok(Vec::new()),
        }
    }

    /// Lists, writes, reads and deletes in an object store what is no crash: whether a role could. A store on a disk is
    /// tried by whoever looks at its folder.
    ///
    /// # Errors
    /// What the object store refused.
    pub async fn try_out(&self) -> Result<(), Error> {
        match &self.backend {
            Backend::Local(_) => Ok(()),
            Backend::Objects(objects) => objects.try_out().await,
        }
    }

    /// The store on a disk, for tests that look below.
    #[cfg(test)]
    pub(crate) fn local(&self) -> &LocalStore {
        match &self.backend {
            Backend::Local(local) => local,
            Backend::Objects(_) => unreachable!("these tests have a local store"),
        }
    }

    /// A writer on a disk of the test's.
    #[cfg(test)]
    pub(crate) fn writer_on(
        &self,
        name: &str,
        disk: Box<dyn crate::disk::Disk>,
        limits: crate::appender::Limits,
    ) -> Result<Writer, Error> {
        SegmentWriter::open_on(self.local(), name, disk, limits).map(Writer::to_segments)
    }
}
