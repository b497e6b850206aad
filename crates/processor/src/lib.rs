//! Takes crash ids from the queue and turns raw crashes into processed crashes and facts.
//!
//! The flow of one crash is in `process`: fetch, stackwalk, rules, signature, save, record, acknowledge. What
//! becomes of a crash that failed is decided in one place, `outcome`. [`transform`] is the part without any
//! service, for commands that process a single dump. Start reading at [`run`].

mod config;
mod metrics;
mod outcome;
mod patience;
mod process;
mod report;
mod rules;
mod saver;
mod transform;
mod walk;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use crash::{CrashId, ThrottleDigit};
use crashstore::CrashStore;
use daemon::Need;
use facts::Facts;
use jiff::Timestamp;
use queue::{BrokerState, Consumer, Prefetch};
use serde::Serialize;
use signature::{Generator, ListError, Lists};
use stackwalk::{Pool, WorkerCommand};
use tokio::{sync::Semaphore, task::JoinSet};

pub use config::Config;
pub use transform::{Circumstances, is_minidump, transform};

use crate::{
    patience::{GIVE_UP_AFTER, Look, Patience, chain},
    process::{Processor, Waits},
    report::{Reporter, Tally},
    saver::Saver,
};

/// How often the database is asked how it is.
const ASK_DATABASE_EVERY: Duration = Duration::from_secs(10);

/// The sections of the configuration that a processor reads.
#[derive(Debug, Clone, Serialize)]
pub struct Sections {
    /// `[processor]`
    pub processor: Config,
    /// `[crashstore]`
    pub crashstore: crashstore::Config,
    /// `[queue]`
    pub queue: queue::Config,
    /// `[facts]`
    pub facts: facts::Config,
    /// `[stackwalk]`
    pub stackwalk: stackwalk::Config,
    /// How a worker process is started; it gets `[symbols]` and `[stackwalk]` along.
    #[serde(skip)]
    pub worker: WorkerCommand,
}

/// Turns queued raw crashes into processed crashes until asked to stop; then finishes those that it has begun.
///
/// # Errors
/// When the crash store cannot be opened, the database's schema is not one that this release knows, or no worker
/// can be started.
pub async fn run(ctx: daemon::Context<Sections>) -> anyhow::Result<()> {
    let signatures = signatures(&ctx.config.processor).context("reading the signature lists")?;
    let name = format!("{}-processor", ctx.node);
    let crashes = CrashStore::open(&ctx.config.crashstore).context("opening the crash store")?;
    let writer = crashes.writer(&name).context("opening a segment writer of the crash store")?;
    let facts = Facts::connect(&ctx.config.facts).await.context("connecting to PostgreSQL")?;
    let pool = Pool::start(ctx.config.worker.clone(), &ctx.config.stackwalk)
        .await
        .context("starting the stackwalk workers")?;
    let prefetch =
        Prefetch { workers: ctx.config.stackwalk.workers, unsaved: ctx.config.processor.save_batch };
    let mut consumer = Consumer::start(&ctx.config.queue, prefetch, ctx.shutdown.clone())
        .await
        .context("consuming from RabbitMQ")?;

    let waits = waits(&ctx, &consumer, &facts, &crashes, &pool);
    let tally = Arc::new(Tally::default());
    let reporter = Reporter::start(&ctx, facts.clone(), tally.clone(), consumer.valve());
    watch_database(&ctx, facts.clone());
    let saver = Saver::start(facts.clone(), &ctx.config.processor, waits.database.clone());
    let processor = Arc::new(Processor {
        config: ctx.config.processor.clone(),
        node: ctx.node.clone(),
        crashes,
        writer: writer.clone(),
        facts,
        pool: pool.clone(),
        signatures,
        saver,
        waits,
        tally: tally.clone(),
        degraded_delays: ctx.config.queue.degraded_delays.clone(),
        shutdown: ctx.shutdown.clone(),
        broken: OnceLock::new(),
    });
    let broker = ctx.health.dependency("rabbitmq", Need::Required);
    broker.follow(consumer.state(), BrokerState::why_down, ctx.shutdown.clone());
    ctx.ready();

    // A crash is taken when a worker is about to be free for it, and one more so that its bytes are there by then. So
    // the most urgent crash is next, and no more raw crashes are in memory than can be walked.
    let turns = Arc::new(Semaphore::new(ctx.config.stackwalk.workers.saturating_add(1)));
    // Each crash is acknowledged only after `process` has saved its result, so a processor that dies hands its
    // crashes to the next one. The broker bounds how many are here at once: those not acknowledged yet.
    let mut in_flight = JoinSet::new();
    loop {
        let turn = Arc::clone(&turns).acquire_owned().await.expect("the semaphore is never closed");
        let Some(delivery) = consumer.next().await else { break };
        tally.taken(delivery.queue, delivery.message.enqueued_at);
        let processor = Arc::clone(&processor);
        in_flight.spawn(async move { processor.process(delivery, turn).await });
        while in_flight.try_join_next().is_some() {}
    }
    let refused = match &*consumer.state().borrow() {
        BrokerState::Refused { reason } => Some(reason.clone()),
        _ => None,
    };
    tracing::info!(crashes = in_flight.len(), "finishing the crashes in flight");
    while in_flight.join_next().await.is_some() {}
    reporter.leave().await;
    drop(consumer);
    pool.close().await;
    writer.close().await;
    if let Some(reason) = refused {
        return Err(anyhow::anyhow!(reason).context("consuming from RabbitMQ"));
    }
    match processor.broken.get() {
        Some(reason) => Err(anyhow::anyhow!(reason.clone()).context("writing to the crash store")),
        None => Ok(()),
    }
}

