//! Saves facts in batches.

use facts::{CrashFact, Facts};
use tokio::sync::{mpsc, oneshot};

use crate::{config::Config, outcome::Failure, patience::Patience};

/// Hands facts to the one task that saves them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Saver {
    facts: mpsc::Sender<Waiting>,
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
    pub(crate) fn start(facts: Facts, config: &Config, patience: Patience) -> Self {
        let batch_size = config.save_batch;
        let (sender, mut receiver) = mpsc::channel(batch_size);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(batch_size);
            while receiver.recv_many(&mut batch, batch_size).await > 0 {
                save(&facts, &patience, std::mem::take(&mut batch)).await;
            }
        });
        Self { facts: sender }
    }

    /// Saves one fact; returns when it is committed.
    ///
    /// # Errors
    /// [`Failure::Erased`] when the crash is erased, [`Failure::Refused`] when the database will never take it,
    /// [`Failure::Outage`] when it is down for too long.
    pub(crate) async fn save(&self, fact: CrashFact) -> Result<(), Failure> {
        let (saved, answer) = oneshot::channel();
        self.facts.send(Waiting { fact, saved }).await.map_err(|_| Failure::Stopping)?;
        answer.await.map_err(|_| Failure::Stopping)?
    }
}

async fn save(facts: &Facts, patience: &Patience, batch: Vec<Waiting>) {
    let (rows, waiting): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|waiting| (waiting.fact, waiting.saved)).unzip();
    let result = patience.run(|| facts.save(&rows), facts::Error::is_transient).await.map_err(Failure::from);
    for (row, waiting) in rows.iter().zip(waiting) {
        let answer = match &result {
            Ok(saved) if saved.erased.contains(&row.crash_id) => Err(Failure::Erased),
            Ok(saved) => match saved.rejected.iter().find(|(id, _)| *id == row.crash_id) {
                Some((_, reason)) => Err(Failure::Refused(reason.clone())),
                None => Ok(()),
            },
            Err(Failure::Refused(reason)) => Err(Failure::Refused(reason.clone())),
            Err(Failure::Outage { what }) => Err(Failure::Outage { what }),
            Err(_) => Err(Failure::Stopping),
        };
        // A processor that no longer waits has given its crash back; doing it again gives the same row.
        drop(waiting.send(answer));
    }
}
