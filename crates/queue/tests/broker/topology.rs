//! What stands on the broker, and what does not belong there.

use crash::QueueName;
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicRejectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use queue::{BrokerState, DeadQueue, Error, Parker, declare, depths};

use crate::support::{SOON, config, connected, consumer, is_deep, messages, publisher, reaches};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_declared_once_and_found_there_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("declared", folder.path());
    assert_eq!(depths(&config).await.unwrap(), [], "asking changes nothing");

    declare(&config).await.unwrap();
    declare(&config).await.unwrap();

    let names: Vec<String> = depths(&config).await.unwrap().into_iter().map(|depth| depth.name).collect();
    let expected = [
        "priority",
        "standard",
        "reprocessing",
        "dead",
        "retry.200ms",
        "retry.300ms",
        "retry.600ms",
        "retry.900ms",
    ];
    assert_eq!(names, expected.map(|name| format!("{}.{name}", config.namespace)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_drops_from_a_work_queue_goes_to_the_dead() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("dropped", folder.path());
    let publisher = connected(&config).await;
    let broker = Connection::connect(&testing::amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let messages = messages(3);
    for (queue, message) in QueueName::ALL.into_iter().zip(&messages) {
        publisher.publish(queue, message).await.unwrap();
        let name = format!("{}.{queue}", config.namespace);
        let delivery = channel.basic_get(name.into(), BasicGetOptions::default()).await.unwrap().unwrap();
        // To the broker it is the same whether a consumer, a limit or a policy ends the message's life.
        delivery.acker.reject(BasicRejectOptions { requeue: false }).await.unwrap();
    }
    is_deep(&config, "dead", 3).await;

    let mut look = DeadQueue::open(&config).await.unwrap();
    let parked = look.take(10).await.unwrap();
    assert!(parked.iter().all(|parked| parked.by == Parker::Broker("rejected".to_owned())), "{parked:?}");
    assert_eq!((parked.len(), look.take(10).await.unwrap().len()), (3, 0));
    // What is not forgotten is back when the look has ended.
    drop((parked, look));
    is_deep(&config, "dead", 3).await;

    let dead = format!("{}.dead", config.namespace);
    let dropped = channel.basic_get(dead.into(), BasicGetOptions::default()).await.unwrap().unwrap().delivery;
    let body = String::from_utf8(dropped.data).unwrap();
    assert!(messages.iter().any(|message| message.crash_id.to_string() == body), "{body}");
    let headers = dropped.properties.headers().clone().unwrap();
    assert!(headers.inner().contains_key("x-first-death-queue"), "{headers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_somebody_else_has_declared_is_explained_and_not_fought() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("foreign", folder.path());
    let name = format!("{}.standard", config.namespace);
    let broker = Connection::connect(&testing::amqp_url(), ConnectionProperties::default()).await.unwrap();
    let channel = broker.create_channel().await.unwrap();
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.clone().into(), options, FieldTable::default()).await.unwrap();

    let refused = declare(&config).await.unwrap_err();
    assert!(matches!(refused, Error::Mismatch { .. }) && refused.is_final());
    let text = refused.to_string();
    for part in [name.as_str(), "x-queue-type", "quorum", "delete_queue", "queue.namespace"] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }

    let publisher = publisher(&config).await;
    reaches(&publisher, |state| matches!(state, BrokerState::Refused { .. })).await;
    let mut consumer = consumer(&config, 1).await;
    assert!(tokio::time::timeout(SOON, consumer.next()).await.unwrap().is_none());
    assert!(matches!(&*consumer.state().borrow(), BrokerState::Refused { reason } if reason.contains(&name)));

    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
    declare(&config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_not_there_is_named_with_its_address() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = crate::support::through(&config("nobody", folder.path()), &format!("amqp://{nobody}/%2f"));
    let error = declare(&config).await.unwrap_err().to_string();
    assert!(error.contains(&nobody.to_string()), "{error}");
}
