//! The process between a supervisor and a server that sees to it that nothing outlives its starter.
//!
//! A supervisor that is killed can tidy nothing up. So it starts each server through a guard: itself again, with the hidden
//! command `guard`, and the reading end of a pipe as standard input. However the supervisor ends, the pipe ends with it,
//! and the guard stops the server: the stop signal first, then, after the grace, `SIGKILL`. Should the guard be killed,
//! the kernel kills the server, and with it whatever was started by it and stays attached.
//!
//! The lock file is held by the guard, and by every process that descends from it: it is free only when all of the
//! previous ones are gone, and until then a new guard waits.
//!
//! A guard lives as long as its server and does nothing, so it has no runtime and no threads: it has to be small.

mod ears;
mod order;

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    fs::FlockOperation,
    io::{Errno, FdFlags},
    process::{Pid, Signal, WaitOptions, WaitStatus},
};

use crate::processes;
use ears::Ears;
use order::Order;

/// How long a guard waits for the processes of the previous one to be gone.
const LOCK_DEADLINE: Duration = Duration::from_secs(60);
const LOCK_POLL: Duration = Duration::from_millis(50);
/// How long the killed may take to be gone; they have nothing left to do.
const SWEEP_DEADLINE: Duration = Duration::from_secs(5);

/// The exit status of a guard that could not do what it was asked to; what the program says is passed on otherwise.
const FAILED: u8 = 125;

/// Obeys `--lock FILE --stop-signal INT|TERM|QUIT --grace SECONDS [--uid U --gid G] -- PROGRAM ARGS...`.
///
/// Returns when the program and everything that it started are gone: with the program's status, 128 and the number of
/// the signal that ended it, or 125 with a message on standard error.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Order::parse(args).and_then(|order| obey(&order)) {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            // Standard error is the server's log; if it cannot be written there is nobody left to tell.
            drop(writeln!(io::stderr(), "guard: {message}"));
            ExitCode::from(FAILED)
        }
    }
}

fn obey(order: &Order) -> Result<u8, String> {
    let mut ears = Ears::open().map_err(|error| format!("listening for signals: {error}"))?;
    let Some(lock) = take_lock(order, &mut ears)? else {
        return Ok(0);
    };
    // What the program leaves behind becomes a child of the guard, even what has left its process group.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| format!("adopting orphans: {error}"))?;
    let program =
        start(order, &lock).map_err(|error| format!("starting {}: {error}", order.program.display()))?;

    let status = watch(order, program, &mut ears)?;
    sweep(program, &mut ears);
    Ok(status)
}

/// Waits for the lock; `None` when the guard is asked to stop before it has it.
fn take_lock(order: &Order, ears: &mut Ears) -> Result<Option<File>, String> {
    let path = order.lock.display();
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&order.lock)
        .map_err(|error| format!("opening {path}: {error}"))?;

    let start = Instant::now();
    loop {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(lock)),
            Err(Errno::WOULDBLOCK) if start.elapsed() < LOCK_DEADLINE => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(format!(
                    "processes that were started before still hold {path} after {LOCK_DEADLINE:?}"
                ));
            }
            Err(error) => return Err(format!("locking {path}: {error}")),
        }
        if ears.listen(Some(LOCK_POLL)).map_err(|error| error.to_string())? {
            return Ok(None);
        }
    }
}

/// Starts the program in a process group of its own, to die with the guard and to hold the lock with it.
fn start(order: &Order, lock: &File) -> io::Result<Pid> {
    let mut command = Command::new(&order.program);
    command.args(&order.args).stdin(Stdio::null()).process_group(0);
    if let Some(account) = order.account {
        command.uid(account.uid).gid(account.gid);
    }

    let guard = rustix::process::getpid();
    let lock = rustix::io::fcntl_dupfd_cloexec(lock, 0)?;
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A guard that died before the line above can send no signal any more.
        if rustix::process::getppid() != Some(guard) {
            return Err(Errno::SRCH.into());
        }
        rustix::io::fcntl_setfd(&lock, FdFlags::empty())?;
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "the closure makes three system calls and allocates nothing, as must be between fork and exec"
    )]
    // SAFETY: as the reason says; the file descriptor that it uses is owned by the closure and open.
    unsafe {
        command.pre_exec(before_exec);
    }

    let child = command.spawn()?;
    Ok(Pid::from_child(&child))
}

/// Waits for the program to end, and makes it when the guard is asked to stop. Returns the status to pass on.
fn watch(order: &Order, program: Pid, ears: &mut Ears) -> Result<u8, String> {
    let mut deadline = None;
    let mut stopping = false;
    loop {
        if let Some(status) = reap_until(program) {
            return Ok(passed_on(status));
        }
        if stopping && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            send(program, Signal::KILL);
            deadline = None;
        }
        let timeout = deadline.map(|deadline: Instant| deadline.saturating_duration_since(Instant::now()));
        let stop = ears.listen(timeout).map_err(|error| format!("waiting for the program: {error}"))?;
        if stop && !stopping {
            stopping = true;
            deadline = Some(Instant::now() + order.grace);
            send(program, order.stop_signal.number());
        }
    }
}

/// Takes the status of every child that has ended, and returns the program's if it is among them.
fn reap_until(program: Pid) -> Option<WaitStatus> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == program {
            return Some(status);
        }
    }
    None
}

/// Kills what the program left: the rest of its group, and those that the guard has adopted, until none is left.
fn sweep(program: Pid, ears: &mut Ears) {
    let deadline = Instant::now() + SWEEP_DEADLINE;
    // There is usually nothing left, and then this fails.
    rustix::process::kill_process_group(program, Signal::KILL).ok();
    loop {
        for pid in processes::children_of(std::process::id()) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                send(pid, Signal::KILL);
            }
        }
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => continue,
            Ok(None) if Instant::now() < deadline => {}
            Ok(None) | Err(_) => return,
        }
        if ears.listen(Some(LOCK_POLL)).is_err() {
            return;
        }
    }
}

fn send(pid: Pid, signal: Signal) {
    // It may have ended in this moment, and then its status is about to be reaped.
    rustix::process::kill_process(pid, signal).ok();
}

/// A status as a shell would report it.
fn passed_on(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}
