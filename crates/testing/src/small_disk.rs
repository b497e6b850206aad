use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::statvfs;
use tempfile::TempDir;

/// A block of zeros to fill a disk with.
const BLOCK: [u8; 4096] = [0; 4096];

/// A filesystem of a few MiB that a test may fill, gone when it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts one; nothing, and a word about it, where this process may not mount anything.
    pub fn mount(mib: u32) -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let size = format!("size={mib}m");
        let arguments = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(OsStr::new);
        let mounted = Command::new("mount").args(arguments).arg(folder.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { folder });
        }
        #[expect(clippy::print_stderr, reason = "a test that is left out says so")]
        {
            eprintln!("left out: it takes a small filesystem, and only root may mount one");
        }
        None
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it until no more than so many bytes, rounded to blocks, are free, and at no time fewer; 0 until it takes
    /// nothing more.
    pub fn fill_to(&self, free: u64) {
        if self.free() < free {
            self.make_room();
        }
        let ballast = File::options().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("an empty file needs no room");
        let block = BLOCK.len() as u64;
        for _ in 0..=self.free().saturating_sub(free) / block {
            if self.free() < free + block && free > 0 {
                return;
            }
            match ballast.write_all(&BLOCK) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("filling a small disk: {error}"),
            }
        }
    }

    fn free(&self) -> u64 {
        let stat = statvfs(self.path()).expect("a mounted filesystem can be asked");
        stat.f_bavail * stat.f_frsize
    }

    /// Takes back what [`SmallDisk::fill_to`] has filled.
    pub fn make_room(&self) {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("emptying a small disk: {error}"),
            _ => {}
        }
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is still open on it stays until it is closed.
        drop(Command::new("umount").arg("-l").arg(self.path()).output());
    }
}
