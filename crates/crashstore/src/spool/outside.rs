//! A look at the spool from any process of its machine: nothing is claimed and nothing is changed.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use crash::{CrashId, ShortId};
use jiff::Timestamp;

use crate::{Area, Config, Error, layout::names, local::LocalStore};

/// How much waits in a spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpoolDepth {
    /// How many crashes.
    pub crashes: u64,
    /// What they take on the disk.
    pub bytes: u64,
    /// Since when the first of them waits.
    pub oldest: Option<Timestamp>,
}

/// Whether a crash is in the spool of this machine.
///
/// A crash may be there a little longer than it waits: a segment goes when all of it has been moved. Blocks on the disk.
///
/// # Errors
/// When the spool cannot be read.
pub fn spooled(config: &Config, id: CrashId) -> Result<bool, Error> {
    let Some(path) = config.spool_folder() else { return Ok(false) };
    let frames = LocalStore::reader(&path).list(Area::Raw, id.minute())?;
    Ok(frames.iter().any(|frame| frame.id == id && !frame.erased))
}

/// The crashes in the spool of this machine whose short form this is. Blocks on the disk.
///
/// # Errors
/// When the spool cannot be read.
pub fn spooled_short(config: &Config, short: ShortId) -> Result<Vec<CrashId>, Error> {
    let Some(path) = config.spool_folder() else { return Ok(Vec::new()) };
    let frames = LocalStore::reader(&path).list(Area::Raw, short.minute())?;
    Ok(frames.iter().filter(|frame| !frame.erased && short.matches(frame.id)).map(|frame| frame.id).collect())
}

/// How much waits in the spool of this machine, whoever saved it. Reads the header of every crash in it; blocks on the
/// disk.
///
/// # Errors
/// When the spool cannot be read.
pub fn spool_depth(config: &Config) -> Result<SpoolDepth, Error> {
    config.spool_folder().map_or(Ok(SpoolDepth::default()), |path| depth(&LocalStore::reader(&path)))
}

pub(super) fn depth(store: &LocalStore) -> Result<SpoolDepth, Error> {
    let mut depth = SpoolDepth { bytes: bytes(store)?, ..SpoolDepth::default() };
    for minute in store.minutes(Area::Raw)? {
        for frame in store.list(Area::Raw, minute)?.into_iter().filter(|frame| !frame.erased) {
            depth.crashes += 1;
            depth.oldest = Some(depth.oldest.map_or(frame.saved_at, |oldest| oldest.min(frame.saved_at)));
        }
    }
    Ok(depth)
}

/// What all segments take on the disk.
pub(super) fn bytes(store: &LocalStore) -> Result<u64, Error> {
    let layout = store.layout();
    let measure = || {
        let mut bytes = 0;
        for area in Area::ALL {
            for minute in layout.minutes(area)? {
                bytes += bytes_in(&layout.minute((area, minute)))?;
            }
        }
        Ok(bytes)
    };
    measure().map_err(|error| Error::io(format!("measuring {}", layout.root().display()), error))
}

fn bytes_in(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for name in names(folder)? {
        match fs::symlink_metadata(folder.join(name)) {
            Ok(metadata) => bytes += metadata.blocks() * 512,
            // Moved in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}
