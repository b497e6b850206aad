//! Where the servers of one folder keep what they need, and who may start them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, fchown},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use rustix::{fs::FlockOperation, io::Errno};
use sha2::{Digest, Sha256};

use crate::{
    account::Account,
    error::{Doing, Error},
    guarded::Guard,
    record::Record,
};

/// The users of the packages, which must be able to reach the data when we are root.
pub(crate) const POSTGRES_USER: &str = "postgres";
pub(crate) const RABBITMQ_USER: &str = "rabbitmq";

/// Where data go that cannot be below the folder itself.
const ELSEWHERE: [&str; 2] = ["/var/lib", "/var/tmp"];
/// How long the processes of an earlier supervisor may take to be gone.
const GONE_DEADLINE: Duration = Duration::from_secs(60);
const GONE_POLL: Duration = Duration::from_millis(50);

/// A folder of private servers, claimed: while this and its clones live, no other process can start servers there.
///
/// Below the folder are `servers.json` (ports and passwords), `servers.lock` (the claim) and, where the servers' own users
/// can reach it, `servers/` with the data, logs and locks. Where they cannot, because the folder lies below one that is
/// closed to others, such as root's home, the data are in `/var/lib/crashmill-<hash of the folder's path>/`.
#[derive(Debug, Clone)]
pub struct Layout {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    data: PathBuf,
    guard: Guard,
    record: Mutex<Record>,
    /// Locked for as long as it is open.
    _claim: File,
}

impl Layout {
    /// Claims a folder, making it if need be. Its servers will be guarded by this executable.
    ///
    /// Fails with [`Error::InUse`] when another process has claimed it.
    pub fn at(dir: &Path) -> Result<Self, Error> {
        Self::guarded_by(dir, Guard::this_executable())
    }

    /// Like [`at`](Self::at), with another program for a guard.
    pub fn guarded_by(dir: &Path, guard: Guard) -> Result<Self, Error> {
        fs::create_dir_all(dir).doing(|| format!("making {}", dir.display()))?;
        let dir = fs::canonicalize(dir).doing(|| format!("looking at {}", dir.display()))?;
        let claim = claim(&dir)?;

        let record = match Record::load(&dir)? {
            Some(record) => record,
            None => {
                let record = Record { data: place(&dir)?, ..Record::default() };
                set_aside(&record.data)?;
                record.save(&dir)?;
                record
            }
        };
        let data = record.data.clone();
        make_data_folder(&data)?;
        Ok(Self { inner: Arc::new(Inner { dir, data, guard, record: Mutex::new(record), _claim: claim }) })
    }

    /// Removes all data, logs and passwords, once nothing that was started before is left.
    pub fn wipe(&self) -> Result<(), Error> {
        let removing = || format!("removing {}", self.inner.data.display());
        for entry in fs::read_dir(&self.inner.data).doing(removing)? {
            let path = entry.doing(removing)?.path();
            if path.extension().is_some_and(|extension| extension == "lock") {
                wait_until_free(&path)?;
            }
        }
        fs::remove_dir_all(&self.inner.data).doing(removing)?;
        make_data_folder(&self.inner.data)?;
        self.change(|record| {
            *record = Record { data: record.data.clone(), ..Record::default() };
            Ok(())
        })
    }

    /// The folder itself, as an absolute path.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// The folder in which the servers keep their data, logs and locks.
    pub fn data(&self) -> &Path {
        &self.inner.data
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.inner.guard
    }

    pub(crate) fn lock(&self, server: &str) -> PathBuf {
        self.inner.data.join(format!("{server}.lock"))
    }

    pub(crate) fn log(&self, server: &str) -> PathBuf {
        self.inner.data.join(format!("{server}.log"))
    }

    /// Waits until nothing is left of a server that an earlier supervisor started.
    pub(crate) fn wait_until_gone(&self, server: &str) -> Result<(), Error> {
        wait_until_free(&self.lock(server))
    }

    /// A folder of a server's own, closed to everyone else.
    pub(crate) fn folder(&self, server: &str, account: Option<Account>) -> Result<PathBuf, Error> {
        let folder = self.inner.data.join(server);
        make_folder(&folder, 0o700)?;
        give(&folder, account)?;
        Ok(folder)
    }

