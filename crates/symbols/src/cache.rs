//! The folder of what servers sent, shared by processes: symbol files in Breakpad's layout, notes about files that
//! no server has, and downloads that are not finished.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::NamedTempFile;

use crate::{Error, key::Key};

/// A download's file that is older belongs to a process that was killed.
const ABANDONED: Duration = Duration::from_secs(60 * 60);
/// How many notes and leftovers one start looks at; the rest is left to the next.
const MOST_SWEPT: usize = 10_000;

#[derive(Debug)]
pub(crate) struct Cache {
    files: PathBuf,
    /// Empty files, named after what is missing; their time is when the servers were asked. No debug file's name
    /// begins with a dot, so that this is in nobody's way.
    missing: PathBuf,
    /// On the same file system as the files, so that a finished download can be moved into place.
    downloads: PathBuf,
    missing_ttl: Duration,
}

impl Cache {
    /// Makes the folders and clears away what is out of date.
    pub(crate) fn open(folder: &Path, missing_ttl: Duration) -> Result<Self, Error> {
        let cache = Self {
            files: folder.to_owned(),
            missing: folder.join(".missing"),
            downloads: folder.join(".downloads"),
            missing_ttl,
        };
        let fail = |source| Error::Cache { path: folder.to_owned(), source };
        fs::create_dir_all(&cache.missing).map_err(fail)?;
        fs::create_dir_all(&cache.downloads).map_err(fail)?;
        // A folder that can be read but not written must be noticed now, and not at each download.
        cache.temporary().map_err(fail)?;
        sweep(&cache.missing, missing_ttl);
        sweep(&cache.downloads, ABANDONED);
        Ok(cache)
    }

    pub(crate) fn path(&self, key: &Key) -> PathBuf {
        key.below(&self.files)
    }

    /// Whether the servers were asked lately and none has it.
    pub(crate) fn is_missing(&self, key: &Key) -> bool {
        let note = self.missing.join(key.flat_name());
        let Ok(asked) = note.metadata().and_then(|metadata| metadata.modified()) else { return false };
        is_younger(asked, self.missing_ttl)
    }

    /// Notes for all processes that no server has it.
    pub(crate) fn note_missing(&self, key: &Key) {
        let noted = fs::File::create(self.missing.join(key.flat_name()))
            .and_then(|note| note.set_modified(SystemTime::now()));
        if let Err(error) = noted {
            tracing::warn!(%error, "the symbol cache cannot note which symbols are missing, so servers are asked again");
        }
    }

    /// A new file for a download; it is deleted unless [`Cache::keep`] takes it.
    pub(crate) fn temporary(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(&self.downloads)
    }

    /// Moves a finished download to its place. Blocks until its content is on the disk.
    ///
    /// The name appears with the whole file or not at all, and of two processes that move the same file either may win.
    pub(crate) fn keep(&self, download: NamedTempFile, key: &Key) -> io::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(key);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        // Temporary files are their maker's alone; the cache may be shared between users.
        download.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        download.as_file().sync_data()?;
        download.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }
}

/// Deletes the files that are older. What cannot be read or deleted is left: it does no harm.
fn sweep(folder: &Path, age: Duration) {
    let entries = fs::read_dir(folder).into_iter().flatten().take(MOST_SWEPT).flatten();
    for entry in entries {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| !is_younger(modified, age)) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// A time in the future is that of a clock that was set back: nobody knows how old it is.
fn is_younger(time: SystemTime, age: Duration) -> bool {
    SystemTime::now().duration_since(time).is_ok_and(|elapsed| elapsed < age)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key() -> Key {
        Key::new("app.pdb", "5A9832E5287241C1838ED98914E9B7FF1").unwrap()
    }

    fn age(path: &Path, age: Duration) {
        fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn what_is_missing_is_known_to_all_processes_until_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), HOUR).unwrap();
        assert!(!cache.is_missing(&key()));
        cache.note_missing(&key());
        assert!(Cache::open(folder.path(), HOUR).unwrap().is_missing(&key()));

        age(&cache.missing.join(key().flat_name()), HOUR * 2);
        assert!(!cache.is_missing(&key()));
        cache.note_missing(&key());
        assert!(cache.is_missing(&key()), "noting it again begins its time anew");
    }

    #[test]
    fn leftovers_are_swept_and_downloads_in_progress_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path(), HOUR).unwrap();
        let (_, abandoned) = cache.temporary().unwrap().keep().unwrap();
        let (_, running) = cache.temporary().unwrap().keep().unwrap();
        age(&abandoned, HOUR * 2);
        cache.note_missing(&key());
        age(&cache.missing.join(key().flat_name()), HOUR * 2);

        let cache = Cache::open(folder.path(), HOUR).unwrap();
        assert!(!abandoned.exists() && running.exists());
        assert_eq!(fs::read_dir(&cache.missing).unwrap().count(), 0);
    }

    #[test]
    fn a_cache_that_cannot_be_written_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Cache::open(&file, HOUR).unwrap_err().to_string();
        assert!(error.contains("set `symbols.cache`"), "{error}");
    }
}
