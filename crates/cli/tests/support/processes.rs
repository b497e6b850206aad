//! Processes as the kernel tells of them: whose they are, whether they live, and how to end them.

use std::{fs, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use testing::eventually_blocking;

/// How long what was killed may take to be gone: a guard gives PostgreSQL 30 seconds before it kills.
const GONE: Duration = Duration::from_secs(45);
/// How long a process may take to be there.
const THERE: Duration = Duration::from_secs(45);

/// A process and when it began, since its id may be given to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    began: String,
    pub(crate) command: String,
}

impl Process {
    fn of(pid: u32) -> Option<Self> {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
        Some(Self { pid, began: stat(pid, 19)?, command })
    }

    pub(crate) fn is_alive(&self) -> bool {
        stat(self.pid, 19).as_ref() == Some(&self.began)
            && stat(self.pid, 0).is_some_and(|state| state != "Z")
    }

    /// Ends it at once; it may have ended by itself in this moment.
    pub(crate) fn kill(&self) {
        if self.is_alive() {
            signal(self.pid, Signal::KILL);
        }
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // It may have ended by itself in this moment.
    kill_process(pid, signal).ok();
}

/// Everything that a process has started, and what that has started.
pub(crate) fn descendants(pid: u32) -> Vec<Process> {
    let parents: Vec<(u32, u32)> =
        all().into_iter().filter_map(|pid| Some((pid, stat(pid, 1)?.parse().ok()?))).collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Process::of).collect()
}

/// Every process that works in a folder, or has its path in its command or its environment: whoever its parent is.
pub(crate) fn working_in(dir: &Path) -> Vec<Process> {
    let dir = dir.to_str().expect("folders of tests are text");
    let mentions = |pid: u32| {
        let holds = |file: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).contains(dir)
        };
        let folder = fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.starts_with(dir));
        folder || holds("cmdline") || holds("environ")
    };
    let others = all().into_iter().filter(|pid| *pid != std::process::id());
    others.filter(|pid| mentions(*pid)).filter_map(Process::of).filter(Process::is_alive).collect()
}

/// A process below another one whose command fits, if there is one.
pub(crate) fn find(below: u32, fits: impl Fn(&str) -> bool) -> Option<Process> {
    descendants(below).into_iter().find(|process| fits(&process.command) && process.is_alive())
}

/// Waits for a process below another one whose command fits.
#[track_caller]
pub(crate) fn until_there(below: u32, fits: impl Fn(&str) -> bool) -> Process {
    eventually_blocking(THERE, || find(below, &fits))
}

/// Waits until none of them is left.
#[track_caller]
pub(crate) fn until_gone(processes: &[Process]) {
    eventually_blocking(GONE, || (!processes.iter().any(Process::is_alive)).then_some(()));
}

/// Waits until nothing works in a folder any more.
#[track_caller]
pub(crate) fn until_nothing_works_in(dir: &Path) {
    eventually_blocking(GONE, || working_in(dir).is_empty().then_some(()));
}

fn all() -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("Linux tells of its processes");
    processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A field of a process's `stat`, counted from the one after its name.
fn stat(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(field).map(str::to_owned)
}
