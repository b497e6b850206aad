//! `crashmill status`: how far behind everything is, and when it will not be.

use std::{process::ExitCode, time::Duration};

use crash::{Minute, QueueName};
use crashstore::{Area, CrashStore, space::Reading};
use facts::{Facts, Fleet, JobRun, LetterGroup, NodeReport, Which};
use jiff::{Timestamp, tz::TimeZone};
use queue::{Depth, Forecast, Kind, Pace, forecast, more_processors};
use serde::Serialize;

use crate::{args::Place, config::Config, print};

/// Show queues, backlog, drain rate, ETA, workers and last jobs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A rate is what processors have done in the last minute, as they say themselves; net is how much shorter a queue has got a
second, as the scheduler has seen it. Where nothing was done there is no ETA, and the reason stands in its place.

Examples:
  crashmill status
  crashmill status --clear-in 30m
  crashmill status --json | jq '.queues'

Exit status: 0 everything could be asked, 1 something could not (the rest is shown).")]
pub(crate) struct Args {
    /// Say how many more processors it takes to be done within this time
    #[arg(long, default_value = "1h", value_name = "TIME")]
    clear_in: settings::Duration,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What can be said of the whole system.
#[derive(Debug, Serialize)]
struct Status {
    at: Timestamp,
    queues: Vec<QueueStatus>,
    /// All work queues together.
    backlog: Option<Backlog>,
    spool: Option<SpoolStatus>,
    journal: Option<JournalStatus>,
    store: Option<StoreStatus>,
    /// The filesystems of this machine that are written to.
    disks: Vec<DiskStatus>,
    /// Crashes that were given up and about which nothing was decided.
    dead_letters: Option<u64>,
    facts_today: Option<u64>,
    /// The processes that say that they are there.
    nodes: Vec<NodeReport>,
    jobs: Vec<JobRun>,
    /// What could not be asked.
    errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    name: String,
    ready: u32,
    consumers: u32,
    /// Of work queues: how it goes on there.
    #[serde(flatten)]
    pace: Option<QueuePace>,
}

#[derive(Debug, Serialize)]
struct QueuePace {
    /// Since when the oldest has waited of those that were taken of late.
    oldest: Option<Timestamp>,
    oldest_seconds: Option<f64>,
    done_per_second: f64,
    net_per_second: Option<f64>,
    #[serde(flatten)]
    forecast: Forecast,
}

#[derive(Debug, Serialize)]
struct Backlog {
    ready: u32,
    processors: u32,
    done_per_second: f64,
    #[serde(flatten)]
    forecast: Forecast,
    clear_in: ClearIn,
}

/// What it takes to be done by a time.
#[derive(Debug, Serialize)]
struct ClearIn {
    seconds: u64,
    by: Timestamp,
    /// Of the present kind; nothing where none shows what one can do.
    more_processors: Option<u32>,
}

#[derive(Debug, Serialize)]
struct JournalStatus {
    crashes: u64,
    oldest: Option<Timestamp>,
}

/// What waits on this machine for the object store.
#[derive(Debug, Serialize)]
struct SpoolStatus {
    crashes: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
}

/// The minutes of which raw crashes are stored.
#[derive(Debug, Serialize)]
struct StoreStatus {
    minutes: usize,
    oldest: Option<String>,
    newest: Option<String>,
}

/// The room that a filesystem has left.
#[derive(Debug, Serialize)]
struct DiskStatus {
    filesystem: &'static str,
    #[serde(flatten)]
    reading: Reading,
}

/// What the database says.
#[derive(Debug, Default)]
struct Recorded {
    facts_today: Option<u64>,
    dead_letters: Option<u64>,
    nodes: Vec<NodeReport>,
    jobs: Vec<JobRun>,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let status = Status::ask(&config, args.clear_in.get()).await;
        if args.json {
            print::json(&status)?;
        } else {
            status.print();
        }
        Ok(if status.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

impl Status {
    async fn ask(config: &Config, clear_in: Duration) -> Self {
        let at = Timestamp::now();
        let mut errors = Vec::new();
        let mut told = |what: &str, error: anyhow::Error| errors.push(format!("{what}: {error:#}"));
        let (depths, recorded) = tokio::join!(queue::depths(&config.queue), Recorded::ask(config, at));
        let depths =
            depths.map_err(|error| told("the broker could not be asked", error.into())).unwrap_or_default();
        let recorded =
            recorded.map_err(|error| told("the database could not be asked", error)).unwrap_or_default();
        let journal = queue::journal_depth(&config.queue)
            .map(|depth| JournalStatus { crashes: depth.ids, oldest: depth.oldest })
            .map_err(|error| told("the journal could not be read", error.into()))
            .ok();
        let store =
            stored(config).await.map_err(|error| told("the crash store could not be read", error)).ok();
        let spool = crashstore::spool_depth(&config.crashstore)
            .map(|depth| SpoolStatus { crashes: depth.crashes, bytes: depth.bytes, oldest: depth.oldest })
            .map_err(|error| told("the spool could not be read", error.into()))
            .ok();
        let Recorded { facts_today, dead_letters, nodes, jobs } = recorded;
        let knows_processors = facts_today.is_some();
        Self {
            at,
            backlog: Backlog::of(&depths, &nodes, at, clear_in).filter(|_| knows_processors),
            queues: depths
                .into_iter()
                .map(|depth| QueueStatus::of(depth, &nodes, at, knows_processors))
                .collect(),
            spool,
            journal,
            store,
            disks: disks(config),
            dead_letters,
            facts_today,
            nodes,
            jobs,
            errors,
        }
    }

    fn print(&self) {
        print_queues(&self.queues);
        if let Some(backlog) = &self.backlog {
            backlog.print();
        }
        println!();
        if let Some(SpoolStatus { crashes, oldest: Some(oldest), .. }) = &self.spool {
            print::field(
                "spool",
                &format!("{crashes} crashes wait for the object store, the oldest since {oldest}"),
            );
        }
        if let Some(journal) = &self.journal {
            let oldest =
                journal.oldest.map(|oldest| format!(", the oldest since {oldest}")).unwrap_or_default();
            print::field("journal", &format!("{} crashes wait for the broker{oldest}", journal.crashes));
        }
        if let Some(StoreStatus { minutes, oldest: Some(oldest), newest: Some(newest) }) = &self.store {
            print::field(
                "crash store",
                &format!("raw crashes of {minutes} minutes, from {oldest} to {newest}"),
            );
        }
        for DiskStatus { filesystem, reading } in &self.disks {
            print::field(&format!("{filesystem} disk"), &reading.to_string());
        }
        if let Some(letters) = self.dead_letters.filter(|letters| *letters > 0) {
            print::field("dead letters", &format!("{letters} (crashmill dead list)"));
        }
        if let Some(count) = self.facts_today {
            print::field("facts today", &count.to_string());
        }
        for node in &self.nodes {
            let NodeReport { role, node, pid, version, workers, state, started_at, .. } = node;
            let workers = if *workers > 0 { format!(", {workers} workers") } else { String::new() };
            print::field(
                role,
                &format!("{node} ({pid}), {version}{workers}, {state}, since {started_at:.0}"),
            );
        }
        for job in &self.jobs {
            print::field("job", &told_of(job, self.at));
        }
        for error in &self.errors {
            print::field("error", error);
        }
    }
}

impl Recorded {
    async fn ask(config: &Config, at: Timestamp) -> anyhow::Result<Self> {
        let facts = Facts::connect(&config.facts).await?;
        let groups: Vec<LetterGroup> = facts.letter_groups(&Which::default()).await?;
        Ok(Self {
            facts_today: Some(facts.count_on(at.to_zoned(TimeZone::UTC).date()).await?),
            dead_letters: Some(groups.iter().map(|group| group.count).sum()),
            nodes: facts.reports().await?,
            jobs: facts.last_jobs().await?,
        })
    }
}

impl QueueStatus {
    fn of(depth: Depth, nodes: &[NodeReport], at: Timestamp, knows_processors: bool) -> Self {
        let Depth { name, kind, ready, consumers } = depth;
        let pace = match kind {
            Kind::Work(queue) if knows_processors => Some(QueuePace::of(queue, ready, nodes, at)),
            _ => None,
        };
        Self { name, ready, consumers, pace }
    }
}

impl QueuePace {
    fn of(queue: QueueName, ready: u32, nodes: &[NodeReport], at: Timestamp) -> Self {
        let fleet = Fleet::at(nodes, queue.as_str());
        let oldest = fleet.oldest.filter(|_| ready > 0);
        Self {
            oldest,
            oldest_seconds: oldest.map(|oldest| at.duration_since(oldest).as_secs_f64().max(0.0)),
            done_per_second: fleet.done_per_s,
            net_per_second: fleet.net_per_s,
            forecast: forecast(ready, &pace(fleet)),
        }
    }
}

impl Backlog {
    /// Of all work queues; nothing while the broker is silent.
    fn of(depths: &[Depth], nodes: &[NodeReport], at: Timestamp, clear_in: Duration) -> Option<Self> {
        let work = depths.iter().filter(|depth| matches!(depth.kind, Kind::Work(_)));
        let ready = work.map(|depth| depth.ready).reduce(u32::saturating_add)?;
        let fleet = Fleet::at_all(nodes, QueueName::ALL.map(QueueName::as_str));
        Some(Self {
            ready,
            processors: fleet.processors,
            done_per_second: fleet.done_per_s,
            forecast: forecast(ready, &pace(fleet)),
            clear_in: ClearIn {
                seconds: clear_in.as_secs(),
                by: at.checked_add(clear_in).unwrap_or(at),
                more_processors: more_processors(ready, &pace(fleet), clear_in),
            },
        })
    }

    fn print(&self) {
        if self.ready == 0 {
            return;
        }
        let ClearIn { by, more_processors, .. } = &self.clear_in;
        let by = by.strftime("%H:%M");
        println!();
        print::field(
            "backlog",
            &format!("{} crashes, {} processors, {}", self.ready, self.processors, eta(&self.forecast)),
        );
        print::field(
            "to clear it",
            &match more_processors {
                None => format!(
                    "nothing shows how many processors it takes by {by} UTC: none has done a crash of late"
                ),
                Some(0) => format!("the present processors do by {by} UTC"),
                Some(more) => format!("{more} more processors of the present kind clear it by {by} UTC"),
            },
        );
    }
}

fn pace(fleet: Fleet) -> Pace {
    Pace { processors: fleet.processors, done_per_s: fleet.done_per_s, net_per_s: fleet.net_per_s }
}

fn print_queues(queues: &[QueueStatus]) {
    println!(
        "{:<28} {:>10} {:>10} {:>10} {:>9} {:>9}  eta",
        "queue", "waiting", "consumers", "oldest", "done/s", "net/s"
    );
    for QueueStatus { name, ready, consumers, pace } in queues {
        let Some(pace) = pace else {
            println!("{name:<28} {ready:>10} {consumers:>10}");
            continue;
        };
        let oldest = pace.oldest_seconds.map(print::rough).unwrap_or_default();
        let net = pace.net_per_second.map(|net| format!("{net:.1}")).unwrap_or_default();
        let (done, eta) =
            (pace.done_per_second, if *ready == 0 { String::new() } else { eta(&pace.forecast) });
        println!("{name:<28} {ready:>10} {consumers:>10} {oldest:>10} {done:>9.1} {net:>9}  {eta}");
    }
}

/// When it is empty, or why nobody can say.
fn eta(forecast: &Forecast) -> String {
    match (forecast.eta_seconds, forecast.because) {
        (Some(seconds), Some(because)) => format!("ETA {} ({because})", print::rough(seconds)),
        (Some(seconds), None) => format!("ETA {}", print::rough(seconds)),
        (None, because) => format!("no ETA: {}", because.unwrap_or("nothing is known")),
    }
}

fn told_of(job: &JobRun, at: Timestamp) -> String {
    let ago = job
        .finished_at
        .or(job.started_at)
        .map(|then| format!(", {} ago", print::rough(at.duration_since(then).as_secs_f64().max(0.0))));
    let error = job.error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    format!("{} {}{}{error}", job.job, job.state.as_str(), ago.unwrap_or_default())
}

/// What can be said of the disks; a folder that is not there is on the disk of the one above it.
fn disks(config: &Config) -> Vec<DiskStatus> {
    let store = config.crashstore.url.is_none().then(|| config.crashstore.path.clone());
    let spool = config.crashstore.spool_folder();
    let journal = Some(config.queue.journal.clone());
    let marks = config.crashstore.watermarks();
    [("store", store), ("spool", spool), ("journal", journal)]
        .into_iter()
        .filter_map(|(filesystem, path)| {
            Some(DiskStatus { filesystem, reading: Reading::now(&path?, &marks).ok()? })
        })
        .collect()
}

async fn stored(config: &Config) -> anyhow::Result<StoreStatus> {
    let minutes = CrashStore::open(&config.crashstore)?.minutes(Area::Raw).await?;
    let text = |minute: Option<&Minute>| minute.map(ToString::to_string);
    Ok(StoreStatus { minutes: minutes.len(), oldest: text(minutes.first()), newest: text(minutes.last()) })
}
