//! What is known of everything that stands in the journal.

use std::{
    collections::VecDeque,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{JournalDepth, folder::Folder, segment};
use crate::{error::Error, metrics::Metrics, supervisor::backoff};

/// How many lines are looked at in one go where they are only counted.
const COUNT_STEP: usize = 1_024;
/// The longest time for which a segment that the disk does not let us read or delete is left alone.
const LONGEST_ASIDE: Duration = Duration::from_secs(600);

/// A segment, and how much of it is still to be published.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) ids: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Option<Timestamp>,
    /// Up to where it is published.
    pub(crate) offset: u64,
    pub(crate) left: Left,
    /// How often it was set aside.
    failures: u32,
    /// Keeps the folder's lock as long as it holds segments of interest.
    _folder: Arc<Folder>,
}

/// What is left to be done with a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Publish it, then delete it.
    Publish,
    /// Delete it: the broker has all of it.
    Delete,
}

impl Segment {
    /// One in which nothing is known to stand.
    pub(crate) fn new(path: PathBuf, folder: Arc<Folder>) -> Self {
        Self {
            path,
            ids: 0,
            bytes: 0,
            oldest: None,
            offset: 0,
            left: Left::Publish,
            failures: 0,
            _folder: folder,
        }
    }
}

/// The segments in the order in which they are published, and the one that is being written.
///
/// Only counts are held in memory; the ids stay in the files.
#[derive(Debug)]
pub(crate) struct Ledger {
    known: Mutex<Known>,
    changed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Known {
    sealed: VecDeque<Segment>,
    active: Option<Segment>,
    /// Those that the disk does not let us read or delete, and when each is tried again. They are kept in mind, folder
    /// and all: what was forgotten would be taken over as if somebody had left it, and be published for ever.
    aside: Vec<(Instant, Segment)>,
}

impl Known {
    fn all(&self) -> impl Iterator<Item = &Segment> {
        self.sealed.iter().chain(&self.active).chain(self.aside.iter().map(|(_, segment)| segment))
    }
}

impl Ledger {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { known: Mutex::default(), changed: Notify::new(), metrics }
    }

    /// Counts what stands in a folder and puts it in line. Returns the first number that no segment there has.
    pub(crate) fn take_over(&self, folder: &Arc<Folder>) -> Result<u64, Error> {
        let reading = Error::journal("reading the journal in", folder.path());
        let numbers = segment::numbers(folder.path()).map_err(reading)?;
        let next = numbers.last().map_or(1, |last| last + 1);
        for number in numbers {
            let path = segment::path(folder.path(), number);
            let mut found = Segment::new(path, folder.clone());
            if let Err(error) = count(&mut found) {
                // It stands in line nevertheless: it must not hold up the others, and may be readable by then.
                tracing::warn!(path = %found.path.display(), %error, "a segment of the journal cannot be counted");
            }
            self.change(|known| known.sealed.push_back(found));
        }
        Ok(next)
    }

    /// The segment that is to be published next, if it is no longer written.
    pub(crate) fn front(&self) -> Option<Segment> {
        self.known().sealed.front().cloned()
    }

    pub(crate) fn has_active(&self) -> bool {
        self.known().active.is_some()
    }

    /// How many bytes stand on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.known().all().map(|segment| segment.bytes).sum()
    }

    /// What the writer has made durable in the segment that it writes.
    pub(crate) fn written(&self, active: Segment) {
        self.change(|known| known.active = Some(active));
    }

    /// The writer will never touch that segment again.
    pub(crate) fn sealed(&self) {
        self.change(|known| {
            let sealed = known.active.take();
            known.sealed.extend(sealed);
        });
    }

    /// So many ids of the first segment, up to this offset, are with the broker; the last of them waited since then.
    pub(crate) fn published(&self, ids: u64, offset: u64, last: Option<Timestamp>) {
        self.change(|known| {
            if let Some(front) = known.sealed.front_mut() {
                front.ids = front.ids.saturating_sub(ids);
                front.offset = offset;
                front.oldest = last.or(front.oldest);
            }
        });
    }

    /// The first segment is done with, file and all.
    pub(crate) fn forget_front(&self) {
        self.change(|known| drop(known.sealed.pop_front()));
    }

    /// The disk does not let us do what is left to be done with the first segment: it leaves the line for a while that
    /// grows with each time. Returns how often that has happened to it. Chance is in [0, 1).
    pub(crate) fn set_aside(&self, left: Left, now: Instant, chance: f64) -> u32 {
        let mut failures = 0;
        self.change(|known| {
            if let Some(mut segment) = known.sealed.pop_front() {
                segment.failures += 1;
                segment.left = left;
                if left == Left::Delete {
                    segment.ids = 0;
                }
                failures = segment.failures;
                known.aside.push((now + backoff(failures, LONGEST_ASIDE, chance), segment));
            }
        });
        failures
    }

    /// Puts what has stood aside for long enough at the end of the line.
    pub(crate) fn bring_back(&self, now: Instant) {
        if self.known().aside.iter().any(|(due, _)| *due <= now) {
            self.change(|known| {
                let due = known.aside.extract_if(.., |(due, _)| *due <= now);
                known.sealed.extend(due.map(|(_, segment)| segment));
            });
        }
    }

    pub(crate) fn depth(&self) -> JournalDepth {
        depth(&self.known())
    }

    /// True when no segment is left that can be published now.
    pub(crate) fn is_empty(&self) -> bool {
        let known = self.known();
        known.sealed.is_empty() && known.active.is_none()
    }

    /// Tells the metrics how it stands.
    pub(crate) fn report(&self) {
        self.metrics.journal(self.depth());
    }

    /// Returns when something has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        change(&mut known);
        self.metrics.journal(depth(&known));
        drop(known);
        self.changed.notify_one();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn depth(known: &Known) -> JournalDepth {
    let all = || known.all().filter(|segment| segment.ids > 0);
    JournalDepth {
        ids: all().map(|segment| segment.ids).sum(),
        oldest: all().filter_map(|segment| segment.oldest).min(),
    }
}

fn count(found: &mut Segment) -> io::Result<()> {
    found.bytes = fs::metadata(&found.path)?.len();
    let mut offset = Some(0);
    while let Some(from) = offset {
        let window = segment::read(&found.path, from, COUNT_STEP)?;
        found.ids += u64::try_from(window.entries.len()).unwrap_or(u64::MAX);
        found.oldest = found.oldest.or(window.entries.first().map(|entry| entry.message.enqueued_at));
        offset = window.next;
    }
    Ok(())
}
