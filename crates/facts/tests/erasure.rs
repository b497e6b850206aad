//! Erased crashes: nothing of them is left, nothing of them comes back, and it is known who had them erased.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests may fail like tests")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Migrated, again, crash, crash_at, migrated, noon};
use crash::{CrashId, ProcessedCrash};
use facts::{Attempt, CrashFact, DeadLetter, ErasedCounts, ErasureRequest, Outcome};
use jiff::{SignedDuration, Timestamp};

const SOON: Duration = Duration::from_secs(20);

fn request() -> ErasureRequest {
    ErasureRequest {
        requested_at: noon(),
        requested_by: "operator".to_owned(),
        node: "node-1".to_owned(),
        reason: "asked for by mail".to_owned(),
        installation: Some("0b4d3a6e".to_owned()),
    }
}

fn fact(crash: &ProcessedCrash) -> CrashFact {
    CrashFact::of(crash)
}

fn stored(ids: &[CrashId]) -> BTreeMap<CrashId, ErasedCounts> {
    ids.iter().map(|id| (*id, ErasedCounts { frames: 3, bytes: 1000, rows: 0 })).collect()
}

async fn erase(db: &Migrated, id: CrashId) -> ErasedCounts {
    let erasure = db.facts.begin_erasure(&request(), &[id]).await.unwrap();
    db.facts.erase(erasure, &stored(&[id]), noon()).await.unwrap()[&id]
}

/// Everything that the database has of a crash, but for the audit.
fn rows_of(db: &Migrated, id: CrashId) -> Vec<String> {
    let tables = [
        "fact_crash",
        "fact_dump",
        "crash_addon",
        "crash_private",
        "crash_reject",
        "crash_attempt",
        "dead_letter",
    ];
    let counts = tables.map(|table| format!("SELECT '{table}' FROM {table} WHERE crash_id = '{id}'"));
    db.ask(&format!(
        "{} UNION ALL SELECT 'first' FROM dim_signature WHERE first_crash_id = '{id}'",
        counts.join(" UNION ALL ")
    ))
}

#[tokio::test]
async fn every_row_of_an_erased_crash_is_gone_and_its_neighbour_is_whole() {
    let db = migrated("erase_rows").await;
    let [erased, neighbour] = [1, 2].map(crash);
    db.facts.save(&[fact(&erased), fact(&neighbour)]).await.unwrap();
    let id = erased.crash_id;
    let whole = db.facts.fact(neighbour.crash_id).await.unwrap();
    for table in ["crash_private", "crash_reject", "crash_addon"] {
        let more = match table {
            "crash_private" => ("email", "'a@b.example'"),
            "crash_reject" => ("reasons", "'{empty}'"),
            _ => ("addon_ids", "'{1}'"),
        };
        let (column, value) = more;
        db.ask(&format!(
            "INSERT INTO {table} (crash_day, crash_id, {column}) VALUES ('{}', '{id}', {value})",
            id.day()
        ));
    }
    record_failure(&db, id).await;
    db.ask("DELETE FROM dirty_day");
    assert_eq!(rows_of(&db, id).len(), 8);

    let counts = erase(&db, id).await;
    assert_eq!(counts, ErasedCounts { frames: 3, bytes: 1000, rows: 7 });
    assert_eq!(rows_of(&db, id), [""; 0]);
    assert_eq!(db.facts.fact(neighbour.crash_id).await.unwrap(), whole);
    assert_eq!(db.ask("SELECT concat(day, ' ', why) FROM dirty_day"), ["2026-11-23 erased"]);

    let told = db.facts.erasure_of(id).await.unwrap().unwrap();
    assert_eq!((told.requested_by.as_str(), told.reason.as_str()), ("operator", "asked for by mail"));
    assert_eq!((told.erased_at, told.counts), (Some(noon()), counts));
    assert_eq!(db.facts.erasure_of(neighbour.crash_id).await.unwrap(), None);
    let audit = db.ask("SELECT ROW(e.*)::text FROM erasure e").remove(0);
    assert!(
        !audit.contains("0b4d3a6e,") && !audit.contains("b.example"),
        "of an installation a hash is kept: {audit}"
    );

    // Asked for once more, it is counted where it was erased.
    assert_eq!(erase(&db, id).await.rows, 0);
    assert_eq!(db.facts.erasure_of(id).await.unwrap().unwrap(), told);
}

async fn record_failure(db: &Migrated, id: CrashId) {
    let attempt = Attempt {
        crash_id: id,
        attempt: 1,
        at: noon(),
        node: "node-1".to_owned(),
        stage: "fetch".to_owned(),
        outcome: Outcome::Dead,
        reason: "damaged".to_owned(),
        detail: None,
        due_at: None,
    };
    db.facts.record_attempt(&attempt).await.unwrap();
    let letter = DeadLetter {
        crash_id: id,
        died_at: noon(),
        stage: "fetch".to_owned(),
        reason: "damaged".to_owned(),
        attempts: 1,
        detail: None,
    };
    db.facts.record_dead_letter(&letter).await.unwrap();
}

#[tokio::test]
async fn nothing_of_a_crash_is_taken_once_its_erasure_is_written_down() {
    let db = migrated("erase_refuses").await;
    let [erased, other, known] = [1, 2, 3].map(crash);
    db.facts.save(&[fact(&known)]).await.unwrap();
    let id = erased.crash_id;
    db.facts.begin_erasure(&request(), &[id]).await.unwrap();

    // Of a whole batch that one alone, whether there was a fact before or not.
    let batch = [fact(&erased), fact(&other), fact(&again(&known, -1, "older"))];
    let saved = db.facts.save(&batch).await.unwrap();
    assert_eq!((saved.inserted, saved.updated, saved.outdated), (1, 0, 1));
    assert_eq!((saved.erased, saved.rejected), (vec![id], vec![]));
    record_failure(&db, id).await;
    assert_eq!(rows_of(&db, id), [""; 0]);
    assert_eq!(db.facts.erased(&[other.crash_id, id]).await.unwrap(), [id]);
    assert_eq!(db.facts.unaccounted(&[id, crash(9).crash_id]).await.unwrap(), [crash(9).crash_id]);
}

