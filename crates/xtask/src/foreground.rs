//! Running a program in the foreground while servers have to be stopped after it, whatever happens.

use std::{
    io::{self, Read},
    os::unix::{net::UnixStream, process::ExitStatusExt},
    process::{Child, Command, ExitStatus},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal},
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};

/// Signals that are not to end this process, from the moment that this is made.
///
/// Ctrl-C at a terminal reaches the program in the foreground as well, so that it is only noted; a SIGTERM reaches us
/// alone, and is passed on.
pub(crate) struct Signals {
    interrupted: UnixStream,
    terminated: UnixStream,
}

impl Signals {
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self { interrupted: caught(SIGINT)?, terminated: caught(SIGTERM)? })
    }

    /// Whether there was a signal so far.
    pub(crate) fn any(&mut self) -> bool {
        drain(&mut self.interrupted) | drain(&mut self.terminated)
    }

    /// Runs a program to its end.
    pub(crate) fn run(&mut self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child = command.spawn()?;
        let ended = self.wait(&mut child);
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended
    }

    fn wait(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_child(child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let mut fds = [PollFd::new(&pidfd, PollFlags::IN), PollFd::new(&self.terminated, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if drain(&mut self.terminated) {
                rustix::process::kill_process(pid, Signal::TERM).ok();
            }
        }
    }
}

/// A status as a shell would report it.
pub(crate) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn caught(signal: i32) -> io::Result<UnixStream> {
    let (ours, handler) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    pipe::register(signal, handler)?;
    Ok(ours)
}

fn drain(stream: &mut UnixStream) -> bool {
    // One byte a signal; more than these would be impatience.
    stream.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_reported_as_a_shell_would() {
        let mut signals = Signals::catch().expect("signals can be caught");
        let status = signals.run(Command::new("sh").args(["-c", "exit 7"])).expect("a shell");
        assert_eq!(exit_code(status), 7);
        let status = signals.run(Command::new("sh").args(["-c", "kill -9 $$"])).expect("a shell");
        assert_eq!(exit_code(status), 137);
    }
}
