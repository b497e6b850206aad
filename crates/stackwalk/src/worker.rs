//! A worker: a process that walks the dumps that a [`Pool`](crate::Pool) sends it.

use std::{any::Any, io, os::fd::OwnedFd, panic::AssertUnwindSafe};

use crash::WalkStatus;
use futures_util::FutureExt as _;
use rustix::{
    process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit},
    stdio,
    time::{ClockId, clock_gettime},
};
use symbols::Symbols;
use tokio::{
    net::unix::pipe,
    runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    Limits, Walked, Walker,
    clean::{self, clean},
    wire::{self, Setup},
};

/// Why a worker could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was not started by a pool.
    #[error("standard input and output are not the pipes of a pool: crashmill starts this command itself")]
    NoPipes(#[source] io::Error),
    /// The pipes broke, or something strange came through.
    #[error("cannot talk to the pool")]
    Pipe(#[from] io::Error),
    /// The first frame is not what this release understands.
    #[error("cannot read the setup: pool and worker must be the same release")]
    Setup(#[from] serde_json::Error),
    /// The setup names a server that is none.
    #[error("cannot read the setup's symbol servers")]
    Server(#[source] settings::InvalidServiceUrl),
    /// A limit could not be set.
    #[error("cannot limit this process")]
    Limit(#[source] rustix::io::Errno),
    /// The sources of symbols cannot be used.
    #[error(transparent)]
    Symbols(#[from] symbols::Error),
}

/// Serves a pool through standard input and output until it closes them, and dies with it in any case.
///
/// This is all that the command of a worker does; it must not have written to standard output before.
///
/// # Errors
/// When it was not started by a pool, or cannot set itself up. The pool shows what it says on standard error.
pub fn serve() -> Result<(), Error> {
    // Without core files: they would hold the memory of other people's programs. And whatever a dump makes the
    // libraries print, it must not get between the frames.
    let no_core = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, no_core).map_err(Error::Limit)?;
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Error::Limit)?;
    let input = stdio::stdin().try_clone_to_owned()?;
    let output = stdio::stdout().try_clone_to_owned()?;
    stdio::dup2_stdout(stdio::stderr()).map_err(io::Error::from)?;
    stdio::dup2_stdin(std::fs::File::open("/dev/null")?).map_err(io::Error::from)?;

    // One thread: walks are not concurrent, and a download that a walk did not wait for goes on while the next dump is
    // waited for.
    runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(input, output))
}

async fn run(input: OwnedFd, output: OwnedFd) -> Result<(), Error> {
    // Whoever stops a service signals all of its processes, and the processor first finishes what it has. A worker ends
    // when its input does, or with its pool.
    let _stop = [SignalKind::terminate(), SignalKind::interrupt()]
        .map(signal)
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?;
    let mut dumps = pipe::Receiver::from_owned_fd(input).map_err(Error::NoPipes)?;
    let mut answers = pipe::Sender::from_owned_fd(output).map_err(Error::NoPipes)?;
    let Some(setup) = wire::read(&mut dumps, wire::LONGEST_SETUP).await? else { return Ok(()) };
    let mut setup: Setup = serde_json::from_slice(&setup)?;
    setup.symbols.servers =
        setup.servers.iter().map(|server| server.parse()).collect::<Result<_, _>>().map_err(Error::Server)?;
    limit_memory(setup.memory.bytes())?;
    let longest = setup.limits.max_dump_bytes.as_usize();
    let walker = Walker::new(Symbols::open(&setup.symbols)?, Limits { ..setup.limits });
    wire::write(&mut answers, b"").await?;

    while let Some(dump) = wire::read(&mut dumps, longest).await? {
        allow_cpu_time(setup.cpu.as_secs())?;
        let walked = walk(&walker, &dump).await;
        drop(dump);
        wire::write(&mut answers, &serde_json::to_vec(&walked)?).await?;
    }
    Ok(())
}

/// A panic of the minidump libraries is an answer too: this dump cannot be read.
async fn walk(walker: &Walker, dump: &[u8]) -> Walked {
    AssertUnwindSafe(walker.walk(dump)).catch_unwind().await.unwrap_or_else(|panic| {
        Walked::failed(WalkStatus::BadMinidump, format!("reading it went wrong: {}", message(&*panic)))
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    clean(text.unwrap_or("for no stated reason"), clean::NAME)
}

/// Only the data: mapped symbol files are the page cache's.
fn limit_memory(bytes: u64) -> Result<(), Error> {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Data, limit).map_err(Error::Limit)
}

/// The system's limit is on all that the process ever used, so it moves forward with each dump.
fn allow_cpu_time(seconds: u64) -> Result<(), Error> {
    let used = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
    let limit = Rlimit { current: Some(used.saturating_add(seconds).saturating_add(1)), maximum: None };
    setrlimit(Resource::Cpu, limit).map_err(Error::Limit)
}
