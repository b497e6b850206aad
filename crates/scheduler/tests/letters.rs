//! What becomes of what is parked among the dead, and of crashes that lack a part.

mod support;

use std::time::Duration;

use crash::{CrashId, QueueName, ThrottleDigit};
use facts::{CrashFact, DeadLetter, Lacks, Part};
use jiff::Timestamp;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions},
};
use queue::{Consumer, Direct, Kind, Message, Prefetch};
use scheduler::collect;
use support::{Installation, Scheduler, fact, id, take};
use tokio_util::sync::CancellationToken;

const SOON: Duration = Duration::from_secs(30);

/// Publishes an id and parks it as a processor does.
async fn park(installation: &Installation, id: CrashId) {
    let broker = Direct::connect(&installation.config.queue).await.expect("the broker is there");
    let message = Message::new(id, Timestamp::now());
    broker.publish(QueueName::Standard, &message).await.expect("it is confirmed");
    let mut consumer = Consumer::start(
        &installation.config.queue,
        Prefetch { workers: 1, unsaved: 0 },
        CancellationToken::new(),
    )
    .await
    .expect("the section makes sense");
    let delivery = tokio::time::timeout(SOON, consumer.next()).await.expect("in time").expect("it goes on");
    assert_eq!(delivery.message.crash_id, id);
    delivery.dead("damaged").await.expect("it is parked");
}

async fn parked(installation: &Installation) -> u32 {
    let depths = queue::depths(&installation.config.queue).await.expect("the broker answers");
    depths.iter().find(|depth| depth.kind == Kind::Dead).map_or(0, |depth| depth.ready)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_goes_once_its_letter_is_certain_and_an_erased_crash_gets_none() {
    let installation = Installation::new("letters").await;
    let [with_letter, without, with_fact, erased] =
        [1, 2, 3, 4].map(|number| id(20, ThrottleDigit::Accept, number));
    for crash in [with_letter, without, with_fact, erased] {
        installation.store(crash).await;
        park(&installation, crash).await;
    }
    let letter = DeadLetter {
        crash_id: with_letter,
        died_at: Timestamp::now(),
        stage: "store".to_owned(),
        reason: "damaged".to_owned(),
        attempts: 1,
        detail: None,
    };
    installation.facts.record_dead_letter(&letter).await.expect("the database takes it");
    installation.process(with_fact).await;
    installation.crashes.erase(erased).await.expect("it can be erased");
    testing::eventually(SOON, async || (parked(&installation).await == 4).then_some(())).await;

    let (facts, crashes) = (&installation.facts, &installation.crashes);
    let look = async || collect(facts, crashes, &installation.config.queue, Timestamp::now()).await;
    let collected = look().await.expect("everything answers");
    assert_eq!((collected.gone, collected.written, collected.unreadable), (4, 1, 0));
    assert_eq!(parked(&installation).await, 0);
    let known = facts.letter(without).await.expect("it answers").expect("it has a letter now");
    assert_eq!((known.letter.reason.as_str(), known.letter.attempts), ("damaged", 1));
    for crash in [with_fact, erased] {
        assert_eq!(facts.letter(crash).await.expect("it answers"), None);
    }
    // What is done twice changes nothing.
    assert_eq!(look().await.expect("everything answers").gone, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_stays_among_the_dead_neither_what_the_broker_gave_up_nor_what_names_no_crash() {
    let installation = Installation::new("letters_broker").await;
    let queue = &installation.config.queue;
    let given_up = id(0, ThrottleDigit::Accept, 1);
    installation.store(given_up).await;
    let broker = Direct::connect(queue).await.expect("the broker is there");
    let message = Message::new(given_up, Timestamp::now());
    broker.publish(QueueName::Standard, &message).await.expect("it is confirmed");
    let connection = Connection::connect(&testing::amqp_url(), ConnectionProperties::default())
        .await
        .expect("it is there");
    let channel = connection.create_channel().await.expect("there are channels");
    let name = |queue: &str| format!("{}.{queue}", installation.config.queue.namespace);
    let got = channel.basic_get(name("standard").into(), BasicGetOptions::default()).await;
    let got = got.expect("it answers").expect("there is one");
    // To the broker it is the same whether a consumer, a limit or a policy ends the message's life.
    got.delivery.acker.reject(BasicRejectOptions { requeue: false }).await.expect("it is taken");
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let publishing = channel.basic_publish("".into(), name("dead").into(), options, b"hello", properties);
    publishing.await.expect("it is sent").await.expect("it arrives");
    testing::eventually(SOON, async || (parked(&installation).await == 2).then_some(())).await;

    let (facts, crashes) = (&installation.facts, &installation.crashes);
    let collected = collect(facts, crashes, queue, Timestamp::now()).await.expect("everything answers");
    assert_eq!((collected.gone, collected.written, collected.unreadable), (2, 1, 1));
    assert_eq!(parked(&installation).await, 0);
    let letter = facts.letter(given_up).await.expect("it answers").expect("it has a letter").letter;
    assert_eq!((letter.stage.as_str(), letter.reason.as_str()), ("queue", "given_up_by_broker"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_lacks_a_part_is_published_as_often_as_there_are_delays() {
    let installation = Installation::new("degraded").await;
    let mut config = installation.config.clone();
    config.scheduler.degraded_every = settings::Duration::from_millis(100);
    config.queue.degraded_delays = [100, 200].map(settings::Duration::from_millis).to_vec();
    let crash = id(20, ThrottleDigit::Accept, 1);
    installation.process(crash).await;
    let lacks = Lacks {
        part: Part::Symbols,
        detail: "a server was down".to_owned(),
        next_try: Some(Timestamp::now()),
    };
    let fact = CrashFact { lacks: vec![lacks], completed_at: Timestamp::now(), ..fact(crash) };
    installation.facts.save(&[fact]).await.expect("the database takes it");

    let scheduler = Scheduler::start(&config).await;
    for _ in 0..2 {
        let message = take(&config.queue).await;
        assert_eq!(
            (message.crash_id, message.attempt, message.reason.as_deref()),
            (crash, 1, Some("degraded"))
        );
    }
    let mark = testing::eventually(SOON, async || {
        let mut marks = installation.facts.degraded(crash).await.expect("it answers");
        marks.pop().filter(|mark| mark.tries == 2)
    })
    .await;
    assert_eq!(mark.next_try, None, "from here on it is left to people");
    scheduler.stop().await;
}
