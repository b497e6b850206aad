//! Developer commands: `cargo xtask <command>`.
//!
//! Each command is a file of its own with its `Args` and a `run` that returns the exit status. What several need is in a
//! file named for its job: what has to be installed, and running a program in the foreground.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "these commands talk to the developer who typed them"
)]

mod bench;
mod chaos;
mod check;
mod demo;
mod doc_tests;
mod emulator;
mod foreground;
mod prerequisites;
mod python;
mod test;

use std::{env, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Developer commands")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the whole test suite, on private PostgreSQL and RabbitMQ servers of its own
    Test(test::Args),
    /// See a program crash, and everything that follows
    Demo(demo::Args),
    /// Formatting, lints, documentation and dependencies
    Check(check::Args),
    /// Kill everything at random moments; drain a large backlog
    Chaos(chaos::Args),
    /// Measure beside others
    #[command(subcommand)]
    Bench(bench::Command),
}

fn main() -> ExitCode {
    // Hidden: the process between us and a server that we started.
    let mut args = env::args_os().skip(1).peekable();
    if args.next_if(|first| first == "guard").is_some() {
        return servers::guard::main(args);
    }

    let result = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Chaos(args) => chaos::run(&args),
        Command::Bench(command) => bench::run(&command),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
