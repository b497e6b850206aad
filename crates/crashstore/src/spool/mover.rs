//! Moving what is in the spool into the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crash::{CrashId, Minute, Place, RawCrash};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

use super::{Spool, SpoolDepth, outside, owner};
use crate::{
    Area, CrashStore, Error, Writer,
    disk::{LocalDisk, sync_folder},
    erase::erase_frame,
    layout::{Slot, parse_segment_name},
    list::SegmentScan,
    local::LocalStore,
    lock::WriterLock,
    segment::{Segment, Tail},
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
/// A crash that the store has not taken, while it took others, is tried again after so long; each failure doubles it.
const FIRST_ASIDE: Duration = Duration::from_secs(15);
const LONGEST_ASIDE: Duration = Duration::from_secs(15 * 60);
/// Pauses are so much shorter or longer.
const JITTER: std::ops::Range<f64> = 0.75..1.25;

/// What a spool has: the raw area first.
const SPOOLED: [Area; 2] = [Area::Raw, Area::Private];

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
    store: CrashStore,
    writer: Writer,
    progress: Mutex<Progress>,
}

/// What this process need not do again, or has to. The next one knows nothing of it, which does no harm but for an
/// erasure that the store has not done yet.
#[derive(Debug, Default)]
struct Progress {
    /// Crashes that were moved and published, of a group that is still there.
    moved: HashSet<CrashId>,
    /// Crashes that the store has not taken while it took others, that no store takes, or that cannot be read.
    aside: HashMap<CrashId, Aside>,
    /// How many were put aside since the store has last taken one.
    refused: usize,
    /// Why the store takes none, where it was so many: the breaker hears of it when no other is under way.
    refuses_all: Option<Error>,
    /// Crashes that were erased from the spool while they were moved, and are to be erased from the store.
    unerased: HashSet<CrashId>,
    /// Groups with bytes that are no frame, of which it has been said.
    damaged: HashSet<Group>,
}

/// A crash that holds up no other.
#[derive(Debug)]
struct Aside {
    failures: u32,
    /// When it is tried again; nothing for one that would fail for ever.
    again_at: Option<Instant>,
}

/// All segments of a writer in one minute: what is moved, and unlinked, together.
type Group = (Minute, String);

/// What became of a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is in the store, and published.
    Moved,
    /// There was nothing to do: it was moved before, or erased.
    Nothing,
    /// It stays, and others go on.
    Aside,
    /// It stays, and so do others: the store does not take crashes now, or it is time to stop.
    NotNow,
}

