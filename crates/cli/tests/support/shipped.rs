//! The files that are shipped for operators.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use super::{RunToEnd, command, stderr};

/// A file or folder of the repository.
pub(crate) fn top(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The text of a file of the repository.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(top(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Has the executable read settings as a daemon would.
pub(crate) fn read_settings(environment: &BTreeMap<String, String>) -> Output {
    command()
        .args(["config", "check", "--config"])
        .arg(top("deploy/crashmill.toml"))
        .envs(environment)
        .run_to_end()
}

/// Holds that the command line, after the name of the executable, is one that it knows.
#[track_caller]
pub(crate) fn is_a_subcommand(words: &[&str]) {
    let help = command().args(words).arg("--help").run_to_end();
    assert!(help.status.success(), "crashmill {}: {}", words.join(" "), stderr(&help));
}
