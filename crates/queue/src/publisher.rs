//! Hands crash ids to the broker, or to the journal where the broker cannot take them.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crash::QueueName;
use tokio::sync::watch;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    config::{Checked, Config},
    error::Error,
    journal::{Drain, Entry, Journal, JournalDepth, Ledger, drain},
    lane::Outgoing,
    message::Message,
    metrics::Metrics,
    supervisor::BrokerState,
    wire::{Via, Wire},
};

/// Where an id is after it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// With the broker, on disk there.
    Confirmed,
    /// In the journal, on disk here; perhaps with the broker as well, which had not said so in time.
    Journaled,
}

/// Publishes crash ids. To be cloned freely: all clones share one connection and one journal.
#[derive(Debug, Clone)]
pub struct Publisher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Arc<Checked>,
    wire: Wire,
    /// Taken when the last clone closes it.
    journal: Mutex<Option<Arc<Journal>>>,
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
    end: DropGuard,
}

impl Publisher {
    /// Opens the journal and begins to connect. The broker need not be there.
    ///
    /// `writer_name` names the journal's folder and must be the same at every start of this process. After `shutdown` a
    /// lost connection is not made again; publishing goes on until [`Publisher::close`].
    ///
    /// # Errors
    /// When the configuration makes no sense, or the journal cannot be opened.
    pub async fn start(
        config: &Config,
        writer_name: &str,
        shutdown: CancellationToken,
    ) -> Result<Self, Error> {
        let settings = Arc::new(config.checked()?);
        let metrics = Arc::new(Metrics::new());
        let journal = {
            let (root, name, limit) = (config.journal.clone(), writer_name.to_owned(), config.journal_limit);
            let metrics = metrics.clone();
            tokio::task::spawn_blocking(move || Journal::open(&root, &name, limit, metrics))
                .await
                .map_err(|error| Error::unconfirmed(format!("opening the journal: {error}")))??
        };
        let tasks = TaskTracker::new();
        let end = CancellationToken::new();
        let wire = Wire::start(settings.clone(), "publisher", shutdown, &tasks);
        let ledger = journal.ledger();
        let way_out = Drain {
            ledger: ledger.clone(),
            writer: journal.seals(),
            wire: wire.clone(),
            names: settings.names.clone(),
            root: config.journal.clone(),
            rate: config.journal_rate,
        };
        tasks.spawn(drain(way_out, end.clone()));
        let journal = Mutex::new(Some(Arc::new(journal)));
        let inner = Inner { settings, wire, journal, ledger, metrics, tasks, end: end.drop_guard() };
        Ok(Self(Arc::new(inner)))
    }

    /// Publishes one id, and returns when it is safe: with the broker, or in the journal.
    ///
    /// Takes at most the configured time, and then that of a write to the disk, which is given up after ten seconds.
    ///
    /// Not cancel-safe: who drops the future cannot know whether the id is with the broker, in the journal, or nowhere.
    /// Where the caller may be cut off, as in the handler of a request whose client goes away, run it in a task of
    /// its own.
    ///
    /// # Errors
    /// When the journal cannot take the id either. The crash is still in the store, where the sweep finds it.
    pub async fn publish(&self, queue: QueueName, message: &Message) -> Result<Published, Error> {
        let began = Instant::now();
        let outgoing = Outgoing {
            exchange: self.0.settings.names.exchange(),
            key: self.0.settings.names.work(queue),
            body: message.body().into_bytes(),
            properties: message.properties(),
        };
        let Err(unconfirmed) = self.0.wire.send(Via::Live, outgoing).await else {
            self.0.metrics.confirmed(began.elapsed());
            return Ok(Published::Confirmed);
        };
        tracing::debug!(crash_id = %message.crash_id, reason = %unconfirmed, "an id goes to the journal");
        match self.journal(queue, message).await {
            Ok(()) => {
                self.0.metrics.journaled(began.elapsed());
                Ok(Published::Journaled)
            }
            Err(error) => {
                self.0.metrics.failed(began.elapsed());
                Err(error)
            }
        }
    }

    async fn journal(&self, queue: QueueName, message: &Message) -> Result<(), Error> {
        let journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let journal = journal.ok_or_else(|| Error::unconfirmed("the publisher is closed"))?;
        journal.append(&Entry { queue, message: message.clone() }).await
    }

    /// How it stands with the broker, now and from now on.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<BrokerState> {
        self.0.wire.state()
    }

    /// How much waits in the journal.
    #[must_use]
    pub fn journal_depth(&self) -> JournalDepth {
        self.0.ledger.depth()
    }

    /// Publishes what it can of the journal within the deadline, and ends; the rest is published at the next start.
    ///
    /// For when nobody publishes any more: what other clones still publish is refused.
    pub async fn close(self, deadline: Duration) {
        let flushed = async {
            while !self.0.ledger.is_empty() && *self.0.wire.state().borrow() == BrokerState::Connected {
                tokio::time::sleep(FLUSH_LOOK).await;
            }
        };
        // What is not flushed by then is on disk.
        drop(tokio::time::timeout(deadline, flushed).await);

        let journal = self.0.journal.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(journal) = journal.and_then(Arc::into_inner) {
            journal.close(CLOSE_LIMIT).await;
        }
        let tasks = self.0.tasks.clone();
        tasks.close();
        let Some(Inner { wire, end, .. }) = Arc::into_inner(self.0) else { return };
        drop((wire, end));
        drop(tokio::time::timeout(CLOSE_LIMIT, tasks.wait()).await);
    }
}

/// How often to look whether the journal is empty while closing.
const FLUSH_LOOK: Duration = Duration::from_millis(20);
/// How long the journal's writer may take to end, and then the tasks.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
