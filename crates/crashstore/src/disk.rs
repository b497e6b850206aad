//! What a writer does to the disk, as a seam: the disk is hostile, and tests take its place.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
};

use crate::space::{Look, Room};

/// Everything that a writer does to the disk. The provided methods do it; a test's disk fails, or keeps a log.
pub(crate) trait Disk: Send {
    /// Makes a folder and the ones above it that are missing.
    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        create_folder(path)
    }

    /// Makes a file that must not be there yet.
    fn create(&mut self, path: &Path) -> io::Result<File> {
        options().create_new(true).open(path)
    }

    /// Opens a file of ours for appending.
    fn open(&mut self, path: &Path) -> io::Result<File> {
        options().open(path)
    }

    /// Writes all bytes at a place.
    fn write(&mut self, file: &File, _path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Makes what was written to the file durable, its length included.
    fn sync(&mut self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_data()
    }

    /// Makes the entries of a folder durable.
    fn sync_folder(&mut self, folder: &File, _path: &Path) -> io::Result<()> {
        folder.sync_all()
    }

    /// Cuts what is after `len` bytes off.
    fn cut(&mut self, file: &File, _path: &Path, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    /// Puts one file in the place of another.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// How the filesystem is asked for the room that it has left.
    fn look(&self) -> Look {
        Box::new(Room::of)
    }

    /// Unlinks a file.
    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// The local disk as it is.
pub(crate) struct LocalDisk;

impl Disk for LocalDisk {}

/// Opens a folder and makes its entries durable.
pub(crate) fn sync_folder(disk: &mut dyn Disk, path: &Path) -> io::Result<()> {
    disk.sync_folder(&File::open(path)?, path)
}

/// Makes a folder and the ones above it that are missing. Others than user and group have no business in a store of
/// memory dumps.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// How files of the store are opened for writing.
pub(crate) fn options() -> OpenOptions {
    let mut options = File::options();
    options.read(true).write(true).mode(0o640);
    options
}
