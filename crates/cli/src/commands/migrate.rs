//! `crashmill migrate`: the database's schema.

use std::process::ExitCode;

use anyhow::Context;
use facts::Migrated;

use crate::{args::Place, config::Config};

/// Bring the database's schema up to this release. Safe while the previous release runs, and to run twice.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill migrate
  crashmill migrate --check     exit status 1 when there is something to do")]
pub(crate) struct Args {
    /// Change nothing; say whether there is something to do
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    if args.check {
        return check(&config);
    }
    let migrated = facts::migrate(&config.facts).context("migrating the database")?;
    println!("{}", told(&migrated));
    Ok(ExitCode::SUCCESS)
}

fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let state = facts::schema_state(&config.facts).context("reading the schema's version")?;
    if state.pending.is_empty() {
        println!("the schema is at version {}; nothing to do", state.version);
        return Ok(ExitCode::SUCCESS);
    }
    println!("the schema is at version {}; to be applied: {}", state.version, state.pending.join(", "));
    Ok(ExitCode::FAILURE)
}

/// What a migration did, in one line.
pub(crate) fn told(migrated: &Migrated) -> String {
    if migrated.applied.is_empty() {
        return format!("the schema is at version {}", migrated.to);
    }
    format!(
        "the schema went from version {} to {}: {}",
        migrated.from,
        migrated.to,
        migrated.applied.join(", ")
    )
}
