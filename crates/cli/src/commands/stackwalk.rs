//! `crashmill stackwalk`: the stacks of one minidump.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context;
use bytes::Bytes;
use crash::{Stackwalk, WalkStatus};
use stackwalk::Pool;

use super::roles::worker_command;
use crate::{args::Place, config::Config, print};

/// Walk the stacks of one minidump; JSON to standard output, unless people are to read it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill stackwalk crash.dmp --symbols ./symbols --human
  crashmill stackwalk crash.dmp --json | jq '.threads | length'

Exit status: 0 walked, 1 when the dump cannot be read (the reason is printed).")]
pub(crate) struct Args {
    /// The minidump
    dump: PathBuf,
    /// A folder of Breakpad symbols; may be given many times
    #[arg(long, value_name = "DIR")]
    symbols: Vec<PathBuf>,
    /// Everything, as JSON (the default)
    #[arg(long, conflicts_with = "human")]
    json: bool,
    /// Reason, system and crashing thread, for people
    #[arg(long)]
    human: bool,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let mut config = Config::load(place)?;
    config.symbols.paths.splice(0..0, args.symbols.iter().cloned());
    let bytes = fs::read(&args.dump).with_context(|| format!("reading {}", args.dump.display()))?;
    print::block_on(async {
        let walked = walk_in_worker(&config, bytes.into()).await?;
        if args.human {
            print::stackwalk(&walked);
        } else {
            print::json(&walked)?;
        }
        Ok(if walked.status == WalkStatus::Ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Walks a dump as a processor does: in a process of its own, within its limits.
pub(crate) async fn walk_in_worker(config: &Config, dump: Bytes) -> anyhow::Result<Stackwalk> {
    let one = stackwalk::Config { workers: 1, ..config.stackwalk.clone() };
    let pool = Pool::start(worker_command(config), &one).await.context("starting a stackwalk worker")?;
    let walked = pool.walk(dump).await;
    pool.close().await;
    Ok(walked.context("walking the stacks")?.stackwalk)
}