    /// Changes the record, on disk first.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Record) -> Result<T, Error>) -> Result<T, Error> {
        let mut record = self.record();
        let mut changed = record.clone();
        let result = change(&mut changed)?;
        if changed != *record {
            changed.save(&self.inner.dir)?;
            *record = changed;
        }
        Ok(result)
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // A record is replaced whole, so that a panic elsewhere cannot leave half of one.
        self.inner.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a file for the account of a server, in a folder that is that account's already.
///
/// Whatever stands there goes first, and everything is done to the open file: the account must not be able to have a file
/// elsewhere written or given away, by a link that it put in the way.
pub(crate) fn write_for(
    account: Option<Account>,
    path: &Path,
    mode: u32,
    content: &str,
) -> Result<(), Error> {
    let write = || {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
        file.write_all(content.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        account.map_or(Ok(()), |account| fchown(&file, Some(account.uid), Some(account.gid)))
    };
    write().doing(|| format!("writing {}", path.display()))
}

/// Gives a file or folder to the user that a server runs as.
pub(crate) fn give(path: &Path, account: Option<Account>) -> Result<(), Error> {
    let Some(account) = account else { return Ok(()) };
    chown(path, Some(account.uid), Some(account.gid))
        .doing(|| format!("giving {} to its server's user", path.display()))
}

fn claim(dir: &Path) -> Result<File, Error> {
    let path = dir.join("servers.lock");
    let claiming = || format!("claiming {}", path.display());
    let mut file =
        File::options().create(true).truncate(false).read(true).write(true).open(&path).doing(claiming)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).doing(claiming)?;
            return Err(Error::InUse { dir: dir.to_path_buf(), holder: holder.trim().to_owned() });
        }
        Err(error) => return Err(error).doing(claiming),
    }
    // For the message of whoever comes second.
    file.set_len(0).doing(claiming)?;
    writeln!(file, "process {}", std::process::id()).doing(claiming)?;
    Ok(file)
}

/// Where data of a new folder go.
fn place(dir: &Path) -> Result<PathBuf, Error> {
    let looking = || format!("finding a place for the data of {}", dir.display());
    for user in [POSTGRES_USER, RABBITMQ_USER] {
        let account = Account::for_server(user).doing(looking)?;
        if let Some(account) = account
            && !account.reaches(dir).doing(looking)?
        {
            return elsewhere(dir);
        }
    }
    Ok(dir.join("servers"))
}

fn elsewhere(dir: &Path) -> Result<PathBuf, Error> {
    let digest = Sha256::digest(dir.as_os_str().as_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let name = format!("crashmill-{hash}");
    let writable = |root: &&&str| rustix::fs::access(**root, rustix::fs::Access::WRITE_OK).is_ok();
    let root =
        ELSEWHERE.iter().find(writable).ok_or_else(|| io::Error::from(io::ErrorKind::PermissionDenied));
    Ok(Path::new(root.doing(|| format!("writing in any of {ELSEWHERE:?}"))?).join(name))
}

/// Data without a record are of a folder that was removed: their passwords are lost, and so is what they belonged to. The
/// last such data are kept beside, in case that this was a mistake.
fn set_aside(data: &Path) -> Result<(), Error> {
    if !data.exists() {
        return Ok(());
    }
    let mut old = data.to_path_buf().into_os_string();
    old.push(".old");
    let old = PathBuf::from(old);
    tracing::warn!(data = %data.display(), moved_to = %old.display(), "data without a record were found and set aside");
    let moving = || format!("setting {} aside", data.display());
    if old.exists() {
        fs::remove_dir_all(&old).doing(moving)?;
    }
    fs::rename(data, &old).doing(moving)
}

/// Makes the folder of all data, which only its supervisor's user writes in. In a place where anyone may make files, somebody
/// may have made it first: then it is not ours.
fn make_data_folder(data: &Path) -> Result<(), Error> {
    make_folder(data, 0o711)?;
    let checking = || format!("using {}", data.display());
    let owner = fs::symlink_metadata(data).doing(checking)?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(format!("it belongs to user {owner}"))).doing(checking);
    }
    Ok(())
}

/// Makes a folder with just this mode, whatever the umask.
fn make_folder(path: &Path, mode: u32) -> Result<(), Error> {
    let making = || format!("making {}", path.display());
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error).doing(making),
        _ => {}
    }
    if !fs::symlink_metadata(path).doing(making)?.is_dir() {
        return Err(io::Error::from(io::ErrorKind::NotADirectory)).doing(making);
    }
    fs::set_permissions(path, Permissions::from_mode(mode)).doing(making)
}

fn wait_until_free(lock: &Path) -> Result<(), Error> {
    let waiting = || format!("waiting for what still holds {}", lock.display());
    let file = match File::open(lock) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).doing(waiting),
    };
    let deadline = Instant::now() + GONE_DEADLINE;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(GONE_POLL),
            Err(error) => return Err(error).doing(waiting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_the_way_is_replaced_and_what_it_points_to_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (elsewhere, path) = (dir.path().join("elsewhere"), dir.path().join("rabbitmq.conf"));
        fs::write(&elsewhere, "theirs").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();

        write_for(None, &path, 0o600, "ours").unwrap();

        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "theirs");
        let written = fs::symlink_metadata(&path).unwrap();
        assert!(written.is_file() && written.permissions().mode() & 0o777 == 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), "ours");
    }
}
