//! `crashmill dead`: crashes that were given up, and what an operator decides about them.

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::ValueEnum;
use crash::{CrashId, QueueName};
use crashstore::{Area, CrashStore};
use facts::{Attempt, Facts, Letter, Standing, Which};
use futures_util::future::join_all;
use jiff::{Timestamp, civil::Date};
use queue::{Direct, Message};
use scheduler::Collected;
use serde::Serialize;

use crate::{args::Place, config::Config, id::GivenId, print};

pub(crate) const EXAMPLES: &str = "\
Examples:
  crashmill dead list
  crashmill dead list --reason damaged --all
  crashmill dead show bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123
  crashmill dead retry --reason not_in_store
  crashmill dead drop 26460bd3a6e72c14 --why 'the disk is gone'";

/// How many letters are read at a time.
const PAGE: u32 = 500;
/// How many ids are published at a time.
const TOGETHER: usize = 50;
/// A plain line about the progress after so many crashes, where there is no terminal.
const LINE_EVERY: u64 = 1_000;
/// What messages say that come from here.
const REASON: &str = "dead_retry";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List dead crashes by stage and reason, or one by one
    List(List),
    /// Show one dead crash: why, and every attempt
    Show(Show),
    /// Publish dead crashes again, as first attempts
    Retry(Retry),
    /// Give dead crashes up for good
    Drop(DropIt),
}

/// Which dead crashes.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only those with this reason
    #[arg(long)]
    reason: Option<String>,
    /// Only those that failed at this stage
    #[arg(long)]
    stage: Option<String>,
    /// Only those received on this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: Option<Date>,
}

impl Filter {
    fn which(&self, standing: Standing) -> Which {
        Which { stage: self.stage.clone(), reason: self.reason.clone(), day: self.day, standing }
    }

    fn is_empty(&self) -> bool {
        self.reason.is_none() && self.stage.is_none() && self.day.is_none()
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill dead list
  crashmill dead list --reason damaged --all --limit 100
  crashmill dead list --state dropped --all --json | jq -r .crash_id")]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Every crash, in place of a line a stage and reason
    #[arg(long)]
    all: bool,
    /// At most so many crashes
    #[arg(long, default_value_t = 1_000, requires = "all")]
    limit: u32,
    /// Those that were retried and have no result yet, or that were dropped
    #[arg(long, value_enum, default_value_t = StandingArg::Dead)]
    state: StandingArg,
    /// JSON: one object, or a line a crash
    #[arg(long)]
    json: bool,
}

/// How it stands with a dead crash.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StandingArg {
    Dead,
    Retried,
    Dropped,
}

