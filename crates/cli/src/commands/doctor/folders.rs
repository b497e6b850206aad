//! Folders: whether they are there, may be written by us, keep what is written, and have room.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crashstore::space::{Reading, State, Watermarks};
use rustix::fs::{FallocateFlags, fallocate, statfs};

use super::{findings::Findings, objects};
use crate::config::Config;

/// How much is written to try a disk: some pages, so that a hole can be punched into them.
const TRIAL_BYTES: usize = 64 << 10;

/// Filesystems by their number (statfs(2)), and what is to be known of them.
const SPECIAL: [(u64, &str, &str); 6] = [
    (0x0102_1994, "in memory (tmpfs)", "it is gone after a restart of the machine: put it on a disk"),
    (0x8584_58f6, "in memory (ramfs)", "it is gone after a restart of the machine: put it on a disk"),
    (
        0x794c_7630,
        "in a container's own layer (overlayfs)",
        "it is gone with the container: mount a volume there",
    ),
    (0x6969, "on NFS", "locks and syncs are the server's: see that it keeps both, or use an object store"),
    (
        0xfe53_4d42,
        "on SMB",
        "locks and syncs are the server's: see that it keeps both, or use an object store",
    ),
    (
        0x6573_5546,
        "on FUSE",
        "locks and syncs are that program's: see that it keeps both, or use an object store",
    ),
];

/// A folder, its key in the configuration, the marks of its disk, and the names of its checks.
struct Folder {
    path: PathBuf,
    key: &'static str,
    marks: Watermarks,
    checks: Checks,
}

/// The names of what is looked at.
struct Checks {
    folder: &'static str,
    filesystem: &'static str,
    space: &'static str,
}

/// The crash store, and where crashes are while it does not take them.
pub(super) async fn store(config: Config) -> Findings {
    let marks = config.crashstore.watermarks();
    let spool = config.crashstore.spool_folder().map(|path| {
        let checks =
            Checks { folder: "store.spool", filesystem: "store.spool_disk", space: "store.spool_space" };
        Folder { path, key: "crashstore.spool", marks, checks }
    });
    let mut findings = if config.crashstore.url.is_some() {
        objects::look(config.crashstore).await
    } else {
        let checks = Checks { folder: "store.folder", filesystem: "store.filesystem", space: "store.space" };
        aside(Folder { path: config.crashstore.path, key: "crashstore.path", marks, checks }).await
    };
    if let Some(spool) = spool {
        findings.append(aside(spool).await);
    }
    findings
}

pub(super) async fn journal(config: Config) -> Findings {
    let checks =
        Checks { folder: "journal.folder", filesystem: "journal.filesystem", space: "journal.space" };
    let marks = config.crashstore.watermarks();
    aside(Folder { path: config.queue.journal, key: "queue.journal", marks, checks }).await
}

/// Where what symbol servers sent is kept.
pub(super) async fn symbols_cache(path: PathBuf, marks: Watermarks) -> Findings {
    let checks = Checks { folder: "symbols.cache", filesystem: "symbols.filesystem", space: "symbols.space" };
    aside(Folder { path, key: "symbols.cache", marks, checks }).await
}

/// A disk may hang, and must not take the others along.
async fn aside(folder: Folder) -> Findings {
    tokio::task::spawn_blocking(move || folder.look()).await.unwrap_or_default()
}

impl Folder {
    fn look(&self) -> Findings {
        let mut findings = Findings::default();
        let Checks { folder, .. } = self.checks;
        match self.trial() {
            Ok(tried) => {
                findings
                    .ok(folder, format!("{} can be written, and what is synced stays", self.path.display()));
                self.rights_of_root(&mut findings);
                self.filesystem(tried, &mut findings);
                self.space(&mut findings);
            }
            Err(error) => self.unusable(&error, &mut findings),
        }
        findings
    }

