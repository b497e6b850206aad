//! Crashes that wait: stored and published as a collector would have it, without a client for each.

use std::sync::Arc;

use bytes::Bytes;
use crash::{
    CrashId, Dump, DumpMetadata, MAIN_DUMP, QueueName, RAW_FORMAT, RawCrash, RawMetadata, Throttle,
    ThrottleDigit,
};
use crashstore::{CrashStore, Writer};
use jiff::{SignedDuration, Timestamp};
use queue::{Message, Publisher};
use testing::report;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// How many crashes are being stored and published at the same time.
const AT_ONCE: usize = 256;
/// How many kinds of crashes there are, each with a signature of its own.
const KINDS: usize = 50;

/// Stores crashes and publishes their ids.
#[derive(Clone)]
pub(crate) struct Backlog {
    writer: Writer,
    publisher: Publisher,
    dumps: Arc<Vec<Bytes>>,
    /// Ends the publisher's connection.
    shutdown: CancellationToken,
}

/// Some crashes that belong together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch {
    pub(crate) queue: QueueName,
    pub(crate) product: &'static str,
    pub(crate) crashes: usize,
    /// When the first of them was received; the last one, now.
    pub(crate) since: Timestamp,
}

impl Backlog {
    /// Needs to be called within a tokio runtime.
    pub(crate) async fn open(store: &crashstore::Config, queue: &queue::Config) -> Self {
        let writer = CrashStore::open(store).and_then(|store| store.writer("backlog"));
        let shutdown = CancellationToken::new();
        let publisher = Publisher::start(queue, "backlog", shutdown.clone()).await;
        let kinds = (0..KINDS as u64).map(|kind| {
            Bytes::from(report::minidump_of(&format!("game{kind}"), u128::from(kind), 0x1000 + kind * 16))
        });
        Self {
            writer: writer.expect("the crash store can be written"),
            publisher: publisher.expect("the journal can be opened"),
            dumps: Arc::new(kinds.collect()),
            shutdown,
        }
    }

    /// Stores and publishes a batch, in the order of the crashes' times as far as they do not overtake one another.
    /// Returns their ids; `told` hears how many are done.
    pub(crate) async fn add(&self, batch: Batch, told: impl Fn(usize)) -> Vec<CrashId> {
        let now = Timestamp::now();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut under_way = JoinSet::new();
        let mut ids = Vec::with_capacity(batch.crashes);
        for number in 0..batch.crashes {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            let crash = self.crash(batch, number, now);
            ids.push(crash.id());
            let to = self.clone();
            under_way.spawn(async move {
                to.store_and_publish(batch.queue, &crash).await;
                drop(place);
            });
            while let Some(done) = under_way.try_join_next() {
                done.expect("a crash is stored and published");
            }
            told(number + 1);
        }
        while let Some(done) = under_way.join_next().await {
            done.expect("a crash is stored and published");
        }
        ids
    }

    fn crash(&self, batch: Batch, number: usize, now: Timestamp) -> RawCrash {
        let span = now.duration_since(batch.since).as_secs_f64();
        let share = (number + 1) as f64 / batch.crashes as f64;
        let received_at = batch.since + SignedDuration::from_secs_f64(span * share);
        let crash_id = CrashId::new(received_at, ThrottleDigit::Accept, rand::random());
        let bytes = self.dumps.get(number % self.dumps.len()).expect("of each kind there is a dump").clone();
        let dump = Dump { name: MAIN_DUMP.to_owned(), bytes };
        RawCrash {
            metadata: RawMetadata {
                format: RAW_FORMAT,
                crash_id: crash_id.expect("the clock shows this century"),
                submitted_at: received_at,
                node: "backlog".to_owned(),
                throttle: Throttle::Accept,
                throttle_rule: None,
                sample_rate: 1.0,
                payload: "multipart".to_owned(),
                encoding: "identity".to_owned(),
                bytes_wire: dump.bytes.len() as u64,
                bytes_inflated: dump.bytes.len() as u64,
                user_agent: None,
                notes: Vec::new(),
                dumps: vec![DumpMetadata::of(0, &dump, None)],
            },
            annotations: [("ProductName", batch.product), ("Version", "1.0")].into_iter().collect(),
            private: [("Email", "somebody@players.example")].into_iter().collect(),
            dumps: vec![dump],
        }
    }

    async fn store_and_publish(&self, queue: QueueName, crash: &RawCrash) {
        let place = self.writer.save_raw(crash).await.expect("there is room in the store");
        let message = Message { place: Some(place), ..Message::new(crash.id(), Timestamp::now()) };
        self.publisher.publish(queue, &message).await.expect("the broker or the journal takes it");
    }

    /// Ends when everything is with the broker.
    pub(crate) async fn close(self) {
        self.publisher.close(std::time::Duration::from_secs(120)).await;
        self.shutdown.cancel();
        self.writer.close().await;
    }
}
