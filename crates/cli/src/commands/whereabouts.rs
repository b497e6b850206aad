//! `crashmill where`: every place where a crash is or has been.

use std::process::ExitCode;

use crash::{CrashId, ThrottleDigit};
use crashstore::{Area, CrashStore, Found};
use facts::{Attempt, DeadLetter, FactRow, Facts};
use jiff::Timestamp;
use serde::Serialize;

use crate::{args::Place, config::Config, id::GivenId, print};

/// Show every place where a crash is or has been.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
States: stored (durable, its id in the journal), queued (durable, and no result yet), retrying, processed, dead,
deferred, erased, unknown.

Examples:
  crashmill where bp-0b4d3a6e-72c1-4f0b-8a57-3c9d50261123
  crashmill where 26460bd3a6e72c14 --json | jq -r .state

Exit status: 0 the crash is known, 1 it is not, or the database could not be asked (the rest is shown).")]
pub(crate) struct Args {
    /// The crash id: whole, with bp- before it, or the 16 digits of its short form
    id: GivenId,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let crashes = CrashStore::open(&config.crashstore)?;
        let id = args.id.find(&crashes).await?;
        let whereabouts = Whereabouts::of(id, &config, &crashes).await?;
        if args.json {
            print::json(&whereabouts)?;
        } else {
            whereabouts.print();
        }
        let is_certain = whereabouts.state != State::Unknown && whereabouts.errors.is_empty();
        Ok(if is_certain { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// In one word, where a crash is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Stored,
    Queued,
    Retrying,
    Processed,
    Dead,
    Deferred,
    Erased,
    Unknown,
}

/// Everything that is known of where a crash is.
#[derive(Debug, Serialize)]
struct Whereabouts {
    crash_id: CrashId,
    short_id: String,
    state: State,
    /// When the collector had it, to the second: from the id alone.
    received_at: Timestamp,
    /// Whether its id is in a journal, because the broker did not confirm it.
    journaled: bool,
    /// Its frames in the crash store.
    store: Vec<StoredFrame>,
    fact: Option<FactRow>,
    dead_letter: Option<DeadLetter>,
    /// Attempts that failed.
    attempts: Vec<Attempt>,
    /// What could not be asked.
    errors: Vec<String>,
    #[serde(skip)]
    database_is_silent: bool,
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
    async fn of(id: CrashId, config: &Config, crashes: &CrashStore) -> anyhow::Result<Self> {
        let found = crashes.find(id).await?;
        let mut whereabouts = Self {
            crash_id: id,
            short_id: id.short().to_string(),
            state: State::Unknown,
            received_at: id.received_at(),
            journaled: false,
            store: found.into_iter().map(StoredFrame::from).collect(),
            fact: None,
            dead_letter: None,
            attempts: vec![],
            errors: vec![],
            database_is_silent: false,
        };
        match queue::is_journaled(&config.queue, id) {
            Ok(journaled) => whereabouts.journaled = journaled,
            Err(error) => {
                whereabouts
                    .errors
                    .push(format!("the journal could not be read: {:#}", anyhow::Error::from(error)));
            }
        }
        if let Err(error) = whereabouts.ask_database(config).await {
            whereabouts.database_is_silent = true;
            whereabouts.errors.push(format!("the database could not be asked: {error:#}"));
        }
        whereabouts.state = whereabouts.state();
        Ok(whereabouts)
    }

    async fn ask_database(&mut self, config: &Config) -> anyhow::Result<()> {
        let facts = Facts::connect(&config.facts).await?;
        self.fact = facts.fact(self.crash_id).await?;
        self.dead_letter = facts.dead_letter(self.crash_id).await?;
        self.attempts = facts.attempts(self.crash_id).await?;
        Ok(())
    }

    /// The state, by what is known: results first, then what is under way.
    ///
    /// A fact goes before a dead letter: a crash that was processed once stays so, whatever became of a second try.
    /// While the database is silent, the processed crash in the store stands for its fact.
    fn state(&self) -> State {
        let frames = |area: Area| self.store.iter().filter(move |frame| frame.area == area.as_str());
        let is_there = |area| frames(area).any(|frame| !frame.erased);
        if self.fact.is_some() || (self.database_is_silent && is_there(Area::Processed)) {
            State::Processed
        } else if self.dead_letter.is_some() {
            State::Dead
        } else if frames(Area::Raw).next().is_none() {
            State::Unknown
        } else if !is_there(Area::Raw) {
            State::Erased
        } else if !self.attempts.is_empty() {
            State::Retrying
        } else if self.crash_id.throttle_digit() == ThrottleDigit::Defer {
            State::Deferred
        } else if self.journaled {
            State::Stored
        } else {
            State::Queued
        }
    }

    fn print(&self) {
        print::field("crash id", &self.crash_id.to_string());
        print::field("short id", &self.short_id);
        let state = serde_json::to_value(self.state).ok();
        print::field(
            "state",
            &print::bold(state.as_ref().and_then(|state| state.as_str()).unwrap_or_default()),
        );
        print::field("received", &self.received_at.to_string());
        if self.journaled {
            print::field("journal", "the id waits there for the broker");
        }
        for frame in &self.store {
            let erased = if frame.erased { ", erased" } else { "" };
            let StoredFrame { area, segment, offset, bytes, saved_at, .. } = frame;
            print::field(area, &format!("{bytes} bytes at {offset} in {segment}, saved {saved_at}{erased}"));
        }
        for attempt in &self.attempts {
            let Attempt { attempt, at, node, stage, reason, .. } = attempt;
            print::field("failed", &format!("attempt {attempt} on {node} at {at}: {stage}, {reason}"));
        }
        if let Some(DeadLetter { died_at, stage, reason, attempts, detail, .. }) = &self.dead_letter {
            print::field("dead", &format!("{died_at} after {attempts} attempts: {stage}, {reason}"));
            print::field("", detail.as_deref().unwrap_or_default());
        }
        if let Some(fact) = &self.fact {
            print::field("processed", &format!("{} (attempt {})", fact.completed_at, fact.attempt));
            print::field("signature", &print::bold(&fact.signature));
            print::field("product", [fact.product.as_str(), &fact.version, &fact.channel].join(" ").trim());
            print::field("system", [fact.os.as_str(), &fact.cpu_arch].join(" ").trim());
            print::field("reason", &fact.reason);
        }
        for error in &self.errors {
            print::field("error", error);
        }
    }
}
