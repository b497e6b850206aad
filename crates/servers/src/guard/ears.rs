//! What a guard listens to: the pipe from its supervisor, signals, and children that end.

use std::{
    io::{self, Read, Stdin},
    os::unix::net::UnixStream,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    low_level::pipe,
};

/// Everything that wakes a guard, in one place to wait at.
pub(super) struct Ears {
    supervisor: Stdin,
    /// Set when the supervisor's end of the pipe is closed: the pipe would wake us for ever after.
    supervisor_gone: bool,
    asked_to_stop: UnixStream,
    child_ended: UnixStream,
}

impl Ears {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            supervisor: io::stdin(),
            supervisor_gone: false,
            asked_to_stop: woken_by(&[SIGTERM, SIGINT])?,
            child_ended: woken_by(&[SIGCHLD])?,
        })
    }

    /// Waits until something happens or the time is up, and returns whether the guard is to stop.
    pub(super) fn listen(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let [stop, child, supervisor] = self.wait(timeout)?;
        if child {
            drain(&mut self.child_ended)?;
        }
        let signalled = stop && drain(&mut self.asked_to_stop)?;
        // The supervisor sends nothing; reading nothing means that it has closed its end, or is no more.
        let closed = supervisor && self.supervisor.read(&mut [0; 64])? == 0;
        self.supervisor_gone |= closed;
        Ok(signalled || closed)
    }

    fn wait(&self, timeout: Option<Duration>) -> io::Result<[bool; 3]> {
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
        let mut fds = vec![
            PollFd::new(&self.asked_to_stop, PollFlags::IN),
            PollFd::new(&self.child_ended, PollFlags::IN),
        ];
        if !self.supervisor_gone {
            fds.push(PollFd::new(&self.supervisor, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut heard = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(std::array::from_fn(|_| heard.next().unwrap_or(false)))
    }
}

/// A stream from which a byte can be read after any of the signals.
fn woken_by(signals: &[i32]) -> io::Result<UnixStream> {
    let (ours, handlers) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for signal in signals {
        pipe::register(*signal, handlers.try_clone()?)?;
    }
    Ok(ours)
}

/// Reads all that is there, and returns whether there was anything.
fn drain(stream: &mut UnixStream) -> io::Result<bool> {
    let mut any = false;
    loop {
        match stream.read(&mut [0; 64]) {
            Ok(0) => return Ok(any),
            Ok(_) => any = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(any),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
