//! The flow of one crash: fetch, stackwalk, rules, signature, save, record, acknowledge.

use std::time::Instant;

use crash::{ProcessedCrash, RawCrash};
use crashstore::{CrashStore, Writer};
use facts::{Attempt, CrashFact, DeadLetter, Facts};
use jiff::Timestamp;
use queue::{Delivery, Message, Retried};
use stackwalk::Pool;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    config::Config,
    metrics::Metrics,
    outcome::{Failure, Verdict},
    saver::Saver,
    transform::{Circumstances, transform},
    walk::walk_dumps,
};

/// What every crash needs.
pub(crate) struct Processor {
    pub(crate) config: Config,
    pub(crate) node: String,
    pub(crate) crashes: CrashStore,
    pub(crate) writer: Writer,
    pub(crate) facts: Facts,
    pub(crate) pool: Pool,
    pub(crate) saver: Saver,
    pub(crate) shutdown: CancellationToken,
}

impl Processor {
    /// Processes one delivery and gives its verdict to the broker.
    pub(crate) async fn process(&self, delivery: Delivery) {
        let id = delivery.message.crash_id;
        let span = tracing::info_span!("crash", crash_id = %id, queue = %delivery.queue, attempt = delivery.message.attempt);
        async move {
            let started = Instant::now();
            let result = self.result_of(&delivery.message).await;
            let (verdict, told) = match result {
                Ok(()) => ("processed", delivery.ack().await),
                Err(failure) => self.dispose(delivery, &failure).await,
            };
            Metrics::job(verdict);
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

    async fn result_of(&self, message: &Message) -> Result<(), Failure> {
        let started_at = Timestamp::now();
        let raw = self.fetch(message).await?;
        let processed = self.transform(raw, message, started_at).await?;
        self.save(processed).await
    }

    async fn fetch(&self, message: &Message) -> Result<RawCrash, Failure> {
        let started = Instant::now();
        let raw = self.crashes.raw(message.crash_id, message.place.as_ref()).await.map_err(Failure::Fetch)?;
        Metrics::stage("fetch", started);
        raw.ok_or(Failure::NotInStore)
    }

    async fn transform(
        &self,
        raw: RawCrash,
        message: &Message,
        started_at: Timestamp,
    ) -> Result<ProcessedCrash, Failure> {
        let started = Instant::now();
        let is_last_attempt = || message.attempt >= self.config.walk_attempts;
        let dumps = walk_dumps(&self.pool, &raw, is_last_attempt).await?;
        Metrics::stage("walk", started);

        let started = Instant::now();
        let circumstances = Circumstances {
            node: self.node.clone(),
            attempt: message.attempt,
            started_at,
            completed_at: Timestamp::now(),
        };
        let processed = transform(&raw, dumps, circumstances);
        Metrics::stage("rules", started);
        Ok(processed)
    }

    /// The processed crash first, then the fact: where a fact is, its processed crash can be read.
    async fn save(&self, processed: ProcessedCrash) -> Result<(), Failure> {
        let started = Instant::now();
        self.writer.save_processed(&processed).await.map_err(Failure::Save)?;
        Metrics::stage("save:store", started);

        let started = Instant::now();
        self.saver.save(CrashFact::of(&processed)).await?;
        Metrics::stage("save:facts", started);
        Ok(())
    }

    /// Does what the failure's verdict says; returns the name of what was done.
    async fn dispose(
        &self,
        delivery: Delivery,
        failure: &Failure,
    ) -> (&'static str, Result<(), queue::Error>) {
        match failure.verdict() {
            Verdict::GiveBack => ("given_back", delivery.give_back().await),
            Verdict::Retry => {
                tracing::warn!(reason = failure.detail(), "the crash is tried again later");
                let message = delivery.message.clone();
                match delivery.retry(failure.reason()).await {
                    Ok(Retried::Later(_)) => {
                        self.record_attempt(&message, failure).await;
                        ("retried", Ok(()))
                    }
                    Ok(Retried::Exhausted(delivery)) => self.dead_letter(delivery, failure).await,
                    Err(error) => ("retried", Err(error)),
                }
            }
            Verdict::DeadLetter => self.dead_letter(delivery, failure).await,
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
        let recorded = self.saver.patiently(|| self.facts.record_dead_letter(&letter)).await;
        match recorded {
            Ok(()) => ("dead", delivery.dead(failure.reason()).await),
            Err(_) if self.shutdown.is_cancelled() => ("given_back", delivery.give_back().await),
            Err(error) => {
                tracing::error!(
                    error = error.detail(),
                    "the dead letter could not be recorded; the crash is parked all the same"
                );
                ("dead", delivery.dead(failure.reason()).await)
            }
        }
    }

    /// Leaves a row that says why the crash is tried again; a crash is not held up by a database that is down.
    async fn record_attempt(&self, message: &Message, failure: &Failure) {
        let attempt = Attempt {
            crash_id: message.crash_id,
            attempt: message.attempt,
            at: Timestamp::now(),
            node: self.node.clone(),
            stage: failure.stage().to_owned(),
            outcome: facts::Outcome::Retry,
            reason: failure.reason().to_owned(),
            detail: Some(failure.detail()),
        };
        if let Err(error) = self.facts.record_attempt(&attempt).await {
            tracing::warn!(crash_id = %message.crash_id, %error, "the failed attempt could not be recorded");
        }
    }
}
