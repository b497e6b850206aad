//! The way out of the journal: to the broker, in order, at a bounded rate.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    folder::Folder,
    ledger::{Ledger, Left, Segment},
    segment::{self, Entry, Window},
    writer::Command,
};
use crate::{
    error::Error,
    lane::{BATCH, Outgoing},
    names::Names,
    supervisor::{BrokerState, backoff},
    wire::{Via, Wire},
};

/// How often to look for folders whose writers are gone.
const ADOPT_EVERY: Duration = Duration::from_secs(10);
/// How often to tell how long the ids have waited, which grows without anybody's doing.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// The longest pause after the broker has refused what it was given.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What it takes to empty a journal.
pub(crate) struct Drain {
    pub(crate) ledger: Arc<Ledger>,
    /// Weak, so that the writer ends when there is nobody but the drain.
    pub(crate) writer: mpsc::WeakSender<Command>,
    pub(crate) wire: Wire,
    pub(crate) names: Names,
    pub(crate) root: PathBuf,
    /// Ids a second.
    pub(crate) rate: u32,
}

/// Publishes what is in the journal whenever the broker is there, until `end`.
pub(crate) async fn drain(drain: Drain, end: CancellationToken) {
    let ledger = drain.ledger.clone();
    let report = async {
        loop {
            tokio::time::sleep(REPORT_EVERY).await;
            ledger.report();
        }
    };
    // Neither ends by itself while anybody publishes.
    end.run_until_cancelled(async { tokio::join!(drain.run(), report) }).await;
}

impl Drain {
    async fn run(self) {
        let mut failures = 0;
        let mut state = self.wire.state();
        loop {
            if state.wait_for(|state| *state == BrokerState::Connected).await.is_err() {
                return;
            }
            match self.next_segment().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    let pause = backoff(failures, LONGEST_PAUSE, rand::random());
                    tracing::warn!(reason = %error, ?pause, "the journal could not be published");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Publishes the first segment, or waits until there is one.
    async fn next_segment(&self) -> Result<(), Error> {
        self.ledger.bring_back(Instant::now());
        if let Some(segment) = self.ledger.front() {
            if segment.left == Left::Publish && !self.publish(&segment).await? {
                return Ok(());
            }
            delete(&self.ledger, segment.path).await;
            return Ok(());
        }
        if self.ledger.has_active()
            && let Some(writer) = self.writer.upgrade()
        {
            // It fails when the writer is gone, and then nothing is written any more.
            drop(writer.send(Command::Seal).await);
        }
        if tokio::time::timeout(ADOPT_EVERY, self.ledger.changed()).await.is_err() {
            let (root, ledger) = (self.root.clone(), self.ledger.clone());
            drop(tokio::task::spawn_blocking(move || adopt(&root, &ledger)).await);
        }
        Ok(())
    }

    /// Publishes what is left of the first segment. False when it cannot be read and was set aside.
    async fn publish(&self, segment: &Segment) -> Result<bool, Error> {
        let mut from = segment.offset;
        loop {
            let window = match read(segment.path.clone(), from).await {
                Ok(window) => window,
                Err(Error::Journal { source, path, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    tracing::error!(path = %path.display(), "somebody has deleted a segment of the journal");
                    return Ok(true);
                }
                Err(error) => {
                    // It must not hold up what stands behind it.
                    set_aside(&self.ledger, Left::Publish, &error);
                    return Ok(false);
                }
            };
            // At the end it is the line that was being written when its writer died.
            if window.damaged > 0 && window.next.is_some() {
                tracing::warn!(path = %segment.path.display(), lines = window.damaged, "the journal is damaged");
            }
            self.publish_window(&window.entries).await?;
            let published = u32::try_from(window.entries.len()).unwrap_or(u32::MAX);
            let Some(next) = window.next else { return Ok(true) };
            let last = window.entries.last().map(|entry| entry.message.enqueued_at);
            self.ledger.published(u64::from(published), next, last);
            from = next;
            tokio::time::sleep(Duration::from_secs_f64(f64::from(published) / f64::from(self.rate))).await;
        }
    }

    async fn publish_window(&self, entries: &[Entry]) -> Result<(), Error> {
        let publishing = entries.iter().map(|Entry { queue, message }| {
            let outgoing = Outgoing {
                exchange: self.names.exchange(),
                key: self.names.work(*queue),
                body: message.body().into_bytes(),
                properties: message.properties(),
            };
            self.wire.send(Via::Journal, outgoing)
        });
        join_all(publishing).await.into_iter().collect()
    }
}

/// Deletes the first segment, all of which is with the broker.
pub(super) async fn delete(ledger: &Ledger, path: PathBuf) {
    let deleting = Error::journal("deleting", path.clone());
    match blocking(move || fs::remove_file(&path)).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            set_aside(ledger, Left::Delete, &deleting(error));
        }
        _ => ledger.forget_front(),
    }
}

async fn read(path: PathBuf, from: u64) -> Result<Window, Error> {
    let reading = Error::journal("reading", path.clone());
    blocking(move || segment::read(&path, from, BATCH)).await.map_err(reading)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn set_aside(ledger: &Ledger, left: Left, error: &Error) {
    match ledger.set_aside(left, Instant::now(), rand::random()) {
        0 | 1 => tracing::error!(%error, "a segment of the journal is set aside and tried again"),
        failures => tracing::debug!(%error, failures, "a segment of the journal is still set aside"),
    }
}

/// Takes over the folders that nobody holds, as long as there is something in them. Blocks.
pub(crate) fn adopt(root: &Path, ledger: &Ledger) {
    let Ok(folders) = fs::read_dir(root) else { return };
    let paths: HashSet<PathBuf> =
        folders.flatten().map(|folder| folder.path()).filter(|path| path.is_dir()).collect();
    for path in paths {
        // Without segments it is not worth a lock, which could keep its owner from coming back.
        if segment::numbers(&path).is_ok_and(|numbers| numbers.is_empty()) {
            continue;
        }
        let adopted = match Folder::claim(path.clone()) {
            Ok(Some(folder)) => ledger.take_over(&Arc::new(folder)).map(drop),
            Ok(None) => continue,
            Err(error) => Err(Error::journal("locking the journal's folder", &path)(error)),
        };
        if let Err(error) = adopted {
            tracing::warn!(%error, "a journal that nobody holds cannot be taken over");
        } else {
            tracing::info!(path = %path.display(), "took over the journal of a writer that is gone");
        }
    }
}
