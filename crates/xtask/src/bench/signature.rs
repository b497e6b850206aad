//! `cargo xtask bench signature`: how many signatures a core makes a second.
//!
//! The work is done by the example `rate` of the crate `signature`, built for release: it makes the crashes, gives the
//! same lines to both sides, and takes the time of each. Here is what it needs, and what is shown.

use std::{
    env,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, ensure};
use cargo_metadata::MetadataCommand;
use serde_json::{Value, json};

use crate::python;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let metadata = MetadataCommand::new().no_deps().exec().context("asking cargo about the workspace")?;
    let siggen = python::SIGGEN.install(metadata.target_directory.join("siggen").as_std_path())?;
    eprintln!("building the benchmark for release");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--release", "--locked", "-p", "signature", "--example", "rate", "--"]);
    let output =
        cargo.arg(siggen.join("python")).stderr(Stdio::inherit()).output().context("running cargo")?;
    ensure!(output.status.success(), "the benchmark failed with {}", output.status);
    let mut result: Value =
        serde_json::from_slice(&output.stdout).context("reading the benchmark's result")?;

    let rate = |side: &str| result.pointer(&format!("/{side}/crashes_per_second")).and_then(Value::as_f64);
    let (ours, theirs) = rate("ours").zip(rate("siggen")).context("the benchmark's result has no rates")?;
    let uncached =
        rate("ours_without_memory").context("the benchmark's result has no rate without memory")?;
    if let Some(result) = result.as_object_mut() {
        let ratios = json!({
            "signatures_vs_siggen": ours / theirs,
            "signatures_without_memory_vs_siggen": uncached / theirs,
        });
        result.insert("ratios".to_owned(), ratios);
    }
    if args.json {
        println!("{result:#}");
        return Ok(ExitCode::SUCCESS);
    }
    let number = |pointer: &str| result.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
    println!("{} crashes, explained, one core each", number("/crashes"));
    println!("{:<34} {:>12} crashes/s", "siggen", theirs.round());
    println!("{:<34} {:>12} crashes/s  {:>6.1} times", "crashmill", ours.round(), ours / theirs);
    println!(
        "{:<34} {:>12} crashes/s  {:>6.1} times",
        "crashmill, no function remembered",
        uncached.round(),
        uncached / theirs
    );
    println!("functions that were remembered: {:.1} %", 100.0 * number("/ours/cache_hit_rate"));
    Ok(ExitCode::SUCCESS)
}
