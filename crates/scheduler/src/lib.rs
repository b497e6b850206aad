//! Does what has to be done from time to time: timed jobs, one file a job.
//!
//! Every scheduler of an installation can do them, and one does: the leader. A job keeps nothing that the next leader
//! would need, and each of its passes may end anywhere and be done twice. This crate must not know what a crash means,
//! nor HTTP. Start reading at [`run`], then `job`, which is the life of every job, and the jobs in `jobs`.

mod config;
pub mod erase;
pub mod expire;
mod forecast;
mod job;
mod jobs;
mod leader;
mod metrics;
mod record;
mod retention;

use std::time::Duration;

use anyhow::Context as _;
use crashstore::CrashStore;
use daemon::Need;
use facts::Facts;
use jiff::Timestamp;
use queue::{BrokerState, Publisher};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use forecast::{AreaForecast, DiskForecast, Due, Forecast, Next, forecast};
pub use jobs::{Collected, collect};
pub use retention::{Keep, Kept, Retention};

use crate::{
    job::keep_doing,
    jobs::{Again, Backlog, Compact, Erasures, Expire, Letters, Partitions, Sweep, Tails},
    metrics::Metrics,
};

/// How often the database is asked how it is.
const ASK_DATABASE_EVERY: Duration = Duration::from_secs(10);
/// How often the database is asked how the jobs fare.
const ASK_ABOUT_JOBS_EVERY: Duration = Duration::from_secs(15);
/// How long what is in the journal may still be published at the end; the rest is published at the next start.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The sections of the configuration that a scheduler reads.
#[derive(Debug, Clone, Serialize)]
pub struct Sections {
    /// `[scheduler]`
    pub scheduler: Config,
    /// `[crashstore]`
    pub crashstore: crashstore::Config,
    /// `[queue]`
    pub queue: queue::Config,
    /// `[retention]`
    pub retention: Retention,
    /// `[facts]`
    pub facts: facts::Config,
}

/// Does the timed jobs, or waits for the scheduler that does them to be gone, until asked to stop.
///
/// # Errors
/// When the crash store or the journal cannot be opened, or the database's schema is not one that this release knows.
pub async fn run(ctx: daemon::Context<Sections>) -> anyhow::Result<()> {
    let name = format!("{}-scheduler", ctx.node);
    let crashes = CrashStore::open(&ctx.config.crashstore).context("opening the crash store")?;
    let facts = Facts::connect(&ctx.config.facts).await.context("connecting to PostgreSQL")?;
    // It outlives the first signal: what is being published then still gets its answer.
    let publisher_shutdown = CancellationToken::new();
    let publisher = Publisher::start(&ctx.config.queue, &name, publisher_shutdown.clone())
        .await
        .context("opening the journal of unpublished crash ids")?;
    Metrics::begin();
    watch_database(&ctx, facts.clone());
    watch_jobs(&ctx, facts.clone());
    // Without a broker the other jobs go on.
    let broker = ctx.health.dependency("rabbitmq", Need::Optional);
    broker.follow(publisher.state(), BrokerState::why_down, ctx.shutdown.clone());
    ctx.ready();

    let lead_every = ctx.config.scheduler.lead_every.get();
    leader::lead(&ctx, &facts, lead_every, |stop| {
        begin(&ctx.config, &ctx.node, &crashes, &facts, &publisher, stop)
    })
    .await;

    publisher.close(CLOSE_TIMEOUT).await;
    publisher_shutdown.cancel();
    Ok(())
}

/// Starts every job, each in a task of its own.
fn begin(
    config: &Sections,
    node: &str,
    crashes: &CrashStore,
    facts: &Facts,
    publisher: &Publisher,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let Sections { scheduler, queue, retention, facts: section, .. } = config;
    let sweep = Sweep::new(
        scheduler.clone(),
        retention.facts,
        crashes.clone(),
        facts.clone(),
        queue.clone(),
        publisher.clone(),
    );
    let partitions = Partitions { facts: facts.clone(), days_ahead: section.partition_days_ahead };
    let tails = Tails { crashes: crashes.clone() };
    let backlog = Backlog::new(facts.clone(), queue.clone(), node.to_owned());
    let letters = Letters { facts: facts.clone(), crashes: crashes.clone(), queue: queue.clone() };
    let delays = queue.degraded_delays.clone();
    let again = Again { facts: facts.clone(), publisher: publisher.clone(), delays };
    let (crashes, retention) = (crashes.clone(), retention.clone());
    let after = scheduler.compact_after.get();
    let compact = Compact { crashes: crashes.clone(), facts: facts.clone(), after };
    let erasures = Erasures { crashes: crashes.clone(), facts: facts.clone() };
    let expire = Expire { crashes, facts: facts.clone(), retention };

    let mut jobs = JoinSet::new();
    let (facts, stop) = (|| facts.clone(), || stop.clone());
    jobs.spawn(keep_doing(partitions, scheduler.partitions_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(backlog, scheduler.backlog_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(letters, scheduler.letters_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(again, scheduler.degraded_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(tails, scheduler.tails_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(compact, scheduler.compact_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(erasures, scheduler.erasures_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(expire, scheduler.expire_every.get(), facts(), stop()));
    jobs.spawn(keep_doing(sweep, scheduler.sweep_every.get(), facts(), stop()));
    jobs
}

/// Shows how long ago each job ended well, in every scheduler: also when none leads.
fn watch_jobs(ctx: &daemon::Context<Sections>, facts: Facts) {
    let shutdown = ctx.shutdown.clone();
    tokio::spawn(async move {
        let mut known = Vec::new();
        loop {
            // While the database does not answer, what it said last grows older.
            known = facts.last_jobs().await.unwrap_or(known);
            Metrics::last_successes(&known, Timestamp::now());
            if shutdown.run_until_cancelled(tokio::time::sleep(ASK_ABOUT_JOBS_EVERY)).await.is_none() {
                return;
            }
        }
    });
}

/// Asks the database now and then how it is, for the health page.
fn watch_database(ctx: &daemon::Context<Sections>, facts: Facts) {
    let database = ctx.health.dependency("postgresql", Need::Required);
    let shutdown = ctx.shutdown.clone();
    // It was connected to a moment ago.
    database.up();
    tokio::spawn(async move {
        while shutdown.run_until_cancelled(tokio::time::sleep(ASK_DATABASE_EVERY)).await.is_some() {
            match facts.ping().await {
                Ok(()) => database.up(),
                Err(error) => database.down(error.to_string()),
            }
        }
    });
}
