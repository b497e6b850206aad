//! The ids that could not be published yet, on disk.
//!
//! `<root>/<writer>/` holds one writer's segments, `<number>.journal`, and its lock. A segment is a text file with a
//! line an id: the CRC-32 of what follows in eight hex digits, a blank, JSON. Lines are only ever appended, many of
//! them with one sync, and a segment is deleted as a whole when everything in it has been published. So a crash
//! costs at most the line that was being written, which nobody had been promised, and it repeats at most the ids of
//! one segment, which is allowed.
//!
//! A process that starts takes over the folders of writers that are gone: those whose lock is free.
//!
//! `segment` is the files, `folder` the locks, `writer` the one thread that appends, `ledger` what is known of all
//! that stands on disk, `drain` the way out, and `outside` what other processes may see.

mod drain;
mod folder;
mod ledger;
mod outside;
mod segment;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use settings::Size;
use tokio::sync::{mpsc, oneshot};

pub(crate) use drain::{Drain, drain};
pub(crate) use ledger::Ledger;
pub use outside::{Journaled, is_journaled, journal_depth, journaled};
pub(crate) use segment::Entry;

use crate::{error::Error, metrics::Metrics};
use folder::Folder;
use writer::{Command, Writer};

/// How many appends may wait for the next sync; beyond these a publisher waits to be let in.
const WAITING: usize = 4_096;

/// How long an append may take, the wait to be let in included. Only a disk that hangs is slower, and whoever waits for
/// it has a client that waits too.
const APPEND_LIMIT: Duration = Duration::from_secs(10);

/// How much waits in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalDepth {
    /// How many ids, those of writers whose folders were taken over included.
    pub ids: u64,
    /// Since when the first of them waits.
    pub oldest: Option<Timestamp>,
}

/// One writer's journal.
#[derive(Debug)]
pub(crate) struct Journal {
    commands: mpsc::Sender<Command>,
    ledger: Arc<Ledger>,
    path: PathBuf,
    append_limit: Duration,
    /// Fails when the writer's thread has panicked.
    ended: oneshot::Receiver<()>,
}

impl Journal {
    /// Takes the writer's folder below `root`, or `<name>-2` and so on while others hold it, and whatever folders
    /// are nobody's. Blocks.
    pub(crate) fn open(
        root: &Path,
        writer_name: &str,
        limit: Size,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let folder = Arc::new(Folder::claim_own(root, writer_name)?);
        let ledger = Arc::new(Ledger::new(metrics));
        let next_number = ledger.take_over(&folder)?;
        drain::adopt(root, &ledger);

        let (commands, received) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        let path = folder.path().to_owned();
        let writer = Writer::new(folder, next_number, limit, ledger.clone());
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                writer.run(received);
                if end.send(()).is_err() {
                    tracing::debug!("the journal's writer has ended, and nobody waits for it");
                }
            })
            .map_err(Error::journal("starting the writer of", root))?;
        Ok(Self { commands, ledger, path, append_limit: APPEND_LIMIT, ended })
    }

    /// Returns when the id is durable.
    pub(crate) async fn append(&self, entry: &Entry) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Append { line: entry.line(), since: entry.message.enqueued_at, reply };
        let gone = || Error::unconfirmed("the journal's writer is gone");
        let appending = async {
            self.commands.send(command).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        tokio::time::timeout(self.append_limit, appending).await.unwrap_or_else(|_| {
            let hangs = io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer");
            Err(Error::journal("writing to the journal in", &self.path)(hangs))
        })
    }

    pub(crate) fn ledger(&self) -> Arc<Ledger> {
        self.ledger.clone()
    }

    pub(crate) fn seals(&self) -> mpsc::WeakSender<Command> {
        self.commands.downgrade()
    }

    /// Lets the folder go. Returns when what was appended is on disk, or when that takes too long: the thread is then
    /// left to the end of the process, and nobody was promised what it still holds.
    pub(crate) async fn close(self, limit: Duration) {
        let Self { commands, path, ended, .. } = self;
        drop(commands);
        match tokio::time::timeout(limit, ended).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::error!("the journal's writer has panicked"),
            Err(_) => {
                tracing::error!(path = %path.display(), ?limit, "the journal's disk hangs, and its writer is not waited for");
            }
        }
    }
}

#[cfg(test)]
mod tests;
