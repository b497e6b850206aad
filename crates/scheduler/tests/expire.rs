//! What is past its retention goes, day by day and partition by partition.

mod support;

use std::time::Duration;

use crash::{CrashId, ThrottleDigit};
use crashstore::Area;
use facts::JobState;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use scheduler::{Kept, Retention, expire, forecast};
use support::{Installation, Scheduler};

const SOON: Duration = Duration::from_secs(30);

/// A crash that was received so many days ago.
fn days_ago(days: i64, number: u128) -> CrashId {
    let received = Timestamp::now() - SignedDuration::from_hours(days * 24);
    CrashId::new(received, ThrottleDigit::Accept, number << 32).expect("the clock is right")
}

fn retention() -> Retention {
    let keep = |text: &str| text.parse().expect("it is a retention");
    Retention { raw: keep("20d"), private: keep("10d"), processed: keep("30d"), facts: keep("30d") }
}

async fn has(installation: &Installation, area: Area, id: CrashId) -> bool {
    let frames = installation.crashes.find(id).await.expect("the store can be read");
    frames.iter().any(|frame| frame.area == area)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_area_loses_the_days_that_are_past_its_own_retention_and_facts_their_partitions() {
    let mut installation = Installation::new("expire").await;
    let crashes = [5, 15, 25, 60].map(|days| days_ago(days, 1));
    for id in crashes {
        installation.store(id).await;
        installation.process(id).await;
    }
    let now = Timestamp::now();
    let seen = forecast(&installation.crashes, &installation.facts, &retention(), &Kept::ALL, now)
        .await
        .expect("it can be seen");
    let due = |area| seen.areas.iter().find(|seen| seen.area == area).expect("it is there").due;
    assert_eq!((due(Kept::Raw).parts >= 2, due(Kept::Facts).parts >= 4), (true, true), "{seen:?}");
    assert!(seen.disk.is_some_and(|disk| disk.free > 0));

    installation.config.retention = retention();
    let scheduler = Scheduler::start(&installation.config).await;
    testing::eventually(SOON, async || {
        let jobs = installation.facts.last_jobs().await.expect("the database answers");
        jobs.into_iter().find(|run| run.job == "expire" && run.state == JobState::Ok && run.rows > 0)
    })
    .await;
    scheduler.stop().await;

    for (id, raw, private) in [
        (crashes[0], true, true),
        (crashes[1], true, false),
        (crashes[2], false, false),
        (crashes[3], false, false),
    ] {
        assert_eq!(has(&installation, Area::Raw, id).await, raw, "{id}");
        assert_eq!(has(&installation, Area::Private, id).await, private, "{id}");
        let is_expired = installation.config.retention.is_expired(Area::Raw, id, now);
        assert_eq!(is_expired, !raw, "{id}");
    }
    assert!(installation.facts.fact(crashes[2]).await.expect("it answers").is_some());
    assert!(installation.facts.fact(crashes[3]).await.expect("it answers").is_none());
    let partitions = installation.facts.partitions(&["fact_crash"]).await.expect("it answers");
    assert!(partitions.iter().all(|partition| partition.end_day > crashes[3].day()));
    // What is gone is not due any more.
    let Installation { crashes, facts, config, .. } = &installation;
    let dropped =
        expire::expire(crashes, facts, &config.retention, &Kept::ALL, Timestamp::now(), |_| ()).await;
    assert_eq!(dropped.expect("it works"), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_years_ahead_drops_nothing() {
    let installation = Installation::new("expire_clock").await;
    let id = days_ago(1, 1);
    installation.store(id).await;
    let ahead = Timestamp::now() + SignedDuration::from_hours(10 * 366 * 24);
    let Installation { crashes, facts, .. } = &installation;
    let refused = expire::expire(crashes, facts, &retention(), &Kept::ALL, ahead, |_| ()).await;
    let refused = refused.expect_err("the clocks disagree").to_string();
    let year = ahead.to_zoned(TimeZone::UTC).year().to_string();
    assert!(refused.contains(&year) && refused.contains("until they agree"), "{refused}");
    assert!(has(&installation, Area::Raw, id).await);
}
