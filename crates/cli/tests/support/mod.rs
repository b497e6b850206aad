//! The built executable, driven as an operator drives it.

#![allow(dead_code, reason = "each test file uses its part of this")]
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

pub(crate) mod client;
pub(crate) mod daemon;
pub(crate) mod processes;
pub(crate) mod role;
pub(crate) mod shipped;
pub(crate) mod standalone;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use tempfile::TempDir;
use testing::report;

/// How long a command that does not go on for ever may take.
const COMMAND: Duration = Duration::from_secs(60);

/// A folder that the users of PostgreSQL and RabbitMQ can reach when we are root, as the folders of people usually are.
pub(crate) fn folder() -> TempDir {
    let reachable = Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(reachable).tempdir().expect("a temporary folder can be made")
}

/// A minidump of ours in a file.
pub(crate) fn dump_in(dir: &Path) -> PathBuf {
    let path = dir.join("crash.dmp");
    fs::write(&path, report::minidump()).expect("the dump can be written");
    path
}

/// The public minidumps and symbols beside the checkout, where they are.
pub(crate) fn testdata() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/testdata");
    if path.exists() {
        return Some(path);
    }
    println!("skipped: the public minidumps are not beside this checkout");
    None
}

/// Runs `crashmill` to its end.
pub(crate) fn crashmill(args: &[&str]) -> Output {
    command().args(args).run_to_end()
}

/// Runs a command to its end, or kills it when it does not come to one.
pub(crate) trait RunToEnd {
    fn run_to_end(&mut self) -> Output;
}

impl RunToEnd for Command {
    fn run_to_end(&mut self) -> Output {
        self.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.spawn().expect("the executable runs");
        let pid = child.id();
        let (done, ended) = mpsc::channel();
        thread::spawn(move || done.send(child.wait_with_output()));
        let Ok(output) = ended.recv_timeout(COMMAND) else {
            processes::signal(pid, Signal::KILL);
            panic!("{self:?} did not end within {COMMAND:?}");
        };
        output.expect("what it prints can be read")
    }
}

/// The executable, without any setting of the developer's own.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crashmill"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CRASHMILL") {
            command.env_remove(name);
        }
    }
    command
}

/// What a successful command printed.
pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}", output.status, stderr(output));
    printed(output)
}

/// What a command printed, however it ended.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("output is text")
}

/// What a command said besides.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("messages are text")
}
