//! What becomes of crashes that are stored and that nothing else knows of.

mod support;

use std::collections::BTreeSet;

use crash::ThrottleDigit;
use facts::DeadLetter;
use jiff::Timestamp;
use support::{Installation, Scheduler, id, queue_holds, store, take};

/// Old enough to be swept, and young enough to be left alone while other crashes wait.
const MINUTES: i64 = 20;
/// Old enough to be swept in any case.
const HOURS: i64 = 7 * 60;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_was_stored_and_never_published_is_published_with_its_place() {
    let installation = Installation::new("sweep_lost").await;
    let lost = id(MINUTES, ThrottleDigit::Accept, 1);
    let place = installation.store(lost).await;

    let scheduler = Scheduler::start(&installation.config).await;
    let message = take(&installation.config.queue).await;
    assert_eq!((message.crash_id, message.attempt), (lost, 1));
    assert_eq!((message.reason.as_deref(), message.place), (Some("sweep"), Some(place)));
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_crashes_without_any_result_that_are_to_be_processed_are_published() {
    let installation = Installation::new("sweep_results").await;
    let [with_fact, dead, erased, young] =
        [(MINUTES, 1), (MINUTES, 2), (MINUTES, 3), (1, 4)].map(|(age, n)| id(age, ThrottleDigit::Accept, n));
    let deferred = id(MINUTES, ThrottleDigit::Defer, 5);
    // The sweep goes from the oldest to the youngest: when this one is published, it has passed all others.
    let lost = id(MINUTES - 5, ThrottleDigit::Accept, 6);
    for crash in [with_fact, dead, erased, young, deferred, lost] {
        installation.store(crash).await;
    }
    installation.crashes.erase(erased).await.expect("it can be erased");
    installation.process(with_fact).await;
    let letter = DeadLetter {
        crash_id: dead,
        died_at: Timestamp::now(),
        stage: "fetch".to_owned(),
        reason: "unreadable".to_owned(),
        attempts: 5,
        detail: None,
    };
    installation.facts.record_dead_letter(&letter).await.expect("the database takes it");

    let scheduler = Scheduler::start(&installation.config).await;
    assert_eq!(take(&installation.config.queue).await.crash_id, lost);
    queue_holds(&installation.config.queue, 0).await;
    scheduler.stop().await;
    queue_holds(&installation.config.queue, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_crashes_wait_only_very_old_ones_are_published_and_each_of_them_once() {
    let installation = Installation::new("sweep_backlog").await;
    let waiting = id(0, ThrottleDigit::Accept, 1);
    let very_old = id(HOURS, ThrottleDigit::Accept, 3);
    let lost = id(MINUTES, ThrottleDigit::Accept, 4);
    installation.publish(waiting).await;
    for crash in [very_old, lost] {
        installation.store(crash).await;
    }

    let scheduler = Scheduler::start(&installation.config).await;
    queue_holds(&installation.config.queue, 2).await;
    // Another very old one comes later: by then there have been two passes, and the first one is not there twice.
    let another = id(HOURS, ThrottleDigit::Accept, 5);
    installation.store(another).await;
    queue_holds(&installation.config.queue, 3).await;

    // Once these are taken nothing waits any more, and the younger one follows.
    let mut taken = BTreeSet::new();
    for _ in 0..4 {
        taken.insert(take(&installation.config.queue).await.crash_id);
    }
    assert_eq!(taken, BTreeSet::from([waiting, very_old, another, lost]));
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_scheduler_leads_and_the_other_takes_over_when_it_ends() {
    let installation = Installation::new("two_schedulers").await;
    let queue = &installation.config.queue;
    let first = id(MINUTES, ThrottleDigit::Accept, 1);
    installation.store(first).await;
    let leading = Scheduler::start(&installation.config).await;
    assert_eq!(take(queue).await.crash_id, first);

    // What the other one would publish, the leader does not see.
    let (elsewhere, config) = installation.elsewhere();
    let theirs = id(MINUTES, ThrottleDigit::Accept, 2);
    store(&elsewhere, theirs).await;
    let waiting = Scheduler::start(&config).await;
    for number in 3..6 {
        let ours = id(MINUTES, ThrottleDigit::Accept, number);
        installation.store(ours).await;
        assert_eq!(take(queue).await.crash_id, ours);
    }

    leading.stop().await;
    assert_eq!(take(queue).await.crash_id, theirs);
    waiting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_for_a_moment_ends_no_scheduler() {
    let installation = Installation::new("database_cut").await;
    let mut config = installation.config.clone();
    let proxy = testing::Proxy::to_url(config.facts.url.with_password(&config.facts.password).expose());
    config.facts.url = proxy.url().parse().expect("it is a URL");
    let scheduler = Scheduler::start(&config).await;
    let [before, after] = [1, 2].map(|number| id(MINUTES, ThrottleDigit::Accept, number));
    installation.store(before).await;
    assert_eq!(take(&config.queue).await.crash_id, before);

    proxy.cut();
    installation.store(after).await;
    proxy.restore();
    // It may also begin anew, and publish what it does not remember.
    while take(&config.queue).await.crash_id != after {}
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_waits_for_a_broker_that_is_away_and_goes_on_when_it_is_back() {
    let installation = Installation::new("sweep_cut").await;
    let mut config = installation.config.clone();
    let proxy = testing::Proxy::to_url(&testing::amqp_url());
    config.queue.url = proxy.url().parse().expect("it is a URL");
    let lost = id(MINUTES, ThrottleDigit::Accept, 1);
    installation.store(lost).await;
    proxy.cut();

    let scheduler = Scheduler::start(&config).await;
    proxy.restore();
    assert_eq!(take(&installation.config.queue).await.crash_id, lost);
    scheduler.stop().await;
}