    /// Writes a file as a role would, and removes it. Says whether a hole could be punched into it.
    fn trial(&self) -> io::Result<bool> {
        // Metadata first: of a file in the way the message should say so.
        if !fs::metadata(&self.path)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        let path = self.path.join(format!(".doctor-{}", std::process::id()));
        let trying = || {
            let mut file = File::options().write(true).create_new(true).open(&path)?;
            file.write_all(&vec![0x5a; TRIAL_BYTES])?;
            file.sync_data()?;
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let punched = fallocate(&file, hole, 0, 4096).is_ok();
            File::open(&self.path)?.sync_all()?;
            Ok(punched)
        };
        let tried = trying();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => tried,
        }
    }

    fn unusable(&self, error: &io::Error, findings: &mut Findings) {
        let (path, key) = (self.path.display(), self.key);
        let check = self.checks.folder;
        match error.kind() {
            ErrorKind::NotFound => {
                let above = self.path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
                findings.warn(
                    check,
                    format!("{path} is not there ({key})"),
                    format!(
                        "a role makes it at its first start if its user may write to {}; else: \
                         install -d -o crashmill -g crashmill -m 0750 {path}",
                        above.display()
                    ),
                );
            }
            ErrorKind::NotADirectory => findings.fail(
                check,
                format!("{path} is no folder, or lies below a file ({key})"),
                "move the file that is in the way, or name another folder",
            ),
            ErrorKind::PermissionDenied => findings.fail(
                check,
                format!(
                    "{path} cannot be written by the user {} ({key})",
                    rustix::process::geteuid().as_raw()
                ),
                format!("run this as the user of the roles; if it is: chown -R crashmill:crashmill {path}"),
            ),
            ErrorKind::ReadOnlyFilesystem => findings.fail(
                check,
                format!("{path} is on a filesystem that is read-only ({key})"),
                "mount it for writing; under systemd: ReadWritePaths= in a drop-in of the unit",
            ),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => findings.fail(
                check,
                format!("{path} is on a disk that is full ({key})"),
                "free some room, or keep crashes for a shorter time",
            ),
            _ => findings.fail(
                check,
                format!("{path} cannot be written ({key}): {error}"),
                "the kernel's log (dmesg) may say more about its disk",
            ),
        }
    }

    /// Root may write everywhere, which says nothing about the roles.
    fn rights_of_root(&self, findings: &mut Findings) {
        let Ok(owner) = fs::metadata(&self.path).map(|metadata| metadata.uid()) else { return };
        if rustix::process::geteuid().is_root() && owner != 0 {
            findings.warn(
                self.checks.folder,
                format!("{} was tried as root, and is the user {owner}'s", self.path.display()),
                format!("run this as that user, whom the roles run as: sudo -u '#{owner}' crashmill doctor"),
            );
        }
    }

    fn filesystem(&self, punches_holes: bool, findings: &mut Findings) {
        let check = self.checks.filesystem;
        let kind = statfs(&self.path).map(|filesystem| u64::try_from(filesystem.f_type).unwrap_or_default());
        if let Some((_, what, advice)) =
            SPECIAL.iter().find(|(number, ..)| kind.as_ref().is_ok_and(|kind| kind == number))
        {
            findings.warn(check, format!("{} is {what}", self.path.display()), *advice);
        } else if punches_holes {
            findings.ok(check, "a local one, and what is erased gives its room back at once");
        } else {
            findings.ok(
                check,
                "a local one; what is erased is overwritten and keeps its room, for it punches no holes",
            );
        }
    }

    /// By the same marks by which the roles take crashes or refuse them.
    fn space(&self, findings: &mut Findings) {
        let check = self.checks.space;
        let Ok(reading) = Reading::now(&self.path, &self.marks) else { return };
        let advice =
            "add room, or keep crashes for a shorter time: `crashmill expire --dry-run` shows what would go";
        match reading.state {
            State::Ok => findings.ok(check, reading.to_string()),
            State::Low => findings.warn(check, reading.to_string(), advice),
            State::Refuse | State::Stop => findings.fail(check, reading.to_string(), advice),
        }
    }
}
