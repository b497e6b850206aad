//! Dropping partitions that are past their retention, also after a kill.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may fail like tests")]

mod common;

use common::{Migrated, crash, crash_at, migrated, noon};
use facts::{CrashFact, Partition};
use jiff::{SignedDuration, civil::Date};

const TABLES: [&str; 2] = ["fact_dump", "fact_crash"];

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// A database with a crash in each of three weeks, the last one in that of 2026-11-23.
async fn three_weeks(test: &str) -> Migrated {
    let db = migrated(test).await;
    let crashes = (0..3).map(|week| crash_at(noon() - SignedDuration::from_hours(week * 7 * 24), 7));
    let facts: Vec<_> = crashes.map(|crash| CrashFact::of(&crash)).collect();
    db.facts.save(&facts).await.unwrap();
    db
}

fn first_days(dropped: &[Partition]) -> Vec<(String, String)> {
    dropped.iter().map(|partition| (partition.table.clone(), partition.first_day.to_string())).collect()
}

fn days_with_facts(db: &Migrated) -> Vec<String> {
    db.ask("SELECT crash_day::text FROM fact_crash ORDER BY 1")
}

#[tokio::test]
async fn a_partition_goes_when_its_whole_week_is_older() {
    let db = three_weeks("drop_weeks").await;
    // Of the week from the 9th, the 15th is still kept.
    let mut heard = vec![];
    let dropped =
        db.facts.drop_partitions(&TABLES, day("2026-11-15"), |one| heard.push(one.clone())).await.unwrap();
    assert_eq!(dropped, []);
    assert_eq!(heard, []);

    let dropped =
        db.facts.drop_partitions(&TABLES, day("2026-11-16"), |one| heard.push(one.clone())).await.unwrap();
    assert_eq!(
        first_days(&dropped),
        [
            ("fact_dump".to_owned(), "2026-11-09".to_owned()),
            ("fact_crash".to_owned(), "2026-11-09".to_owned())
        ]
    );
    assert!(dropped.iter().all(|partition| partition.bytes > 0));
    assert_eq!(heard, dropped);
    assert_eq!(days_with_facts(&db), ["2026-11-16", "2026-11-23"]);
    assert_eq!(db.facts.partitions(&["fact_crash"]).await.unwrap()[0].first_day, day("2026-11-16"));
    // Other tables keep theirs, and so does whoever comes later.
    assert_eq!(
        db.ask("SELECT count(*) FROM partition_range('crash_private') WHERE end_day <= '2026-11-16'"),
        ["1"]
    );
    assert_eq!(db.facts.drop_partitions(&TABLES, day("2026-11-16"), |_| ()).await.unwrap(), []);
    assert_eq!(db.ask("SELECT count(*) FROM partition_drop"), ["0"]);

    // A crash of a day that is gone makes its partition anew, and that goes again.
    db.facts
        .save(&[CrashFact::of(&crash_at(noon() - SignedDuration::from_hours(14 * 24), 8))])
        .await
        .unwrap();
    assert_eq!(db.facts.drop_partitions(&TABLES, day("2026-11-16"), |_| ()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_killed_between_the_steps_is_finished_and_what_an_operator_detached_is_kept() {
    let db = three_weeks("drop_killed").await;
    // Killed between detaching and dropping.
    db.ask(
        "INSERT INTO partition_drop (partition, name, parent, first_day, end_day, bytes)
         VALUES ('fact_crash_20261109'::regclass, 'fact_crash_20261109', 'fact_crash', '2026-11-09', '2026-11-16', 1)",
    );
    db.ask("ALTER TABLE fact_crash DETACH PARTITION fact_crash_20261109");
    // Killed after the decision, and the retention was made longer since.
    db.ask(
        "INSERT INTO partition_drop (partition, name, parent, first_day, end_day, bytes)
         VALUES ('fact_crash_20261116'::regclass, 'fact_crash_20261116', 'fact_crash', '2026-11-16', '2026-11-23', 1)",
    );
    // Dropped already, and its number not forgotten.
    db.ask(
        "INSERT INTO partition_drop (partition, name, parent, first_day, end_day, bytes)
         VALUES (1, 'fact_crash_20200106', 'fact_crash', '2020-01-06', '2020-01-13', 1)",
    );
    db.ask("ALTER TABLE fact_dump DETACH PARTITION fact_dump_20261109");

    let dropped = db.facts.drop_partitions(&TABLES, day("2026-01-01"), |_| ()).await.unwrap();
    assert_eq!(
        first_days(&dropped),
        [
            ("fact_crash".to_owned(), "2020-01-06".to_owned()),
            ("fact_crash".to_owned(), "2026-11-09".to_owned())
        ]
    );
    assert_eq!(db.ask("SELECT to_regclass('fact_crash_20261109') IS NULL"), ["t"]);
    assert_eq!(db.ask("SELECT to_regclass('fact_dump_20261109') IS NULL"), ["f"]);
    assert_eq!(days_with_facts(&db), ["2026-11-16", "2026-11-23"]);
    assert_eq!(db.ask("SELECT count(*) FROM partition_drop"), ["0"]);
}

/// Detaches a partition of the facts while somebody reads them, so that it stays pending.
fn leave_pending(db: &Migrated, partition: &str) {
    let url = db.database.url().to_owned();
    let detach = format!("ALTER TABLE fact_crash DETACH PARTITION {partition} CONCURRENTLY");
    std::thread::spawn(move || {
        let mut reader = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut reading = reader.transaction().unwrap();
        reading.query("SELECT FROM fact_crash", &[]).unwrap();
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        client.batch_execute("SET lock_timeout = '100ms'").unwrap();
        // It has been made pending, and then waited in vain.
        client.batch_execute(&detach).unwrap_err();
    })
    .join()
    .unwrap();
    assert_eq!(db.ask("SELECT count(*) FROM pg_inherits WHERE inhdetachpending"), ["1"]);
}

#[tokio::test]
async fn a_detach_that_was_cut_short_is_finalized() {
    let db = three_weeks("drop_pending").await;
    db.ask(
        "INSERT INTO partition_drop (partition, name, parent, first_day, end_day, bytes)
         VALUES ('fact_crash_20261109'::regclass, 'fact_crash_20261109', 'fact_crash', '2026-11-09', '2026-11-16', 1)",
    );
    leave_pending(&db, "fact_crash_20261109");

    let dropped = db.facts.drop_partitions(&TABLES, day("2026-01-01"), |_| ()).await.unwrap();
    assert_eq!(first_days(&dropped), [("fact_crash".to_owned(), "2026-11-09".to_owned())]);
    assert_eq!(db.ask("SELECT to_regclass('fact_crash_20261109') IS NULL"), ["t"]);
    assert_eq!(db.facts.save(&[CrashFact::of(&crash(1))]).await.unwrap().inserted, 1);
}

#[tokio::test]
async fn what_could_not_be_detached_and_an_operator_detaches_then_is_kept() {
    let db = three_weeks("drop_in_vain").await;
    // Only one partition of a table can be on its way, and this one is nobody's business but the operator's.
    leave_pending(&db, "fact_crash_20261116");
    let failed = db.facts.drop_partitions(&["fact_crash"], day("2026-11-16"), |_| ()).await.unwrap_err();
    assert!(format!("{failed:?}").contains("pending detach"), "{failed:?}");

    db.ask("ALTER TABLE fact_crash DETACH PARTITION fact_crash_20261116 FINALIZE");
    db.ask("ALTER TABLE fact_crash DETACH PARTITION fact_crash_20261109");
    assert_eq!(db.facts.drop_partitions(&TABLES, day("2026-01-01"), |_| ()).await.unwrap(), []);
    assert_eq!(db.ask("SELECT count(*) FROM fact_crash_20261109"), ["1"]);
}

#[tokio::test]
async fn a_partition_that_was_renamed_is_kept_though_a_kill_left_it_written_down() {
    let db = three_weeks("drop_renamed").await;
    db.ask(
        "INSERT INTO partition_drop (partition, name, parent, first_day, end_day, bytes)
         VALUES ('fact_crash_20261109'::regclass, 'fact_crash_20261109', 'fact_crash', '2026-11-09', '2026-11-16', 1)",
    );
    db.ask("ALTER TABLE fact_crash DETACH PARTITION fact_crash_20261109");
    db.ask("ALTER TABLE fact_crash_20261109 RENAME TO archive_20261109");
    db.facts.drop_partitions(&TABLES, day("2026-01-01"), |_| ()).await.unwrap();
    assert_eq!(db.ask("SELECT count(*) FROM archive_20261109"), ["1"]);
    assert_eq!(db.ask("SELECT count(*) FROM partition_drop"), ["0"]);
}