impl From<StandingArg> for Standing {
    fn from(standing: StandingArg) -> Self {
        match standing {
            StandingArg::Dead => Self::Dead,
            StandingArg::Retried => Self::Retried,
            StandingArg::Dropped => Self::Dropped,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill dead show bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123
  crashmill dead show 26460bd3a6e72c14 --json")]
pub(crate) struct Show {
    /// The crash id, in any of its forms
    id: GivenId,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each id is published as a first attempt, and its letter is marked once the broker has confirmed it; the letter goes when the
crash has its result. Ended at any moment, the command can be given again. Erased crashes are left alone.

Examples:
  crashmill dead retry bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123
  crashmill dead retry --reason not_in_store --day 2026-11-23
  crashmill dead retry --all --rate 100

Exit status: 0 all were published, 1 some were not (which and why is said).")]
pub(crate) struct Retry {
    /// The crash ids, in any of their forms
    #[arg(required_unless_present_any = ["all", "reason", "stage", "day"])]
    ids: Vec<GivenId>,
    #[command(flatten)]
    filter: Filter,
    /// All dead crashes
    #[arg(long, conflicts_with_all = ["ids", "reason", "stage", "day"])]
    all: bool,
    /// At most so many a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill dead drop 26460bd3a6e72c14 --why 'the disk is gone'")]
pub(crate) struct DropIt {
    /// The crash ids, in any of their forms
    #[arg(required = true)]
    ids: Vec<GivenId>,
    /// Why, for whoever asks later
    #[arg(long)]
    why: Option<String>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(place: &Place, command: &Command) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let facts = Facts::connect(&config.facts).await?;
        match command {
            Command::List(args) => list(&facts, args).await,
            Command::Show(args) => show(&config, &facts, args).await,
            Command::Retry(args) => Retrying::new(&config, facts, args)?.run().await,
            Command::Drop(args) => drop_them(&config, &facts, args).await,
        }
    })
}

async fn list(facts: &Facts, args: &List) -> anyhow::Result<ExitCode> {
    let which = args.filter.which(args.state.into());
    if args.all {
        let mut pages = Pages::new(which);
        let mut left = args.limit;
        while left > 0 {
            let page = pages.next(facts, left.min(PAGE)).await?;
            if page.is_empty() {
                return Ok(ExitCode::SUCCESS);
            }
            left = left.saturating_sub(u32::try_from(page.len()).unwrap_or(u32::MAX));
            for letter in page {
                print_line(&letter, args.json)?;
            }
        }
        eprintln!("only the first {} are shown (--limit)", args.limit);
        return Ok(ExitCode::SUCCESS);
    }
    let groups = facts.letter_groups(&which).await?;
    let total: u64 = groups.iter().map(|group| group.count).sum();
    if args.json {
        print::json(&serde_json::json!({ "total": total, "groups": groups }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if groups.is_empty() {
        println!("none");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:>8}  {:<10} {:<20} {:<20} {:<20} example", "crashes", "stage", "reason", "oldest", "newest");
    for group in &groups {
        let example = group.examples.first().map(CrashId::to_string).unwrap_or_default();
        let (oldest, newest) = (format!("{:.0}", group.oldest), format!("{:.0}", group.newest));
        println!(
            "{:>8}  {:<10} {:<20} {oldest:<20} {newest:<20} {example}",
            group.count, group.stage, group.reason
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn print_line(letter: &Letter, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(letter)?);
    } else {
        let facts::DeadLetter { crash_id, died_at, stage, reason, attempts, .. } = &letter.letter;
        println!("{crash_id}  {died_at:.0}  {attempts:>2}  {stage:<10} {reason}");
    }
    Ok(())
}

/// Letters, page by page. What is decided about them meanwhile does not move the pages.
struct Pages {
    which: Which,
    after: Option<CrashId>,
}

impl Pages {
    fn new(which: Which) -> Self {
        Self { which, after: None }
    }

    async fn next(&mut self, facts: &Facts, most: u32) -> anyhow::Result<Vec<Letter>> {
        let page = facts.letters(&self.which, self.after, most).await?;
        self.after = page.last().map(|letter| letter.letter.crash_id).or(self.after);
        Ok(page)
    }
}

/// A dead crash with its attempts.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    letter: Letter,
    failed: Vec<Attempt>,
}

async fn show(config: &Config, facts: &Facts, args: &Show) -> anyhow::Result<ExitCode> {
    let id = args.id.find_in(config, facts).await?;
    let Some(letter) = facts.letter(id).await? else {
        anyhow::bail!("{id} has no dead letter; `crashmill where {id}` says where it is");
    };
    let shown = Shown { letter, failed: facts.attempts(id).await? };
    if args.json {
        print::json(&shown)?;
    } else {
        shown.print();
    }
    Ok(ExitCode::SUCCESS)
}

impl Shown {
    fn print(&self) {
        let facts::DeadLetter { crash_id, died_at, stage, reason, attempts, detail } = &self.letter.letter;
        print::field("crash id", &crash_id.to_string());
        print::field("received", &crash_id.received_at().to_string());
        print::field(
            "dead",
            &format!("{died_at} after {attempts} attempts: {stage}, {}", print::bold(reason)),
        );
        print::field("", detail.as_deref().unwrap_or_default());
        print::decision("retried", self.letter.retried.as_ref());
        print::decision("dropped", self.letter.dropped.as_ref());
        for Attempt { attempt, at, node, stage, reason, detail, .. } in &self.failed {
            print::field("failed", &format!("attempt {attempt} on {node} at {at}: {stage}, {reason}"));
            print::field("", detail.as_deref().unwrap_or_default());
        }
    }
}

/// A crash that was not published or dropped, and why.
#[derive(Debug, Serialize)]
struct LeftAlone {
    crash_id: CrashId,
    why: &'static str,
}

/// What a retry has done.
#[derive(Debug, Default, Serialize)]
struct Retried {
    retried: u64,
    left_alone: Vec<LeftAlone>,
    /// What became of the messages in the queue `dead`.
    dead_queue: Option<Collected>,
}

/// Publishes dead crashes again.
struct Retrying<'a> {
    config: &'a Config,
    facts: Facts,
    crashes: CrashStore,
    args: &'a Retry,
    by: String,
    done: Retried,
}

impl<'a> Retrying<'a> {
    fn new(config: &'a Config, facts: Facts, args: &'a Retry) -> anyhow::Result<Self> {
        let crashes = CrashStore::open(&config.crashstore)?;
        Ok(Self { config, facts, crashes, args, by: operator(config), done: Retried::default() })
    }

    async fn run(mut self) -> anyhow::Result<ExitCode> {
        let broker = Direct::connect(&self.config.queue).await.context("connecting to the broker")?;
        if self.args.ids.is_empty() {
            self.all(&broker).await?;
        } else {
            self.given(&broker).await?;
        }
        // What is marked by now needs no message among the dead any more. The scheduler does the same from time to time.
        let collected =
            scheduler::collect(&self.facts, &self.crashes, &self.config.queue, Timestamp::now()).await;
        self.done.dead_queue = Some(collected.context("emptying the queue of the dead")?);

        if self.args.json {
            print::json(&self.done)?;
        } else {
            for LeftAlone { crash_id, why } in &self.done.left_alone {
                println!("{crash_id}  left alone: {why}");
            }
            println!("{} crashes were published again", self.done.retried);
        }
        Ok(if self.done.left_alone.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn all(&mut self, broker: &Direct) -> anyhow::Result<()> {
        debug_assert!(self.args.all || !self.args.filter.is_empty(), "clap requires one of them");
        let mut pages = Pages::new(self.args.filter.which(Standing::Dead));
        loop {
            let page = pages.next(&self.facts, PAGE).await?;
            if page.is_empty() {
                return Ok(());
            }
            self.publish(broker, page).await?;
        }
    }

    async fn given(&mut self, broker: &Direct) -> anyhow::Result<()> {
        let mut letters = Vec::new();
        for id in &self.args.ids {
            let id = id.find_in(self.config, &self.facts).await?;
            match self.facts.letter(id).await? {
                Some(letter) if letter.dropped.is_some() => self.leave(id, "it was dropped"),
                Some(letter) => letters.push(letter),
                None => self.leave(id, "it has no dead letter"),
            }
        }
        self.publish(broker, letters).await
    }

    fn leave(&mut self, crash_id: CrashId, why: &'static str) {
        self.done.left_alone.push(LeftAlone { crash_id, why });
    }

    async fn publish(&mut self, broker: &Direct, letters: Vec<Letter>) -> anyhow::Result<()> {
        let mut there = Vec::new();
        for letter in letters {
            match why_not(&self.crashes, &self.facts, letter.letter.crash_id).await? {
                Some(why) => self.leave(letter.letter.crash_id, why),
                None => there.push(letter),
            }
        }
        for together in there.chunks(TOGETHER) {
            let pause = tokio::time::sleep(Duration::from_secs(1).mul_f64(
                f64::from(u32::try_from(together.len()).unwrap_or(u32::MAX)) / f64::from(self.args.rate),
            ));
            let now = Timestamp::now();
            let message = |id| Message { reason: Some(REASON.to_owned()), ..Message::new(id, now) };
            let messages: Vec<Message> =
                together.iter().map(|letter| message(letter.letter.crash_id)).collect();
            let publishing = messages.iter().map(|message| broker.publish(QueueName::Standard, message));
            // Ended between the two, the crash is on its queue and still dead: its result takes the letter away.
            for (letter, published) in together.iter().zip(join_all(publishing).await) {
                published.context("publishing a dead crash again (those that were published are marked)")?;
                self.facts.mark_retried(&letter.letter, now, &self.by).await?;
                self.done.retried += 1;
                progress(self.done.retried);
            }
            pause.await;
        }
        Ok(())
    }
}

/// Why a dead crash cannot be tried again.
async fn why_not(crashes: &CrashStore, facts: &Facts, id: CrashId) -> anyhow::Result<Option<&'static str>> {
    if facts.is_erased(id).await? {
        return Ok(Some("it was erased"));
    }
    let frames = crashes.find(id).await.with_context(|| format!("looking for {id} in the crash store"))?;
    let raw: Vec<_> = frames.iter().filter(|frame| frame.area == Area::Raw).collect();
    Ok(if raw.is_empty() {
        Some("its raw crash is not in the crash store")
    } else if raw.iter().all(|frame| frame.erased) {
        Some("it was erased")
    } else {
        None
    })
}

fn progress(done: u64) {
    if io::stderr().is_terminal() {
        eprint!("\r{done} published");
    } else if done.is_multiple_of(LINE_EVERY) {
        eprintln!("{done} published");
    }
}

async fn drop_them(config: &Config, facts: &Facts, args: &DropIt) -> anyhow::Result<ExitCode> {
    let by = operator(config);
    let (mut dropped, mut left_alone) = (Vec::new(), Vec::new());
    for id in &args.ids {
        let crash_id = id.find_in(config, facts).await?;
        if facts.drop_letter(crash_id, Timestamp::now(), &by, args.why.as_deref()).await? {
            dropped.push(crash_id);
        } else {
            let why = match facts.letter(crash_id).await? {
                Some(_) => "it was dropped before",
                None => "it has no dead letter",
            };
            left_alone.push(LeftAlone { crash_id, why });
        }
    }
    let crashes = CrashStore::open(&config.crashstore)?;
    let collected = scheduler::collect(facts, &crashes, &config.queue, Timestamp::now()).await;
    // They are dropped all the same, and the scheduler empties the queue from time to time.
    let dead_queue =
        collected.map_err(|error| eprintln!("the queue of the dead was not emptied: {error:#}")).ok();
    if args.json {
        let done =
            serde_json::json!({ "dropped": dropped, "left_alone": left_alone, "dead_queue": dead_queue });
        print::json(&done)?;
    } else {
        for LeftAlone { crash_id, why } in &left_alone {
            println!("{crash_id}  left alone: {why}");
        }
        println!("{} crashes were dropped", dropped.len());
    }
    Ok(if left_alone.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who gives the command, for the record: the user and the node.
fn operator(config: &Config) -> String {
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    format!("{}@{}", user.as_deref().unwrap_or("unknown"), config.daemon.node)
}
