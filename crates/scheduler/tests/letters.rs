//! What becomes of what is parked among the dead, and of crashes that lack a part.

mod support;

use std::time::Duration;

use crash::{CrashId, QueueName, ThrottleDigit};
use facts::{CrashFact, DeadLetter, Lacks, Part};
use jiff::Timestamp;
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
    assert_eq!((collected.gone, collected.written, collected.left, collected.unreadable), (4, 1, 0, 0));
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
