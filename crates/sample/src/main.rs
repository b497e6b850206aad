//! A program that really crashes, and leaves a minidump of it: what the demo and the end-to-end tests submit.
//!
//! `crashmill-sample --minidump FILE --crash KIND` starts itself once more, as a small game that loads a damaged level
//! and dies of it, while the first process, the monitor, writes the game's minidump to FILE and then prints that path.
//! Like a shell, it ends with 128 and the number of the signal that ended the game.
//!
//! A minidump carries the command line, the paths and the environment of its process. The game gets an empty
//! environment, whatever the monitor has, so that dumps of it can be shown and kept.
//!
//! It must not know Crashmill: to the pipeline it is a stranger's program. Start reading at `monitor`, then follow the
//! crash: `game`, `level`, `mesh`, `vertex`.

mod game;
mod level;
mod mesh;
mod monitor;
mod scene;
mod vertex;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use level::Damage;

/// Crashes, and leaves a minidump.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where the minidump goes; the path is printed once it is there.
    #[arg(long, value_name = "FILE")]
    minidump: PathBuf,
    /// How to crash.
    #[arg(long, value_enum, value_name = "KIND", default_value_t = Damage::NullWrite)]
    crash: Damage,
    /// Be the game, and tell the monitor that listens here of the crash.
    #[arg(long, hide = true, value_name = "SOCKET")]
    monitor: Option<PathBuf>,
}

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "its path and its errors are what this program tells"
)]
fn main() -> ExitCode {
    let Args { minidump, crash, monitor } = Args::parse();
    let ended = match monitor {
        Some(socket) => game::play(&socket, crash),
        None => monitor::watch(&minidump, crash).inspect(|_| println!("{}", minidump.display())),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("crashmill-sample: {error:#}");
        ExitCode::FAILURE
    })
}
