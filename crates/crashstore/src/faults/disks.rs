//! Disks that fail on demand, and remember what they were asked to do.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use crate::{
    disk::{Disk, LocalDisk},
    space::{Look, Room},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Create,
    Write,
    Sync,
    SyncFolder,
    Other,
}

/// Fails so many operations of a kind on paths that contain a text.
pub(super) struct Rule {
    pub(super) what: What,
    pub(super) path: &'static str,
    pub(super) errno: i32,
    pub(super) times: usize,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    log: Vec<(What, String)>,
    dead: bool,
    gate_closed: bool,
    free: Option<u64>,
}

#[derive(Default)]
pub(super) struct Faults {
    state: Mutex<State>,
    changed: Condvar,
}

impl Faults {
    pub(super) fn fail(&self, rule: Rule) {
        self.state.lock().unwrap().rules.push(rule);
    }

    /// From now on nothing reaches the disk, as if the process were killed.
    pub(super) fn die(&self) {
        self.state.lock().unwrap().dead = true;
    }

    /// So much room is left, whatever there really is.
    pub(super) fn leave(&self, free: u64) {
        self.state.lock().unwrap().free = Some(free);
    }

    pub(super) fn forget(&self) {
        self.state.lock().unwrap().log.clear();
    }

    pub(super) fn log(&self) -> Vec<(What, String)> {
        self.state.lock().unwrap().log.clone()
    }

    pub(super) fn count(&self, what: What, path: &str) -> usize {
        self.log().iter().filter(|(done, on)| *done == what && on.contains(path)).count()
    }

    pub(super) fn count_exactly(&self, what: What, path: &str) -> usize {
        self.log().iter().filter(|(done, on)| *done == what && on.ends_with(&format!("/{path}"))).count()
    }

    /// Holds the writer in its next sync until the gate is dropped.
    pub(super) fn close_gate(self: &Arc<Self>) -> Gate {
        self.state.lock().unwrap().gate_closed = true;
        Gate(self.clone())
    }

    fn passes(&self, what: What, path: &Path) -> io::Result<()> {
        let path = path.display().to_string();
        let mut state = self.state.lock().unwrap();
        state.log.push((what, path.clone()));
        self.changed.notify_all();
        while state.gate_closed && what == What::Sync {
            state = self.changed.wait(state).unwrap();
        }
        if state.dead {
            return Err(io::Error::other("killed"));
        }
        let rule = state
            .rules
            .iter_mut()
            .find(|rule| rule.what == what && rule.times > 0 && path.contains(rule.path));
        let Some(rule) = rule else { return Ok(()) };
        rule.times -= 1;
        Err(io::Error::from_raw_os_error(rule.errno))
    }
}

pub(super) struct Gate(Arc<Faults>);

impl Gate {
    /// Waits until the writer has done so many operations of a kind.
    pub(super) fn wait_for(&self, what: What, count: usize) {
        let state = self.0.state.lock().unwrap();
        let done = |state: &mut State| state.log.iter().filter(|(done, _)| *done == what).count() < count;
        let deadline = std::time::Duration::from_secs(20);
        let (_state, waited) = self.0.changed.wait_timeout_while(state, deadline, done).unwrap();
        assert!(!waited.timed_out(), "the writer has not come so far");
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.0.state.lock().unwrap().gate_closed = false;
        self.0.changed.notify_all();
    }
}

pub(super) struct FaultyDisk(pub(super) Arc<Faults>);

impl Disk for FaultyDisk {
    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        self.0.passes(What::Other, path)?;
        LocalDisk.create_folder(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<File> {
        self.0.passes(What::Create, path)?;
        LocalDisk.create(path)
    }

    fn open(&mut self, path: &Path) -> io::Result<File> {
        self.0.passes(What::Other, path)?;
        LocalDisk.open(path)
    }

    fn write(&mut self, file: &File, path: &Path, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Err(error) = self.0.passes(What::Write, path) {
            // A disk that is full takes the beginning.
            LocalDisk.write(file, path, &bytes[..bytes.len() / 2], offset)?;
            return Err(error);
        }
        LocalDisk.write(file, path, bytes, offset)
    }

    fn sync(&mut self, file: &File, path: &Path) -> io::Result<()> {
        self.0.passes(What::Sync, path)?;
        LocalDisk.sync(file, path)
    }

    fn sync_folder(&mut self, folder: &File, path: &Path) -> io::Result<()> {
        self.0.passes(What::SyncFolder, path)?;
        LocalDisk.sync_folder(folder, path)
    }

    fn cut(&mut self, file: &File, path: &Path, len: u64) -> io::Result<()> {
        self.0.passes(What::Other, path)?;
        LocalDisk.cut(file, path, len)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.passes(What::Other, to)?;
        LocalDisk.rename(from, to)
    }

    fn look(&self) -> Look {
        let faults = self.0.clone();
        Box::new(move |path| {
            let room = Room::of(path)?;
            let free = faults.state.lock().unwrap().free.unwrap_or(room.total);
            Ok(Room { free, ..room })
        })
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.0.passes(What::Other, path)?;
        LocalDisk.remove(path)
    }
}
