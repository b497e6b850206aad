//! `cargo xtask check`: what a change must pass beside its tests.

use std::{
    env,
    process::{Command, ExitCode},
};

use anyhow::Context;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// A cargo command, why it is run, and the environment that it needs.
type Check = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const CHECKS: &[Check] = &[
    ("formatting", &["fmt", "--all", "--check"], &[]),
    ("lints", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[]),
    ("documentation", &["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")]),
];

const DEPENDENCIES: Check =
    ("dependencies", &["deny", "--locked", "check", "bans", "licenses", "sources"], &[]);
const ADVISORIES: Check =
    ("advisories", &["deny", "--locked", "check", "--disable-fetch", "advisories"], &[]);

/// Runs every check, and goes on after one that fails: whoever mends wants to see all.
pub(crate) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let mut failed = Vec::new();
    for check in CHECKS {
        if !passes(check)? {
            failed.push(check.0);
        }
    }
    if runs(&["deny", "--version"]) {
        if !passes(&DEPENDENCIES)? {
            failed.push(DEPENDENCIES.0);
        }
        // The list of known advisories comes from the network, which not every machine has.
        if !runs(&["deny", "fetch", "db"]) {
            eprintln!("\n== advisories: not checked; their database cannot be fetched from here");
        } else if !passes(&ADVISORIES)? {
            failed.push(ADVISORIES.0);
        }
    } else {
        eprintln!("\n== dependencies: not checked; `cargo install cargo-deny` adds it");
    }
    if failed.is_empty() {
        eprintln!("\nall checks passed");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("\nfailed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn passes((what, args, environment): &Check) -> anyhow::Result<bool> {
    eprintln!("\n== {what}: cargo {}", args.join(" "));
    let status = cargo()
        .args(*args)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("running cargo {}", args.join(" ")))?;
    Ok(status.success())
}

/// Whether a cargo command runs here; what it prints is of no interest.
fn runs(args: &[&str]) -> bool {
    cargo().args(args).output().is_ok_and(|output| output.status.success())
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
