//! `crashmill config`: check and show the configuration.

use std::process::ExitCode;

use clap::Subcommand;

use crate::{args::Place, config::Config};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read the configuration as a daemon would; exit status 1 names what is wrong, and where
    Check,
    /// Print the configuration that is in force, defaults included, secrets left out
    Show,
}

pub(crate) fn run(place: &Place, command: &Command) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    match command {
        Command::Check => println!("the configuration is good"),
        Command::Show => print!("{}", settings::show(&config)),
    }
    Ok(ExitCode::SUCCESS)
}
