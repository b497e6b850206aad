//! Moving what is in the spool into the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crash::{CrashId, Minute, Place};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::{Spool, SpoolDepth, outside};
use crate::{
    Area, Error, Writer,
    disk::{LocalDisk, sync_folder},
    layout::parse_segment_name,
    local::LocalStore,
    lock::WriterLock,
    segment::Tail,
    tail,
};

/// So many crashes are moved at a time, and are in memory.
const TOGETHER: usize = 8;
/// How long the store has for one crash that is moved. More than for an upload: nobody waits, and a crash that takes
/// longer than an upload may would never be moved.
const MOVE_DEADLINE: Duration = Duration::from_secs(90);
/// How long reading from the spool, or unlinking, may take.
const DISK_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked for what processes have left that are gone.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What is spooled waits so long for others to come along.
const GATHER: Duration = Duration::from_millis(300);
/// Pauses are so much shorter or longer.
const JITTER: std::ops::Range<f64> = 0.75..1.25;

/// What became of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// Crashes that are in the store now, and published.
    pub moved: u64,
    /// Whether the spool has nothing more that this process could move now.
    pub done: bool,
}

/// Moves what is in the spool of this machine into the store. One for a process.
#[derive(Debug)]
pub struct Mover {
    spool: Arc<Spool>,
    writer: Writer,
    progress: Mutex<Progress>,
}

/// What this process need not do again. The next one does it again, which does no harm.
#[derive(Debug, Default)]
struct Progress {
    /// Crashes that were moved and published, of a group of which others could not be.
    moved: HashSet<CrashId>,
    /// Segments with something in them that no store takes, or that cannot be read. They stay.
    stuck: HashSet<Group>,
}

/// All segments of a writer in one minute: what is moved, and unlinked, together.
type Group = (Minute, String);

/// Why a crash was not moved.
enum Unmoved {
    /// The store does not take crashes now, or the queue takes no ids.
    NotNow,
    /// It never will be.
    Stuck(Error),
}

impl Mover {
    pub(super) fn new(spool: Arc<Spool>, writer: Writer) -> Self {
        Self { spool, writer, progress: Mutex::default() }
    }

    /// Returns when there may be something to move: something was spooled, the store is to be tried again, or it is time
    /// to look for what others left.
    pub async fn wait(&self) {
        let pause = match self.spool.breaker.next_try() {
            Some(next) => next.saturating_duration_since(Instant::now()).max(GATHER),
            None => {
                let look = sleep(LOOK_EVERY.mul_f64(rand::random_range(JITTER)));
                tokio::select! {
                    () = self.spool.news.notified() => GATHER.mul_f64(rand::random_range(JITTER)),
                    () = look => Duration::ZERO,
                }
            }
        };
        sleep(pause).await;
    }

