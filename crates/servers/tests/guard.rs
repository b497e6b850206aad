//! What a guard promises: its program is asked, then made to end, and nothing of it is left.

use std::{
    fs,
    net::TcpListener,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use servers::{Environment, Guard, Guarded, Program, Stop, StopSignal};
use tempfile::TempDir;
use testing::eventually_blocking;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_status_of_the_program_is_passed_on_and_what_it_says_is_in_the_log() {
    let dir = folder();
    let mut guarded = start(&dir, "echo to the log; echo and this >&2; exit 7");

    let status = guarded.wait(SOON).expect("a child of ours").expect("it ends at once");

    assert_eq!(status.code(), Some(7));
    assert_eq!(guarded.log_tail(), "to the log\nand this");
}

#[test]
fn a_program_that_was_killed_is_reported_as_a_shell_would() {
    let dir = folder();
    let mut guarded = start(&dir, "kill -9 $$");
    let status = guarded.wait(SOON).expect("a child of ours").expect("it ends at once");
    assert_eq!(status.code(), Some(137));
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let dir = folder();
    let mut program = program(&dir, "");
    program.executable = "/no/such/program".into();
    let mut guarded = Guarded::spawn(&guard(), &program).expect("the guard itself starts");

    let status = guarded.wait(SOON).expect("a child of ours").expect("it ends at once");

    assert_eq!(status.code(), Some(125));
    assert!(guarded.log_tail().contains("starting /no/such/program"), "{}", guarded.log_tail());
}

#[test]
fn a_program_may_tidy_up_when_it_is_asked_to_stop() {
    let dir = folder();
    let mut guarded = start(&dir, "trap 'echo tidied; exit 3' INT; echo up; while :; do sleep 0.1; done");
    says(&dir, "up");

    let status = guarded.stop().expect("a child of ours");

    assert_eq!(status.code(), Some(3));
    says(&dir, "tidied");
}

#[test]
fn a_program_that_ignores_the_stop_signal_is_killed_after_the_grace() {
    let dir = folder();
    let mut program = program(&dir, "trap '' INT; echo up; while :; do sleep 0.1; done");
    program.stop.grace = Duration::from_secs(1);
    let mut guarded = Guarded::spawn(&guard(), &program).expect("the guard starts");
    says(&dir, "up");

    let asked = Instant::now();
    let status = guarded.stop().expect("a child of ours");

    assert_eq!(status.code(), Some(137));
    assert!(asked.elapsed() >= Duration::from_secs(1), "it has its grace");
}

#[test]
fn what_is_handed_over_is_open_in_the_program_and_in_no_other_that_is_started() {
    let dir = folder();
    let socket = OwnedFd::from(TcpListener::bind("127.0.0.1:0").expect("there is a free port"));
    let number = socket.as_raw_fd();
    let mut other =
        start(&dir, &format!("test -e /proc/self/fd/{number} && readlink /proc/self/fd/{number}"));
    let status = other.wait(SOON).expect("a child of ours").expect("it ends at once");
    assert!(!other.log_tail().starts_with("socket:"), "{status} {}", other.log_tail());

    let mut program = program(&dir, &format!("readlink /proc/self/fd/{number}"));
    program.handed_over = vec![Arc::new(socket)];
    let mut guarded = Guarded::spawn(&guard(), &program).expect("the guard starts");
    let status = guarded.wait(SOON).expect("a child of ours").expect("it ends at once");

    assert!(status.success() && guarded.log_tail().starts_with("socket:["), "{}", guarded.log_tail());
}

#[test]
fn a_supervisor_that_vanishes_takes_the_program_with_it() {
    let dir = folder();
    let guarded = start(&dir, "echo $$; exec sleep 1000");
    let pid = says_number(&dir);

    // The kernel closes the pipe of a supervisor that is killed, as dropping the handle does.
    drop(guarded);

    gone(pid);
}

#[test]
fn a_guard_that_is_killed_takes_the_program_with_it() {
    let dir = folder();
    let mut guarded = start(&dir, "echo $$; exec sleep 1000");
    let pid = says_number(&dir);
    assert_eq!(guarded.program_pid(), Some(pid));

    kill(guarded.pid());

    gone(pid);
    let status = guarded.wait(SOON).expect("a child of ours").expect("it was killed");
    assert_eq!(status.signal(), Some(9));
}

#[test]
fn what_a_program_leaves_behind_is_killed_even_in_a_session_of_its_own() {
    let dir = folder();
    let mut guarded = start(&dir, "setsid sleep 1000 & echo $!; exit 0");
    let pid = says_number(&dir);

    let status = guarded.wait(SOON).expect("a child of ours").expect("it ends at once");

    assert_eq!(status.code(), Some(0));
    gone(pid);
}

#[test]
fn a_program_starts_only_when_nothing_of_the_previous_one_is_left() {
    let dir = folder();
    let first = start(&dir, "sleep 1000 & echo $!; wait");
    let left = says_number(&dir);
    // Only what the guard started itself dies with it; this grandchild stays, and holds the lock.
    kill(first.pid());

    let mut second = start(&dir, "echo second");
    assert!(second.wait(Duration::from_millis(500)).expect("a child of ours").is_none(), "it waits");
    assert!(second.log_tail().is_empty());

    kill(left);
    let status = second.wait(SOON).expect("a child of ours").expect("it ends at once");
    assert!(status.success());
    assert_eq!(second.log_tail(), "second");
}

#[test]
fn a_guard_that_still_waits_for_its_turn_can_be_stopped() {
    let dir = folder();
    let mut first = start(&dir, "echo up; exec sleep 1000");
    says(&dir, "up");
    let mut second = start(&dir, "echo second");

    assert!(second.stop().expect("a child of ours").success());
    assert!(second.log_tail().is_empty(), "its program was never started");
    first.stop().expect("a child of ours");
}

#[tokio::test]
async fn the_end_of_a_program_can_be_awaited() {
    let dir = folder();
    let mut guarded = start(&dir, "exit 4");
    tokio::time::timeout(SOON, guarded.ended()).await.expect("it ends at once").expect("a process of ours");
    assert_eq!(guarded.try_wait().expect("a child of ours").and_then(|status| status.code()), Some(4));
}

#[test]
fn a_large_log_is_put_aside_at_the_next_start() {
    let dir = folder();
    let log = dir.path().join("log");
    fs::write(&log, vec![b'x'; 11 << 20]).expect("a folder of ours");

    let mut guarded = start(&dir, "echo fresh");
    guarded.wait(SOON).expect("a child of ours").expect("it ends at once");

    assert_eq!(fs::read_to_string(&log).expect("the new log"), "fresh\n");
    assert_eq!(fs::metadata(dir.path().join("log.1")).expect("the old log").len(), 11 << 20);
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn guard() -> Guard {
    Guard::at(env!("CARGO_BIN_EXE_private-servers"))
}

fn program(dir: &TempDir, script: &str) -> Program {
    Program {
        executable: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        environment: Environment::InheritedAnd(Vec::new()),
        folder: dir.path().to_path_buf(),
        account: None,
        stop: Stop { signal: StopSignal::Int, grace: Duration::from_secs(10) },
        lock: dir.path().join("lock"),
        log: dir.path().join("log"),
        handed_over: Vec::new(),
    }
}

fn start(dir: &TempDir, script: &str) -> Guarded {
    Guarded::spawn(&guard(), &program(dir, script)).expect("the guard starts")
}

fn says(dir: &TempDir, line: &str) {
    eventually_blocking(SOON, || {
        let log = fs::read_to_string(dir.path().join("log")).ok()?;
        log.lines().any(|said| said == line).then_some(())
    });
}

fn says_number(dir: &TempDir) -> u32 {
    eventually_blocking(SOON, || {
        let log = fs::read_to_string(dir.path().join("log")).ok()?;
        log.strip_suffix('\n')?.parse().ok()
    })
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::KILL).expect("a process of ours");
}

/// A process that nobody has waited for yet is as good as gone.
fn gone(pid: u32) {
    eventually_blocking(SOON, || {
        let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        let alive = stat.is_ok_and(|stat| !stat.contains(") Z "));
        (!alive).then_some(())
    });
}
