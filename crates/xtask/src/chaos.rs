//! `cargo xtask chaos`: what takes too long for every run of the tests, or wants a machine to itself.
//!
//! The storm is the test of `crates/cli/tests/kills.rs` with one seed after the other. The drain is
//! `crates/cli/examples/drain.rs`, in a release build; `cargo xtask chaos drain --help` shows what it takes.

use std::{
    env,
    process::{Command, ExitCode},
};

use anyhow::{Context, ensure};
use cargo_metadata::MetadataCommand;

use crate::{
    foreground::{Signals, exit_code},
    prerequisites,
    test::forget_this_package,
};

/// What the storm's test reads its seed from.
const SEED: &str = "CRASHMILL_TEST_SEED";
/// The storm's test, and its file.
const STORM: [&str; 2] =
    ["kills", "every_crash_that_was_answered_has_exactly_one_fact_whatever_was_killed_meanwhile"];
/// The first seed, unless another one is given.
const FIRST_SEED: u64 = 1;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Send crashes and kill everything at random moments, once a seed
    Storm(Storm),
    /// Drain a large backlog, and measure rate, memory, priority and reprocessing
    #[command(disable_help_flag = true)]
    Drain(Drain),
}

#[derive(Debug, clap::Args)]
struct Storm {
    /// How many seeds
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = FIRST_SEED)]
    seed: u64,
}

#[derive(Debug, clap::Args)]
struct Drain {
    /// Passed on
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    prerequisites::ensure_installed()?;
    let mut signals = Signals::catch().context("catching signals")?;
    match &args.what {
        Some(What::Storm(storm)) => storms(storm, &mut signals),
        Some(What::Drain(Drain { args })) => drain(args, &mut signals),
        None => {
            let storm = Storm { seeds: 3, seed: FIRST_SEED };
            let stormed = storms(&storm, &mut signals)?;
            if stormed != ExitCode::SUCCESS || signals.any() {
                return Ok(stormed);
            }
            drain(&[], &mut signals)
        }
    }
}

fn storms(storm: &Storm, signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let [file, test] = STORM;
    for seed in storm.seed..storm.seed.saturating_add(storm.seeds) {
        eprintln!("\n== Storm with seed {seed}");
        let mut storm = cargo();
        storm.args(["test", "--workspace", "--test", file, "--", "--exact", test, "--nocapture"]);
        let status = signals.run(storm.env(SEED, seed.to_string())).context("running the storm")?;
        if !status.success() {
            eprintln!(
                "\nthe storm with seed {seed} has failed; once more: cargo xtask chaos storm --seeds 1 --seed {seed}"
            );
            return Ok(exit_code(status).into());
        }
        if signals.any() {
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn drain(args: &[String], signals: &mut Signals) -> anyhow::Result<ExitCode> {
    let metadata = MetadataCommand::new().no_deps().exec().context("asking cargo about the workspace")?;
    let target = metadata.target_directory.as_std_path();
    eprintln!("\n== Building for the drain");
    let mut build = cargo();
    build.args(["build", "--release", "--package", "cli", "--bin", "crashmill", "--example", "drain"]);
    let built = signals.run(&mut build).context("building")?;
    ensure!(built.success(), "the build failed");

    let mut drain = Command::new(target.join("release/examples/drain"));
    drain.arg("--crashmill").arg(target.join("release/crashmill"));
    // A folder that the servers' users can reach, wherever the checkout is, is the servers' own affair.
    drain.arg("--data").arg(target.join("chaos")).args(args);
    let status = signals.run(&mut drain).context("running the drain")?;
    Ok(exit_code(status).into())
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_this_package(&mut cargo);
    cargo
}
