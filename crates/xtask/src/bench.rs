//! `cargo xtask bench`: how fast we are, beside others in the same run. One file a benchmark.

mod signature;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Signatures, beside the reference's generator
    Signature(signature::Args),
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Signature(args) => signature::run(args),
    }
}