impl Mover {
    pub(super) fn new(spool: Arc<Spool>, store: CrashStore, writer: Writer) -> Self {
        Self { spool, store, writer, progress: Mutex::default() }
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
    /// called for each crash once it is in the store. Where neither queue nor journal takes an id, the crash is moved all
    /// the same: the sweep of the store finds it, and saving it again and again would help nobody.
    ///
    /// After a failure the store is tried first with something small that is no crash, also while the spool is empty.
    ///
    /// # Errors
    /// When the spool cannot be read or tidied up. A store that does not take crashes is no error: see [`Passed::done`].
    pub async fn pass<F>(
        &self,
        publish: impl Fn(CrashId, Place) -> F + Sync,
        go_on: impl Fn() -> bool + Sync,
    ) -> Result<Passed, Error>
    where
        F: Future<Output = ()> + Send,
    {
        let mut passed = Passed::default();
        if !self.store_answers().await {
            return Ok(passed);
        }
        self.erase_again().await;
        if self.is_empty().await? {
            return Ok(Passed { done: true, ..passed });
        }
        self.spool.close_writer().await;
        // The locks are held until the pass ends.
        let (groups, _locks) =
            self.spool.store.blocking("claiming what is in the spool", DISK_DEADLINE, claim).await?;
        for group in groups {
            if !self.move_group(&group, &publish, &go_on, &mut passed.moved).await? {
                return Ok(passed);
            }
        }
        passed.done = true;
        Ok(passed)
    }

    /// Whether the store takes crashes, as far as is known.
    #[must_use]
    pub fn store_is_up(&self) -> bool {
        self.spool.breaker.next_try().is_none()
    }

    async fn is_empty(&self) -> Result<bool, Error> {
        let look = |store: &LocalStore| {
            Ok(store.minutes(Area::Raw)?.is_empty() && store.minutes(Area::Private)?.is_empty())
        };
        self.spool.store.blocking("looking into the spool", DISK_DEADLINE, look).await
    }

    /// Whether the store takes crashes. After a failure it is tried with what is no crash: one that it will not take must
    /// not stand for all.
    async fn store_answers(&self) -> bool {
        let (spool, now) = (&self.spool, Instant::now());
        self.store_is_up() || (spool.breaker.admits(now) && spool.try_store(&self.writer).await.is_ok())
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
        F: Future<Output = ()> + Send,
    {
        let listed = group.clone();
        let list = move |store: &LocalStore| contents(store, &listed);
        let Contents { crashes, is_whole } =
            self.spool.store.blocking("listing the spool", DISK_DEADLINE, list).await?;
        let ids: HashSet<CrashId> = crashes.iter().map(|(id, _)| *id).collect();
        let stops = AtomicBool::new(false);
        let stops = &stops;
        let moves = crashes.into_iter().map(|(id, place)| async move {
            let outcome = match self.known(id) {
                Some(outcome) => outcome,
                None if stops.load(Ordering::Relaxed) || !go_on() => Outcome::NotNow,
                None => self.move_one(id, place, publish).await,
            };
            // Those under way come to their end; no further one is begun.
            stops.fetch_or(outcome == Outcome::NotNow, Ordering::Relaxed);
            outcome
        });
        let moves = futures_util::stream::iter(moves).buffer_unordered(TOGETHER);
        let outcomes: Vec<Outcome> = moves.collect().await;
        let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
        *moved += count(Outcome::Moved) as u64;
        let refused = {
            let mut progress = self.progress();
            let refused = progress.refuses_all.take();
            progress.refused = if refused.is_some() { 0 } else { progress.refused };
            refused
        };
        if let Some(error) = refused {
            self.spool.breaker.failed(Instant::now(), &error);
        }
        if count(Outcome::NotNow) > 0 {
            return Ok(false);
        }
        if count(Outcome::Aside) > 0 || !is_whole {
            self.leave(group, is_whole, &ids).await?;
        } else {
            let (minute, writer) = group.clone();
            let remove = move |store: &LocalStore| remove(store, minute, &writer);
            self.spool.store.blocking("unlinking what was moved", DISK_DEADLINE, remove).await?;
        }
        self.progress().moved.retain(|id| !ids.contains(id));
        Ok(true)
    }

    /// What is to be said of a crash without trying it.
    fn known(&self, id: CrashId) -> Option<Outcome> {
        let progress = self.progress();
        if progress.moved.contains(&id) {
            return Some(Outcome::Nothing);
        }
        let aside = progress.aside.get(&id)?;
        aside.again_at.is_none_or(|at| Instant::now() < at).then_some(Outcome::Aside)
    }

    async fn move_one<F>(&self, id: CrashId, place: Place, publish: &impl Fn(CrashId, Place) -> F) -> Outcome
    where
        F: Future<Output = ()>,
    {
        let (reading, spooled) = (place.clone(), place);
        let read = move |store: &LocalStore| store.read_raw(id, Some(&reading));
        let crash = match self.spool.store.blocking("reading from the spool", DISK_DEADLINE, read).await {
            Ok(Some(crash)) => crash,
            // Erased meanwhile.
            Ok(None) => return Outcome::Nothing,
            Err(error @ (Error::Damaged { .. } | Error::Newer { .. })) => {
                return self.put_aside(id, &error, false);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the spool cannot be read");
                return Outcome::NotNow;
            }
        };
        let place = match self.save(crash).await {
            Ok(place) => place,
            Err(outcome) => return outcome,
        };
        if self.was_erased(id, spooled).await {
            // Whoever erased it may have looked into the store before it was there.
            self.progress().unerased.insert(id);
            self.erase_again().await;
            return Outcome::Nothing;
        }
        publish(id, place).await;
        self.progress().moved.insert(id);
        Outcome::Moved
    }

    async fn save(&self, crash: RawCrash) -> Result<Place, Outcome> {
        let id = crash.id();
        let saving = timeout(MOVE_DEADLINE, self.writer.save_raw(&crash)).await;
        let error = match saving.unwrap_or_else(|_| Err(timed_out(id))) {
            Ok(place) => {
                self.spool.breaker.succeeded();
                let mut progress = self.progress();
                progress.refused = 0;
                progress.aside.remove(&id);
                return Ok(place);
            }
            Err(error) if error.is_of_the_crash() => return Err(self.put_aside(id, &error, false)),
            Err(error) => error,
        };
        // The store's fault, or the crash's?
        if self.spool.try_store(&self.writer).await.is_err() {
            return Err(Outcome::NotNow);
        }
        let outcome = self.put_aside(id, &error, true);
        let mut progress = self.progress();
        progress.refused += 1;
        if progress.refused < TOGETHER {
            return Err(outcome);
        }
        // It takes what is small, and no crash: that is no fault of so many of them.
        progress.refuses_all = Some(error);
        Err(Outcome::NotNow)
    }

    /// Has a crash hold up no other, for a while that grows or for as long as this process runs.
    fn put_aside(&self, id: CrashId, error: &Error, tries_again: bool) -> Outcome {
        let mut progress = self.progress();
        let aside = progress.aside.entry(id).or_insert(Aside { failures: 0, again_at: None });
        let pause = LONGEST_ASIDE.min(FIRST_ASIDE * 2_u32.saturating_pow(aside.failures.min(16)));
        let pause = pause.mul_f64(rand::random_range(JITTER));
        aside.failures += 1;
        aside.again_at = tries_again.then(|| Instant::now() + pause);
        let error = error as &dyn std::error::Error;
        if tries_again {
            let (failures, again_s) = (aside.failures, pause.as_secs());
            tracing::warn!(
                crash_id = %id, error, failures, again_s,
                "the store takes crashes, but not this one: it waits in the spool, and others go on"
            );
        } else {
            tracing::error!(
                crash_id = %id, error,
                "a crash in the spool cannot be moved: it stays there, and others go on"
            );
        }
        Outcome::Aside
    }

    /// Whether a crash was erased from the spool while it was being moved.
    async fn was_erased(&self, id: CrashId, place: Place) -> bool {
        let look = move |store: &LocalStore| {
            let path = store.layout().segment((Area::Raw, id.minute()), &place.segment);
            let entry = Segment::open(path.clone())
                .and_then(|segment| segment.map_or(Ok(None), |segment| segment.entry(place.offset)));
            let entry = entry.map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
            Ok(entry.is_some_and(|entry| entry.header.id == id && entry.erased))
        };
        match self.spool.store.blocking("reading from the spool", DISK_DEADLINE, look).await {
            Ok(was_erased) => was_erased,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(crash_id = %id, error, "whether a crash was erased cannot be read");
                false
            }
        }
    }

    /// Erases from the store what was erased from the spool while it was moved.
    async fn erase_again(&self) {
        let unerased: Vec<CrashId> = self.progress().unerased.iter().copied().collect();
        for id in unerased {
            match self.store.erase(id).await {
                Ok(_) => drop(self.progress().unerased.remove(&id)),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(crash_id = %id, error, "a crash that was erased while it was moved is still in the store: the next pass erases it");
                }
            }
        }
    }

