//! `crashmill store check`: verify every byte of the crash store, compare it with the facts, and build those anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use crash::{CrashId, Minute, Place, QueueName, ThrottleDigit};
use crashstore::{Area, CrashStore, Damage};
use facts::{CrashFact, Facts};
use jiff::{Timestamp, civil::Date};
use queue::{Message, Publisher};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{commands::store::AreaName, config::Config, print, progress::Progress};

/// So many facts are saved in one transaction.
const BATCH: usize = 200;
/// How long publishing may go on at the end; what is left is in the journal.
const CLOSE: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// raw, private or processed [default: all three]
    #[arg(long)]
    area: Option<AreaName>,
    /// One UTC day only
    #[arg(long, conflicts_with_all = ["from", "until"])]
    day: Option<Date>,
    /// From this minute on, yyyymmdd/hhmm: where an earlier check stopped
    #[arg(long)]
    from: Option<Minute>,
    /// Up to this minute
    #[arg(long)]
    until: Option<Minute>,
    /// Compare with the facts too, as far back as facts are kept
    #[arg(long)]
    facts: bool,
    /// Save the facts of processed crashes that have none
    #[arg(long)]
    rebuild_facts: bool,
    /// With --rebuild-facts: save every fact anew, whether there is one or not
    #[arg(long, requires = "rebuild_facts")]
    all: bool,
    /// Publish crashes once more that have neither a processed crash nor a fact
    #[arg(long)]
    publish: bool,
    /// Of each kind of trouble, list so many
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    limit: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    minutes: BTreeMap<&'static str, u64>,
    damage: Trouble<DamageLine>,
    facts: Option<FactsReport>,
}

/// How the store and the facts differ, and what was done about it.
#[derive(Debug, Default, Serialize)]
struct FactsReport {
    /// Processed crashes without a fact.
    without_fact: Trouble<CrashId>,
    /// Facts that were saved.
    rebuilt: u64,
    /// Processed crashes of which no fact could be made: unreadable, or refused.
    refused: Trouble<Refused>,
    /// Facts whose raw crash is not there, though it has not expired.
    without_raw: Trouble<CrashId>,
    /// Raw crashes without any result.
    without_result: Trouble<CrashId>,
    /// Those of them that were published once more.
    published: u64,
}

/// All are counted, and the first ones listed.
#[derive(Debug, Serialize)]
struct Trouble<T> {
    count: u64,
    first: Vec<T>,
}

impl<T> Default for Trouble<T> {
    fn default() -> Self {
        Self { count: 0, first: Vec::new() }
    }
}

impl<T> Trouble<T> {
    fn add(&mut self, one: T, limit: usize) {
        self.count += 1;
        if self.first.len() < limit {
            self.first.push(one);
        }
    }
}

#[derive(Debug, Serialize)]
struct DamageLine {
    segment: String,
    offset: u64,
    bytes: u64,
    crash_id: Option<CrashId>,
    what: &'static str,
}

#[derive(Debug, Serialize)]
struct Refused {
    crash_id: CrashId,
    why: String,
}

impl Check {
    fn has(&self, minute: Minute) -> bool {
        self.day.is_none_or(|day| minute.day() == day)
            && self.from.is_none_or(|from| from <= minute)
            && self.until.is_none_or(|until| minute <= until)
    }

    fn wants_facts(&self) -> bool {
        self.facts || self.rebuild_facts || self.publish
    }
}

