//! The flow of one crash: fetch, stackwalk, rules, signature, save, record, acknowledge.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use crash::{CrashId, ProcessedCrash, RawCrash};
use crashstore::{Area, CrashStore, Writer};
use facts::{Attempt, CrashFact, DeadLetter, Facts, Lacks};
use jiff::Timestamp;
use queue::{Delivery, Later, Message};
use signature::Generator;
use stackwalk::Pool;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    config::Config,
    metrics::Metrics,
    outcome::{self, Failure, Verdict, store_may_recover},
    patience::{Ended, Patience, chain},
    report::Tally,
    saver::Saver,
    transform::{Circumstances, transform},
    walk::walk_dumps,
};

/// How long a verdict is given again and again. RabbitMQ takes a delivery for forgotten after 30 minutes.
const TELL_FOR: Duration = Duration::from_secs(10 * 60);

/// What every crash needs.
pub(crate) struct Processor {
    pub(crate) config: Config,
    pub(crate) node: String,
    pub(crate) crashes: CrashStore,
    pub(crate) writer: Writer,
    pub(crate) facts: Facts,
    pub(crate) pool: Pool,
    pub(crate) signatures: Generator,
    pub(crate) saver: Saver,
    pub(crate) waits: Waits,
    pub(crate) tally: Arc<Tally>,
    /// How long a crash that lacks a part waits until it is processed again.
    pub(crate) degraded_delays: Vec<settings::Duration>,
    pub(crate) shutdown: CancellationToken,
    /// Why this process cannot go on, once it cannot.
    pub(crate) broken: OnceLock<String>,
}

/// A verdict that is published.
#[derive(Clone, Copy)]
enum Word<'a> {
    Retry(&'a Later),
    PutOff,
    Dead,
}

/// How to wait for each of the things that may be down.
pub(crate) struct Waits {
    pub(crate) database: Patience,
    pub(crate) store: Patience,
    pub(crate) workers: Patience,
}

impl Processor {
    /// Processes one delivery and gives its verdict to the broker. `turn` is given back once the stacks are walked:
    /// what is left is waiting for disk and database.
    pub(crate) async fn process(&self, delivery: Delivery, turn: OwnedSemaphorePermit) {
        let id = delivery.message.crash_id;
        let span = tracing::info_span!("crash", crash_id = %id, queue = %delivery.queue, attempt = delivery.message.attempt);
        async move {
            let started = Instant::now();
            let result = match Failure::by_returns(delivery.returns) {
                Some(failure) => Err(failure),
                None => self.result_of(&delivery.message, turn).await,
            };
            let queue = delivery.queue;
            let (verdict, told) = match result {
                Ok(()) => ("processed", delivery.ack().await),
                Err(failure) => self.dispose(delivery, &failure).await,
            };
            Metrics::job(verdict);
            if told.is_ok() && !matches!(verdict, "given_back" | "put_off") {
                self.tally.done(queue);
            }
            Metrics::stage("total", started);
            match told {
                Ok(()) => {
                    tracing::debug!(
                        verdict,
                        duration_ms = started.elapsed().as_millis(),
                        "the crash is done"
                    );
                }
                // The broker delivers it again, and doing it again gives the same row.
                Err(error) => tracing::warn!(verdict, %error, "the verdict did not reach the broker"),
            }
        }
        .instrument(span)
        .await;
    }

    async fn result_of(&self, message: &Message, turn: OwnedSemaphorePermit) -> Result<(), Failure> {
        let started_at = Timestamp::now();
        let Some(raw) = self.fetch(message).await? else { return self.already_done(message.crash_id).await };
        let mut processed = self.transform(raw, message, started_at).await?;
        drop(turn);
        let lacks = outcome::lacks(&processed, &self.degraded_delays, rand::random());
        processed.notes.extend(lacks.iter().map(outcome::note));
        self.save(processed, lacks).await
    }

