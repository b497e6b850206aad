//! Ids on their way to the broker.

use std::time::{Duration, Instant};

use crash::QueueName;
use futures_util::future::join_all;
use lapin::{Connection, ConnectionProperties, options::QueueDeleteOptions};
use queue::{BrokerState, Published};

use crate::{
    proxy::{Network, Proxy},
    support::{
        SOON, config, connected, is_deep, message, messages, publish_all, publisher, reaches, take_all,
        through,
    },
};

fn disconnected(state: &BrokerState) -> bool {
    matches!(state, BrokerState::Disconnected { .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_publish_at_once_are_all_confirmed_and_all_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("many_at_once", folder.path());
    let publisher = connected(&config).await;
    let messages = messages(2_000);

    let published =
        join_all(messages.iter().map(|message| publisher.publish(QueueName::Standard, message))).await;

    assert!(published.into_iter().all(|published| published.unwrap() == Published::Confirmed));
    is_deep(&config, "standard", 2_000).await;
    take_all(&config, &messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_while_the_broker_is_away_follows_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("away_and_back", folder.path());
    let proxy = Proxy::start(Network::Good).await;
    let publisher = connected(&through(&config, &proxy.url())).await;
    let messages = messages(40);
    publish_all(&publisher, QueueName::Standard, &messages[..10]).await;

    proxy.set(Network::Cut);
    reaches(&publisher, disconnected).await;
    let began = Instant::now();
    for message in &messages[10..] {
        assert_eq!(publisher.publish(QueueName::Standard, message).await.unwrap(), Published::Journaled);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for a broker that is known to be away");
    assert_eq!(publisher.journal_depth().ids, 30);
    assert_eq!(publisher.journal_depth().oldest, Some(messages[10].enqueued_at));

    proxy.set(Network::Good);
    take_all(&config, &messages).await;
    testing::eventually(SOON, async || (publisher.journal_depth().ids == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_could_not_publish_the_next_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("next_process", folder.path());
    let proxy = Proxy::start(Network::Cut).await;
    let messages = messages(500);
    let first = publisher(&through(&config, &proxy.url())).await;
    let published =
        join_all(messages.iter().map(|message| first.publish(QueueName::Priority, message))).await;
    assert!(published.into_iter().all(|published| published.unwrap() == Published::Journaled));
    first.close(Duration::ZERO).await;

    let second = publisher(&config).await;
    assert_eq!(second.journal_depth().ids, 500);

    take_all(&config, &messages).await;
    testing::eventually(SOON, async || (second.journal_depth().ids == 0).then_some(())).await;
    let left: Vec<_> = std::fs::read_dir(folder.path().join("tests")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the lock is left: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_falls_silent_costs_one_timeout_and_no_id() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("falls_silent", folder.path());
    let proxy = Proxy::start(Network::Good).await;
    let publisher = connected(&through(&config, &proxy.url())).await;
    let messages = messages(20);

    proxy.set(Network::BlackHole);
    let began = Instant::now();
    assert_eq!(publisher.publish(QueueName::Standard, &messages[0]).await.unwrap(), Published::Journaled);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    reaches(&publisher, disconnected).await;
    let began = Instant::now();
    publish_all(&publisher, QueueName::Standard, &messages[1..]).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    proxy.set(Network::Good);
    take_all(&config, &messages).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_confirm_that_is_lost_may_double_an_id_and_never_loses_it() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("lost_confirm", folder.path());
    let proxy = Proxy::start(Network::Good).await;
    let publisher = connected(&through(&config, &proxy.url())).await;
    let message = message(7);

    proxy.set(Network::Deaf);
    assert_eq!(publisher.publish(QueueName::Standard, &message).await.unwrap(), Published::Journaled);
    is_deep(&config, "standard", 1).await;

    proxy.set(Network::Good);
    is_deep(&config, "standard", 2).await;
    take_all(&config, &[message]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_comes_back_because_its_queue_is_gone_finds_the_queue_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("queue_gone", folder.path());
    let publisher = connected(&config).await;
    let messages = messages(50);
    publish_all(&publisher, QueueName::Standard, &messages[..1]).await;
    take_all(&config, &messages[..1]).await;
    let broker = Connection::connect(&testing::amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let name = format!("{}.standard", config.namespace);
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();

    // Together with ids of another queue, which do arrive.
    let publishing = messages.iter().enumerate().skip(1).map(|(number, message)| {
        let queue = if number % 2 == 0 { QueueName::Standard } else { QueueName::Priority };
        publisher.publish(queue, message)
    });
    for published in join_all(publishing).await {
        published.expect("it is safe");
    }

    take_all(&config, &messages[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_nothing_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("blocked", folder.path());
    let proxy = Proxy::start(Network::Good).await;
    let publisher = connected(&through(&config, &proxy.url())).await;
    let messages = messages(20);

    proxy.say(blocked("low on memory"));
    reaches(
        &publisher,
        |state| matches!(state, BrokerState::Blocked { reason, .. } if reason == "low on memory"),
    )
    .await;
    let began = Instant::now();
    for message in &messages {
        assert_eq!(publisher.publish(QueueName::Standard, message).await.unwrap(), Published::Journaled);
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());

    proxy.say(unblocked());
    take_all(&config, &messages).await;
    reaches(&publisher, |state| *state == BrokerState::Connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_has_reached_its_limit_refuses_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Proxy::start(Network::Cut).await;
    let config = queue::Config {
        journal_limit: settings::Size::from_bytes(1_000),
        ..through(&config("full", folder.path()), &proxy.url())
    };
    let publisher = publisher(&config).await;
    let mut refused = None;
    for message in messages(20) {
        refused = publisher.publish(QueueName::Standard, &message).await.err();
    }
    let refused = refused.expect("20 ids are more than 1000 bytes").to_string();
    assert!(refused.contains("journal_limit"), "{refused}");
    assert!(publisher.journal_depth().ids > 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_publishes_what_the_journal_holds() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("closing", folder.path());
    let proxy = Proxy::start(Network::Cut).await;
    let messages = messages(100);
    let publisher = publisher(&through(&config, &proxy.url())).await;
    publish_all(&publisher, QueueName::Standard, &messages).await;
    proxy.set(Network::Good);
    reaches(&publisher, |state| *state == BrokerState::Connected).await;

    publisher.close(SOON).await;

    is_deep(&config, "standard", 100).await;
}

/// `connection.blocked` as the broker sends it when it is short of memory or disk.
fn blocked(reason: &str) -> Vec<u8> {
    let mut method = vec![0, 10, 0, 60, u8::try_from(reason.len()).unwrap()];
    method.extend(reason.bytes());
    frame(&method)
}

fn unblocked() -> Vec<u8> {
    frame(&[0, 10, 0, 61])
}

/// A method frame on channel 0.
fn frame(method: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, 0, 0];
    frame.extend(u32::try_from(method.len()).unwrap().to_be_bytes());
    frame.extend(method);
    frame.push(0xce);
    frame
}
