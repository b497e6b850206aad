//! The flow of one report: extract, save, publish, answer.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{body::Body, extract::State, http::HeaderMap};
use crash::{QueueName, RawCrash};
use crashstore::{Saved, SpoolingWriter};
use daemon::{Dependency, Health, Need};
use jiff::Timestamp;
use queue::{Message, Published, Publisher};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    answer::Answer,
    config::Config,
    extract::{ExtractError, extract},
    heavy::Heavy,
    memory::{Held, Memory},
    metrics::Metrics,
    payload::{Payload, Receipt},
};

/// What the routes share: where crashes are saved and published.
pub(crate) struct Intake {
    config: Config,
    node: String,
    writer: SpoolingWriter,
    publisher: Publisher,
    memory: Memory,
    heavy: Heavy,
    /// Crashes that are being saved and published.
    under_way: TaskTracker,
    store: Dependency,
    /// Where crashes go while the store does not take them, if there is a spool.
    spool: Option<Dependency>,
    journal: Dependency,
    /// Whether the store or the spool has failed and not come up since.
    is_down: AtomicBool,
    /// Cancelled when this process can save nothing any more.
    shutdown: CancellationToken,
    broken: OnceLock<crashstore::Error>,
    metrics: Metrics,
}

impl Intake {
    /// A writer and a publisher that have just been opened.
    pub(crate) fn new(
        config: Config,
        node: String,
        writer: SpoolingWriter,
        publisher: Publisher,
        health: &Health,
        shutdown: CancellationToken,
    ) -> Self {
        let memory = Memory::new(config.max_bytes_in_memory, config.memory_timeout.get());
        // What can be saved in the spool instead does not make this process useless.
        let need = if writer.has_spool() { Need::Optional } else { Need::Required };
        let store = health.dependency("crashstore", need);
        let spool = writer.has_spool().then(|| health.dependency("spool", Need::Required));
        spool.iter().for_each(Dependency::up);
        let journal = health.dependency("journal", Need::Optional);
        store.up();
        journal.up();
        Self {
            config,
            node,
            writer,
            publisher,
            memory,
            heavy: Heavy::new(),
            under_way: TaskTracker::new(),
            store,
            spool,
            journal,
            is_down: AtomicBool::new(false),
            shutdown,
            broken: OnceLock::new(),
            metrics: Metrics::new(),
        }
    }

    /// Waits until crashes under way are saved and published; for when no handler runs any more.
    pub(crate) async fn finish(&self, patience: Duration) {
        self.under_way.close();
        if timeout(patience, self.under_way.wait()).await.is_err() {
            tracing::warn!(crashes = self.under_way.len(), "crashes that are still being saved are given up");
        }
    }

    /// Why this process can save nothing any more, if that is so.
    pub(crate) fn broken(&self) -> Option<&crashstore::Error> {
        self.broken.get()
    }

    /// Reads the body within its deadline.
    async fn receive(&self, headers: &HeaderMap, body: Body) -> Result<(Payload, Held), Answer> {
        let reading = extract(headers, body, &self.config, &self.memory, &self.heavy);
        let error = match timeout(self.config.body_timeout.into(), reading).await {
            Ok(Ok(received)) => return Ok(received),
            Ok(Err(error)) => error,
            Err(_) => ExtractError::TooSlow,
        };
        let (reason, answer) = match error {
            ExtractError::Malformed(reason) => (reason.to_string(), Answer::Discarded(reason)),
            ExtractError::TooSlow => ("too_slow".to_owned(), Answer::TooSlow),
            ExtractError::NoMemory => ("no_memory".to_owned(), Answer::NoMemory),
            ExtractError::Aborted => ("aborted".to_owned(), Answer::TooSlow),
            ExtractError::Failed => ("failed".to_owned(), Answer::NotStored),
        };
        self.metrics.rejected(&reason);
        Err(answer)
    }

    /// Makes it a raw crash, saves that durably, and publishes its id. The memory is given back once it is saved.
    async fn save_and_publish(&self, payload: Payload, memory: Held) -> Answer {
        let Some(crash) = self.raw_crash(payload).await else { return Answer::NotStored };
        let Some(saved) = self.save(&crash).await else { return Answer::NotStored };
        let id = crash.id();
        drop((crash, memory));
        match saved {
            Saved::Stored(place) => {
                self.publish(&Message { place: Some(place), ..Message::new(id, Timestamp::now()) }).await;
            }
            // No processor could read it yet: whoever moves it publishes its id.
            Saved::Spooled { .. } => self.metrics.spooled(),
        }
        Answer::Stored(id)
    }

    async fn raw_crash(&self, payload: Payload) -> Option<RawCrash> {
        let (node, private_annotations) = (self.node.clone(), self.config.private_annotations.clone());
        let (received_at, random) = (Timestamp::now(), rand::random());
        let making = self.heavy.run(move || {
            payload.into_raw_crash(&Receipt {
                node: &node,
                received_at,
                random,
                private_annotations: &private_annotations,
            })
        });
        match making.await {
            Ok(Ok(crash)) => Some(crash),
            Ok(Err(error)) => {
                tracing::error!(%error, "no crash id can be made");
                None
            }
            Err(error) => {
                tracing::error!(%error, "the task that makes a raw crash ended early");
                None
            }
        }
    }

    async fn save(&self, crash: &RawCrash) -> Option<Saved> {
        let started = Instant::now();
        let saved = match self.writer.save(crash).await {
            Ok(saved) => saved,
            Err(error) => {
                tracing::error!(crash_id = %crash.id(), error = %chain(&error), "the crash could not be stored");
                self.failed(error);
                return None;
            }
        };
        self.metrics.stage("save", started);
        match &saved {
            Saved::Stored(_) => self.store_answers(),
            Saved::Spooled { why } => {
                self.spool_answers();
                let why = why.clone().filter(|error| !error.is_of_one_crash());
                why.into_iter().for_each(|error| self.store_failed(error));
            }
        }
        Some(saved)
    }