    /// Keeps a group that has something in it which cannot be moved, and erases what was moved of it: the next process
    /// would move it again, and by then it may have been erased in the store.
    async fn leave(&self, group: &Group, is_whole: bool, ids: &HashSet<CrashId>) -> Result<(), Error> {
        if !is_whole && self.progress().damaged.insert(group.clone()) {
            tracing::error!(
                minute = %group.0, writer = group.1,
                "segments of the spool hold bytes that are no crash: what is sound is moved, and the rest stays"
            );
        }
        let moved: HashSet<CrashId> = self.progress().moved.intersection(ids).copied().collect();
        if moved.is_empty() {
            return Ok(());
        }
        let (minute, writer) = group.clone();
        let erase = move |store: &LocalStore| erase_moved(store, minute, &writer, &moved);
        self.spool.store.blocking("erasing what was moved", DISK_DEADLINE, erase).await
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
    // Before anything is taken from it: all of it would be.
    owner::is_no_store(store)?;
    let mut groups = BTreeSet::new();
    for area in SPOOLED {
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
    for area in SPOOLED {
        for scanned in scan_of(store, (area, *minute), writer)? {
            is_whole &= scanned.scan.gaps.is_empty() && scanned.scan.tail == Tail::None;
            if area == Area::Raw {
                found.extend(scanned.scan.entries.iter().filter(|entry| !entry.erased).map(|entry| {
                    let place = Place { segment: scanned.name.clone(), offset: entry.header.offset };
                    (entry.header.id, (entry.header.saved_at, place))
                }));
            }
        }
    }
    let mut crashes: Vec<_> = found.into_iter().collect();
    crashes.sort_by_key(|(_, (saved_at, _))| *saved_at);
    Ok(Contents { crashes: crashes.into_iter().map(|(id, (_, place))| (id, place)).collect(), is_whole })
}

/// The segments of one writer.
fn scan_of(store: &LocalStore, slot: Slot, writer: &str) -> Result<Vec<SegmentScan>, Error> {
    let mut scans = store.scan(slot)?;
    scans.retain(|scanned| parse_segment_name(&scanned.name).is_some_and(|(of, _)| of == writer));
    Ok(scans)
}

/// Erases crashes from what a writer has in a minute. Only for the holder of the writer's lock. The raw frames go first:
/// without its private one a crash would be moved again as one that has none.
fn erase_moved(
    store: &LocalStore,
    minute: Minute,
    writer: &str,
    ids: &HashSet<CrashId>,
) -> Result<(), Error> {
    for area in SPOOLED {
        for SegmentScan { segment, scan, .. } in scan_of(store, (area, minute), writer)? {
            let path = segment.path();
            let failed = |error| Error::io(format!("erasing what was moved from {}", path.display()), error);
            let moved = scan.entries.iter().filter(|entry| !entry.erased && ids.contains(&entry.header.id));
            for entry in moved {
                erase_frame(path, &entry.header).map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn segments(store: &LocalStore, area: Area, minute: Minute) -> Result<Vec<String>, Error> {
    let folder = store.layout().minute((area, minute));
    store
        .layout()
        .segments((area, minute))
        .map_err(|error| Error::io(format!("listing {}", folder.display()), error))
}

/// Unlinks all that a writer has in a minute: the way by which crashes leave the spool.
///
/// Only for the holder of the writer's lock, who has seen every crash of these segments into the store and its id into
/// the queue: whole files then go, and there is no mark to keep of single crashes. The raw segments go first, and for
/// good before the private ones do, since a raw frame without its private one would be moved again as a crash that
/// has none. Private segments alone, which a kill between the two leaves, go with the next pass.
fn remove(store: &LocalStore, minute: Minute, writer: &str) -> Result<(), Error> {
    let layout = store.layout();
    for area in SPOOLED {
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
