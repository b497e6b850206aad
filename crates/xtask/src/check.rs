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

const DEPENDENCIES: Check = ("dependencies", &["deny", "--locked", "check"], &[]);

/// Runs every check, and goes on after one that fails: whoever mends wants to see all.
pub(crate) fn run(_: &Args) -> anyhow::Result<ExitCode> {
    let mut failed = Vec::new();
    for check in CHECKS {
        if !passes(check)? {
            failed.push(check.0);
        }
    }
    if has_cargo_deny() {
        if !passes(&DEPENDENCIES)? {
            failed.push(DEPENDENCIES.0);
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

fn has_cargo_deny() -> bool {
    cargo().args(["deny", "--version"]).output().is_ok_and(|output| output.status.success())
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