/// What makes signatures, with the configured lists.
///
/// # Errors
/// When a list cannot be read, or has an entry that cannot be taken.
pub fn signatures(config: &Config) -> Result<Generator, ListError> {
    let lists = config.signature_lists.as_deref().map_or_else(|| Ok(Lists::built_in()), Lists::read)?;
    Ok(Generator::new(lists))
}

/// How this processor waits for what may be down; each is a line on the health page.
fn waits(
    ctx: &daemon::Context<Sections>,
    consumer: &Consumer,
    facts: &Facts,
    crashes: &CrashStore,
    pool: &Pool,
) -> Waits {
    let patience = |name: &'static str, look: Look| {
        let dependency = ctx.health.dependency(name, Need::Required);
        // All of them answered a moment ago.
        dependency.up();
        Patience {
            name,
            dependency,
            valve: consumer.valve(),
            longest_pause: ctx.config.processor.longest_pause.get(),
            give_up_after: GIVE_UP_AFTER,
            shutdown: ctx.shutdown.clone(),
            look,
            looking: Arc::default(),
        }
    };
    let (facts, crashes, pool) = (facts.clone(), crashes.clone(), pool.clone());
    Waits {
        database: patience("postgresql", look(move || ping(facts.clone()))),
        store: patience("crashstore", look(move || read(crashes.clone()))),
        workers: patience("workers", look(move || walk(pool.clone()))),
    }
}

fn look<F>(once: impl Fn() -> F + Send + Sync + 'static) -> Look
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    Arc::new(move || Box::pin(once()))
}

async fn ping(facts: Facts) -> Result<(), String> {
    facts.ping().await.map_err(|error| chain(&error))
}

/// Looks for a crash that is not there. That something can be written shows when it is tried.
async fn read(crashes: CrashStore) -> Result<(), String> {
    let nobody = CrashId::new(Timestamp::now(), ThrottleDigit::Accept, rand::random());
    let nobody = nobody.map_err(|error| error.to_string())?;
    crashes.find(nobody).await.map(drop).map_err(|error| chain(&error))
}

/// Walks a dump without a byte.
async fn walk(pool: Pool) -> Result<(), String> {
    pool.walk(bytes::Bytes::new()).await.map(drop).map_err(|error| chain(&error))
}

/// Asks the database now and then how it is, so that the health page knows it also when no crash comes.
fn watch_database(ctx: &daemon::Context<Sections>, facts: Facts) {
    let shutdown = ctx.shutdown.clone();
    let database = ctx.health.dependency("postgresql", Need::Required);
    tokio::spawn(async move {
        while shutdown.run_until_cancelled(tokio::time::sleep(ASK_DATABASE_EVERY)).await.is_some() {
            match facts.ping().await {
                Ok(()) => database.up(),
                Err(error) => database.down(error.to_string()),
            }
        }
    });
}
