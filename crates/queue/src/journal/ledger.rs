//! What is known of everything that stands in the journal.

use std::{
    collections::VecDeque,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{JournalDepth, folder::Folder, segment};
use crate::{error::Error, metrics::Metrics};

/// How many lines are looked at in one go where they are only counted.
const COUNT_STEP: usize = 1_024;

/// A segment, and how much of it is still to be published.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) ids: u64,
    pub(crate) bytes: u64,
    pub(crate) oldest: Option<Timestamp>,
    /// Up to where it is published.
    pub(crate) offset: u64,
    /// Keeps the folder's lock as long as it holds segments of interest.
    pub(crate) _folder: Arc<Folder>,
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
            let found = count(path.clone(), folder.clone()).map_err(Error::journal("reading", path))?;
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
        let known = self.known();
        known.sealed.iter().chain(&known.active).map(|segment| segment.bytes).sum()
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

    pub(crate) fn depth(&self) -> JournalDepth {
        depth(&self.known())
    }

    /// True when no segment is left.
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
    let all = || known.sealed.iter().chain(&known.active).filter(|segment| segment.ids > 0);
    JournalDepth {
        ids: all().map(|segment| segment.ids).sum(),
        oldest: all().filter_map(|segment| segment.oldest).min(),
    }
}

fn count(path: PathBuf, folder: Arc<Folder>) -> std::io::Result<Segment> {
    let bytes = fs::metadata(&path)?.len();
    let mut found = Segment { path, ids: 0, bytes, oldest: None, offset: 0, _folder: folder };
    let mut offset = Some(0);
    while let Some(from) = offset {
        let window = segment::read(&found.path, from, COUNT_STEP)?;
        found.ids += u64::try_from(window.entries.len()).unwrap_or(u64::MAX);
        found.oldest = found.oldest.or(window.entries.first().map(|entry| entry.message.enqueued_at));
        offset = window.next;
    }
    Ok(found)
}
