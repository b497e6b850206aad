//! `crashmill expire`: drop what is past its retention, and say what that will be.

use std::process::ExitCode;

use crashstore::CrashStore;
use facts::Facts;
use jiff::{Timestamp, civil::Date};
use scheduler::{AreaForecast, Forecast, Kept, expire::Dropped};
use serde::Serialize;

use crate::{args::Place, config::Config, print};

/// Drop what is past its retention: whole days of the crash store, whole partitions of the database.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
How long what is kept is in [retention]; the scheduler drops it by itself (expire_every in [scheduler]).

Examples:
  crashmill expire --dry-run                 what is there, how it grows, what goes when, when the disk is full
  crashmill expire --area private
  crashmill expire --dry-run --json | jq .disk.full_on")]
pub(crate) struct Args {
    /// Drop nothing; show what there is and what becomes of it
    #[arg(long)]
    dry_run: bool,
    /// raw, private, processed or facts; may be given again [default: all four]
    #[arg(long)]
    area: Vec<Kept>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    dropped: Vec<Dropped>,
    bytes: u64,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let crashes = CrashStore::open(&config.crashstore)?;
        let facts = Facts::connect(&config.facts).await?;
        let areas = if args.area.is_empty() { &Kept::ALL[..] } else { &args.area };
        let now = Timestamp::now();
        if args.dry_run {
            let forecast = scheduler::forecast(&crashes, &facts, &config.retention, areas, now).await?;
            if args.json {
                print::json(&forecast)?;
            } else {
                show(&forecast);
            }
            return Ok(ExitCode::SUCCESS);
        }
        let say = |dropped: &Dropped| {
            if !args.json {
                println!("{}", told(dropped));
            }
        };
        let retention = &config.retention;
        let dropped = scheduler::expire::expire(&crashes, &facts, retention, areas, now, say).await?;
        let done = Done { bytes: dropped.iter().map(|one| one.bytes).sum(), dropped };
        if args.json {
            print::json(&done)?;
        } else if done.dropped.is_empty() {
            println!("nothing is past its retention");
        } else {
            println!("{} were freed", print::size(done.bytes));
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn told(Dropped { area, partition, day, bytes }: &Dropped) -> String {
    let what = partition.as_deref().unwrap_or("the day's segments");
    format!("{:<10} {day}  {:>10}  {what}", area.as_str(), print::size(*bytes))
}

fn show(forecast: &Forecast) {
    println!("{:<10} {:>8} {:>12} {:>10} {:>11} {:>11}  then", "area", "kept", "from", "now", "a day", "due");
    for area in &forecast.areas {
        let AreaForecast { area, keep, oldest, bytes, bytes_a_day, due, next } = area;
        let next = next.map(|next| format!("{} on {}", print::size(next.bytes), next.on)).unwrap_or_default();
        println!(
            "{:<10} {keep:>8} {:>12} {:>10} {:>11} {:>11}  {next}",
            area.as_str(),
            oldest.as_ref().map(Date::to_string).unwrap_or_default(),
            print::size(*bytes),
            print::size(*bytes_a_day),
            print::size(due.bytes),
        );
    }
    let Some(disk) = forecast.disk else { return };
    let full = match disk.full_on {
        Some(day) => format!("full on {day} if crashes go on coming as in the last week"),
        None => "not full within five years if crashes go on coming as in the last week".to_owned(),
    };
    println!();
    print::field("disk", &format!("{} of {} free, {full}", print::size(disk.free), print::size(disk.total)));
}
