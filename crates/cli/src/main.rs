//! The `crashmill` executable: a subcommand for each role and each operator task.
//!
//! This crate wires and prints; what it wires is in the crates below it. Start reading at [`main`], which names the
//! roles, then `config` (one file, every section), then the file of the command that you look for.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "what a command prints is its interface")]

mod args;
mod commands;
mod config;
mod id;
mod print;
mod progress;
mod standalone;

use std::process::ExitCode;

use clap::Parser;

use crate::{args::Args, args::Command};

fn main() -> ExitCode {
    // A guard stands between a supervisor and one process of its: it must be small, so it is told apart before
    // anything else is set up.
    let mut raw = std::env::args_os().skip(1);
    if raw.next().is_some_and(|first| first == "guard") {
        return servers::guard::main(raw);
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .expect("nothing else installs a provider before main does");

    let Args { place, command } = Args::parse();
    let done = match command {
        Command::Collector => return commands::roles::collector(&place),
        Command::Processor => return commands::roles::processor(&place),
        Command::Scheduler => return commands::roles::scheduler(&place),
        Command::StackwalkWorker => return commands::roles::stackwalk_worker(),
        Command::Standalone(args) => standalone::run(&place, &args),
        Command::Submit(args) => commands::submit::run(&args),
        Command::Process(args) => commands::process::run(&place, &args),
        Command::Stackwalk(args) => commands::stackwalk::run(&place, &args),
        Command::Signature(args) => commands::signature::run(&place, &args),
        Command::Where(args) => commands::whereabouts::run(&place, &args),
        Command::Status(args) => commands::status::run(&place, &args),
        Command::Dead(command) => commands::dead::run(&place, &command),
        Command::Doctor(args) => commands::doctor::run(&place, &args),
        Command::Store(command) => commands::store::run(&place, &command),
        Command::Erase(args) => commands::erase::run(&place, &args),
        Command::Expire(args) => commands::expire::run(&place, &args),
        Command::Symbols(command) => commands::symbols::run(&place, &command),
        Command::Sql(args) => commands::sql::run(&place, &args),
        Command::Migrate(args) => commands::migrate::run(&place, &args),
        Command::Config(command) => commands::config::run(&place, &command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("crashmill: {error:#}");
            ExitCode::FAILURE
        }
    }
}