    /// Nothing took a crash.
    fn failed(&self, error: crashstore::Error) {
        // Others may be taken: this process is as useful as before.
        if error.is_of_one_crash() {
            return;
        }
        if let Some(spool) = &self.spool {
            spool.down(chain(&error));
        }
        self.store_failed(error);
    }

    fn store_failed(&self, error: crashstore::Error) {
        self.is_down.store(true, Ordering::Relaxed);
        self.store.down(chain(&error));
        // Nothing but a new writer can save anything: the supervisor starts one.
        if matches!(error, crashstore::Error::Closed { .. } | crashstore::Error::UntrustedFolder { .. }) {
            self.broken.get_or_init(|| error);
            self.shutdown.cancel();
        }
    }

    /// Whether something has failed that has not come up since.
    pub(crate) fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed)
    }

    /// The spool takes crashes: clients can be served, whatever becomes of the store.
    pub(crate) fn spool_answers(&self) {
        self.spool.iter().for_each(Dependency::up);
    }

    /// The store has taken something, or its disk has room again: clients can be served.
    pub(crate) fn store_answers(&self) {
        self.is_down.store(false, Ordering::Relaxed);
        self.store.up();
        self.spool.iter().for_each(Dependency::up);
    }

    /// The crash is in the store: where neither queue nor journal takes its id, the sweep of the store finds it.
    pub(crate) async fn publish(&self, message: &Message) {
        let started = Instant::now();
        match self.publisher.publish(QueueName::Standard, message).await {
            Ok(Published::Confirmed) => {}
            Ok(Published::Journaled) => {
                self.journal.up();
                tracing::debug!(crash_id = %message.crash_id, "the broker did not confirm; the id is journaled");
            }
            Err(error) => {
                tracing::error!(crash_id = %message.crash_id, error = %chain(&error), "the crash is stored, but neither queue nor journal took its id");
                self.journal.down(chain(&error));
            }
        }
        self.metrics.stage("publish", started);
    }
}

/// Answers `POST /submit`.
pub(crate) async fn submit(State(intake): State<Arc<Intake>>, headers: HeaderMap, body: Body) -> Answer {
    let started = Instant::now();
    let answer = match intake.receive(&headers, body).await {
        Ok((payload, memory)) => take(&intake, payload, memory).await,
        Err(answer) => answer,
    };
    intake.metrics.answered(answer.outcome(), started);
    answer
}

/// Takes a payload that is wholly here; goes on when the client leaves before its answer.
async fn take(intake: &Arc<Intake>, payload: Payload, memory: Held) -> Answer {
    intake.metrics.received(payload.bytes_wire, payload.bytes_inflated);
    let saver = Arc::clone(intake);
    let task = intake.under_way.spawn(async move { saver.save_and_publish(payload, memory).await });
    task.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the task that saves a crash ended early");
        Answer::NotStored
    })
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{payload::Encoding, trials::keep_trying};

    async fn intake(folder: &Path, shutdown: CancellationToken) -> (SpoolingWriter, Intake) {
        let store = crashstore::Config { path: folder.join("store"), ..Default::default() };
        let writer = crashstore::CrashStore::open(&store).unwrap().spooling_writer(&store, "w").unwrap();
        let queue = queue::Config { journal: folder.join("journal"), ..Default::default() };
        let publisher = Publisher::start(&queue, "w", CancellationToken::new()).await.unwrap();
        let health = Health::new("collector", "n");
        let intake =
            Intake::new(Config::default(), "n".to_owned(), writer.clone(), publisher, &health, shutdown);
        (writer, intake)
    }

    #[tokio::test]
    async fn a_store_that_has_failed_is_up_again_without_a_client() {
        let (folder, shutdown) = (tempfile::TempDir::new().unwrap(), CancellationToken::new());
        let (writer, intake) = intake(folder.path(), shutdown.clone()).await;
        let intake = Arc::new(intake);
        let writers = folder.path().join("store/writers");
        std::fs::rename(&writers, folder.path().join("away")).unwrap();
        intake.failed(crashstore::Error::TimedOut { doing: "saving".to_owned(), deadline: Duration::ZERO });
        let every = Duration::from_millis(20);
        let trying = keep_trying(writer.clone(), Arc::clone(&intake), every, shutdown.clone());
        let trying = tokio::spawn(trying);
        assert!(writer.try_out().await.is_err() && intake.is_down());

        std::fs::rename(folder.path().join("away"), &writers).unwrap();
        let deadline = Duration::from_secs(20);
        testing::eventually(deadline, async || (!intake.is_down()).then_some(())).await;
        shutdown.cancel();
        trying.await.unwrap();
    }

    #[tokio::test]
    async fn a_store_that_can_never_save_again_stops_the_collector() {
        let (folder, shutdown) = (tempfile::TempDir::new().unwrap(), CancellationToken::new());
        let (writer, intake) = intake(folder.path(), shutdown.clone()).await;
        writer.close().await;

        let payload = Payload {
            annotations: [("a", "b")].into_iter().collect(),
            dumps: vec![],
            notes: vec![],
            encoding: Encoding::Identity,
            bytes_wire: 1,
            bytes_inflated: 1,
            user_agent: None,
        };
        let answer = intake.save_and_publish(payload, intake.memory.share()).await;
        assert!(matches!(answer, Answer::NotStored), "{answer:?}");
        assert!(matches!(intake.broken(), Some(crashstore::Error::Closed { .. })));
        assert!(shutdown.is_cancelled());
    }
}
