//! What the tests have in common.

use std::{path::Path, time::Duration};

use crash::{CrashId, QueueName, ThrottleDigit};
use jiff::Timestamp;
use queue::{BrokerState, Config, Consumer, Delivery, Depth, Message, Prefetch, Publisher, depths};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Short times, names of the test's own.
pub(crate) fn config(test: &str, journal: &Path) -> Config {
    Config {
        url: testing::amqp_url().parse().expect("the broker's URL is one"),
        namespace: testing::namespace(test),
        publish_timeout: settings::Duration::from_secs(2),
        retry_delays: vec![settings::Duration::from_millis(200), settings::Duration::from_millis(600)],
        max_attempts: 3,
        heartbeat: settings::Duration::from_secs(1),
        reconnect_delay: settings::Duration::from_millis(500),
        journal: journal.to_owned(),
        ..Config::default()
    }
}

/// The same section, through another URL.
pub(crate) fn through(config: &Config, url: &str) -> Config {
    Config { url: url.parse().expect("a URL"), ..config.clone() }
}

pub(crate) fn message(number: u128) -> Message {
    let now = Timestamp::now();
    // Spread over the random bits: the lowest of them are fixed ones.
    let id = CrashId::new(now, ThrottleDigit::Accept, number << 32).expect("the clock is right");
    Message::new(id, now)
}

pub(crate) fn messages(count: u128) -> Vec<Message> {
    (0..count).map(message).collect()
}

pub(crate) async fn publisher(config: &Config) -> Publisher {
    Publisher::start(config, "tests", CancellationToken::new()).await.expect("the journal opens")
}

/// A publisher that is connected.
pub(crate) async fn connected(config: &Config) -> Publisher {
    let publisher = publisher(config).await;
    reaches(&publisher, |state| *state == BrokerState::Connected).await;
    publisher
}

pub(crate) async fn reaches(publisher: &Publisher, wanted: impl FnMut(&BrokerState) -> bool) {
    let mut state = publisher.state();
    tokio::time::timeout(SOON, state.wait_for(wanted)).await.expect("in time").expect("it goes on");
}

pub(crate) async fn publish_all(publisher: &Publisher, queue: QueueName, messages: &[Message]) {
    for message in messages {
        publisher.publish(queue, message).await.expect("it is safe");
    }
}

pub(crate) async fn consumer(config: &Config, workers: usize) -> Consumer {
    Consumer::start(config, Prefetch { workers, unsaved: 0 }, CancellationToken::new())
        .await
        .expect("the section makes sense")
}

pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    tokio::time::timeout(SOON, consumer.next()).await.expect("something comes in time").expect("it goes on")
}

/// Takes and acknowledges until all of these have come at least once.
pub(crate) async fn take_all(config: &Config, messages: &[Message]) {
    let mut missing: std::collections::HashSet<CrashId> =
        messages.iter().map(|message| message.crash_id).collect();
    let mut consumer = consumer(config, 50).await;
    while !missing.is_empty() {
        let waiting = missing.len();
        let delivery = tokio::time::timeout(SOON, consumer.next())
            .await
            .unwrap_or_else(|_| panic!("{waiting} of {} are lost", messages.len()))
            .expect("it goes on");
        missing.remove(&delivery.message.crash_id);
        delivery.ack().await.expect("acknowledged");
    }
}

/// Waits until a queue is so deep.
pub(crate) async fn is_deep(config: &Config, queue: &str, ready: u32) {
    let name = format!("{}.{queue}", config.namespace);
    testing::eventually(SOON, async || {
        let depths: Vec<Depth> = depths(config).await.expect("the broker answers");
        depths.iter().find(|depth| depth.name == name).filter(|depth| depth.ready == ready).map(|_| ())
    })
    .await;
}
