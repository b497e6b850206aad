//! Waiting for a server to be ready, or finding out why it is not.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::{error::Error, guarded::Guarded};

/// How long a server may take from its start until it is ready, or a step of its preparation until it ends.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How long a server that has accepted a connection may take to say something.
const REPLY_DEADLINE: Duration = Duration::from_secs(2);

/// Waits until `ready` says so. A server that ends before, or is not ready in time, is an error with the end of its log.
pub(crate) fn until_ready(
    server: &'static str,
    guarded: &mut Guarded,
    ready: impl Fn(&Guarded) -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if ready(guarded) {
            return Ok(());
        }
        match guarded.wait(POLL) {
            Ok(None) if Instant::now() < deadline => {}
            Ok(None) => return Err(failure(server, format!("was not ready after {DEADLINE:?}"), guarded)),
            Ok(Some(status)) => {
                return Err(failure(server, format!("ended before it was ready, with {status}"), guarded));
            }
            Err(error) => return Err(failure(server, format!("could not be waited for: {error}"), guarded)),
        }
    }
}

/// Waits until a step of a server's preparation has ended well.
pub(crate) fn until_done(step: &'static str, mut guarded: Guarded) -> Result<(), Error> {
    match guarded.wait(DEADLINE) {
        Ok(Some(status)) if status.success() => Ok(()),
        Ok(Some(status)) => Err(failure(step, format!("failed with {status}"), &guarded)),
        Ok(None) => Err(failure(step, format!("was not done after {DEADLINE:?}"), &guarded)),
        Err(error) => Err(failure(step, format!("could not be waited for: {error}"), &guarded)),
    }
}

fn failure(server: &'static str, reason: String, guarded: &Guarded) -> Error {
    Error::Startup { server, reason, log: guarded.log().to_path_buf(), tail: guarded.log_tail() }
}

/// Whether the server on this port answers a greeting with a byte that `expected` takes.
pub(crate) fn answers(port: u16, greeting: &[u8], expected: impl Fn(u8) -> bool) -> bool {
    let ask = || -> io::Result<u8> {
        let mut stream =
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), REPLY_DEADLINE)?;
        stream.set_read_timeout(Some(REPLY_DEADLINE))?;
        stream.write_all(greeting)?;
        let mut reply = [0; 1];
        stream.read_exact(&mut reply)?;
        let [first] = reply;
        Ok(first)
    };
    ask().is_ok_and(expected)
}

/// Whether anything accepts connections on this port.
pub(crate) fn accepts(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), REPLY_DEADLINE).is_ok()
}
