//! Saves facts in batches, and waits for a database that is down.

use std::{future::Future, time::Duration};

use daemon::Dependency;
use facts::{CrashFact, Facts};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, outcome::Failure};

/// The first pause before a database that is down is tried again; it doubles up to the configured one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Hands facts to the one task that saves them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Saver {
    facts: mpsc::Sender<Waiting>,
    patience: Patience,
}

/// A fact whose processor waits for it to be committed.
struct Waiting {
    fact: CrashFact,
    saved: oneshot::Sender<Result<(), Failure>>,
}

impl Saver {
    /// Starts the saving task. It ends when every handle is gone.
    ///
    /// A batch is what came while the batch before it was saved: alone a fact does not wait, under load many share
    /// one transaction.
    pub(crate) fn start(
        facts: Facts,
        config: &Config,
        dependency: Dependency,
        shutdown: CancellationToken,
    ) -> Self {
        let (sender, mut receiver) = mpsc::channel(config.save_batch);
        let patience = Patience { longest: config.database_retry.into(), dependency, shutdown };
        let batch_size = config.save_batch;
        let batch_patience = patience.clone();
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(batch_size);
            while receiver.recv_many(&mut batch, batch_size).await > 0 {
                save(&facts, &batch_patience, std::mem::take(&mut batch)).await;
            }
        });
        Self { facts: sender, patience }
    }

    /// Saves one fact; returns when it is committed.
    ///
    /// # Errors
    /// [`Failure::Refused`] when the database will never take it, [`Failure::Stopping`] when the processor stops
    /// while the database is down.
    pub(crate) async fn save(&self, fact: CrashFact) -> Result<(), Failure> {
        let (saved, answer) = oneshot::channel();
        self.facts.send(Waiting { fact, saved }).await.map_err(|_| Failure::Stopping)?;
        answer.await.map_err(|_| Failure::Stopping)?
    }

    /// Runs a database operation, as often as it takes, while the database is down.
    pub(crate) async fn patiently<T, F>(&self, operation: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, facts::Error>>,
    {
        self.patience.run(operation).await
    }
}

async fn save(facts: &Facts, patience: &Patience, batch: Vec<Waiting>) {
    let (rows, waiting): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.fact, waiting.saved)).unzip();
    let result = patience.run(|| facts.save(&rows)).await;
    for (row, waiting) in rows.iter().zip(waiting) {
        let answer = match &result {
            Ok(saved) => match saved.rejected.iter().find(|(id, _)| *id == row.crash_id) {
                Some((_, reason)) => Err(Failure::Refused(reason.clone())),
                None => Ok(()),
            },
            Err(Failure::Refused(reason)) => Err(Failure::Refused(reason.clone())),
            Err(_) => Err(Failure::Stopping),
        };
        // A processor that no longer waits has given its crash back; doing it again gives the same row.
        drop(waiting.send(answer));
    }
}

/// How long the processor waits for its database: until it is back, or the processor stops.
#[derive(Clone)]
struct Patience {
    longest: Duration,
    dependency: Dependency,
    shutdown: CancellationToken,
}

impl Patience {
    async fn run<T, F>(&self, mut operation: impl FnMut() -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, facts::Error>>,
    {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match operation().await {
                Ok(value) => {
                    self.dependency.up();
                    return Ok(value);
                }
                Err(error) if error.is_unavailable() || error.is_transient() => error,
                Err(error) => return Err(Failure::Refused(error.to_string())),
            };
            self.dependency.down(error.to_string());
            tracing::warn!(%error, retry_ms = pause.as_millis(), "the database cannot save now; crashes wait for it");
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
                () = self.shutdown.cancelled() => return Err(Failure::Stopping),
            }
            pause = (pause * 2).min(self.longest);
        }
    }
}
