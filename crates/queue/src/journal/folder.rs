//! A writer's folder, and the lock that says whose it is.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::error::Error;

const LOCK: &str = "lock";
/// More processes of one name on one machine are a mistake.
const MOST_OF_ONE_NAME: u32 = 64;

/// A folder that is ours until this is dropped, or the process is gone in any way.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// The folder of this writer, or the first of `<name>-2`, `<name>-3` ... that nobody holds.
    pub(crate) fn claim_own(root: &Path, writer_name: &str) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if writer_name.is_empty() || writer_name.starts_with('.') || !writer_name.chars().all(plain) {
            let reason = format!("{writer_name:?} cannot name a folder: use letters, digits and . - _");
            return Err(Error::config("the writer's name", &reason));
        }
        for copy in 1..=MOST_OF_ONE_NAME {
            let name = if copy == 1 { writer_name.to_owned() } else { format!("{writer_name}-{copy}") };
            let path = root.join(name);
            make(&path).map_err(Error::journal("making the journal's folder", &path))?;
            if let Some(folder) =
                Self::claim(path.clone()).map_err(Error::journal("locking the journal's folder", &path))?
            {
                return Ok(folder);
            }
        }
        let reason = format!("{MOST_OF_ONE_NAME} processes hold journals of the name {writer_name} already");
        Err(Error::config("the writer's name", &reason))
    }

    /// The folder, unless somebody holds it.
    pub(crate) fn claim(path: PathBuf) -> io::Result<Option<Self>> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { path, _lock: lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names in the folder durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Makes a folder and those above it, each of them durable.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make(above)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => File::open(above)?.sync_all()?,
        }
    }
    Ok(())
}
