//! `crashmill store`: look into the crash store.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use anyhow::{Context, bail};
use clap::Subcommand;
use crash::{CrashId, Minute};
use crashstore::{Area, CrashStore, Found};
use jiff::Timestamp;
use serde::Serialize;

use crate::{args::Place, commands::check, config::Config, id::GivenId, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  crashmill store list --data /srv/crashmill
  crashmill store get bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123 --to ./crash
  crashmill store check";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what is stored, a line a frame
    #[command(after_help = "\
Examples:
  crashmill store list
  crashmill store list --area processed --minute 20261123/1310 --json")]
    List(List),
    /// Show one processed crash, or write one crash as files
    #[command(after_help = "\
Examples:
  crashmill store get bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123
  crashmill store get bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123 --to ./crash     crash.json, dumps, processed.json")]
    Get(Get),
    /// Verify every byte, compare with the facts, build those anew; exit status 1 when something is damaged or missing
    #[command(after_help = "\
Examples:
  crashmill store check
  crashmill store check --area raw --data /srv/crashmill
  crashmill store check --facts --day 2026-11-23              compared with the facts
  crashmill store check --rebuild-facts --from 20261123/0000  save the facts that are missing")]
    Check(check::Check),
}

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// raw, private or processed
    #[arg(long, default_value = "raw")]
    area: AreaName,
    /// One minute only, yyyymmdd/hhmm
    #[arg(long)]
    minute: Option<Minute>,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    /// The crash id: whole, with bp- before it, or the 16 digits of its short form
    id: GivenId,
    /// Write crash.json, the dumps and processed.json here
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// The processed crash as JSON
    #[arg(long, conflicts_with = "to")]
    json: bool,
}

/// An area, as the command line names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AreaName(pub(crate) Area);

impl FromStr for AreaName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let area = Area::ALL.into_iter().find(|area| area.as_str() == text);
        area.map(Self).ok_or_else(|| "the areas are raw, private and processed".to_owned())
    }
}

/// One line of a listing.
#[derive(Debug, Serialize)]
struct Line {
    crash_id: CrashId,
    segment: String,
    offset: u64,
    saved_at: Timestamp,
    bytes: u64,
    erased: bool,
}

pub(crate) fn run(place: &Place, command: &Command) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    let crashes = CrashStore::open(&config.crashstore)?;
    print::block_on(async {
        match command {
            Command::List(args) => list(&crashes, args).await,
            Command::Get(args) => get(&crashes, args).await,
            Command::Check(args) => check::run(&config, &crashes, args).await,
        }
    })
}

async fn list(crashes: &CrashStore, args: &List) -> anyhow::Result<ExitCode> {
    let minutes = match args.minute {
        Some(minute) => vec![minute],
        None => crashes.minutes(args.area.0).await?,
    };
    for minute in minutes {
        for found in crashes.list(args.area.0, minute).await? {
            print_found(found, args.json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_found(found: Found, as_json: bool) -> anyhow::Result<()> {
    let Found { id: crash_id, place, saved_at, bytes, erased, .. } = found;
    if as_json {
        let line = Line { crash_id, segment: place.segment, offset: place.offset, saved_at, bytes, erased };
        println!("{}", serde_json::to_string(&line)?);
    } else {
        let erased = if erased { "  erased" } else { "" };
        println!("{crash_id}  {saved_at:.0}  {bytes:>10}  {}{erased}", place.segment);
    }
    Ok(())
}

async fn get(crashes: &CrashStore, args: &Get) -> anyhow::Result<ExitCode> {
    let id = args.id.find(crashes).await?;
    let processed = crashes.processed(id).await?;
    if let Some(dir) = &args.to {
        let Some(raw) = crashes.raw(id, None).await? else { bail!("the crash store has no raw crash {id}") };
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        write(dir, "crash.json", &raw.to_crash_json())?;
        for (dump, metadata) in raw.dumps.iter().zip(&raw.metadata.dumps) {
            write(dir, &metadata.member, &dump.bytes)?;
        }
        if let Some(processed) = processed {
            write(dir, "processed.json", &serde_json::to_vec_pretty(&processed)?)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(processed) = processed else {
        bail!("the crash store has no processed crash {id}; `crashmill where {id}` says where it is");
    };
    if args.json {
        print::json(&processed)?;
    } else {
        print::processed(&processed);
    }
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = dir.join(name);
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}
