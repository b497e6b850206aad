//! Saving crashes: once each, the latest result, whoever saves them.

#![recursion_limit = "256"]

mod common;

use common::{DAY, again, crash, crash_at, migrated, module_named, noon};
use facts::{Attempt, CrashFact, DeadLetter, Outcome, Saved};
use jiff::SignedDuration;
use serde_json::json;

#[tokio::test]
async fn what_is_saved_reads_back_with_names() {
    let db = migrated("what_is_saved_reads_back").await;
    let crash = crash(1);

    let saved = db.facts.save(&[CrashFact::of(&crash)]).await.unwrap();

    assert_eq!(saved, Saved { inserted: 1, ..Saved::default() });
    let row = db.facts.fact(crash.crash_id).await.unwrap().expect("the crash has facts");
    assert_eq!(
        serde_json::to_value(&row).unwrap(),
        json!({
            "crash_id": crash.crash_id.to_string(), "crash_day": DAY,
            "received_at": "2026-11-23T12:00:01Z", "client_crash_at": "2026-11-23T11:59:52Z",
            "started_at": "2026-11-23T12:00:02Z", "completed_at": "2026-11-23T12:00:03Z", "attempt": 1,
            "product": "Sample", "channel": "beta", "version": "1.0b2",
            "build": "20261120093000", "build_day": "2026-11-20",
            "signature": "main | crash_here", "process_type": "parent", "event": "crash",
            "os_family": "Linux", "os_version": "6.1", "os": "Debian 12",
            "cpu_arch": "amd64", "cpu_model": "family 6", "cores": 8,
            "reason": "SIGSEGV / SEGV_MAPERR", "address": "0xffffffffffffffff",
            "uptime_s": 30, "install_age_s": 86400, "last_crash_s": null, "is_startup": true, "oom_alloc": null,
            "sample_rate": 0.25, "success": true, "proto_signature": "crash_here | main", "ruleset": "00ff",
            "notes": ["rule: a \"note\", {braces}"], "attrs": {"Theme": "dark"},
            "dumps": [{
                "name": "upload_file_minidump", "bytes": 1234, "sha256": "ab".repeat(32), "walk_status": "ok",
                "reason": "SIGSEGV / SEGV_MAPERR", "crashing_thread": 0, "modules": 3
            }],
        })
    );
    assert_eq!(db.facts.count_on(DAY.parse().unwrap()).await.unwrap(), 1);
    assert_eq!(
        db.ask(
            "SELECT version_key::text || release_version FROM dim_product_version WHERE version = '1.0b2'"
        ),
        ["{1,0,-2,2,0}1.0"]
    );
    assert_eq!(db.facts.fact(common::crash(2).crash_id).await.unwrap(), None);
}

#[tokio::test]
async fn a_crash_processed_twice_is_one_row() {
    let db = migrated("processed_twice").await;
    let fact = CrashFact::of(&crash(1));

    db.facts.save(std::slice::from_ref(&fact)).await.unwrap();
    let saved = db.facts.save(&[fact]).await.unwrap();

    assert_eq!((saved.inserted, saved.updated), (0, 1));
    assert_eq!(db.ask("SELECT count(*) FROM fact_crash"), ["1"]);
    assert_eq!(db.ask("SELECT count(*) FROM fact_dump"), ["1"]);
    assert_eq!(db.ask("SELECT why FROM dirty_day ORDER BY why"), ["reprocessed", "saved"]);
}

#[tokio::test]
async fn reprocessing_updates_the_row_and_takes_away_dumps_that_are_gone() {
    let db = migrated("reprocessing_updates").await;
    let mut first = crash(1);
    first.dumps.push(crash::ProcessedDump {
        name: "upload_file_minidump_browser".to_owned(),
        ..first.dumps[0].clone()
    });
    let mut second = again(&first, 60, "another | signature");
    second.dumps.pop();

    db.facts.save(&[CrashFact::of(&first)]).await.unwrap();
    assert_eq!(db.facts.fact(first.crash_id).await.unwrap().unwrap().dumps.len(), 2);
    db.facts.save(&[CrashFact::of(&second)]).await.unwrap();

    let row = db.facts.fact(first.crash_id).await.unwrap().unwrap();
    assert_eq!((row.signature.as_str(), row.dumps.len()), ("another | signature", 1));
    assert_eq!(row.completed_at, second.completed_at);
}

#[tokio::test]
async fn an_older_result_that_comes_late_leaves_the_newer_one_alone() {
    let db = migrated("older_result").await;
    let old = crash(1);
    let mut new = again(&old, 60, "newer");
    new.dumps[0].stackwalk.modules.push(module_named("more.so"));

    db.facts.save(&[CrashFact::of(&new)]).await.unwrap();
    let saved = db.facts.save(&[CrashFact::of(&old)]).await.unwrap();

    assert_eq!(saved, Saved { outdated: 1, ..Saved::default() });
    let row = db.facts.fact(old.crash_id).await.unwrap().unwrap();
    assert_eq!((row.signature.as_str(), row.dumps[0].modules), ("newer", 4));
    // Nothing was seen under a name that never stood in a row.
    assert_eq!(db.ask("SELECT count(*) FROM signature_first"), ["1"]);
}

