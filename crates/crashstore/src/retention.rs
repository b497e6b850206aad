//! Taking back what is not needed any more: whole days, and the tails of writers that never came back.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use jiff::civil::Date;

use crate::{
    Area, Error,
    disk::{self, LocalDisk},
    layout::names,
    local::LocalStore,
    lock::WriterLock,
    tail::{self, Cut},
};

/// What dropping a day gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// Segments that were unlinked, or objects that were deleted.
    pub files: u64,
    /// What they took on the disk, or in the object store.
    pub bytes: u64,
}

impl LocalStore {
    /// Unlinks all segments of an area that belong to a day. A day that is not there frees nothing. Crashes that are
    /// saved to it meanwhile make it again.
    pub(crate) fn drop_day(&self, area: Area, day: Date) -> Result<Freed, Error> {
        let folder = self.layout().day(area, day);
        let mut freed = Freed::default();
        drop_folders(&folder, &mut freed)
            .and_then(|()| disk::sync_folder(&mut LocalDisk, &self.layout().area(area)))
            .map_err(|error| Error::io(format!("dropping the day {}", folder.display()), error))?;
        Ok(freed)
    }

    /// Cuts the torn tails of all writers that do not run, so that a writer that never returns leaves none. A tail that
    /// could not be cut is logged and left.
    pub(crate) fn cut_tails(&self) -> Result<Vec<Cut>, Error> {
        let layout = self.layout();
        let folder = layout.writers();
        let files =
            names(&folder).map_err(|error| Error::io(format!("listing {}", folder.display()), error))?;
        let mut cuts = Vec::new();
        for writer in files.iter().filter_map(|file| file.strip_suffix(".segments")) {
            if let Some(lock) = WriterLock::try_take(layout, writer)? {
                cuts.extend(tail::recover(&mut LocalDisk, layout, &lock)?.1);
            }
        }
        Ok(cuts)
    }
}

fn drop_folders(day: &Path, freed: &mut Freed) -> io::Result<()> {
    for minute in names(day)? {
        let minute = day.join(minute);
        for file in names(&minute)? {
            let path = minute.join(file);
            // Another process may drop the same day.
            let bytes = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata.blocks() * 512,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if removed(fs::remove_file(&path))? {
                freed.files += 1;
                freed.bytes += bytes;
            }
        }
        removed(fs::remove_dir(&minute))?;
    }
    removed(fs::remove_dir(day))?;
    Ok(())
}

/// Whether it was removed here. Gone already, or filled again by a writer, is no failure.
fn removed(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
