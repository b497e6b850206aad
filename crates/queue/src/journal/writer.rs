//! The one thread that appends to a journal.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    sync::Arc,
};

use jiff::Timestamp;
use settings::Size;
use tokio::sync::{mpsc, oneshot};

use super::{
    folder::Folder,
    ledger::{Ledger, Segment},
    segment,
};
use crate::error::Error;

/// How many appends share one sync at most.
const GROUP: usize = 1_024;
/// A segment that has grown to this is sealed: after a crash at most its ids are published twice.
const SEGMENT_BYTES: u64 = 1 << 20;

/// What the writer is asked for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Make a line durable, and say when it is.
    Append {
        /// The line, with its end.
        line: String,
        /// Since when its crash waits.
        since: Timestamp,
        /// Who waits for it.
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Write the segment no more, so that it can be published and deleted.
    Seal,
}

/// Appends lines, many with one sync.
#[derive(Debug)]
pub(crate) struct Writer {
    folder: Arc<Folder>,
    next_number: u64,
    limit: Size,
    ledger: Arc<Ledger>,
    active: Option<(File, Segment)>,
}

impl Writer {
    pub(crate) fn new(folder: Arc<Folder>, next_number: u64, limit: Size, ledger: Arc<Ledger>) -> Self {
        Self { folder, next_number, limit, ledger, active: None }
    }

    /// Works until nobody can ask for anything any more.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut group = Vec::with_capacity(GROUP);
        while commands.blocking_recv_many(&mut group, GROUP) > 0 {
            let (mut block, mut since, mut waiting, mut seal) = (String::new(), None, Vec::new(), false);
            for command in group.drain(..) {
                match command {
                    Command::Append { line, since: this, reply } => {
                        block.push_str(&line);
                        since = Some(since.map_or(this, |first: Timestamp| first.min(this)));
                        waiting.push(reply);
                    }
                    Command::Seal => seal = true,
                }
            }
            if !waiting.is_empty() {
                self.append(&block, since, waiting);
            }
            if seal {
                self.seal();
            }
        }
    }

    fn append(
        &mut self,
        block: &str,
        since: Option<Timestamp>,
        waiting: Vec<oneshot::Sender<Result<(), Error>>>,
    ) {
        let ids = u64::try_from(waiting.len()).unwrap_or(u64::MAX);
        let outcome = self.commit(block, ids, since);
        for reply in waiting {
            let answer = match &outcome {
                Ok(()) => Ok(()),
                Err(Refusal::Full) => Err(Error::JournalFull { path: self.folder.path().to_owned() }),
                Err(Refusal::Failed(error)) => {
                    let error = io::Error::new(error.kind(), error.to_string());
                    Err(Error::journal("writing to the journal in", self.folder.path())(error))
                }
            };
            // Who no longer waits has an id too many on disk, which only costs a repetition.
            drop(reply.send(answer));
        }
    }

    fn commit(&mut self, block: &str, ids: u64, since: Option<Timestamp>) -> Result<(), Refusal> {
        let bytes = u64::try_from(block.len()).unwrap_or(u64::MAX);
        if self.ledger.bytes().saturating_add(bytes) > self.limit.bytes() {
            return Err(Refusal::Full);
        }
        // After a failed write or sync nobody knows what a file holds: it is never written again, and the block goes to
        // a new one. Where that fails too, it is not the file.
        let (file, mut segment) = match self.write(block) {
            Ok(written) => written,
            Err(error) => {
                tracing::warn!(%error, "a segment of the journal is given up after a failed write");
                self.seal();
                self.write(block).map_err(Refusal::Failed)?
            }
        };
        segment.ids += ids;
        segment.bytes += bytes;
        segment.oldest = segment.oldest.or(since);
        self.ledger.written(segment.clone());
        let full = segment.bytes >= SEGMENT_BYTES;
        self.active = Some((file, segment));
        if full {
            self.seal();
        }
        Ok(())
    }

    fn write(&mut self, block: &str) -> io::Result<(File, Segment)> {
        let (mut file, segment) = match self.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        file.write_all(block.as_bytes())?;
        file.sync_data()?;
        Ok((file, segment))
    }

    fn begin(&mut self) -> io::Result<(File, Segment)> {
        let path = segment::path(self.folder.path(), self.next_number);
        self.next_number += 1;
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        self.folder.sync()?;
        Ok((file, Segment { path, ids: 0, bytes: 0, oldest: None, offset: 0, _folder: self.folder.clone() }))
    }

    fn seal(&mut self) {
        self.active = None;
        self.ledger.sealed();
    }
}

enum Refusal {
    Full,
    Failed(io::Error),
}
