//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{commands, standalone};

/// Takes the crash reports that native programs send, works out what each crash is, and keeps the answer as facts.
#[derive(Debug, Parser)]
#[command(name = "crashmill", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  crashmill standalone --data /srv/crashmill         everything on one machine
  crashmill submit crash.dmp --url http://127.0.0.1:8080/submit --annotation ProductName=Game
  crashmill where bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123 --data /srv/crashmill
  crashmill stackwalk crash.dmp --symbols ./symbols --human

Exit status: 0 done, 1 failed, 2 wrong usage.";

const COLLECTOR_EXAMPLES: &str = "\
Examples:
  crashmill collector --config /etc/crashmill/crashmill.toml
  CRASHMILL__COLLECTOR__LISTEN=0.0.0.0:8080 crashmill collector

Ends with 0 after SIGTERM or SIGINT, when the requests that it has begun are answered; a second signal ends it at once.";

const PROCESSOR_EXAMPLES: &str = "\
Examples:
  crashmill processor --config /etc/crashmill/crashmill.toml
  CRASHMILL__STACKWALK__WORKERS=4 crashmill processor

Ends with 0 after SIGTERM or SIGINT, when the crashes that it has begun are saved; a second signal ends it at once.";

const SCHEDULER_EXAMPLES: &str = "\
Examples:
  crashmill scheduler --config /etc/crashmill/crashmill.toml
  CRASHMILL__SCHEDULER__SWEEP_EVERY=5m crashmill scheduler

Of several schedulers one does the jobs, and another takes over when it is gone. Ends with 0 after SIGTERM or SIGINT;
a second signal ends it at once.";

/// Where the configuration and the servers are.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Place {
    /// The configuration file [default: /etc/crashmill/crashmill.toml, where it exists]
    #[arg(long, global = true, value_name = "FILE", env = "CRASHMILL_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The folder of a standalone: its servers and its crash store are used
    #[arg(long, global = true, value_name = "DIR", env = "CRASHMILL_DATA")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take crash reports over HTTP (a daemon)
    #[command(after_help = COLLECTOR_EXAMPLES)]
    Collector,
    /// Turn raw crashes into processed crashes and facts (a daemon)
    #[command(after_help = PROCESSOR_EXAMPLES)]
    Processor,
    /// Do timed jobs: publish lost crashes again, make partitions, cut torn tails (a daemon)
    #[command(after_help = SCHEDULER_EXAMPLES)]
    Scheduler,
    /// Run all roles on this machine, with private PostgreSQL and RabbitMQ servers where none are configured
    Standalone(standalone::Args),
    /// Send a crash report; the crash id alone goes to standard output
    Submit(commands::submit::Args),
    /// Put one minidump through the whole transform, without any service; JSON to standard output
    Process(commands::process::Args),
    /// Walk the stacks of one minidump
    Stackwalk(commands::stackwalk::Args),
    /// Make signatures: crash data as JSON lines on standard input, a JSON line each on standard output
    Signature(commands::signature::Args),
    /// Show every place where a crash is or has been, and what becomes of it next
    Where(commands::whereabouts::Args),
    /// Show queues, backlog, drain rate, ETA, workers and last jobs
    Status(commands::status::Args),
    /// List, show, retry and drop crashes that were given up
    #[command(subcommand, after_help = commands::dead::EXAMPLES)]
    Dead(commands::dead::Command),
    /// Look at everything that Crashmill needs, and say what to do about what is wrong
    Doctor(commands::doctor::Args),
    /// Look into the crash store
    #[command(subcommand, after_help = commands::store::EXAMPLES)]
    Store(commands::store::Command),
    /// Erase crashes, or all crashes of an installation, from everywhere
    Erase(commands::erase::Args),
    /// Drop what is past its retention, or forecast it
    Expire(commands::expire::Args),
    /// Add symbol files
    #[command(subcommand, after_help = commands::symbols::EXAMPLES)]
    Symbols(commands::symbols::Command),
    /// Open psql on the facts, or run one query
    Sql(commands::sql::Args),
    /// Bring the database's schema up to this release
    Migrate(commands::migrate::Args),
    /// Check and show the configuration
    #[command(subcommand, after_help = commands::config::EXAMPLES)]
    Config(commands::config::Command),
    /// Walk dumps for a processor (started by it)
    #[command(hide = true)]
    StackwalkWorker,
}
