//! The machine itself: its clock, and what it lets a process have.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

use super::findings::Findings;
use crate::config::Config;

/// Files that a role has open beside the connections of its clients: segments, journals, servers.
const OTHER_FILES: u64 = 512;
/// systemd's own client of a time server makes this file when it has one.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";

pub(super) async fn look(config: Config) -> Findings {
    let mut findings = Findings::default();
    user(&mut findings);
    open_files(&config, &mut findings);
    clock(&mut findings);
    findings
}

/// Rights that root has say nothing about those of the roles.
fn user(findings: &mut Findings) {
    let uid = rustix::process::geteuid();
    let version = daemon::VERSION.version;
    findings.ok("machine.program", format!("crashmill {version}, run by the user {}", uid.as_raw()));
}

fn open_files(config: &Config, findings: &mut Findings) {
    let needed =
        u64::try_from(config.collector.max_connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    // The soft limit is raised to this one when a role starts.
    match getrlimit(Resource::Nofile).maximum {
        Some(limit) if limit < needed => findings.warn(
            "machine.open_files",
            format!("a process may have {limit} files open, and a collector with all of its clients needs {needed}"),
            "raise it (LimitNOFILE= in the unit, ulimit -Hn in a shell), or lower collector.max_connections",
        ),
        Some(limit) => findings.ok("machine.open_files", format!("a process may have {limit} files open")),
        None => findings.ok("machine.open_files", "a process may have any number of files open"),
    }
}

/// The id of a crash carries the time: a clock that is wrong files crashes under another day.
fn clock(findings: &mut Findings) {
    if Path::new(TIMESYNC).exists() {
        return findings.ok("machine.clock", "the clock is kept by a time server");
    }
    match kernel_says_synchronised() {
        Some(true) => findings.ok("machine.clock", "the clock is kept by a time server"),
        Some(false) => findings.warn(
            "machine.clock",
            "the kernel knows of no time server that keeps the clock",
            "run systemd-timesyncd, chrony or ntpd (in a container or a virtual machine, on its host): the time is \
             part of each crash id, and days are told by it",
        ),
        None => findings.skip("machine.clock", "the system does not tell whether its clock is kept by a time server"),
    }
}

/// Whether somebody disciplines the kernel's clock, by adjtimex(2).
fn kernel_says_synchronised() -> Option<bool> {
    #[expect(unsafe_code, reason = "a system call that no safe wrapper of ours has")]
    // SAFETY: all zeros is a valid `timex`, which asks for nothing to be changed, and it outlives the call.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&raw mut timex)
    };
    (state >= 0).then_some(state != libc::TIME_ERROR)
}
