//! `cargo xtask test`: the whole suite, on servers that are its own.

use std::{
    env,
    path::Path,
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use servers::{Durability, Layout, Servers};

use crate::{
    doc_tests,
    emulator::Emulator,
    foreground::{Signals, exit_code},
    prerequisites, python,
};

/// What each test finds its servers by; the `testing` crate reads them.
const POSTGRES: &str = "CRASHMILL_TEST_POSTGRES";
const AMQP: &str = "CRASHMILL_TEST_AMQP";
const S3: &str = "CRASHMILL_TEST_S3";
/// The Python that has the reference of signatures; the tests of the `signature` crate read it.
const SIGGEN: &str = "CRASHMILL_TEST_SIGGEN";
const GUARD: &str = "CRASHMILL_TEST_GUARD";

/// How long to wait for another run in the same checkout.
const TURN_DEADLINE: Duration = Duration::from_secs(30 * 60);
const TURN_POLL: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Passed on to `cargo nextest run`, or to `cargo test` where nextest is not installed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    runner: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    prerequisites::ensure_installed()?;
    prerequisites::ensure_units_can_be_checked();
    let metadata = MetadataCommand::new().no_deps().exec().context("asking cargo about the workspace")?;
    let mut signals = Signals::catch().context("catching signals")?;

    let layout = take_turn(metadata.target_directory.join("test-servers").as_std_path(), &mut signals)?;
    layout.wipe().context("removing what the last run left")?;
    let emulator = Emulator::start(metadata.target_directory.join("test-s3").as_std_path())
        .context("starting the S3 emulator for the tests")?;
    let siggen =
        python::SIGGEN.install(metadata.target_directory.join("siggen").as_std_path())?.join("python");
    let servers = Servers::start(&layout, Durability::Fast).context("starting the servers for the tests")?;

    let outcome = run_suite(args, &metadata, &servers, &emulator, &siggen, &mut signals);

    drop(emulator);
    servers.stop().context("stopping the servers")?;
    outcome
}

/// Claims the servers' folder, after any other run that has it.
fn take_turn(dir: &Path, signals: &mut Signals) -> anyhow::Result<Layout> {
    let start = Instant::now();
    let mut said = false;
    loop {
        match Layout::at(dir) {
            Err(servers::Error::InUse { dir, holder }) if start.elapsed() < TURN_DEADLINE => {
                if !said {
                    eprintln!("waiting for another test run, {holder}, to end: it has {}", dir.display());
                    said = true;
                }
            }
            other => return other.context("claiming the servers' folder"),
        }
        thread::sleep(TURN_POLL);
        if signals.any() {
            bail!("interrupted while waiting for another test run");
        }
    }
}

fn run_suite(
    args: &Args,
    metadata: &Metadata,
    servers: &Servers,
    emulator: &Emulator,
    siggen: &Path,
    signals: &mut Signals,
) -> anyhow::Result<ExitCode> {
    let cargo = || {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        forget_this_package(&mut cargo);
        cargo
            .env(POSTGRES, servers.postgres.url())
            .env(AMQP, servers.rabbitmq.url())
            .env(S3, emulator.url())
            .env(SIGGEN, siggen)
            .env(GUARD, servers::this_executable());
        cargo
    };
    if signals.any() {
        bail!("interrupted before the tests were started");
    }

    let nextest = has_nextest();
    let mut runner = cargo();
    runner.args(if nextest { &["nextest", "run"][..] } else { &["test"] });
    if !selects_packages(&args.runner) {
        runner.arg("--workspace");
    }
    let status = signals.run(runner.args(&args.runner)).context("running the tests")?;
    // Whoever asks for something particular does not mean the documentation; `cargo test` has run it already.
    if !status.success() || !nextest || !args.runner.is_empty() {
        return Ok(exit_code(status).into());
    }

    let with_examples = doc_tests::packages(metadata);
    if with_examples.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let packages = with_examples.iter().flat_map(|name| ["--package", name]);
    let status =
        signals.run(cargo().args(["test", "--doc"]).args(packages)).context("running the examples")?;
    Ok(exit_code(status).into())
}

/// Cargo has told us of ourselves, in variables for which some build scripts look: with these, they would be run again, and all
/// that depends on them be built anew, whenever `cargo xtask` and `cargo` are used by turns.
pub(crate) fn forget_this_package(cargo: &mut Command) {
    for (name, _) in env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|ours| name.to_string_lossy().starts_with(ours)) {
            cargo.env_remove(name);
        }
    }
}

fn has_nextest() -> bool {
    Command::new("cargo-nextest")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Whether the arguments before `--` name packages: beside `--workspace` they would mean nothing.
fn selects_packages(args: &[String]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| {
        arg == "--package" || arg == "--workspace" || arg.starts_with("--package=") || arg.starts_with("-p")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(line: &str) -> bool {
        selects_packages(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_run_is_of_the_whole_workspace_unless_packages_are_named() {
        assert!(!selects(""));
        assert!(!selects("a_crash_is_saved -- --package"));
        assert!(selects("-p queue"));
        assert!(selects("-pqueue"));
        assert!(selects("--package=queue a_crash"));
    }
}
