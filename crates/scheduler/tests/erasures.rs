//! Erasures that were cut short, and crashes that came back.

mod support;

use std::time::Duration;

use crash::{CrashId, ThrottleDigit};
use facts::ErasureRequest;
use jiff::{SignedDuration, Timestamp};
use support::{Installation, Scheduler, id, queue_holds};

const SOON: Duration = Duration::from_secs(30);

/// Writes down that a crash is to be erased, so many minutes ago, and does nothing more: as one who is killed then.
async fn write_down(installation: &Installation, crash: CrashId, minutes_ago: i64) -> i64 {
    let request = ErasureRequest {
        requested_at: Timestamp::now() - SignedDuration::from_mins(minutes_ago),
        requested_by: "operator".to_owned(),
        node: "node-1".to_owned(),
        reason: String::new(),
        installation: None,
    };
    installation.facts.begin_erasure(&request, &[crash]).await.expect("the database takes it")
}

async fn living_frames(installation: &Installation, crash: CrashId) -> usize {
    let frames = installation.crashes.find(crash).await.expect("the store can be read");
    frames.iter().filter(|frame| !frame.erased).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_was_cut_short_is_finished_and_the_crash_is_not_published_again() {
    let installation = Installation::new("erasure_cut").await;
    let [erased, young] = [1, 2].map(|number| id(20, ThrottleDigit::Accept, number));
    for crash in [erased, young] {
        installation.store(crash).await;
        installation.process(crash).await;
    }
    write_down(&installation, erased, 10).await;
    write_down(&installation, young, 0).await;

    let scheduler = Scheduler::start(&installation.config).await;
    testing::eventually(SOON, async || {
        let told =
            installation.facts.erasure_of(erased).await.expect("it answers").expect("it is written down");
        told.erased_at.map(|_| assert_eq!((told.counts.frames, told.counts.rows), (2, 1)))
    })
    .await;
    assert_eq!(living_frames(&installation, erased).await, 0);
    assert!(installation.facts.fact(erased).await.expect("it answers").is_none());
    // Whoever asked for the other one a moment ago is about to do it.
    assert_eq!(living_frames(&installation, young).await, 2);
    scheduler.stop().await;
    queue_holds(&installation.config.queue, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_processor_saved_and_could_not_erase_again_is_found_later() {
    let installation = Installation::new("erasure_verified").await;
    let crash = id(90, ThrottleDigit::Accept, 1);
    let erasure = write_down(&installation, crash, 80).await;
    let long_ago = Timestamp::now() - SignedDuration::from_mins(70);
    let none = [(crash, facts::ErasedCounts::default())].into();
    installation.facts.erase(erasure, &none, long_ago).await.expect("the database takes it");
    // As one leaves it that is killed between the two.
    installation.store(crash).await;

    let scheduler = Scheduler::start(&installation.config).await;
    testing::eventually(SOON, async || (living_frames(&installation, crash).await == 0).then_some(())).await;
    let nothing_left = async || {
        let left = installation.facts.unverified_erasures(Timestamp::now(), 10).await.expect("it answers");
        left.is_empty().then_some(())
    };
    testing::eventually(SOON, nothing_left).await;
    scheduler.stop().await;
}
