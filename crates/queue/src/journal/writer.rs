//! The one thread that appends to a journal.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
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
    /// A file that was begun and in which nothing stands that anybody was promised. No other is begun before it is
    /// gone, so that a disk which takes nothing is not filled with empty files.
    unused: Option<PathBuf>,
}

impl Writer {
    pub(crate) fn new(folder: Arc<Folder>, next_number: u64, limit: Size, ledger: Arc<Ledger>) -> Self {
        Self { folder, next_number, limit, ledger, active: None, unused: None }
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
        // a new one. Where that fails too, or there is no room for any, it is not the file.
        let (file, mut segment) = match self.write(block) {
            Ok(written) => written,
            Err(error) => {
                tracing::warn!(%error, "a segment of the journal is given up after a failed write");
                self.seal();
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                    return Err(Refusal::Failed(error));
                }
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
        let written = self.append_durably(block);
        if written.is_ok() {
            self.unused = None;
        } else if let Err(error) = self.remove_unused() {
            tracing::debug!(%error, "an unused segment of the journal cannot be deleted yet");
        }
        written
    }

    fn append_durably(&mut self, block: &str) -> io::Result<(File, Segment)> {
        let (mut file, segment) = match self.active.take() {
            Some(active) => active,
            None => self.begin()?,
        };
        file.write_all(block.as_bytes())?;
        file.sync_data()?;
        Ok((file, segment))
    }

    fn begin(&mut self) -> io::Result<(File, Segment)> {
        self.remove_unused()?;
        let path = segment::path(self.folder.path(), self.next_number);
        self.next_number += 1;
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        self.unused = Some(path.clone());
        self.folder.sync()?;
        Ok((file, Segment::new(path, self.folder.clone())))
    }

    fn remove_unused(&mut self) -> io::Result<()> {
        if let Some(path) = &self.unused {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.unused = None,
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::metrics::Metrics;

    fn writer(root: &Path) -> Writer {
        let folder = Arc::new(Folder::claim_own(root, "tests").unwrap());
        let ledger = Arc::new(Ledger::new(Arc::new(Metrics::new())));
        Writer::new(folder, 1, Size::gib(1), ledger)
    }

    /// Lets the writer believe that what it writes next goes to this device.
    fn redirect(writer: &mut Writer, device: &str) {
        let (_, segment) = writer.active.take().unwrap();
        writer.active = Some((OpenOptions::new().append(true).open(device).unwrap(), segment));
    }

    fn kind(outcome: Result<(), Refusal>) -> io::ErrorKind {
        match outcome {
            Err(Refusal::Failed(error)) => error.kind(),
            Err(Refusal::Full) => panic!("the limit is far away"),
            Ok(()) => panic!("it cannot be written"),
        }
    }

    fn segments(writer: &Writer) -> Vec<u64> {
        segment::numbers(writer.folder.path()).unwrap()
    }

    #[test]
    fn on_a_full_disk_what_was_promised_is_kept_and_no_other_file_is_begun() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path());
        assert!(writer.commit("one\n", 1, None).is_ok());
        redirect(&mut writer, "/dev/full");

        assert_eq!(kind(writer.commit("two\n", 1, None)), io::ErrorKind::StorageFull);

        assert_eq!(segments(&writer), [1]);
        assert_eq!(writer.ledger.front().unwrap().ids, 1);
        assert!(writer.commit("three\n", 1, None).is_ok());
        assert_eq!(segments(&writer), [1, 2]);
    }

    #[test]
    fn a_file_whose_first_write_fails_is_removed() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path());
        for _ in 0..3 {
            writer.active = Some(writer.begin().unwrap());
            redirect(&mut writer, "/dev/full");
            assert_eq!(kind(writer.commit("one\n", 1, None)), io::ErrorKind::StorageFull);
            assert!(segments(&writer).is_empty());
        }
        assert!(writer.ledger.is_empty());
    }

    #[test]
    fn while_an_unused_file_cannot_be_removed_no_other_is_begun() {
        let root = tempfile::tempdir().unwrap();
        let mut writer = writer(root.path());
        // A folder cannot be deleted like a file.
        let stuck = segment::path(writer.folder.path(), 1);
        fs::create_dir(&stuck).unwrap();
        (writer.unused, writer.next_number) = (Some(stuck.clone()), 2);

        kind(writer.commit("one\n", 1, None));
        assert_eq!(segments(&writer), [1]);

        fs::remove_dir(&stuck).unwrap();
        assert!(writer.commit("two\n", 1, None).is_ok());
        assert_eq!(segments(&writer), [2]);
    }
}