#[tokio::test]
async fn of_two_results_in_one_batch_the_later_one_is_saved() {
    let db = migrated("twice_in_one_batch").await;
    let old = crash(1);
    let new = again(&old, 1, "newer");

    let saved =
        db.facts.save(&[CrashFact::of(&new), CrashFact::of(&old), CrashFact::of(&crash(2))]).await.unwrap();

    assert_eq!((saved.inserted, saved.outdated), (2, 1));
    assert_eq!(db.facts.fact(old.crash_id).await.unwrap().unwrap().signature, "newer");
}

#[tokio::test]
async fn an_empty_batch_is_saved_without_a_word() {
    let db = migrated("empty_batch").await;
    assert_eq!(db.facts.save(&[]).await.unwrap(), Saved::default());
}

#[tokio::test]
async fn a_crash_of_a_day_that_nobody_foresaw_gets_its_partition() {
    let db = migrated("missing_partition").await;
    let old = crash_at("2019-03-04T00:00:00Z".parse().unwrap(), 1);
    let last = crash_at("2031-12-31T23:59:59.999Z".parse().unwrap(), 2);

    let saved =
        db.facts.save(&[CrashFact::of(&old), CrashFact::of(&last), CrashFact::of(&crash(3))]).await.unwrap();

    assert_eq!(saved.inserted, 3);
    assert_eq!(
        db.ask("SELECT tableoid::regclass FROM fact_crash ORDER BY crash_day"),
        ["fact_crash_20190304", "fact_crash_20261123", "fact_crash_20311229"]
    );
    let letter = dead_letter(&crash_at("2018-01-01T00:00:00Z".parse().unwrap(), 4));
    db.facts.record_dead_letter(&letter).await.unwrap();
    assert_eq!(db.facts.dead_letter(letter.crash_id).await.unwrap(), Some(letter));
}

#[tokio::test]
async fn signatures_know_their_first_and_last_crash_in_whatever_order_they_come() {
    let db = migrated("first_and_last").await;
    let hour = SignedDuration::from_hours(1);
    let crashes = [crash_at(noon(), 1), crash_at(noon() - hour, 2), crash_at(noon() + hour, 3)];
    for crash in crashes.iter().chain(&crashes) {
        db.facts.save(&[CrashFact::of(crash)]).await.unwrap();
    }

    let first = crashes[1].crash_id;
    assert_eq!(
        db.ask("SELECT (first_seen AT TIME ZONE 'UTC')::text || ' ' || first_crash_id FROM dim_signature WHERE signature_id > 0"),
        [format!("2026-11-23 11:00:00 {first}")]
    );
    assert_eq!(db.ask("SELECT (last_seen - first_seen)::text FROM signature_first"), ["02:00:00"]);
}

#[tokio::test]
async fn a_dead_letter_goes_when_its_crash_is_processed_after_all() {
    let db = migrated("dead_letter_goes").await;
    let crash = crash(1);
    let letter = dead_letter(&crash);
    let attempt = Attempt {
        crash_id: crash.crash_id,
        attempt: 3,
        at: noon(),
        node: "node-1".to_owned(),
        stage: "fetch".to_owned(),
        outcome: Outcome::Dead,
        reason: "store_unreadable".to_owned(),
        detail: None,
        due_at: None,
    };
    for _ in 0..2 {
        db.facts.record_attempt(&attempt).await.unwrap();
        db.facts.record_dead_letter(&letter).await.unwrap();
    }
    assert_eq!(db.facts.dead_letter(crash.crash_id).await.unwrap(), Some(letter.clone()));
    assert_eq!(db.facts.attempts(crash.crash_id).await.unwrap(), [attempt]);

    db.facts.save(&[CrashFact::of(&crash)]).await.unwrap();

    assert_eq!(db.facts.dead_letter(crash.crash_id).await.unwrap(), None);
    assert!(!db.facts.clear_dead_letter(crash.crash_id).await.unwrap());
    db.facts.record_dead_letter(&letter).await.unwrap();
    assert!(db.facts.clear_dead_letter(crash.crash_id).await.unwrap());
}

fn dead_letter(crash: &crash::ProcessedCrash) -> DeadLetter {
    DeadLetter {
        crash_id: crash.crash_id,
        died_at: noon(),
        stage: "fetch".to_owned(),
        reason: "store_unreadable".to_owned(),
        attempts: 3,
        detail: Some("a NUL \0 within".replace('\0', "\u{fffd}")),
    }
}
