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

use crate::{args::Place, config::Config, id::GivenId, print};

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
    /// Verify checksums; exit status 1 names what is damaged
    #[command(after_help = "\
Examples:
  crashmill store check
  crashmill store check --area raw --data /srv/crashmill")]
    Check(Check),
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

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// raw, private or processed [default: all three]
    #[arg(long)]
    area: Option<AreaName>,
}

#[derive(Debug, Clone, Copy)]
struct AreaName(Area);

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
            Command::Check(args) => check(&crashes, args).await,
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

async fn check(crashes: &CrashStore, args: &Check) -> anyhow::Result<ExitCode> {
    let mut damaged = 0usize;
    let areas = args.area.map_or_else(|| Area::ALL.to_vec(), |area| vec![area.0]);
    for area in areas {
        let minutes = crashes.minutes(area).await?;
        eprintln!("{}: {} minutes", area.as_str(), minutes.len());
        for minute in minutes {
            for damage in crashes.check(area, minute).await? {
                let crash = damage.id.map(|id| format!(", crash {id}")).unwrap_or_default();
                println!("{} at {}: {}{crash}", damage.segment.display(), damage.offset, damage.what);
                damaged += 1;
            }
        }
    }
    if damaged == 0 {
        println!("every frame is whole");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{damaged} frames are damaged");
    Ok(ExitCode::FAILURE)
}
