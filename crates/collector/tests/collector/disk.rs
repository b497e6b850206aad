//! A disk that fills up, as clients, operators and the journal see it.

use crash::{CrashId, MAIN_DUMP, QueueName, ThrottleDigit};
use jiff::Timestamp;
use queue::{Message, Published, Publisher};
use testing::{SmallDisk, report};
use tokio_util::sync::CancellationToken;

use crate::support::{Collector, DEADLINE};

/// Nobody listens there.
const NOWHERE: &str = "amqp://127.0.0.1:1";

async fn until_health_says(collector: &Collector, text: &str) {
    testing::eventually(DEADLINE, async || collector.health().await.1.contains(text).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nearly_full_disk_is_a_503_with_nothing_stored_and_the_journal_goes_on() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let collector = Collector::with_sections("nearly_full", NOWHERE, |sections| {
        sections.crashstore.path = disk.path().join("store");
        sections.queue.journal = disk.path().join("journal");
        sections.queue.publish_timeout = settings::Duration::from_millis(100);
    })
    .await;
    let (content_type, body) =
        report::multipart(&[("ProductName", "Sample")], &[(MAIN_DUMP, b"MDMP and what follows")]);
    let headers = [("Content-Type", content_type.as_str())];
    assert_eq!(collector.post(&headers, &body).await.0, 200);
    assert_eq!(collector.health().await.0, 200);
    let stored = collector.count_in(&disk.path().join("store")).await;

    // A twentieth is kept back unless the configuration says otherwise.
    disk.fill_to(2 << 20);
    until_health_says(&collector, "\"store_disk\":{\"need\":\"optional\",\"state\":\"down\"").await;
    for _ in 0..3 {
        assert_eq!(collector.post(&headers, &body).await.0, 503);
    }
    assert_eq!(collector.count_in(&disk.path().join("store")).await, stored);
    // Nobody need send it a crash, which is not its client's to lose.
    assert_eq!(collector.health().await.0, 503);

    // What is kept back is for this.
    let queue = queue::Config {
        url: NOWHERE.parse().expect("it is a URL"),
        journal: disk.path().join("journal"),
        publish_timeout: settings::Duration::from_millis(100),
        ..Default::default()
    };
    let publisher = Publisher::start(&queue, "another", CancellationToken::new()).await.expect("it opens");
    let id = CrashId::new(Timestamp::now(), ThrottleDigit::Accept, 1 << 40).expect("the clock is right");
    let published = publisher.publish(QueueName::Standard, &Message::new(id, Timestamp::now())).await;
    assert_eq!(published.expect("the journal has room"), Published::Journaled);
    publisher.close(DEADLINE).await;

    disk.make_room();
    // It is ready again before anyone has sent it a crash.
    testing::eventually(DEADLINE, async || (collector.health().await.0 == 200).then_some(())).await;
    assert_eq!(collector.post(&headers, &body).await.0, 200);
    assert_eq!(collector.count_in(&disk.path().join("store")).await, stored + 1);
    collector.stop().await;
}
