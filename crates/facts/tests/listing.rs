//! Which crashes have facts.

mod common;

use common::{crash_at, migrated, noon};
use facts::CrashFact;
use jiff::SignedDuration;

#[tokio::test]
async fn facts_are_listed_by_their_days_and_minutes() {
    let db = migrated("listing").await;
    let midnight = noon() - SignedDuration::from_hours(12);
    let seconds = [0, 59, 60, 12 * 3600, 86_399, 86_400];
    let crashes: Vec<_> = (1..)
        .zip(seconds)
        .map(|(number, second)| crash_at(midnight + SignedDuration::from_secs(second), number))
        .collect();
    let facts: Vec<_> = crashes.iter().map(CrashFact::of).collect();
    db.facts.save(&facts).await.unwrap();

    let days = db.facts.days().await.unwrap();
    assert_eq!(days, [crashes[0].crash_id.day(), crashes[5].crash_id.day()]);
    let minutes = db.facts.minutes_of(days[0]).await.unwrap();
    let text: Vec<_> = minutes.iter().map(ToString::to_string).collect();
    assert_eq!(text, ["20261123/0000", "20261123/0001", "20261123/1200", "20261123/2359"]);
    let mut first = [crashes[0].crash_id, crashes[1].crash_id];
    first.sort_unstable();
    assert_eq!(db.facts.crashes_in(minutes[0]).await.unwrap(), first);
    assert_eq!(db.facts.crashes_in(minutes[3]).await.unwrap(), [crashes[4].crash_id]);
}
