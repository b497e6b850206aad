//! What becomes of crashes that are stored and that nothing else knows of.

mod support;

use std::{collections::BTreeSet, time::Duration};

use crash::{CrashId, Minute, ThrottleDigit};
use facts::DeadLetter;
use jiff::{SignedDuration, Timestamp};
use support::{Installation, SOON, Scheduler, id, queue_holds, store, take};

/// Old enough for its minute to be left behind by a first sweep.
const MINUTES: i64 = 20;
/// A long way back.
const DAYS: i64 = 40 * 24 * 60;

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
    let [with_fact, dead, erased] = [1, 2, 3].map(|number| id(MINUTES, ThrottleDigit::Accept, number));
    let deferred = id(MINUTES, ThrottleDigit::Defer, 5);
    // The sweep goes from the oldest to the youngest: when this one is published, it has passed all others.
    let lost = id(MINUTES - 5, ThrottleDigit::Accept, 6);
    for crash in [with_fact, dead, erased, deferred, lost] {
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
    installation.process(lost).await;
    listed(&installation, &[]).await;
    scheduler.stop().await;
    queue_holds(&installation.config.queue, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_ids_wait_others_are_put_off_and_listed_until_none_waits() {
    let installation = Installation::new("sweep_backlog").await;
    let waiting = id(0, ThrottleDigit::Accept, 1);
    installation.publish(waiting).await;
    let put_off = [id(DAYS, ThrottleDigit::Accept, 3), id(MINUTES, ThrottleDigit::Accept, 4)];
    for crash in put_off {
        installation.store(crash).await;
    }

    let scheduler = Scheduler::start(&installation.config).await;
    listed(&installation, &put_off).await;
    queue_holds(&installation.config.queue, 1).await;
    scheduler.stop().await;

    // The next one knows of them, whatever their age, without looking through the store.
    assert_eq!(take(&installation.config.queue).await.crash_id, waiting);
    let next = Scheduler::start(&installation.config).await;
    let mut taken = BTreeSet::new();
    while taken != BTreeSet::from(put_off) {
        // One that is not processed soon comes once more.
        taken.insert(take(&installation.config.queue).await.crash_id);
    }
    for crash in put_off {
        installation.process(crash).await;
    }
    listed(&installation, &[]).await;
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_ids_wait_what_is_very_old_is_published_all_the_same() {
    let mut installation = Installation::new("sweep_anyway").await;
    installation.config.scheduler.sweep_anyway = settings::Duration::from_secs(3);
    installation.publish(id(0, ThrottleDigit::Accept, 1)).await;
    let first = id(MINUTES, ThrottleDigit::Accept, 2);
    installation.store(first).await;

    let scheduler = Scheduler::start(&installation.config).await;
    queue_holds(&installation.config.queue, 2).await;
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mark_passes_what_is_complete_and_a_pass_costs_the_new_minutes_only() {
    let installation = Installation::new("sweep_mark").await;
    let old: Vec<CrashId> = (0..5).map(|number| id(DAYS + number, ThrottleDigit::Accept, 1)).collect();
    for crash in &old {
        installation.store(*crash).await;
        installation.process(*crash).await;
    }
    let scheduler = Scheduler::start(&installation.config).await;
    let mark = testing::eventually(SOON, async || {
        let mark = installation.facts.sweep_mark().await.expect("the database answers")?;
        (mark.swept_until > old[0].minute()).then_some(mark)
    })
    .await;
    let behind = Timestamp::now().duration_since(mark.swept_until.start());
    assert!(behind >= SignedDuration::from_mins(10) && behind < SignedDuration::from_mins(13), "{behind}");
    listed(&installation, &[]).await;
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_comes_into_an_old_minute_is_found_also_by_a_scheduler_that_starts_later() {
    let installation = Installation::new("sweep_late").await;
    let before = id(DAYS, ThrottleDigit::Accept, 1);
    installation.store(before).await;
    installation.process(before).await;
    let scheduler = Scheduler::start(&installation.config).await;
    testing::eventually(SOON, async || installation.facts.sweep_mark().await.expect("the database answers"))
        .await;
    // A segment that is there is gone on with, and one that is not is made.
    let [same, other] = [(DAYS, 2), (DAYS + 1, 3)].map(|(age, n)| id(age, ThrottleDigit::Accept, n));
    installation.store(same).await;
    assert_eq!(take(&installation.config.queue).await.crash_id, same);
    installation.process(same).await;
    scheduler.stop().await;

    installation.store(other).await;
    let next = Scheduler::start(&installation.config).await;
    while take(&installation.config.queue).await.crash_id != other {}
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_full_gets_shorter_and_the_sweep_goes_on() {
    const FULL: i64 = 20_000;
    const COMPLETE: i64 = 10;
    let installation = Installation::new("sweep_full").await;
    let now = Timestamp::now();
    let minute = |age: i64| Minute::of(now - SignedDuration::from_mins(age));
    let list = async |ages: std::ops::Range<i64>, due_at: Timestamp| {
        let minutes: Vec<Minute> = ages.map(|age| minute(DAYS + age)).collect();
        installation.facts.list_minutes(&minutes, due_at, false).await.expect("the database takes it");
    };
    // There is nothing in them any more, and most have their time.
    list(0..COMPLETE, now).await;
    list(COMPLETE..FULL, now + SignedDuration::from_hours(24)).await;
    let mark = facts::SweepMark { swept_until: minute(2 * MINUTES), late_until: now };
    installation.facts.set_sweep_mark(&mark).await.expect("the database takes it");
    let lost = id(MINUTES, ThrottleDigit::Accept, 1);
    installation.store(lost).await;

    let scheduler = Scheduler::start(&installation.config).await;
    assert_eq!(take(&installation.config.queue).await.crash_id, lost);
    let listed = installation.facts.sweep_backlog().await.expect("the database answers").minutes;
    assert!(i64::try_from(listed).unwrap() <= FULL - COMPLETE + 1, "{listed}");
    scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_is_kept_longer_than_its_fact_is_not_published_again() {
    let mut installation = Installation::new("sweep_retention").await;
    installation.config.retention.facts = "30d".parse().expect("it is a length");
    // The facts of both are gone; one of the two is on the list of an earlier sweep.
    let [old, listed_before] = [DAYS, DAYS + 10].map(|age| id(age, ThrottleDigit::Accept, 1));
    let lost = id(MINUTES, ThrottleDigit::Accept, 2);
    for crash in [old, listed_before, lost] {
        installation.store(crash).await;
    }
    let minutes = [listed_before.minute()];
    installation.facts.list_minutes(&minutes, Timestamp::now(), false).await.expect("the database takes it");

    let scheduler = Scheduler::start(&installation.config).await;
    // It goes from the oldest to the youngest.
    assert_eq!(take(&installation.config.queue).await.crash_id, lost);
    installation.process(lost).await;
    listed(&installation, &[]).await;
    scheduler.stop().await;
    queue_holds(&installation.config.queue, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_from_a_clock_that_was_wrong_is_not_believed() {
    let installation = Installation::new("sweep_clock").await;
    let future = Timestamp::now() + SignedDuration::from_hours(24 * 365);
    let mark = facts::SweepMark { swept_until: Minute::of(future), late_until: future };
    installation.facts.set_sweep_mark(&mark).await.expect("the database takes it");
    let lost = id(MINUTES, ThrottleDigit::Accept, 1);
    installation.store(lost).await;

    let scheduler = Scheduler::start(&installation.config).await;
    assert_eq!(take(&installation.config.queue).await.crash_id, lost);
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
        let ours = id(MINUTES - i64::try_from(number).unwrap(), ThrottleDigit::Accept, number);
        installation.store(ours).await;
        while take(queue).await.crash_id != ours {}
    }

    leading.stop().await;
    while take(queue).await.crash_id != theirs {}
    waiting.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_scheduler_takes_over_when_the_leaders_session_is_ended() {
    let installation = Installation::new("leader_cut_off").await;
    let queue = &installation.config.queue;
    let mut config = installation.config.clone();
    let proxy = testing::Proxy::to_url(config.facts.url.with_password(&config.facts.password).expose());
    config.facts.url = proxy.url().parse().expect("it is a URL");
    let leading = Scheduler::start(&config).await;
    let first = id(MINUTES, ThrottleDigit::Accept, 1);
    installation.store(first).await;
    assert_eq!(take(queue).await.crash_id, first);

    // From here on the leader reaches no database; the other one does.
    proxy.cut();
    let next = Scheduler::start(&installation.config).await;
    let second = id(MINUTES - 5, ThrottleDigit::Accept, 2);
    installation.store(second).await;
    let began = std::time::Instant::now();
    while take(queue).await.crash_id != second {}
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    proxy.restore();
    leading.stop().await;
    next.stop().await;
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

/// Waits until the sweep has left everything behind but the minutes of these crashes.
async fn listed(installation: &Installation, crashes: &[CrashId]) {
    let minutes: BTreeSet<Minute> = crashes.iter().map(|crash| crash.minute()).collect();
    let all = Minute::of(Timestamp::UNIX_EPOCH);
    testing::eventually(SOON, async || {
        installation.facts.sweep_mark().await.expect("the database answers")?;
        let listed = installation.facts.listed_minutes(all).await.expect("the database answers");
        (listed.into_iter().collect::<BTreeSet<_>>() == minutes).then_some(())
    })
    .await;
}
