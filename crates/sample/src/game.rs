//! The game: threads that wait for work, as a game has them, and one that loads the level it dies of.

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::{Builder, JoinHandle};

use anyhow::Context as _;
use crash_handler::{CrashContext, CrashEventResult, CrashHandler, make_crash_event};
use minidumper::{Client, SocketName};

use crate::level::{Damage, Level, load_level};

/// Small, so that a dump of the overflowed stack is small too.
const LOADER_STACK: usize = 64 * 1024;

/// Plays until the level crashes it. Returns only if it did not.
#[inline(never)]
pub(crate) fn play(monitor: &Path, damage: Damage) -> anyhow::Result<ExitCode> {
    let _handler = report_crashes_to(monitor)?;
    let ready = Arc::new(Barrier::new(3));
    let (audio, sounds) = worker("audio-mixer", &ready, mix_audio)?;
    let (assets, changes) = worker("asset-watcher", &ready, watch_assets)?;
    let loader = Builder::new()
        .name("level-loader".to_owned())
        .stack_size(LOADER_STACK)
        .spawn(move || {
            // A dump shows every thread at its work only if every thread has come to it.
            ready.wait();
            load_level(&Level::damaged(damage))
        })
        .context("starting the loader")?;

    let width = loader.join().map_err(|_| anyhow::anyhow!("the loader panicked"))?;
    drop((sounds, changes));
    for thread in [audio, assets] {
        thread.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?;
    }
    anyhow::bail!("the level, {width} wide, was loaded and nothing crashed")
}

/// From here on, a crash of any thread waits until the monitor has written the minidump.
fn report_crashes_to(monitor: &Path) -> anyhow::Result<CrashHandler> {
    let client = Client::with_name(SocketName::Path(monitor)).context("connecting to the monitor")?;
    let report = move |crash: &CrashContext| {
        CrashEventResult::Handled(client.request_dump(&with_address(crash)).is_ok())
    };
    #[expect(
        unsafe_code,
        reason = "the closure runs in a signal handler: it only sends on a socket, and allocates nothing"
    )]
    let event = unsafe { make_crash_event(report) };
    CrashHandler::attach(event).context("installing the crash handler")
}

/// Adds the address that a fault was about.
///
/// `crash-handler` 0.8 takes the signal's `siginfo_t` for a `signalfd_siginfo`, which agrees with it only up to the
/// process id; the address then stands where that has two other fields, and the dump would say 0.
fn with_address(crash: &CrashContext) -> CrashContext {
    let mut crash = crash.clone();
    #[cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
    {
        let signal = &mut crash.siginfo;
        // SIGILL, SIGBUS, SIGFPE and SIGSEGV, where the kernel raised them, have an address.
        if matches!(signal.ssi_signo, 4 | 7 | 8 | 11) && signal.ssi_code > 0 && signal.ssi_addr == 0 {
            signal.ssi_addr = u64::from(signal.ssi_uid) | u64::from(signal.ssi_fd.cast_unsigned()) << 32;
        }
    }
    crash
}

type Work = fn(&Receiver<u32>) -> u32;

/// Starts a thread that is at its work when `ready` opens, and ends when what it waits for is dropped.
fn worker(name: &str, ready: &Arc<Barrier>, work: Work) -> anyhow::Result<(JoinHandle<u32>, Sender<u32>)> {
    let (sender, receiver) = channel();
    let ready = Arc::clone(ready);
    let thread = Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            ready.wait();
            work(&receiver)
        })
        .with_context(|| format!("starting {name}"))?;
    Ok((thread, sender))
}

#[inline(never)]
fn mix_audio(sounds: &Receiver<u32>) -> u32 {
    sounds.iter().fold(0, u32::wrapping_add)
}

#[inline(never)]
fn watch_assets(changes: &Receiver<u32>) -> u32 {
    changes.iter().fold(0, u32::max)
}