#[tokio::test]
async fn a_save_that_is_under_way_is_waited_for_and_then_erased() {
    let db = migrated("erase_race").await;
    let crash = crash(1);
    // A saver that holds what savers share, and has not committed.
    let url = db.database.url().to_owned();
    let (commit, wait) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = std::sync::mpsc::channel();
    let saver = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute("SELECT pg_advisory_xact_lock_shared(4841290315029)").unwrap();
        begun.send(()).unwrap();
        wait.recv().unwrap();
        transaction.commit().unwrap();
    });
    has_begun.recv().unwrap();

    let facts = db.facts.clone();
    let id = crash.crash_id;
    let erasing = tokio::spawn(async move { facts.begin_erasure(&request(), &[id]).await });
    testing::eventually(SOON, async || {
        (db.ask("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())") == ["1"]).then_some(())
    })
    .await;
    assert_eq!(db.facts.erased(&[id]).await.unwrap(), []);
    commit.send(()).unwrap();
    saver.join().unwrap();
    erasing.await.unwrap().unwrap();
    assert_eq!(db.facts.erased(&[id]).await.unwrap(), [id]);
}

#[tokio::test]
async fn many_saves_and_erasures_at_once_leave_no_fact_of_what_is_erased() {
    let db = migrated("erase_storm").await;
    let crashes: Vec<_> = (0..40).map(crash).collect();
    let savers = crashes.chunks(10).map(|some| {
        let (facts, some) = (db.facts.clone(), some.to_vec());
        tokio::spawn(async move {
            for round in 0..6 {
                let rows: Vec<_> = some.iter().map(|crash| fact(&again(crash, round, "again"))).collect();
                facts.save(&rows).await.unwrap();
            }
        })
    });
    let savers: Vec<_> = savers.collect();
    let ids: Vec<CrashId> = crashes.iter().step_by(2).map(|crash| crash.crash_id).collect();
    for some in ids.chunks(5) {
        let erasure = db.facts.begin_erasure(&request(), some).await.unwrap();
        db.facts.erase(erasure, &stored(some), Timestamp::now()).await.unwrap();
    }
    for saver in savers {
        saver.await.unwrap();
    }
    assert_eq!(db.ask("SELECT count(*) FROM fact_crash"), ["20"]);
    assert_eq!(
        db.ask("SELECT count(*) FROM fact_crash JOIN erased_crash USING (crash_day, crash_id)"),
        ["0"]
    );
    assert_eq!(db.ask("SELECT count(*) FROM fact_dump"), ["20"]);
}

#[tokio::test]
async fn an_erasure_is_unfinished_until_it_is_erased_and_then_looked_after_once_more() {
    let db = migrated("erase_unfinished").await;
    let id = crash(1).crash_id;
    let erasure = db.facts.begin_erasure(&request(), &[id]).await.unwrap();
    let later = noon() + SignedDuration::from_mins(1);

    assert_eq!(
        db.facts.unfinished_erasures(noon(), 10).await.unwrap(),
        [],
        "who asked may be about to do it"
    );
    let unfinished = db.facts.unfinished_erasures(later, 10).await.unwrap();
    assert_eq!(unfinished.iter().map(|of| (of.erasure, of.crash_id)).collect::<Vec<_>>(), [(erasure, id)]);
    assert_eq!(db.facts.unverified_erasures(later, 10).await.unwrap(), []);

    db.facts.erase(erasure, &stored(&[id]), noon()).await.unwrap();
    assert_eq!(db.facts.unfinished_erasures(later, 10).await.unwrap(), []);
    assert_eq!(db.facts.unverified_erasures(later, 10).await.unwrap().len(), 1);
    db.facts.verified(&[id], later).await.unwrap();
    assert_eq!(db.facts.unverified_erasures(later, 10).await.unwrap(), []);
}

#[tokio::test]
async fn the_crashes_of_an_installation_are_found_by_its_hash_within_the_days_asked_for() {
    let db = migrated("erase_installation").await;
    let week = SignedDuration::from_hours(7 * 24);
    let [mine, later] = [crash(1), crash_at(noon() + week, 1)].map(|crash| {
        // Installed at the same moment, whenever they crashed.
        let installed = noon() - SignedDuration::from_hours(24);
        let age = crash.times.crashed_at.unwrap().duration_since(installed).as_secs().unsigned_abs();
        ProcessedCrash { times: crash::Times { install_age_s: Some(age), ..crash.times.clone() }, ..crash }
    });
    let other = crash(2);
    db.facts.save(&[fact(&mine), fact(&later), fact(&other)]).await.unwrap();
    let hash = fact(&mine).install_hash.unwrap();
    assert_eq!(fact(&later).install_hash.as_ref(), Some(&hash));

    let day = |crash: &ProcessedCrash| crash.crash_id.day();
    let found = db.facts.crashes_of_installation(&hash, day(&mine), day(&later)).await.unwrap();
    assert_eq!(found, [mine.crash_id, later.crash_id]);
    let found = db.facts.crashes_of_installation(&hash, day(&mine), day(&mine)).await.unwrap();
    assert_eq!(found, [mine.crash_id]);
}
