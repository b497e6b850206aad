//! `crashmill doctor`: looks at everything that Crashmill needs, and says what to do about what is wrong.
//!
//! One file for each thing that is looked at. All of them are looked at at the same time, each within its own limit, and
//! nothing is changed: what is written to try a disk is removed again.

mod broker;
mod database;
mod findings;
mod folders;
mod machine;
mod objects;
mod ports;
mod symbols;
mod workers;

use std::{process::ExitCode, time::Duration};

use futures_util::future::{BoxFuture, FutureExt, join_all};

use crate::{args::Place, config::Config, print};
use findings::{Finding, Findings, State};

/// How long one thing may take to be looked at; all of them take no longer than the slowest.
const LIMIT: Duration = Duration::from_secs(12);

/// Look at every dependency, permission, disk, clock, schema, queue and symbol source, and say what to do.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Run it as the user that the roles run as, with their configuration: rights are looked at too. It changes nothing.

Examples:
  sudo -u crashmill crashmill doctor
  crashmill doctor --data /srv/crashmill
  crashmill doctor --only database --only broker
  crashmill doctor --only roles.health --strict      a health check
  crashmill doctor --json | jq '.findings[] | select(.state == \"fail\")'

Exit status: 0 nothing fails (there may be warnings), 1 something does.")]
pub(crate) struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Only checks whose name begins so; may be given many times
    #[arg(long, value_name = "CHECK")]
    only: Vec<String>,
    /// Warnings, and what could not be looked at, are failures too
    #[arg(long)]
    strict: bool,
}

/// What is looked at: its name, which begins the names of its checks, and how.
type Look = (&'static str, fn(&Config) -> BoxFuture<'static, Findings>);

const LOOKS: [Look; 9] = [
    ("machine", |config| machine::look(config.clone()).boxed()),
    ("store", |config| folders::store(config.clone()).boxed()),
    ("journal", |config| folders::journal(config.clone()).boxed()),
    ("symbols", |config| symbols::look(config.clone()).boxed()),
    ("workers", |config| workers::look(config.clone()).boxed()),
    ("broker", |config| broker::look(config.clone()).boxed()),
    ("policies", |config| broker::policies(config.clone()).boxed()),
    ("database", |config| database::look(config.clone()).boxed()),
    ("roles", |config| ports::look(config.clone()).boxed()),
];

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let mut findings = Findings::default();
    match Config::load(place) {
        Ok(config) => {
            findings.ok("configuration", "it reads, and every key is known");
            findings.append(look(&config, &args.only)?);
        }
        Err(error) => findings.fail(
            "configuration",
            format!("{error:#}"),
            "correct it; `crashmill config check` reads it as a daemon would",
        ),
    }
    findings.keep_only(&args.only);
    if args.json {
        print::json(&findings.report(args.strict))?;
    } else {
        findings.print();
    }
    Ok(if findings.are_good(args.strict) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn look(config: &Config, only: &[String]) -> anyhow::Result<Findings> {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| begins_alike(name, only));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let looks = LOOKS.iter().filter(|(name, _)| wanted(name)).map(|(name, look)| {
        let looking = look(config);
        async move {
            tokio::time::timeout(LIMIT, looking).await.unwrap_or_else(|_| {
                let found = format!("it could not be looked at within {} s", LIMIT.as_secs());
                Findings::of(Finding::new(name, State::Fail, found).advised(
                    "something hangs: a disk, a server, or the way to one. The machine's own log may say more",
                ))
            })
        }
    });
    let found = runtime.block_on(join_all(looks));
    // A disk that hangs would keep its thread, and with it this command.
    runtime.shutdown_background();
    let mut findings = Findings::default();
    found.into_iter().for_each(|more| findings.append(more));
    Ok(findings)
}

/// `database.schema` and `database` mean the same look.
fn begins_alike(look: &str, only: &str) -> bool {
    look.starts_with(only) || only.split('.').next() == Some(look)
}
