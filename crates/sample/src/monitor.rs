//! The process beside the game: it writes the minidump from outside, for a process that has crashed cannot be
//! trusted to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum as _;
use minidumper::{LoopAction, MinidumpBinary, Server, ServerHandler, SocketName};

use crate::level::Damage;

/// By then the game has crashed and its dump is written, on the slowest machine too.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs the game until it crashes; its minidump is at `minidump`, whole, when this returns.
pub(crate) fn watch(minidump: &Path, crash: Damage) -> anyhow::Result<ExitCode> {
    // A folder of our own, so that nobody else can listen there; its path is short, as paths of sockets must be.
    let folder = tempfile::tempdir().context("making a folder for the socket")?;
    let socket = folder.path().join("monitor");
    let mut server = Server::with_name(SocketName::Path(&socket)).context("listening for the game")?;
    let mut game = start(&socket, minidump, crash)?;

    let stop = Arc::new(AtomicBool::new(false));
    let (written, result) = channel();
    let writer = Box::new(Writer { minidump: minidump.to_owned(), written });
    let served = thread::spawn({
        let stop = Arc::clone(&stop);
        move || server.run(writer, &stop, None)
    });
    let in_time = wait_for_end_of_output(&mut game);
    if !in_time {
        game.kill().context("ending the game")?;
    }
    stop.store(true, Ordering::Relaxed);
    match served.join() {
        Ok(served) => served.context("listening to the game")?,
        Err(_) => bail!("the thread that listens to the game panicked"),
    }
    if !in_time {
        bail!("the game had not crashed after {} seconds", DEADLINE.as_secs());
    }

    let ended = game.wait().context("waiting for the game")?;
    match result.try_recv() {
        Ok(written) => written.with_context(|| format!("writing the minidump {}", minidump.display()))?,
        Err(_) => bail!("the game left no minidump: it ended with {ended}"),
    }
    Ok(exit_code(ended))
}

/// Starts this program once more, as the game, with an empty environment: the minidump would carry it.
fn start(socket: &Path, minidump: &Path, crash: Damage) -> anyhow::Result<Child> {
    let program = std::env::current_exe().context("finding this program")?;
    let crash = crash.to_possible_value().context("naming the crash")?;
    Command::new(program)
        .arg("--monitor")
        .arg(socket)
        .arg("--minidump")
        .arg(minidump)
        .args(["--crash", crash.get_name()])
        .env_clear()
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the game")
}

/// Whether the game ended in time. It says nothing, but its output ends when it does.
///
/// To wait for the process itself is forbidden until its minidump is written: the writer stops the game's threads and
/// waits for their stops, and whichever thread of this process waits first is told of them.
fn wait_for_end_of_output(game: &mut Child) -> bool {
    let output = game.stdout.take();
    let (ended, end) = channel();
    thread::spawn(move || {
        if let Some(mut output) = output {
            // However reading ends, there is nothing more to come.
            io::copy(&mut output, &mut io::sink()).ok();
        }
        ended.send(()).ok();
    });
    end.recv_timeout(DEADLINE).is_ok()
}

/// What a shell makes of a process that a signal ended.
fn exit_code(ended: ExitStatus) -> ExitCode {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&ended) {
        return u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from);
    }
    // Zero is no way for a crash to end.
    ended
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .filter(|code| *code != 0)
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Writes one minidump, under another name until it is whole.
struct Writer {
    minidump: PathBuf,
    written: Sender<anyhow::Result<()>>,
}

impl Writer {
    fn tell(&self, written: anyhow::Result<()>) {
        // Nobody receives it only where the monitor has given up already.
        self.written.send(written).ok();
    }
}

impl ServerHandler for Writer {
    fn create_minidump_file(&self) -> io::Result<(File, PathBuf)> {
        let mut name = self.minidump.clone().into_os_string();
        name.push(".part");
        let path = PathBuf::from(name);
        match File::create(&path) {
            Ok(file) => Ok((file, path)),
            Err(error) => {
                self.tell(Err(anyhow!("{error}")));
                Err(error)
            }
        }
    }

    fn on_minidump_created(&self, result: Result<MinidumpBinary, minidumper::Error>) -> LoopAction {
        let renamed = result
            .map_err(anyhow::Error::from)
            .and_then(|dump| std::fs::rename(&dump.path, &self.minidump).context("giving it its name"));
        self.tell(renamed);
        LoopAction::Exit
    }

    fn on_message(&self, _kind: u32, _buffer: Vec<u8>) {}

    fn on_client_disconnected(&self, _clients: usize) -> LoopAction {
        LoopAction::Exit
    }
}