    async fn fetch(&self, message: &Message) -> Result<Option<RawCrash>, Failure> {
        let started = Instant::now();
        let read = || self.crashes.raw(message.crash_id, message.place.as_ref());
        let raw = self.waits.store.run(read, store_may_recover).await?;
        Metrics::stage("fetch", started);
        Ok(raw)
    }

    /// A crash that has its fact may expire, and any may be erased, while its id is still on a queue.
    async fn already_done(&self, id: CrashId) -> Result<(), Failure> {
        let erased = self
            .waits
            .database
            .run(|| self.facts.erased(std::slice::from_ref(&id)), facts::Error::is_transient);
        if !erased.await?.is_empty() {
            return self.erase_again(id).await;
        }
        let frames = self.waits.store.run(|| self.crashes.find(id), store_may_recover).await?;
        if frames.iter().any(|frame| frame.area == Area::Raw && frame.erased) {
            return Ok(());
        }
        // An object store keeps no trace of what was erased.
        if self.waits.database.run(|| self.facts.is_erased(id), facts::Error::is_transient).await? {
            return Ok(());
        }
        let fact = self.waits.database.run(|| self.facts.fact(id), facts::Error::is_transient).await?;
        fact.map(drop).ok_or(Failure::NotInStore)
    }

    async fn transform(
        &self,
        raw: RawCrash,
        message: &Message,
        started_at: Timestamp,
    ) -> Result<ProcessedCrash, Failure> {
        let started = Instant::now();
        let is_last_attempt = || message.attempt >= self.config.walk_attempts;
        let dumps = walk_dumps(&self.pool, &self.waits.workers, &raw, is_last_attempt).await?;
        Metrics::stage("walk", started);

        let started = Instant::now();
        let circumstances = Circumstances {
            node: self.node.clone(),
            attempt: message.attempt,
            started_at,
            completed_at: Timestamp::now(),
        };
        let processed = transform(&raw, dumps, circumstances, &self.signatures);
        Metrics::stage("rules", started);
        Ok(processed)
    }

    /// The processed crash first, then the fact: where a fact is, its processed crash can be read.
    async fn save(&self, processed: ProcessedCrash, lacks: Vec<Lacks>) -> Result<(), Failure> {
        let started = Instant::now();
        let write = || self.writer.save_processed(&processed);
        let may_recover = |error: &crashstore::Error| !self.is_broken(error) && store_may_recover(error);
        match self.waits.store.run(write, may_recover).await {
            Err(Ended::Failed(error)) if self.is_broken(&error) => return Err(Failure::Stopping),
            other => other?,
        };
        Metrics::stage("save:store", started);

        let started = Instant::now();
        lacks.iter().for_each(|lacks| Metrics::degraded(lacks.part));
        let saved = self.saver.save(CrashFact { lacks, ..CrashFact::of(&processed) }).await;
        Metrics::stage("save:facts", started);
        match saved {
            Err(Failure::Erased) => self.erase_again(processed.crash_id).await,
            other => other,
        }
    }

    /// Erases what this processor, or one that was killed, saved of a crash after that was erased.
    async fn erase_again(&self, id: CrashId) -> Result<(), Failure> {
        self.waits.store.run(|| self.crashes.erase(id), store_may_recover).await?;
        tracing::info!("the crash is erased: nothing of it was saved");
        Ok(())
    }

    /// Whether this process can never write to the store again; it then stops, to be started anew.
    fn is_broken(&self, error: &crashstore::Error) -> bool {
        let is_broken =
            matches!(error, crashstore::Error::Closed { .. } | crashstore::Error::UntrustedFolder { .. });
        if is_broken && self.broken.set(chain(error)).is_ok() {
            self.shutdown.cancel();
        }
        is_broken
    }