pub(crate) async fn run(config: &Config, crashes: &CrashStore, args: &Check) -> anyhow::Result<ExitCode> {
    let mut report = Report::default();
    verify(crashes, args, &mut report).await?;
    if args.wants_facts() {
        let facts = Facts::connect(&config.facts).await?;
        report.facts = Some(Comparison::new(config, crashes, &facts, args).await?.run().await?);
    }
    if args.json {
        print::json(&report)?;
    } else {
        show(&report);
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn verify(crashes: &CrashStore, args: &Check, report: &mut Report) -> anyhow::Result<()> {
    for area in args.area.map_or_else(|| Area::ALL.to_vec(), |area| vec![area.0]) {
        let mut minutes = crashes.minutes(area).await?;
        minutes.retain(|minute| args.has(*minute));
        report.minutes.insert(area.as_str(), minutes.len() as u64);
        let mut progress = Progress::new("minutes checked", minutes.len() as u64);
        for minute in minutes {
            for damage in crashes.check(area, minute).await? {
                progress.clear();
                let line = DamageLine::from(damage);
                if !args.json {
                    println!("{}", line.told());
                }
                report.damage.add(line, args.limit);
            }
            progress.advance(1);
        }
    }
    Ok(())
}

impl From<Damage> for DamageLine {
    fn from(Damage { segment, offset, bytes, id, what }: Damage) -> Self {
        Self { segment: segment.display().to_string(), offset, bytes, crash_id: id, what }
    }
}

impl DamageLine {
    fn told(&self) -> String {
        let crash = self.crash_id.map(|id| format!(", crash {id}")).unwrap_or_default();
        format!("{} at {}: {}{crash}", self.segment, self.offset, self.what)
    }
}

/// A comparison of store and facts, minute by minute.
struct Comparison<'a> {
    config: &'a Config,
    crashes: &'a CrashStore,
    facts: &'a Facts,
    args: &'a Check,
    /// Minutes of which the store has something; facts may have others.
    stored: BTreeSet<Minute>,
    waiting: Vec<CrashFact>,
    publisher: Option<Publisher>,
    found: FactsReport,
}

impl<'a> Comparison<'a> {
    async fn new(
        config: &'a Config,
        crashes: &'a CrashStore,
        facts: &'a Facts,
        args: &'a Check,
    ) -> anyhow::Result<Self> {
        let mut stored = BTreeSet::new();
        for area in [Area::Raw, Area::Processed] {
            stored.extend(crashes.minutes(area).await?.into_iter().filter(|minute| args.has(*minute)));
        }
        let publisher = match args.publish {
            true => {
                let name = format!("{}-check", config.daemon.node);
                let started = Publisher::start(&config.queue, &name, CancellationToken::new()).await;
                Some(started.context("opening the journal of unpublished crash ids")?)
            }
            false => None,
        };
        let (waiting, found) = (Vec::new(), FactsReport::default());
        Ok(Self { config, crashes, facts, args, stored, waiting, publisher, found })
    }

    async fn run(mut self) -> anyhow::Result<FactsReport> {
        let minutes = self.minutes().await?;
        let mut progress = Progress::new("minutes compared with the facts", minutes.len() as u64);
        for minute in minutes {
            self.minute(minute).await.with_context(|| {
                format!("comparing the minute {minute} with the facts; go on with --from {minute}")
            })?;
            progress.advance(1);
        }
        drop(progress);
        self.save().await?;
        if let Some(publisher) = self.publisher.take() {
            publisher.close(CLOSE).await;
        }
        Ok(self.found)
    }

    /// The minutes that the store or the facts have something of; not those before the retention of facts, where a fact that
    /// is not there is no loss, and one that was built anew would be dropped again.
    async fn minutes(&self) -> anyhow::Result<BTreeSet<Minute>> {
        let mut minutes = self.stored.clone();
        for day in self.facts.days().await? {
            minutes.extend(
                self.facts.minutes_of(day).await?.into_iter().filter(|minute| self.args.has(*minute)),
            );
        }
        if let Some(first) = self.config.retention.facts.first_day(Timestamp::now()) {
            minutes.retain(|minute| minute.day() >= first);
        }
        Ok(minutes)
    }

    async fn minute(&mut self, minute: Minute) -> anyhow::Result<()> {
        let processed = self.stored(Area::Processed, minute).await?;
        let raw = self.stored(Area::Raw, minute).await?;
        let facts: BTreeSet<CrashId> = self.facts.crashes_in(minute).await?.into_iter().collect();

        let without: Vec<CrashId> = processed.keys().copied().filter(|id| !facts.contains(id)).collect();
        let missing: BTreeSet<CrashId> = self.facts.unaccounted(&without).await?.into_iter().collect();
        for (id, place) in &processed {
            if missing.contains(id) {
                self.found.without_fact.add(*id, self.args.limit);
            }
            if self.args.rebuild_facts && (self.args.all || missing.contains(id)) {
                self.rebuild(*id, place).await?;
            }
        }

        let now = Timestamp::now();
        for id in facts.iter().filter(|id| !raw.contains_key(id)) {
            if !self.config.retention.is_expired(Area::Raw, *id, now) {
                self.found.without_raw.add(*id, self.args.limit);
            }
        }

        let of_raw = raw.keys().copied().filter(|id| !facts.contains(id) && !processed.contains_key(id));
        let due: Vec<CrashId> = of_raw.filter(|id| id.throttle_digit() == ThrottleDigit::Accept).collect();
        for id in self.facts.unaccounted(&due).await? {
            self.found.without_result.add(id, self.args.limit);
            self.publish(id, raw.get(&id)).await?;
        }
        Ok(())
    }

    async fn stored(&self, area: Area, minute: Minute) -> anyhow::Result<BTreeMap<CrashId, Place>> {
        if !self.stored.contains(&minute) {
            return Ok(BTreeMap::new());
        }
        let frames = self.crashes.current(area, minute).await?;
        Ok(frames.into_iter().map(|frame| (frame.id, frame.place)).collect())
    }

    async fn rebuild(&mut self, id: CrashId, place: &Place) -> anyhow::Result<()> {
        match self.crashes.processed_at(id, place).await {
            Ok(Some(processed)) => self.waiting.push(CrashFact::of(&processed)),
            // Erased since it was listed.
            Ok(None) => {}
            Err(error @ (crashstore::Error::Damaged { .. } | crashstore::Error::Newer { .. })) => {
                let why = error.to_string();
                self.found.refused.add(Refused { crash_id: id, why }, self.args.limit);
            }
            Err(error) => return Err(error.into()),
        }
        if self.waiting.len() >= BATCH {
            self.save().await?;
        }
        Ok(())
    }

    async fn save(&mut self) -> anyhow::Result<()> {
        let saved = self.facts.save(&std::mem::take(&mut self.waiting)).await.context("saving facts")?;
        self.found.rebuilt += saved.inserted + saved.updated;
        for (crash_id, why) in saved.rejected {
            self.found.refused.add(Refused { crash_id, why }, self.args.limit);
        }
        Ok(())
    }

    async fn publish(&mut self, id: CrashId, place: Option<&Place>) -> anyhow::Result<()> {
        let Some(publisher) = &self.publisher else { return Ok(()) };
        let (reason, place) = (Some("store_check".to_owned()), place.cloned());
        let message = Message { reason, place, ..Message::new(id, Timestamp::now()) };
        publisher.publish(QueueName::Reprocessing, &message).await.context("publishing a crash once more")?;
        self.found.published += 1;
        Ok(())
    }
}

impl Report {
    fn is_sound(&self) -> bool {
        let facts_are = |facts: &FactsReport| {
            let missing = facts.without_fact.count > 0 && facts.rebuilt < facts.without_fact.count;
            let lost = facts.without_result.count > facts.published;
            !missing && !lost && facts.refused.count == 0 && facts.without_raw.count == 0
        };
        self.damage.count == 0 && self.facts.as_ref().is_none_or(facts_are)
    }
}

fn show(report: &Report) {
    if report.damage.count == 0 {
        println!("every frame is whole");
    } else {
        eprintln!("{} frames are damaged", report.damage.count);
    }
    let Some(facts) = &report.facts else { return };
    list("processed crashes without a fact", &facts.without_fact);
    if facts.rebuilt > 0 {
        println!("{} facts saved", facts.rebuilt);
    } else if facts.without_fact.count > 0 {
        println!("  save them with --rebuild-facts");
    }
    list("facts whose raw crash is lost", &facts.without_raw);
    list("crashes without any result, waiting or lost", &facts.without_result);
    if facts.published > 0 {
        println!("{} crashes published once more", facts.published);
    } else if facts.without_result.count > 0 {
        println!("  `crashmill status` says what waits; publish them once more with --publish");
    }
    for Refused { crash_id, why } in &facts.refused.first {
        println!("no fact of {crash_id}: {why}");
    }
}

fn list(what: &str, trouble: &Trouble<CrashId>) {
    println!("{what}: {}", trouble.count);
    for id in &trouble.first {
        println!("  {id}");
    }
    let more = trouble.count.saturating_sub(trouble.first.len() as u64);
    if more > 0 {
        println!("  and {more} more");
    }
}
