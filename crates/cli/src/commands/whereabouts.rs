//! `crashmill where`: every place where a crash is or has been, and what becomes of it next.

mod state;

use std::process::ExitCode;

use crash::CrashId;
use crashstore::{Area, CrashStore, Found};
use facts::{Attempt, Degraded, FactRow, Facts, Letter, NodeReport, SweepAhead};
use jiff::Timestamp;
use queue::{Journaled, Kind};
use serde::Serialize;

use self::state::State;
use crate::{args::Place, config::Config, id::GivenId, print};

/// Show every place where a crash is or has been, and what becomes of it next.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
States: spooled (durable on this machine, the object store did not answer), stored (durable, its id not published yet),
queued (published, and no result yet), retrying (failed attempts are recorded), processed, dead, deferred, expired, erased,
unknown. The broker cannot be asked for one id: between stored and queued it goes by the journals, the depth of the queues and
the age of the crash, and says so.

Examples:
  crashmill where bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123
  crashmill where 26460bd3a6e72c14 --json | jq -r .state
  crashmill where $(cat ids.txt) --json | jq -r 'select(.state != \"processed\") | .crash_id'

Exit status: 0 the crash is known, 1 it is not, or something could not be asked (the rest is shown).")]
pub(crate) struct Args {
    /// Crash ids: whole, with bp- before it, or the 16 digits of the short form
    #[arg(required = true, value_name = "ID")]
    ids: Vec<GivenId>,
    /// One JSON object; of several crashes, one a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let crashes = CrashStore::open(&config.crashstore)?;
        // Connected once, however many crashes are asked for.
        let facts = Facts::connect(&config.facts).await;
        let mut all_are_certain = true;
        for (number, id) in args.ids.iter().enumerate() {
            let id = id.find_anywhere(&config, &crashes).await?;
            let whereabouts = Whereabouts::of(id, &config, &crashes, &facts).await?;
            if args.json && args.ids.len() > 1 {
                println!("{}", serde_json::to_string(&whereabouts)?);
            } else if args.json {
                print::json(&whereabouts)?;
            } else {
                if number > 0 {
                    println!();
                }
                whereabouts.print();
            }
            all_are_certain &= whereabouts.state != State::Unknown && whereabouts.errors.is_empty();
        }
        Ok(if all_are_certain { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Everything that is known of where a crash is.
#[derive(Debug, Serialize)]
struct Whereabouts {
    crash_id: CrashId,
    short_id: String,
    state: State,
    /// What becomes of it next, in a sentence.
    next: String,
    /// Why the state is not certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    uncertain: Option<&'static str>,
    #[serde(flatten)]
    known: Known,
    /// What could not be asked.
    errors: Vec<String>,
}

/// What each place knows of the crash.
#[derive(Debug, Serialize)]
struct Known {
    /// When the collector had it, to the second: from the id alone.
    received_at: Timestamp,
    /// Whether its id is in a journal, because the broker did not confirm it, and in which.
    journaled: bool,
    journal: Option<Journaled>,
    /// Whether it waits in the spool of this machine for the object store.
    spooled: bool,
    /// Its frames in the crash store.
    store: Vec<StoredFrame>,
    /// Whether somebody had it erased; that may still be under way.
    erased: bool,
    fact: Option<FactRow>,
    /// What its fact lacks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<Degraded>,
    dead_letter: Option<Letter>,
    /// Attempts that failed.
    attempts: Vec<Attempt>,
    /// How many ids wait in the work and retry queues; asked only where it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Waiting>,
    /// The processes that are there.
    #[serde(skip)]
    reports: Vec<NodeReport>,
    /// When the sweep looks at the minute that it came in.
    #[serde(skip)]
    sweep: Option<SweepAhead>,
    #[serde(skip)]
    database_is_silent: bool,
    #[serde(skip)]
    store_is_silent: bool,
}

/// What waits on the broker, of whatever id.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Waiting {
    work: u32,
    retry: u32,
}

/// One frame in the crash store.
#[derive(Debug, Serialize)]
struct StoredFrame {
    area: &'static str,
    segment: String,
    offset: u64,
    saved_at: Timestamp,
    attempt: u16,
    bytes: u64,
    erased: bool,
}

impl From<Found> for StoredFrame {
    fn from(found: Found) -> Self {
        Self {
            area: found.area.as_str(),
            segment: found.place.segment,
            offset: found.place.offset,
            saved_at: found.saved_at,
            attempt: found.attempt,
            bytes: found.bytes,
            erased: found.erased,
        }
    }
}

impl Whereabouts {
    async fn of(
        id: CrashId,
        config: &Config,
        crashes: &CrashStore,
        facts: &Result<Facts, facts::Error>,
    ) -> anyhow::Result<Self> {
        let mut errors = Vec::new();
        let mut known = Known {
            received_at: id.received_at(),
            journaled: false,
            journal: None,
            spooled: false,
            store: vec![],
            erased: false,
            fact: None,
            degraded: vec![],
            dead_letter: None,
            attempts: vec![],
            waiting: None,
            reports: vec![],
            sweep: None,
            database_is_silent: false,
            store_is_silent: false,
        };
        let mut told = |what: &str, error: anyhow::Error| errors.push(format!("{what}: {error:#}"));
        match crashes.find(id).await {
            Ok(found) => known.store = found.into_iter().map(StoredFrame::from).collect(),
            Err(error) => {
                known.store_is_silent = true;
                told("the crash store could not be asked", error.into());
            }
        }
        match crashstore::spooled(&config.crashstore, id) {
            Ok(spooled) => known.spooled = spooled,
            Err(error) => told("the spool could not be read", error.into()),
        }
        match queue::journaled(&config.queue, id) {
            Ok(journal) => (known.journaled, known.journal) = (journal.is_some(), journal),
            Err(error) => told("the journal could not be read", error.into()),
        }
        if let Err(error) = known.ask_database(id, facts).await {
            known.database_is_silent = true;
            told("the database could not be asked", error);
        }
        let now = Timestamp::now();
        let mut state = State::of(id, &known, config, now);
        if matches!(state.state, State::Queued | State::Stored) && known.journal.is_none() {
            match queue::depths(&config.queue).await {
                Ok(depths) => known.waiting = Some(Waiting::of(&depths)),
                Err(error) => told("the broker could not be asked", error.into()),
            }
            state = State::of(id, &known, config, now);
        }
        Ok(Self {
            crash_id: id,
            short_id: id.short().to_string(),
            state: state.state,
            next: state.next,
            uncertain: state.uncertain,
            known,
            errors,
        })
    }

    fn print(&self) {
        let known = &self.known;
        print::field("crash id", &self.crash_id.to_string());
        print::field("short id", &self.short_id);
        print::field("state", &print::bold(self.state.as_str()));
        print::field("next", &self.next);
        print::field("", self.uncertain.unwrap_or_default());
        print::field("received", &known.received_at.to_string());
        if known.spooled {
            print::field("spool", "of this machine");
        }
        if let Some(Journaled { writer, since }) = &known.journal {
            print::field("journal", &format!("of {writer}, since {since}"));
        }
        if let Some(Waiting { work, retry }) = known.waiting {
            print::field(
                "broker",
                &format!("{work} ids wait in the work queues, {retry} for another attempt"),
            );
        }
        for frame in &known.store {
            let erased = if frame.erased { ", erased" } else { "" };
            let StoredFrame { area, segment, offset, bytes, saved_at, .. } = frame;
            print::field(area, &format!("{bytes} bytes at {offset} in {segment}, saved {saved_at}{erased}"));
        }
        for Attempt { attempt, at, node, stage, reason, due_at, .. } in &known.attempts {
            let due = due_at.map(|due| format!("; the next is due {due}")).unwrap_or_default();
            print::field("failed", &format!("attempt {attempt} on {node} at {at}: {stage}, {reason}{due}"));
        }
        if let Some(letter) = &known.dead_letter {
            let facts::DeadLetter { died_at, stage, reason, attempts, detail, .. } = &letter.letter;
            print::field("dead", &format!("{died_at} after {attempts} attempts: {stage}, {reason}"));
            print::field("", detail.as_deref().unwrap_or_default());
            print::decision("retried", letter.retried.as_ref());
            print::decision("dropped", letter.dropped.as_ref());
        }
        if let Some(fact) = &known.fact {
            print::field("processed", &format!("{} (attempt {})", fact.completed_at, fact.attempt));
            print::field("signature", &print::bold(&fact.signature));
            print::field("product", [fact.product.as_str(), &fact.version, &fact.channel].join(" ").trim());
            print::field("system", [fact.os.as_str(), &fact.cpu_arch].join(" ").trim());
            print::field("reason", &fact.reason);
        }
        for Degraded { part, since, tries, detail, .. } in &known.degraded {
            let detail = detail.as_deref().unwrap_or_default();
            print::field(
                "lacks",
                &format!("{} since {since}, tried {tries} times more: {detail}", part.as_str()),
            );
        }
        for error in &self.errors {
            print::field("error", error);
        }
    }
}

/// An error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Known {
    async fn ask_database(&mut self, id: CrashId, facts: &Result<Facts, facts::Error>) -> anyhow::Result<()> {
        let facts = facts.as_ref().map_err(|error| anyhow::anyhow!("{}", chain(error)))?;
        self.erased = facts.is_erased(id).await?;
        self.fact = facts.fact(id).await?;
        self.degraded = facts.degraded(id).await?;
        self.dead_letter = facts.letter(id).await?;
        self.attempts = facts.attempts(id).await?;
        self.reports = facts.reports().await?;
        self.sweep = Some(facts.sweep_ahead(id.minute()).await?);
        Ok(())
    }

    fn frames(&self, area: Area) -> impl Iterator<Item = &StoredFrame> {
        self.store.iter().filter(move |frame| frame.area == area.as_str())
    }

    fn is_there(&self, area: Area) -> bool {
        self.frames(area).any(|frame| !frame.erased)
    }

    /// How many processes of a role are there.
    fn running(&self, role: &str) -> usize {
        self.reports.iter().filter(|report| report.role == role).count()
    }
}

impl Waiting {
    fn of(depths: &[queue::Depth]) -> Self {
        let mut waiting = Self::default();
        for depth in depths {
            match depth.kind {
                Kind::Work(_) => waiting.work += depth.ready,
                Kind::Retry => waiting.retry += depth.ready,
                Kind::Dead => {}
            }
        }
        waiting
    }

    fn is_empty(self) -> bool {
        self.work == 0 && self.retry == 0
    }
}