    /// How much waits in the spool.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn depth(&self) -> Result<SpoolDepth, Error> {
        self.spool.store.blocking("measuring the spool", DISK_DEADLINE, outside::depth).await
    }

    /// Moves what is in the spool, the oldest first, for as long as the store takes it and `go_on` says so. `publish` is
    /// called for each crash once it is in the store, and says whether the id is safe with the queue.
    ///
    /// # Errors
    /// When the spool cannot be read or tidied up. A store that does not take crashes is no error: see [`Passed::done`].
    pub async fn pass<F>(
        &self,
        publish: impl Fn(CrashId, Place) -> F + Sync,
        go_on: impl Fn() -> bool + Sync,
    ) -> Result<Passed, Error>
    where
        F: Future<Output = bool> + Send,
    {
        let mut passed = Passed::default();
        if self.is_empty().await? {
            return Ok(Passed { done: true, ..passed });
        }
        if !self.store_answers().await? {
            return Ok(passed);
        }
        self.spool.close_writer().await;
        // The locks are held until the pass ends.
        let (groups, _locks) =
            self.spool.store.blocking("claiming what is in the spool", DISK_DEADLINE, claim).await?;
        for group in groups {
            if self.progress().stuck.contains(&group) {
                continue;
            }
            if !self.move_group(&group, &publish, &go_on, &mut passed.moved).await? {
                return Ok(passed);
            }
        }
        passed.done = true;
        Ok(passed)
    }

    async fn is_empty(&self) -> Result<bool, Error> {
        let look = |store: &LocalStore| {
            Ok(store.minutes(Area::Raw)?.is_empty() && store.minutes(Area::Private)?.is_empty())
        };
        self.spool.store.blocking("looking into the spool", DISK_DEADLINE, look).await
    }

    /// Whether the store takes crashes. After a failure it is tried with the oldest crash that can be read. It stays in
    /// the spool, also where its segment is one that is being appended to.
    async fn store_answers(&self) -> Result<bool, Error> {
        if self.spool.breaker.next_try().is_none() {
            return Ok(true);
        }
        if !self.spool.breaker.admits(Instant::now()) {
            return Ok(false);
        }
        let oldest = |store: &LocalStore| {
            for minute in store.minutes(Area::Raw)? {
                for frame in store.list(Area::Raw, minute)? {
                    if let Ok(Some(crash)) = store.read_raw(frame.id, Some(&frame.place)) {
                        return Ok(Some(crash));
                    }
                }
            }
            Ok(None)
        };
        let oldest = self.spool.store.blocking("reading from the spool", DISK_DEADLINE, oldest).await?;
        let Some(crash) = oldest else { return Ok(true) };
        Ok(!matches!(self.save(crash).await, Err(Unmoved::NotNow)))
    }

    /// Moves all that a writer has in a minute, and unlinks it; false when it is better to go on later.
    async fn move_group<F>(
        &self,
        group: &Group,
        publish: &(impl Fn(CrashId, Place) -> F + Sync),
        go_on: &(impl Fn() -> bool + Sync),
        moved: &mut u64,
    ) -> Result<bool, Error>
    where
        F: Future<Output = bool> + Send,
    {
        let listed = group.clone();
        let list = move |store: &LocalStore| contents(store, &listed);
        let Contents { crashes, is_whole } =
            self.spool.store.blocking("listing the spool", DISK_DEADLINE, list).await?;
        let moves = crashes.into_iter().map(|(id, place)| async move {
            if self.progress().moved.contains(&id) {
                return Ok(false);
            }
            if !go_on() {
                return Err(Unmoved::NotNow);
            }
            self.move_one(id, place, publish).await?;
            self.progress().moved.insert(id);
            Ok(true)
        });
        let mut results = pin!(futures_util::stream::iter(moves).buffer_unordered(TOGETHER));
        let (mut not_now, mut stuck) = (false, None);
        while let Some(result) = results.next().await {
            match result {
                Ok(is_new) => *moved += u64::from(is_new),
                // Those under way come to their end; no further one is begun.
                Err(Unmoved::NotNow) => not_now = true,
                Err(Unmoved::Stuck(error)) => stuck = Some(error),
            }
            if not_now && self.spool.breaker.next_try().is_some() {
                break;
            }
        }
        if not_now {
            return Ok(false);
        }
        if stuck.is_some() || !is_whole {
            self.leave(group, stuck.as_ref());
            return Ok(true);
        }
        let (minute, writer) = group.clone();
        let remove = move |store: &LocalStore| remove(store, minute, &writer);
        self.spool.store.blocking("unlinking what was moved", DISK_DEADLINE, remove).await?;
        self.progress().moved.clear();
        Ok(true)
    }

    async fn move_one<F>(
        &self,
        id: CrashId,
        place: Place,
        publish: &impl Fn(CrashId, Place) -> F,
    ) -> Result<(), Unmoved>
    where
        F: Future<Output = bool>,
    {
        let read = move |store: &LocalStore| store.read_raw(id, Some(&place));
        let crash = match self.spool.store.blocking("reading from the spool", DISK_DEADLINE, read).await {
            Ok(Some(crash)) => crash,
            // Erased meanwhile.
            Ok(None) => return Ok(()),
            Err(error @ (Error::Damaged { .. } | Error::Newer { .. })) => return Err(Unmoved::Stuck(error)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the spool cannot be read");
                return Err(Unmoved::NotNow);
            }
        };
        let place = self.save(crash).await?;
        if publish(id, place).await { Ok(()) } else { Err(Unmoved::NotNow) }
    }

    async fn save(&self, crash: crash::RawCrash) -> Result<Place, Unmoved> {
        let saving = timeout(MOVE_DEADLINE, self.writer.save_raw(&crash)).await;
        match saving.unwrap_or_else(|_| Err(timed_out(crash.id()))) {
            Ok(place) => {
                self.spool.breaker.succeeded();
                Ok(place)
            }
            Err(error) if error.is_of_the_crash() => Err(Unmoved::Stuck(error)),
            Err(error) => {
                self.spool.breaker.failed(Instant::now(), &error);
                Err(Unmoved::NotNow)
            }
        }
    }

    fn leave(&self, group: &Group, error: Option<&Error>) {
        let error = error.map(|error| error as &dyn std::error::Error);
        tracing::error!(
            minute = %group.0, writer = group.1, error,
            "a segment of the spool holds what cannot be moved: the rest of it is in the store, and the segment stays"
        );
        let mut progress = self.progress();
        progress.stuck.insert(group.clone());
        progress.moved.clear();
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn timed_out(id: CrashId) -> Error {
    Error::TimedOut { doing: format!("moving crash {id} from the spool"), deadline: MOVE_DEADLINE }
}

/// The writers that run no more, each with its lock, and what they have left, the oldest minute first. The torn tails of
/// those that were killed are cut.
fn claim(store: &LocalStore) -> Result<(Vec<Group>, Vec<WriterLock>), Error> {
    let mut groups = BTreeSet::new();
    for area in Area::ALL {
        for minute in store.minutes(area)? {
            for name in segments(store, area, minute)? {
                groups.extend(parse_segment_name(&name).map(|(writer, _)| (minute, writer.to_owned())));
            }
        }
    }
    let mut locks: HashMap<String, Option<WriterLock>> = HashMap::new();
    for (_, writer) in &groups {
        if locks.contains_key(writer) {
            continue;
        }
        let lock = WriterLock::try_take(store.layout(), writer)?;
        if let Some(lock) = &lock {
            tail::recover(&mut LocalDisk, store.layout(), lock)?;
        }
        locks.insert(writer.clone(), lock);
    }
    groups.retain(|(_, writer)| locks.get(writer).is_some_and(Option::is_some));
    Ok((groups.into_iter().collect(), locks.into_values().flatten().collect()))
}

/// What a writer has in a minute.
struct Contents {
    /// Each crash once, and where it is, in the order in which they were saved.
    crashes: Vec<(CrashId, Place)>,
    /// Whether every byte belongs to a frame.
    is_whole: bool,
}

fn contents(store: &LocalStore, (minute, writer): &Group) -> Result<Contents, Error> {
    let mut found = BTreeMap::new();
    let mut is_whole = true;
    for scanned in store.scan((Area::Raw, *minute))? {
        if parse_segment_name(&scanned.name).is_none_or(|(of, _)| of != writer) {
            continue;
        }
        is_whole &= scanned.scan.gaps.is_empty() && scanned.scan.tail == Tail::None;
        for entry in scanned.scan.entries.iter().filter(|entry| !entry.erased) {
            let place = Place { segment: scanned.name.clone(), offset: entry.header.offset };
            found.insert(entry.header.id, (entry.header.saved_at, place));
        }
    }
    let mut crashes: Vec<_> = found.into_iter().collect();
    crashes.sort_by_key(|(_, (saved_at, _))| *saved_at);
    Ok(Contents { crashes: crashes.into_iter().map(|(id, (_, place))| (id, place)).collect(), is_whole })
}

fn segments(store: &LocalStore, area: Area, minute: Minute) -> Result<Vec<String>, Error> {
    let folder = store.layout().minute((area, minute));
    store
        .layout()
        .segments((area, minute))
        .map_err(|error| Error::io(format!("listing {}", folder.display()), error))
}

/// Unlinks all that a writer has in a minute: the one way by which anything leaves the spool.
///
/// Only for the holder of the writer's lock, who has seen every crash of these segments into the store and its id into
/// the queue: whole files then go, and there is no mark to keep of single crashes. The raw segments go first, and for
/// good before the private ones do, since a raw frame without its private one would be moved again as a crash that
/// has none. Private segments alone, which a kill between the two leaves, go with the next pass.
fn remove(store: &LocalStore, minute: Minute, writer: &str) -> Result<(), Error> {
    let layout = store.layout();
    for area in [Area::Raw, Area::Private, Area::Processed] {
        let folder = layout.minute((area, minute));
        let failed = |error| Error::io(format!("unlinking what was moved from {}", folder.display()), error);
        let own = segments(store, area, minute)?;
        let own = own.iter().filter(|name| parse_segment_name(name).is_some_and(|(of, _)| of == writer));
        let mut unlinked = false;
        for name in own {
            gone(fs::remove_file(layout.segment((area, minute), name))).map_err(failed)?;
            unlinked = true;
        }
        if unlinked {
            sync_folder(&mut LocalDisk, &folder).map_err(failed)?;
            // A folder that another writer has something in stays.
            gone(fs::remove_dir(&folder)).map_err(failed)?;
            gone(fs::remove_dir(layout.day(area, minute.day()))).map_err(failed)?;
        }
    }
    Ok(())
}

fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Ok(())
        }
        other => other,
    }
}
