//! A look at the journals from another process, for commands: nothing is claimed and nothing is changed.

use std::{fs, io, path::Path};

use crash::CrashId;
use jiff::Timestamp;
use serde::Serialize;

use super::{JournalDepth, segment};
use crate::{config::Config, error::Error};

/// How many lines are read at a time.
const WINDOW: usize = 10_000;

/// Where an id stands that the broker has not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Journaled {
    /// Whose journal it is: the folder's name, which begins with the node's.
    pub writer: String,
    /// Since when it waits.
    pub since: Timestamp,
}

/// Which of the journals an id stands in.
///
/// An id may stand there a little longer than it waits: a segment goes when all of it has been published.
///
/// # Errors
/// When a journal cannot be read.
pub fn journaled(config: &Config, id: CrashId) -> Result<Option<Journaled>, Error> {
    let mut found = None;
    each(&config.journal, |folder, entry| {
        if entry.message.crash_id == id {
            let writer = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found = Some(Journaled { writer, since: entry.message.enqueued_at });
        }
    })?;
    Ok(found)
}

/// Whether an id stands in one of the journals.
///
/// # Errors
/// When a journal cannot be read.
pub fn is_journaled(config: &Config, id: CrashId) -> Result<bool, Error> {
    Ok(journaled(config, id)?.is_some())
}

/// How much stands in all journals together, whoever wrote them.
///
/// # Errors
/// When a journal cannot be read.
pub fn journal_depth(config: &Config) -> Result<JournalDepth, Error> {
    let mut depth = JournalDepth { ids: 0, oldest: None };
    each(&config.journal, |_, entry| {
        depth.ids += 1;
        let since = entry.message.enqueued_at;
        depth.oldest = Some(depth.oldest.map_or(since, |oldest| oldest.min(since)));
    })?;
    Ok(depth)
}

/// Reads every line of every journal below `root`. What goes meanwhile has been published.
fn each(root: &Path, mut take: impl FnMut(&Path, &segment::Entry)) -> Result<(), Error> {
    for folder in known(fs::read_dir(root), root)?.into_iter().flatten() {
        let folder = folder.map_err(Error::journal("looking into", root))?.path();
        if !folder.is_dir() {
            continue;
        }
        for number in known(segment::numbers(&folder), &folder)?.unwrap_or_default() {
            let path = segment::path(&folder, number);
            let mut next = Some(0);
            while let Some(offset) = next {
                let Some(window) = known(segment::read(&path, offset, WINDOW), &path)? else { break };
                window.entries.iter().for_each(|entry| take(&folder, entry));
                next = window.next;
            }
        }
    }
    Ok(())
}

/// Nothing in place of what is not there.
fn known<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::journal("reading", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use crash::QueueName;

    use super::*;
    use crate::message::Message;

    fn id(second: u32) -> CrashId {
        format!("{second:05x}2a3-5c1f-4c0e-9d5a-2f1b60261123").parse().unwrap()
    }

    #[test]
    fn ids_in_any_writer_s_journal_are_seen_from_outside() {
        let root = tempfile::tempdir().unwrap();
        for (writer, second) in [("one-collector", 1), ("two-collector", 2)] {
            let folder = root.path().join(writer);
            fs::create_dir(&folder).unwrap();
            let message = Message::new(id(second), id(second).received_at());
            let line = segment::Entry { queue: QueueName::Standard, message }.line();
            fs::write(segment::path(&folder, 1), line).unwrap();
        }
        let config = Config { journal: root.path().to_owned(), ..Config::default() };
        assert!(is_journaled(&config, id(1)).unwrap() && is_journaled(&config, id(2)).unwrap());
        assert!(!is_journaled(&config, id(3)).unwrap());
        let known = journaled(&config, id(2)).unwrap();
        assert_eq!(known, Some(Journaled { writer: "two-collector".to_owned(), since: id(2).received_at() }));
        let depth = journal_depth(&config).unwrap();
        assert_eq!((depth.ids, depth.oldest), (2, Some(id(1).received_at())));
    }

    #[test]
    fn without_a_journal_nothing_waits() {
        let root = tempfile::tempdir().unwrap();
        let config = Config { journal: root.path().join("none"), ..Config::default() };
        assert_eq!(journal_depth(&config).unwrap(), JournalDepth { ids: 0, oldest: None });
    }
}
