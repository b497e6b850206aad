//! `crashmill config`: check and show the configuration.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use crate::{args::Place, config::Config};

pub(crate) const EXAMPLES: &str = "\
Examples:
  crashmill config check --config ./crashmill.toml
  crashmill config show --data /srv/crashmill";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the configuration as a daemon would; exit status 1 names what is wrong, and where
    #[command(after_help = "\
Examples:
  crashmill config check
  crashmill config check --config ./crashmill.toml")]
    Check,
    /// Print the configuration that is in force, defaults included, secrets left out
    #[command(after_help = "\
Examples:
  crashmill config show
  crashmill config show --data /srv/crashmill | grep listen")]
    Show,
}

pub(crate) fn run(place: &Place, command: &Command) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    match command {
        Command::Check => {
            processor::signatures(&config.processor).context("reading the signature lists")?;
            println!("the configuration is good");
        }
        Command::Show => print!("{}", settings::show(&config)),
    }
    Ok(ExitCode::SUCCESS)
}
