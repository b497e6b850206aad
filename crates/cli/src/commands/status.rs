//! `crashmill status`: how far behind everything is.

use std::process::ExitCode;

use crash::Minute;
use crashstore::{Area, CrashStore};
use facts::Facts;
use jiff::Timestamp;
use serde::Serialize;

use crate::{args::Place, config::Config, print};

/// Show queues, journal, crash store and facts.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  crashmill status
  crashmill status --json | jq '.queues'

Exit status: 0 everything could be asked, 1 something could not (the rest is shown).")]
pub(crate) struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What can be said of the whole system.
#[derive(Debug, Serialize)]
struct Status {
    at: Timestamp,
    queues: Vec<QueueStatus>,
    journal: Option<JournalStatus>,
    store: Option<StoreStatus>,
    facts_today: Option<u64>,
    /// What could not be asked.
    errors: Vec<String>,
}

#[derive(Debug, Serialize)]
struct QueueStatus {
    name: String,
    ready: u32,
    consumers: u32,
}

#[derive(Debug, Serialize)]
struct JournalStatus {
    crashes: u64,
    oldest: Option<Timestamp>,
}

/// The minutes of which raw crashes are stored.
#[derive(Debug, Serialize)]
struct StoreStatus {
    minutes: usize,
    oldest: Option<String>,
    newest: Option<String>,
}

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let status = Status::ask(&config).await;
        if args.json {
            print::json(&status)?;
        } else {
            status.print();
        }
        Ok(if status.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

impl Status {
    async fn ask(config: &Config) -> Self {
        let at = Timestamp::now();
        let mut errors = Vec::new();
        let mut told = |what: &str, error: anyhow::Error| errors.push(format!("{what}: {error:#}"));
        let queues = match queue::depths(&config.queue).await {
            Ok(depths) => depths,
            Err(error) => {
                told("the broker could not be asked", error.into());
                vec![]
            }
        };
        let facts_today =
            facts_on(config, at).await.map_err(|error| told("the database could not be asked", error)).ok();
        let journal = queue::journal_depth(&config.queue)
            .map(|depth| JournalStatus { crashes: depth.ids, oldest: depth.oldest })
            .map_err(|error| told("the journal could not be read", error.into()))
            .ok();
        let store =
            stored(config).await.map_err(|error| told("the crash store could not be read", error)).ok();
        Self {
            at,
            queues: queues
                .into_iter()
                .map(|depth| QueueStatus { name: depth.name, ready: depth.ready, consumers: depth.consumers })
                .collect(),
            journal,
            store,
            facts_today,
            errors,
        }
    }

    fn print(&self) {
        println!("{:<28} {:>10} {:>10}", "queue", "waiting", "consumers");
        for queue in &self.queues {
            println!("{:<28} {:>10} {:>10}", queue.name, queue.ready, queue.consumers);
        }
        println!();
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
        if let Some(count) = self.facts_today {
            print::field("facts today", &count.to_string());
        }
        for error in &self.errors {
            print::field("error", error);
        }
    }
}

async fn facts_on(config: &Config, at: Timestamp) -> anyhow::Result<u64> {
    let today = at.to_zoned(jiff::tz::TimeZone::UTC).date();
    Ok(Facts::connect(&config.facts).await?.count_on(today).await?)
}

async fn stored(config: &Config) -> anyhow::Result<StoreStatus> {
    let minutes = CrashStore::open(&config.crashstore)?.minutes(Area::Raw).await?;
    let text = |minute: Option<&Minute>| minute.map(ToString::to_string);
    Ok(StoreStatus { minutes: minutes.len(), oldest: text(minutes.first()), newest: text(minutes.last()) })
}
