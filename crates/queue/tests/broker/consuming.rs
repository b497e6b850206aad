//! Ids on their way from the broker, and the verdicts about them.

use std::time::{Duration, Instant};

use crash::QueueName;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, QueueDeleteOptions},
};
use queue::{BrokerState, Consumer, Error, Message, Prefetch, declare};
use tokio_util::sync::CancellationToken;

use crate::{
    proxy::{Network, Proxy},
    support::{
        SOON, config, connected, consumer, is_deep, message, messages, next, publish_all, take_all, through,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn an_id_arrives_with_everything_that_was_published_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("arrives", folder.path());
    let message = Message {
        reason: Some("new rules".to_owned()),
        ruleset: Some("3f2a".to_owned()),
        place: Some("4096@node-1".parse().unwrap()),
        ..message(1)
    };
    connected(&config).await.publish(QueueName::Reprocessing, &message).await.unwrap();

    let delivery = next(&mut consumer(&config, 1).await).await;

    assert_eq!((delivery.queue, delivery.redelivered, delivery.returns), (QueueName::Reprocessing, false, 0));
    assert_eq!(delivery.message, message);
    delivery.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn priority_overtakes_a_backlog_of_standard() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("overtakes", folder.path());
    let publisher = connected(&config).await;
    publish_all(&publisher, QueueName::Standard, &messages(50)).await;
    let mut consumer = consumer(&config, 2).await;
    next(&mut consumer).await.ack().await.unwrap();

    let urgent = message(99);
    publisher.publish(QueueName::Priority, &urgent).await.unwrap();

    // The broker needs a moment to bring it; the backlog is longer than that.
    let mut before = 0;
    loop {
        let delivery = next(&mut consumer).await;
        let arrived = delivery.message.crash_id == urgent.crash_id;
        delivery.ack().await.unwrap();
        if arrived {
            break;
        }
        before += 1;
    }
    assert!(before < 40, "{before} of the backlog went first");
}

#[tokio::test(flavor = "multi_thread")]
async fn reprocessing_keeps_its_share_beside_a_backlog_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let config = queue::Config { reprocessing_every: 5, ..config("share", folder.path()) };
    let publisher = connected(&config).await;
    publish_all(&publisher, QueueName::Standard, &messages(100)).await;
    publish_all(&publisher, QueueName::Reprocessing, &messages(100)).await;
    // Both queues have brought what they may before the first is taken, and more than is taken.
    let mut consumer = consumer(&config, 50).await;
    is_deep(&config, "standard", 0).await;
    is_deep(&config, "reprocessing", 0).await;

    let mut reprocessed = 0;
    for _ in 0..50 {
        let delivery = next(&mut consumer).await;
        reprocessed += u32::from(delivery.queue == QueueName::Reprocessing);
        delivery.ack().await.unwrap();
    }

    // The broker may count a queue as taken an instant before it is in our hands.
    assert!((9..=11).contains(&reprocessed), "{reprocessed} of 50");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_comes_home_after_its_delay_as_the_next_attempt_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("comes_home", folder.path());
    let first = message(1);
    connected(&config).await.publish(QueueName::Priority, &first).await.unwrap();
    let mut consumer = consumer(&config, 1).await;

    for (attempt, delay) in [(1, 200), (2, 600)] {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.message.attempt, attempt);
        let delay = Duration::from_millis(delay);
        let began = Instant::now();
        let later = delivery.later().unwrap();
        assert!(later.delay == delay || later.delay == delay * 3 / 2, "{later:?}");
        delivery.retry(&later, "the symbol server is down").await.unwrap();

        let again = next(&mut consumer).await;
        assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
        assert_eq!((again.queue, again.message.attempt), (QueueName::Priority, attempt + 1));
        assert_eq!(again.message.reason.as_deref(), Some("the symbol server is down"));
        assert_eq!(again.message.crash_id, first.crash_id);
        assert!(again.message.enqueued_at >= first.enqueued_at + delay);
        again.give_back().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_is_put_off_comes_home_as_the_same_attempt_and_counts_as_no_return() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("put_off", folder.path());
    let second = Message { attempt: 2, reason: Some("timed out".to_owned()), ..message(1) };
    connected(&config).await.publish(QueueName::Reprocessing, &second).await.unwrap();
    let mut consumer = consumer(&config, 1).await;

    let returned = next(&mut consumer).await;
    returned.give_back().await.unwrap();
    let returned = next(&mut consumer).await;
    assert_eq!(returned.returns, 1);
    assert_eq!(returned.put_off().await.unwrap(), Duration::from_millis(900), "the longest delay");
    assert!(matches!(returned.put_off().await, Err(Error::Stale)), "a verdict is given once");

    let home = next(&mut consumer).await;
    assert_eq!((home.queue, home.returns), (QueueName::Reprocessing, 0));
    assert_eq!((home.message.attempt, home.message.reason.as_deref()), (2, Some("timed out")));
    home.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_has_had_its_attempts_is_parked_with_its_reason_and_queue() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("parked", folder.path());
    let last = Message { attempt: 3, ..message(1) };
    connected(&config).await.publish(QueueName::Standard, &last).await.unwrap();
    let mut consumer = consumer(&config, 1).await;

    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.later(), None, "three attempts are all there are");
    delivery.dead("timed out three times").await.unwrap();

    is_deep(&config, "dead", 1).await;
    is_deep(&config, "standard", 0).await;
    let broker = Connection::connect(&testing::amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let dead = format!("{}.dead", config.namespace);
    let parked = channel.basic_get(dead.into(), BasicGetOptions::default()).await.unwrap().unwrap().delivery;
    assert_eq!(parked.data, last.crash_id.to_string().into_bytes());
    let headers = parked.properties.headers().clone().unwrap();
    let text = |name: &str| headers.inner()[name].as_long_string().unwrap().to_string();
    assert_eq!([text("reason"), text("queue")], ["timed out three times", "standard"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_without_a_verdict_is_delivered_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("no_verdict", folder.path());
    let message = message(1);
    connected(&config).await.publish(QueueName::Standard, &message).await.unwrap();
    let mut consumer = consumer(&config, 1).await;

    drop(next(&mut consumer).await);
    let again = next(&mut consumer).await;
    assert!(again.redelivered);
    assert_eq!((again.message.crash_id, again.message.attempt, again.returns), (message.crash_id, 1, 1));
    again.give_back().await.unwrap();

    next(&mut consumer).await.ack().await.unwrap();
    is_deep(&config, "standard", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_cut_off_comes_back_and_gets_what_it_had_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("cut_off", folder.path());
    let proxy = Proxy::start(Network::Good).await;
    let messages = messages(30);
    publish_all(&connected(&config).await, QueueName::Standard, &messages).await;
    let mut consumer = consumer(&through(&config, &proxy.url()), 4).await;
    let held = next(&mut consumer).await;

    proxy.set(Network::Cut);
    let mut state = consumer.state();
    state.wait_for(|state| matches!(state, BrokerState::Disconnected { .. })).await.unwrap();
    assert!(matches!(held.ack().await, Err(Error::Stale | Error::Broker { .. })));
    proxy.set(Network::Good);

    let mut missing: std::collections::HashSet<_> = messages.iter().map(|message| message.crash_id).collect();
    while !missing.is_empty() {
        let delivery = next(&mut consumer).await;
        missing.remove(&delivery.message.crash_id);
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_notices_a_connection_that_has_fallen_silent() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("silent_consumer", folder.path());
    let proxy = Proxy::start(Network::Good).await;
    let mut consumer = consumer(&through(&config, &proxy.url()), 1).await;
    let mut state = consumer.state();
    tokio::time::timeout(SOON, state.wait_for(|state| *state == BrokerState::Connected))
        .await
        .unwrap()
        .unwrap();

    proxy.set(Network::BlackHole);
    let silent = state.wait_for(|state| matches!(state, BrokerState::Disconnected { .. }));
    tokio::time::timeout(SOON, silent).await.expect("the heartbeat is missed").unwrap();

    proxy.set(Network::Good);
    connected(&config).await.publish(QueueName::Standard, &message(1)).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_cannot_be_published_leaves_the_crash_on_its_queue() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("no_retry", folder.path());
    let proxy = Proxy::start(Network::Good).await;
    let message = message(1);
    connected(&config).await.publish(QueueName::Standard, &message).await.unwrap();
    let mut cut_off = consumer(&through(&config, &proxy.url()), 1).await;
    let delivery = next(&mut cut_off).await;

    proxy.set(Network::BlackHole);
    let later = delivery.later().unwrap();
    let failed = delivery.retry(&later, "timed out").await;
    assert!(matches!(failed, Err(Error::Timeout { .. } | Error::Unconfirmed { .. })), "{failed:?}");
    proxy.set(Network::Cut);
    drop((cut_off, delivery));

    take_all(&config, &[message]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_deleted_is_made_anew_and_consumed_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("deleted", folder.path());
    let mut consumer = consumer(&config, 1).await;
    let publisher = connected(&config).await;
    publisher.publish(QueueName::Standard, &message(1)).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    let broker = Connection::connect(&testing::amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let name = format!("{}.standard", config.namespace);
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();

    let second = message(2);
    publisher.publish(QueueName::Standard, &second).await.unwrap();

    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.message.crash_id, second.crash_id);
    delivery.ack().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_holds_no_more_than_its_workers_can_use() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("prefetch", folder.path());
    let publisher = connected(&config).await;
    publish_all(&publisher, QueueName::Standard, &messages(50)).await;
    publish_all(&publisher, QueueName::Priority, &messages(50)).await;

    let prefetch = Prefetch { workers: 4, unsaved: 3 };
    let _consumer = Consumer::start(&config, prefetch, CancellationToken::new()).await.unwrap();

    is_deep(&config, "standard", 50 - (4 + 4 + 3)).await;
    is_deep(&config, "priority", 50 - (4 + 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_shutdown_nothing_is_handed_out_and_what_was_can_still_be_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("shutdown", folder.path());
    publish_all(&connected(&config).await, QueueName::Standard, &messages(10)).await;
    let shutdown = CancellationToken::new();
    let prefetch = Prefetch { workers: 5, unsaved: 0 };
    let mut consumer = Consumer::start(&config, prefetch, shutdown.clone()).await.unwrap();
    let (first, second) = (next(&mut consumer).await, next(&mut consumer).await);

    shutdown.cancel();
    assert!(consumer.next().await.is_none());
    is_deep(&config, "standard", 8).await;
    drop(consumer);
    first.ack().await.unwrap();
    second.retry(&second.later().unwrap(), "going down").await.unwrap();

    is_deep(&config, "standard", 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_consumer_hands_out_nothing_until_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("paused", folder.path());
    let mut consumer = consumer(&config, 1).await;
    consumer.state().wait_for(|state| *state == BrokerState::Connected).await.unwrap();
    let publisher = connected(&config).await;
    publisher.publish(QueueName::Standard, &message(1)).await.unwrap();
    next(&mut consumer).await.ack().await.unwrap();
    let valve = consumer.valve();
    valve.pause("database");
    valve.pause("store");
    publisher.publish(QueueName::Standard, &message(2)).await.unwrap();

    is_deep(&config, "standard", 0).await;
    let mut waiting = Box::pin(async move { next(&mut consumer).await.ack().await });
    // It is in our hands, and yet a look finds nothing.
    assert!(futures_util::poll!(&mut waiting).is_pending());
    valve.resume("database");
    assert_eq!(valve.reasons(), ["store"]);
    assert!(futures_util::poll!(&mut waiting).is_pending(), "one of two reasons is left");
    valve.resume("store");

    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_names_no_crash_is_parked_and_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("no_crash", folder.path());
    declare(&config).await.unwrap();
    let broker = Connection::connect(&testing::amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let name = format!("{}.standard", config.namespace);
    channel
        .basic_publish(
            "".into(),
            name.into(),
            BasicPublishOptions::default(),
            b"../../etc/passwd",
            BasicProperties::default(),
        )
        .await
        .unwrap()
        .await
        .unwrap();
    let message = message(1);
    connected(&config).await.publish(QueueName::Standard, &message).await.unwrap();

    take_all(&config, &[message]).await;
    is_deep(&config, "dead", 1).await;
}
