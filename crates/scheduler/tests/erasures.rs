//! Erasures that were cut short, and crashes that came back.

mod support;

use std::{fs, time::Duration};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_that_cannot_be_erased_keeps_no_other_from_being_erased_or_verified() {
    let installation = Installation::new("erasure_stuck").await;
    let [stuck, also_stuck, erased, verified] =
        [(20, 1), (90, 2), (30, 3), (95, 4)].map(|(age, number)| id(age, ThrottleDigit::Accept, number));
    for crash in [stuck, also_stuck, erased, verified] {
        installation.store(crash).await;
    }
    for crash in [stuck, also_stuck] {
        unreadable(&installation, crash);
    }
    write_down(&installation, stuck, 15).await;
    write_down(&installation, erased, 10).await;
    let long_ago = Timestamp::now() - SignedDuration::from_mins(70);
    for (crash, minutes_ago) in [(also_stuck, 80), (verified, 75)] {
        let erasure = write_down(&installation, crash, minutes_ago).await;
        let none = [(crash, facts::ErasedCounts::default())].into();
        installation.facts.erase(erasure, &none, long_ago).await.expect("the database takes it");
    }

    let scheduler = Scheduler::start(&installation.config).await;
    let (facts, now) = (&installation.facts, Timestamp::now());
    testing::eventually(SOON, async || {
        let unfinished = facts.unfinished_erasures(now, 10).await.expect("it answers");
        let unverified = facts.unverified_erasures(long_ago + SignedDuration::from_mins(1), 10).await;
        let ids = |of: &[facts::ErasureOf]| of.iter().map(|of| of.crash_id).collect::<Vec<_>>();
        let left = (ids(&unfinished), ids(&unverified.expect("it answers")));
        (left == (vec![stuck], vec![also_stuck])).then_some(())
    })
    .await;
    for crash in [erased, verified] {
        assert_eq!(living_frames(&installation, crash).await, 0);
    }
    // That they could not is said all the same.
    let told = testing::eventually(SOON, async || {
        let jobs = facts.last_jobs().await.expect("it answers");
        jobs.into_iter().find(|run| run.job == "erasures").and_then(|run| run.error)
    })
    .await;
    assert!([stuck, also_stuck].iter().all(|crash| told.contains(&crash.to_string())), "{told}");
    scheduler.stop().await;
}

/// Puts a folder where a segment with a crash's private annotations is.
fn unreadable(installation: &Installation, crash: CrashId) {
    let minute = crash.minute();
    let private = installation.config.crashstore.path.join("private");
    let folder = private.join(minute.day_folder()).join(minute.minute_folder());
    for segment in fs::read_dir(folder).expect("it is there") {
        let path = segment.expect("it can be read").path();
        fs::remove_file(&path).expect("it can be removed");
        fs::create_dir(&path).expect("it can be made");
    }
}