    /// Does what the failure's verdict says; returns the name of what was done.
    async fn dispose(
        &self,
        delivery: Delivery,
        failure: &Failure,
    ) -> (&'static str, Result<(), queue::Error>) {
        match (failure.verdict(), delivery.later()) {
            (Verdict::GiveBack, _) => ("given_back", delivery.give_back().await),
            (Verdict::PutOff, _) => {
                tracing::warn!(reason = failure.detail(), "the crash is put off");
                ("put_off", self.tell(&delivery, Word::PutOff, failure).await)
            }
            (Verdict::Retry, Some(later)) => {
                tracing::warn!(reason = failure.detail(), "the crash is tried again later");
                // Before it is published, so that nothing is ever retried without a word about why. Killed in between, the
                // processor leaves a row about an attempt that is made anew, and that then takes the row's place.
                self.record_attempt(&delivery.message, failure, Some(later.delay)).await;
                ("retried", self.tell(&delivery, Word::Retry(&later), failure).await)
            }
            (Verdict::Retry, None) | (Verdict::DeadLetter, _) => self.dead_letter(delivery, failure).await,
        }
    }

    /// Records the dead letter, then parks the message, then acknowledges it.
    async fn dead_letter(
        &self,
        delivery: Delivery,
        failure: &Failure,
    ) -> (&'static str, Result<(), queue::Error>) {
        tracing::error!(
            stage = failure.stage(),
            reason = failure.detail(),
            "the crash cannot be processed and is now a dead letter; see `crashmill where`"
        );
        let letter = DeadLetter {
            crash_id: delivery.message.crash_id,
            died_at: Timestamp::now(),
            stage: failure.stage().to_owned(),
            reason: failure.reason().to_owned(),
            attempts: delivery.message.attempt,
            detail: Some(failure.detail()),
        };
        self.record_attempt(&delivery.message, failure, None).await;
        let record = || self.facts.record_dead_letter(&letter);
        match self.waits.database.run(record, facts::Error::is_transient).await {
            Ok(()) => {}
            Err(Ended::Stopping) => return ("given_back", delivery.give_back().await),
            Err(Ended::InVain { .. }) => {
                return ("put_off", self.tell(&delivery, Word::PutOff, failure).await);
            }
            Err(Ended::Failed(error)) => tracing::error!(
                error = chain(&error),
                "the dead letter could not be recorded; the crash is parked all the same"
            ),
        }
        ("dead", self.tell(&delivery, Word::Dead, failure).await)
    }

    /// Gives a verdict that publishes, as often as it takes while the broker takes no messages: a crash that is given back
    /// instead comes again at once, and costs the same work in vain.
    async fn tell(&self, delivery: &Delivery, word: Word<'_>, failure: &Failure) -> Result<(), queue::Error> {
        let since = Instant::now();
        loop {
            let told = match word {
                Word::Retry(later) => delivery.retry(later, failure.reason()).await,
                Word::PutOff => delivery.put_off().await.map(drop),
                Word::Dead => delivery.dead(failure.reason()).await,
            };
            let Err(error) = told else { return Ok(()) };
            if !delivery.is_ours() || since.elapsed() > TELL_FOR {
                return Err(error);
            }
            tracing::debug!(reason = chain(&error), "the verdict could not be published; it is given again");
            let pause = self.config.longest_pause.get().mul_f64(rand::random_range(0.25..0.5));
            if self.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Err(error);
            }
        }
    }

    /// Leaves a row that says why the attempt failed, and after which delay there is another; a crash is not held up by a
    /// database that is down.
    async fn record_attempt(&self, message: &Message, failure: &Failure, again_after: Option<Duration>) {
        let at = Timestamp::now();
        let attempt = Attempt {
            crash_id: message.crash_id,
            attempt: message.attempt,
            at,
            node: self.node.clone(),
            stage: failure.stage().to_owned(),
            outcome: if again_after.is_some() { facts::Outcome::Retry } else { facts::Outcome::Dead },
            reason: failure.reason().to_owned(),
            detail: Some(failure.detail()),
            due_at: again_after.and_then(|delay| at.checked_add(delay).ok()),
        };
        if let Err(error) = self.facts.record_attempt(&attempt).await {
            tracing::warn!(crash_id = %message.crash_id, %error, "the failed attempt could not be recorded");
        }
    }
}
