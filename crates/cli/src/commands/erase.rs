//! `crashmill erase`: erase crashes, or all crashes of an installation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, IsTerminal, Write as _},
    process::ExitCode,
};

use anyhow::{Context, bail};
use crash::CrashId;
use crashstore::{Area, CrashStore};
use facts::{ErasedCounts, ErasureRequest, Facts};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Serialize;

use crate::{args::Place, config::Config, id::GivenId, print, progress::Progress};

/// Erase crashes, or all crashes of an installation, from everywhere; who had it done is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An installation is named by what its crashes say of it: the value of any private annotation (a client id), which is looked
for in the private area for as long as that is kept; or the 32 hex digits of install_hash in fact_crash, by which all of its
facts are found.

A crash that waits or is being processed does not come back. What is cut short is finished by the same command, and by the
scheduler. `crashmill where` says `erased` of it from then on.

Examples:
  crashmill erase bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123 --dry-run
  crashmill erase 26460bd3a6e72c14 0b4d3a6e-72c1-4f0b-8a57-3c9d50261123 --yes --reason 'ticket 4711'
  crashmill erase --installation c0ffee00-0000-4000-8000-000000000000 --since 2026-11-01 --yes")]
pub(crate) struct Args {
    /// Crash ids: whole, with bp- before it, or the 16 digits of the short form
    #[arg(required_unless_present = "installation", conflicts_with = "installation")]
    ids: Vec<GivenId>,
    /// Erase all crashes of this installation
    #[arg(long, value_name = "ID|HASH")]
    installation: Option<String>,
    /// Of an installation, only crashes that were received on this UTC day or later
    #[arg(long, value_name = "DAY", requires = "installation")]
    since: Option<Date>,
    /// Of an installation, only crashes that were received on this UTC day or before
    #[arg(long, value_name = "DAY", requires = "installation")]
    until: Option<Date>,
    /// Erase nothing; show what there is
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Why; it is kept, so name no person
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What is there, or was erased.
#[derive(Debug, Serialize)]
struct Report {
    /// The number of the erasure in the audit; nothing where it is only shown.
    erasure: Option<i64>,
    crashes: Vec<Line>,
    /// Crashes that could not be erased.
    failed: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    crash_id: CrashId,
    why: String,
}

#[derive(Debug, Serialize)]
struct Line {
    crash_id: CrashId,
    #[serde(flatten)]
    counts: ErasedCounts,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let crashes = CrashStore::open(&config.crashstore)?;
        let facts = Facts::connect(&config.facts).await?;
        let ids = wanted(args, &config, &crashes, &facts).await?;
        if ids.is_empty() {
            bail!("no crash of this installation was found: nothing is erased");
        }
        let report = if args.dry_run {
            there_is(&ids, &crashes, &facts).await?
        } else {
            confirm(args, ids.len())?;
            erase(args, &config, &ids, &crashes, &facts).await?
        };
        if args.json {
            print::json(&report)?;
        } else {
            show(&report);
        }
        Ok(if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// The crashes that are asked for, each once.
async fn wanted(
    args: &Args,
    config: &Config,
    crashes: &CrashStore,
    facts: &Facts,
) -> anyhow::Result<Vec<CrashId>> {
    let mut ids = BTreeSet::new();
    for given in &args.ids {
        ids.insert(given.find_anywhere(config, crashes).await?);
    }
    if let Some(installation) = &args.installation {
        let days = (args.since.unwrap_or(Date::MIN), args.until.unwrap_or(Date::MAX));
        if let Some(hash) = install_hash(installation) {
            ids.extend(facts.crashes_of_installation(&hash, days.0, days.1).await?);
        }
        ids.extend(by_private_annotation(installation, days, crashes).await?);
    }
    Ok(ids.into_iter().collect())
}

/// Looks through the private annotations of these days for a value.
async fn by_private_annotation(
    value: &str,
    (since, until): (Date, Date),
    crashes: &CrashStore,
) -> anyhow::Result<Vec<CrashId>> {
    let mut minutes = crashes.minutes(Area::Private).await?;
    minutes.retain(|minute| (since..=until).contains(&minute.day()));
    let mut progress = Progress::new("minutes of private annotations searched", minutes.len() as u64);
    let mut found = Vec::new();
    for minute in minutes {
        for frame in crashes.current(Area::Private, minute).await? {
            match crashes.private_at(frame.id, &frame.place).await {
                Ok(Some(private)) if has_value(&private, value) => found.push(frame.id),
                Ok(_) => {}
                // The others of the installation are to go all the same.
                Err(error @ crashstore::Error::Damaged { .. }) => {
                    eprintln!("crash {} was passed over: {error}", frame.id);
                }
                Err(error) => return Err(error.into()),
            }
        }
        progress.advance(1);
    }
    Ok(found)
}

fn has_value(private: &crash::Annotations, value: &str) -> bool {
    private
        .iter()
        .any(|(_, text)| text.as_text().is_some_and(|text| text.trim().eq_ignore_ascii_case(value.trim())))
}

/// The bytes of 32 hex digits.
fn install_hash(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().as_bytes();
    if digits.len() != 32 {
        return None;
    }
    let pairs = digits.chunks_exact(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    pairs.collect()
}

/// What there is of these crashes.
async fn there_is(ids: &[CrashId], crashes: &CrashStore, facts: &Facts) -> anyhow::Result<Report> {
    let mut lines = Vec::new();
    for crash_id in ids {
        let frames = crashes.find(*crash_id).await?;
        let living = || frames.iter().filter(|frame| !frame.erased);
        let counts = ErasedCounts {
            frames: living().count() as u64,
            bytes: living().map(|frame| frame.bytes).sum(),
            rows: facts.count_rows(*crash_id).await?,
        };
        lines.push(Line { crash_id: *crash_id, counts });
    }
    Ok(Report { erasure: None, crashes: lines, failed: Vec::new() })
}

/// Asks on a terminal; elsewhere `--yes` is the answer.
fn confirm(args: &Args, crashes: usize) -> anyhow::Result<()> {
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!("{crashes} crashes would be erased, for good: say --yes, or look first with --dry-run");
    }
    eprint!("Erase {crashes} crashes, for good? Type yes: ");
    io::stderr().flush().ok();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).context("reading the answer")?;
    if answer.trim() != "yes" {
        bail!("nothing is erased");
    }
    Ok(())
}

async fn erase(
    args: &Args,
    config: &Config,
    ids: &[CrashId],
    crashes: &CrashStore,
    facts: &Facts,
) -> anyhow::Result<Report> {
    let request = ErasureRequest {
        requested_at: Timestamp::now(),
        requested_by: who(),
        node: config.daemon.node.clone(),
        reason: args.reason.clone(),
        installation: args.installation.clone(),
    };
    let erasure = facts.begin_erasure(&request, ids).await?;
    let mut progress = Progress::new("crashes erased", ids.len() as u64);
    let mut erased = BTreeMap::new();
    let each = |id, counts| {
        erased.insert(id, counts);
        progress.advance(1);
    };
    let failed = scheduler::erase::erase(crashes, facts, erasure, ids, each).await.with_context(|| {
        format!("erasure {erasure} is not finished: the scheduler finishes it, or the same command once more")
    })?;
    let lines = erased.into_iter().map(|(crash_id, counts)| Line { crash_id, counts });
    let failed = failed
        .into_iter()
        .map(|failed| Failure { crash_id: failed.crash_id, why: format!("{:#}", failed.error) });
    Ok(Report { erasure: Some(erasure), crashes: lines.collect(), failed: failed.collect() })
}

/// The user who runs this, also behind sudo: as the system knows it, not as it calls itself.
fn who() -> String {
    let uid = rustix::process::getuid();
    let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.as_raw().to_string()).then(|| name.to_owned())
    });
    let name = name.unwrap_or_else(|| format!("uid {}", uid.as_raw()));
    match std::env::var("SUDO_USER") {
        // Root may say anything, and may do anything too.
        Ok(behind) if uid.is_root() && !behind.is_empty() => format!("{name} (sudo by {behind})"),
        _ => name,
    }
}

fn show(report: &Report) {
    let verb = if report.erasure.is_some() { "erased" } else { "there is" };
    for Line { crash_id, counts: ErasedCounts { frames, bytes, rows } } in &report.crashes {
        println!("{crash_id}  {verb}: {frames} frames ({}), {rows} rows", print::size(*bytes));
    }
    for Failure { crash_id, why } in &report.failed {
        eprintln!("{crash_id}  not erased: {why}");
    }
    let at = Timestamp::now().to_zoned(TimeZone::UTC).date();
    match report.erasure {
        Some(erasure) => println!("{} crashes erased on {at}; erasure {erasure}", report.crashes.len()),
        None => println!("{} crashes; nothing is erased", report.crashes.len()),
    }
    if !report.failed.is_empty() {
        eprintln!(
            "{} crashes are not erased: the scheduler tries again, or the same command once more",
            report.failed.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_install_hash_is_32_hex_digits_and_nothing_else() {
        assert_eq!(install_hash(&"0f".repeat(16)), Some(vec![15; 16]));
        for text in ["", "0f", &"0g".repeat(16), &"é".repeat(16), &"0f".repeat(17)] {
            assert_eq!(install_hash(text), None, "{text}");
        }
    }
}
