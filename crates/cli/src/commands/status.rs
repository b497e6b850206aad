//! `crashmill status`: how far behind everything is.

use std::process::ExitCode;

use facts::Facts;
use jiff::Timestamp;
use serde::Serialize;

use crate::{args::Place, config::Config, print};

/// Show queues, journal and facts.
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
    journal: JournalStatus,
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

pub(crate) fn run(place: &Place, args: &Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(place)?;
    print::block_on(async {
        let status = Status::ask(&config).await?;
        if args.json {
            print::json(&status)?;
        } else {
            status.print();
        }
        Ok(if status.errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

impl Status {
    async fn ask(config: &Config) -> anyhow::Result<Self> {
        let at = Timestamp::now();
        let mut errors = Vec::new();
        let queues = match queue::depths(&config.queue).await {
            Ok(depths) => depths,
            Err(error) => {
                errors.push(format!("the broker could not be asked: {:#}", anyhow::Error::from(error)));
                vec![]
            }
        };
        let facts_today = match facts_on(config, at).await {
            Ok(count) => Some(count),
            Err(error) => {
                errors.push(format!("the database could not be asked: {error:#}"));
                None
            }
        };
        let journal = queue::journal_depth(&config.queue)?;
        Ok(Self {
            at,
            queues: queues
                .into_iter()
                .map(|depth| QueueStatus { name: depth.name, ready: depth.ready, consumers: depth.consumers })
                .collect(),
            journal: JournalStatus { crashes: journal.ids, oldest: journal.oldest },
            facts_today,
            errors,
        })
    }

    fn print(&self) {
        println!("{:<28} {:>10} {:>10}", "queue", "waiting", "consumers");
        for queue in &self.queues {
            println!("{:<28} {:>10} {:>10}", queue.name, queue.ready, queue.consumers);
        }
        println!();
        let oldest =
            self.journal.oldest.map(|oldest| format!(", the oldest since {oldest}")).unwrap_or_default();
        print::field("journal", &format!("{} crashes wait for the broker{oldest}", self.journal.crashes));
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
