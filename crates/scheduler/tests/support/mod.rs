//! An installation of a test's own: a store, a database, names on the broker, and schedulers for it.

#![allow(dead_code, reason = "each test file uses its part of this")]

use std::{path::Path, sync::LazyLock, time::Duration};

use bytes::Bytes;
use crash::{
    CrashId, Dump, DumpMetadata, MAIN_DUMP, PROCESSED_FORMAT, Place, ProcessedCrash, QueueName, RAW_FORMAT,
    RawCrash, ThrottleDigit,
};
use crashstore::CrashStore;
use facts::{CrashFact, Facts};
use jiff::{SignedDuration, Timestamp};
use queue::{BrokerState, Consumer, Message, Prefetch, Publisher};
use scheduler::{Config, Retention, Sections};
use settings::Duration as Setting;
use tempfile::TempDir;
use testing::Database;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Installation {
    pub(crate) config: Sections,
    pub(crate) crashes: CrashStore,
    pub(crate) facts: Facts,
    folder: TempDir,
    pub(crate) database: Database,
}

impl Installation {
    pub(crate) async fn new(test: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let database = Database::create(test);
        let facts = facts::Config {
            url: database.url().parse().expect("it is a URL"),
            pool_size: 2,
            ..facts::Config::default()
        };
        facts::migrate(&facts).expect("an empty database can be migrated");
        let config = Sections {
            scheduler: Config {
                lead_every: Setting::from_millis(200),
                sweep_every: Setting::from_millis(200),
                sweep_late_every: Setting::from_millis(200),
                // The crashes of a test have only just been saved.
                sweep_after: Setting::from_millis(500),
                ..Config::default()
            },
            crashstore: store_in(folder.path()),
            queue: queue::Config {
                url: testing::amqp_url().parse().expect("it is a URL"),
                namespace: testing::namespace(test),
                journal: folder.path().join("journal"),
                publish_timeout: Setting::from_secs(2),
                reconnect_delay: Setting::from_millis(500),
                ..queue::Config::default()
            },
            retention: Retention::default(),
            facts,
        };
        Self {
            crashes: CrashStore::open(&config.crashstore).expect("a store can be made"),
            facts: Facts::connect(&config.facts).await.expect("the database answers"),
            config,
            folder,
            database,
        }
    }

    /// Stores a raw crash as a collector does that is killed before it publishes.
    pub(crate) async fn store(&self, id: CrashId) -> Place {
        store(&self.crashes, id).await
    }

    /// Another store of the same installation, as another machine may have it by mistake, and a scheduler's view of it.
    pub(crate) fn elsewhere(&self) -> (CrashStore, Sections) {
        let crashstore = store_in(&self.folder.path().join("elsewhere"));
        let crashes = CrashStore::open(&crashstore).expect("a store can be made");
        (crashes, Sections { crashstore, ..self.config.clone() })
    }

    /// Publishes an id as a collector does.
    pub(crate) async fn publish(&self, id: CrashId) {
        let publisher = Publisher::start(&self.config.queue, "tests-collector", CancellationToken::new())
            .await
            .expect("the journal opens");
        let mut state = publisher.state();
        let connected = state.wait_for(|state| *state == BrokerState::Connected);
        tokio::time::timeout(SOON, connected).await.expect("in time").expect("it goes on");
        let message = Message::new(id, Timestamp::now());
        publisher.publish(QueueName::Standard, &message).await.expect("it is safe");
        publisher.close(SOON).await;
        queue_holds(&self.config.queue, 1).await;
    }

    /// Saves a fact as a processor does.
    pub(crate) async fn process(&self, id: CrashId) {
        let saved = self.facts.save(&[fact(id)]).await.expect("the database takes it");
        assert_eq!(saved.inserted, 1);
    }
}

/// The fact of a crash in which there is little.
pub(crate) fn fact(id: CrashId) -> CrashFact {
    let at = id.received_at();
    let processed: ProcessedCrash = serde_json::from_value(serde_json::json!({
        "format": PROCESSED_FORMAT, "crash_id": id, "submitted_at": at, "started_at": at, "completed_at": at,
        "attempt": 1, "node": "node-1", "ruleset": "", "success": true, "throttle": "accept",
        "sample_rate": 1.0, "signature": "main",
    }))
    .expect("it is a processed crash");
    CrashFact::of(&processed)
}

fn store_in(folder: &Path) -> crashstore::Config {
    crashstore::Config { path: folder.join("store"), ..crashstore::Config::default() }
}

pub(crate) async fn store(crashes: &CrashStore, id: CrashId) -> Place {
    let dump = Dump { name: MAIN_DUMP.to_owned(), bytes: Bytes::from_static(b"MDMP") };
    let dumps = [DumpMetadata::of(0, &dump, None)];
    let metadata = serde_json::from_value(serde_json::json!({
        "format": RAW_FORMAT, "crash_id": id, "submitted_at": id.received_at(), "throttle": "accept",
        "sample_rate": 1.0, "dumps": dumps,
    }))
    .expect("it is a raw crash's metadata");
    let annotations = [("ProductName", "Sample")].into_iter().collect();
    let crash =
        RawCrash { metadata, annotations, private: [("URL", "x")].into_iter().collect(), dumps: vec![dump] };

    let writer = crashes.writer("tests-collector").expect("nobody else writes under the name");
    let place = writer.save_raw(&crash).await.expect("it is saved");
    writer.close().await;
    place
}

/// The id of a crash received so many minutes before the test began: those of one age are in one minute of the store.
pub(crate) fn id(minutes_ago: i64, throttle: ThrottleDigit, number: u128) -> CrashId {
    static BEGAN: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);
    let received = *BEGAN - SignedDuration::from_mins(minutes_ago);
    CrashId::new(received, throttle, number << 32).expect("the clock is right")
}

/// A scheduler that runs in the test's process.
pub(crate) struct Scheduler {
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Scheduler {
    /// Starts one, and waits until it says that it is ready.
    pub(crate) async fn start(config: &Sections) -> Self {
        let context = daemon::Context::bare("scheduler", config.clone());
        let (stop, health) = (context.shutdown.clone(), context.health.clone());
        let running = tokio::spawn(scheduler::run(context));
        testing::eventually(SOON, async || health.is_ready().then_some(())).await;
        Self { stop, running }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(SOON, self.running).await.expect("it ends in time");
        ended.expect("it does not panic").expect("it ends well");
    }
}

/// Takes one message from the queues.
pub(crate) async fn take(config: &queue::Config) -> Message {
    let mut consumer = Consumer::start(config, Prefetch { workers: 1, unsaved: 0 }, CancellationToken::new())
        .await
        .expect("the section makes sense");
    let delivery = tokio::time::timeout(SOON, consumer.next()).await.expect("one comes in time");
    let delivery = delivery.expect("the consumer goes on");
    let message = delivery.message.clone();
    delivery.ack().await.expect("it is acknowledged");
    message
}

/// Waits until so many ids wait on the broker.
pub(crate) async fn queue_holds(config: &queue::Config, ids: u32) {
    testing::eventually(SOON, async || {
        let depths = queue::depths(config).await.expect("the broker answers");
        (depths.iter().map(|depth| depth.ready).sum::<u32>() == ids).then_some(())
    })
    .await;
}
