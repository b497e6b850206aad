//! What keeps the store in order, whatever it stands on: how much there is, what is current, compaction.

use std::time::Duration;

use crash::{Annotations, CrashId, Minute, Place, ProcessedCrash};
use jiff::civil::Date;

use crate::{
    Area, Compacted, CompactionOrder, CrashStore, DayUsage, Error, Found, Room, local::LocalStore,
    store::Backend,
};

/// A disk that has not given what was asked for by then is broken.
const DEADLINE: Duration = Duration::from_secs(60);
/// A look at all of a day, or at all minutes of an area, with one minute's frames taken back at the end.
const BULK_DEADLINE: Duration = Duration::from_secs(600);

impl CrashStore {
    /// The days that an area has something of, in their order.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn days(&self, area: Area) -> Result<Vec<Date>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let list = move |local: &LocalStore| local.days(area);
                local.blocking("listing the days of the crash store", DEADLINE, list).await
            }
            Backend::Objects(objects) => objects.days(area).await,
        }
    }

    /// What each day of an area takes, in their order: a look at every segment, of which there may be millions, or a list
    /// of every object.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn usage(&self, area: Area) -> Result<Vec<DayUsage>, Error> {
        let mut usage = Vec::new();
        for day in self.days(area).await? {
            usage.push(match &self.backend {
                Backend::Local(local) => {
                    let measure = move |local: &LocalStore| local.usage(area, day);
                    local.blocking("measuring a day of the crash store", BULK_DEADLINE, measure).await?
                }
                Backend::Objects(objects) => objects.usage(area, day).await?,
            });
        }
        Ok(usage)
    }

    /// The room of the filesystem that the store is on; an object store has no bound.
    ///
    /// # Errors
    /// What the operating system refused.
    pub async fn room(&self) -> Result<Option<Room>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                local.blocking("measuring the disk", DEADLINE, LocalStore::room).await.map(Some)
            }
            Backend::Objects(_) => Ok(None),
        }
    }

    /// Of each crash that an area has in a minute the frame that counts, in the order of their ids; not the erased ones.
    ///
    /// # Errors
    /// What the operating system or the object store refused.
    pub async fn current(&self, area: Area, minute: Minute) -> Result<Vec<Found>, Error> {
        let mut frames = self.list(area, minute).await?;
        // As readers choose: the latest, and of one time the last one in the order of names and offsets.
        frames.sort_by(|one, other| {
            let key =
                |frame: &Found| (frame.id, frame.saved_at, frame.place.segment.clone(), frame.place.offset);
            key(one).cmp(&key(other))
        });
        frames.reverse();
        frames.dedup_by_key(|frame| frame.id);
        frames.reverse();
        frames.retain(|frame| !frame.erased);
        Ok(frames)
    }

    /// Reads private annotations from a place, or by a search of the crash's minute where it is not right any more.
    ///
    /// # Errors
    /// As for [`CrashStore::private`].
    pub async fn private_at(&self, id: CrashId, place: &Place) -> Result<Option<Annotations>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let place = place.clone();
                let read = move |local: &LocalStore| local.read_private(id, Some(&place));
                local.blocking("reading private annotations", DEADLINE, read).await
            }
            Backend::Objects(objects) => objects.private(id).await,
        }
    }

    /// Reads a processed crash from a place, or by a search of the crash's minute where it is not right any more.
    ///
    /// # Errors
    /// As for [`CrashStore::processed`].
    pub async fn processed_at(&self, id: CrashId, place: &Place) -> Result<Option<ProcessedCrash>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let place = place.clone();
                let read = move |local: &LocalStore| local.read_processed(id, Some(&place));
                local.blocking("reading a processed crash", DEADLINE, read).await
            }
            Backend::Objects(objects) => objects.processed(id).await,
        }
    }

    /// Whether superseded frames can be taken back: whether the filesystem gives back the middle of a file. Nothing in an
    /// object store, where a crash that is saved again replaces its object.
    ///
    /// # Errors
    /// What the operating system refused.
    pub async fn can_compact(&self) -> Result<Option<bool>, Error> {
        match &self.backend {
            Backend::Local(local) => {
                local.blocking("trying the filesystem", DEADLINE, LocalStore::can_compact).await.map(Some)
            }
            Backend::Objects(_) => Ok(None),
        }
    }

    /// Takes superseded frames of an area back; see `compact`. Does nothing in an object store.
    ///
    /// # Errors
    /// When it was not all done. Call it again.
    pub async fn compact(&self, order: CompactionOrder) -> Result<Compacted, Error> {
        match &self.backend {
            Backend::Local(local) => {
                let compact = move |local: &LocalStore| local.compact(&order);
                local.blocking("compacting the crash store", BULK_DEADLINE, compact).await
            }
            Backend::Objects(_) => Ok(Compacted::default()),
        }
    }
}
