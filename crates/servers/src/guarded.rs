//! A supervisor's end of a guarded process: start it, see how it is, stop it.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, FdFlags},
    process::{Pid, PidfdFlags, Signal},
};
use tokio::io::{Interest, unix::AsyncFd};

use crate::{
    account::Account,
    error::{Doing, Error},
    processes,
};

/// A log that is larger than this when its process starts is put aside, as `<name>.1`.
const LOG_LIMIT: u64 = 10 << 20;
/// How much of a log's end an error quotes.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 20;
/// What a guard may take beyond the grace that it gives its program.
const GUARD_GRACE: Duration = Duration::from_secs(10);

/// How a process is asked to end, and how long it may take before it is killed.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// What it is sent.
    pub signal: StopSignal,
    /// How long it may take, in whole seconds.
    pub grace: Duration,
}

/// The signals that ask a process to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// `SIGINT`.
    Int,
    /// `SIGTERM`.
    Term,
    /// `SIGQUIT`.
    Quit,
}

impl StopSignal {
    const ALL: [Self; 3] = [Self::Int, Self::Term, Self::Quit];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signal| signal.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Int => "INT",
            Self::Term => "TERM",
            Self::Quit => "QUIT",
        }
    }

    pub(crate) fn number(self) -> Signal {
        match self {
            Self::Int => Signal::INT,
            Self::Term => Signal::TERM,
            Self::Quit => Signal::QUIT,
        }
    }
}

/// The environment variables of a process.
#[derive(Debug, Clone)]
pub enum Environment {
    /// Those of the supervisor, and these.
    InheritedAnd(Vec<(OsString, OsString)>),
    /// These and no others.
    Only(Vec<(OsString, OsString)>),
}

/// A process to be guarded: what to run, and with what.
#[derive(Debug, Clone)]
pub struct Program {
    /// The executable.
    pub executable: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its environment.
    pub environment: Environment,
    /// The folder that it starts in.
    pub folder: PathBuf,
    /// Whom it runs as, when that is not the supervisor's own user.
    pub account: Option<Account>,
    /// How it is ended.
    pub stop: Stop,
    /// A file that it and everything that it starts hold locked: at most one program a file runs at a time.
    pub lock: PathBuf,
    /// Where what it prints is appended.
    pub log: PathBuf,
    /// What stays open in it, under the number that it has here; by its environment it must be told what it is for.
    pub handed_over: Vec<Arc<OwnedFd>>,
}

/// The program that is to be the guard: one whose `main` gives the arguments after `guard` to [`crate::guard::main`].
#[derive(Debug, Clone)]
pub struct Guard(PathBuf);

impl Guard {
    /// This executable itself.
    ///
    /// While it is there it goes by its name, which is what people see in a list of processes; when it has been replaced or
    /// deleted, by the kernel's link to what is running, so that a guard is never of another release than its supervisor.
    pub fn this_executable() -> Self {
        Self(this_executable())
    }

    /// Another program that obeys `guard`: for tests, whose own executable does not.
    pub fn at(executable: impl Into<PathBuf>) -> Self {
        Self(executable.into())
    }
}

/// The path under which this executable can be started again; for a supervisor that starts itself in other roles.
pub fn this_executable() -> PathBuf {
    std::env::current_exe().ok().filter(|path| path.exists()).unwrap_or_else(|| "/proc/self/exe".into())
}

/// A running guard and its program.
///
/// Dropping it asks the guard to stop the program, and does not wait for it; [`stop`](Self::stop) does.
#[derive(Debug)]
pub struct Guarded {
    guard: Child,
    /// What the guard listens at; closing it is the order to stop.
    pipe: Option<ChildStdin>,
    pidfd: OwnedFd,
    stop: Stop,
    log: PathBuf,
    /// Where in the log this process begins.
    log_start: u64,
}

impl Guarded {
    /// Starts a guard, which starts the program as soon as nothing of a previous one is left.
    pub fn spawn(guard: &Guard, program: &Program) -> Result<Self, Error> {
        let (log, log_start) =
            open_log(&program.log).doing(|| format!("opening the log {}", program.log.display()))?;
        let mut command = Command::new(&guard.0);
        command
            .arg("guard")
            .arg("--lock")
            .arg(&program.lock)
            .args(["--stop-signal", program.stop.signal.name()])
            .args(["--grace", &program.stop.grace.as_secs().to_string()]);
        if let Some(account) = program.account {
            command.args(["--uid", &account.uid.to_string(), "--gid", &account.gid.to_string()]);
        }
        command.arg("--").arg(&program.executable).args(&program.args);
        match &program.environment {
            Environment::InheritedAnd(more) => command.envs(more.iter().cloned()),
            Environment::Only(all) => command.env_clear().envs(all.iter().cloned()),
        };
        // A group of its own: ctrl-C at a terminal is the supervisor's to act on, in its own order.
        command.current_dir(&program.folder).process_group(0).stdin(Stdio::piped());
        command.stderr(log.try_clone().doing(|| "sharing a log".to_owned())?).stdout(log);
        if !program.handed_over.is_empty() {
            hand_over(&mut command, program.handed_over.clone());
        }

        let starting = || format!("starting {} through {}", program.executable.display(), guard.0.display());
        let mut guard = command.spawn().doing(starting)?;
        let pidfd =
            rustix::process::pidfd_open(Pid::from_child(&guard), PidfdFlags::empty()).doing(starting)?;
        Ok(Self {
            pipe: guard.stdin.take(),
            guard,
            pidfd,
            stop: program.stop,
            log: program.log.clone(),
            log_start,
        })
    }

    /// The guard's process id; the program is its child.
    pub fn pid(&self) -> u32 {
        self.guard.id()
    }

    /// The program's process id, once the guard has started it.
    pub fn program_pid(&self) -> Option<u32> {
        // A guard has no other child, but for orphans that it adopts, which are younger.
        processes::children_of(self.pid()).into_iter().min()
    }

    /// The log to which the program's output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Whether the program has ended, and how: its own status, or 128 and the number of the signal that killed it.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.guard.try_wait()
    }

    /// Waits for the program to end, at most so long.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<Option<ExitStatus>> {
        let deadline = Instant::now() + at_most;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(status) = self.guard.try_wait()? {
                return Ok(Some(status));
            }
            if left.is_zero() {
                return Ok(None);
            }
            let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Completes when the program has ended and its status is there to be taken by [`try_wait`](Self::try_wait).
    ///
    /// Safe to drop and to call again. Must be called within a tokio runtime.
    pub async fn ended(&self) -> io::Result<()> {
        let pidfd = self.pidfd.try_clone()?;
        #[expect(unsafe_code, reason = "tokio wants a promise that the descriptor stays the same and open")]
        // SAFETY: it is owned by the `AsyncFd` from here on, and nothing else knows it.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE)? };
        pidfd.readable().await.map(drop)
    }

    /// Asks the program to end, without waiting for it; for stopping several at once.
    pub fn ask_to_stop(&mut self) {
        self.pipe = None;
    }

    /// Ends the program: asks it, waits for the grace and a little more, and at last kills its guard, which kills it.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        self.ask_to_stop();
        if let Some(status) = self.wait(self.stop.grace + GUARD_GRACE)? {
            return Ok(status);
        }
        self.guard.kill()?;
        self.guard.wait()
    }

    /// The last lines that the program wrote, or its guard, since it was started.
    pub fn log_tail(&self) -> String {
        tail(&self.log, self.log_start).unwrap_or_else(|error| format!("(the log cannot be read: {error})"))
    }
}

/// Leaves descriptors open in the process that is started, and in no other that this one starts.
fn hand_over(command: &mut Command, handed_over: Vec<Arc<OwnedFd>>) {
    let before_exec = move || {
        for fd in &handed_over {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "the closure makes a system call for each and allocates nothing, as must be between fork and exec"
    )]
    // SAFETY: as the reason says; the descriptors are owned by the closure and open.
    unsafe {
        command.pre_exec(before_exec);
    }
}

fn open_log(path: &Path) -> io::Result<(File, u64)> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_LIMIT) {
        let mut old = path.to_path_buf().into_os_string();
        old.push(".1");
        fs::rename(path, old)?;
    }
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let start = log.metadata()?.len();
    Ok((log, start))
}

fn tail(path: &Path, from: u64) -> io::Result<String> {
    let mut log = File::open(path)?;
    let end = log.metadata()?.len();
    log.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    log.take(TAIL_BYTES).read_to_end(&mut bytes)?;

    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n"))
}
