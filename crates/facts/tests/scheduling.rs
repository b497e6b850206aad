//! What the scheduler asks of the facts: which crashes have no result, and who leads.

mod common;

use std::time::Duration;

use common::{crash, crash_at, migrated, noon};
use crash::CrashId;
use facts::{CrashFact, DeadLetter};
use jiff::SignedDuration;

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn crashes_without_fact_and_dead_letter_are_told_in_the_order_in_which_they_were_asked_for() {
    let database = migrated("unaccounted").await;
    let [with_fact, dead, first] = [0, 1, 2].map(crash);
    let second = crash_at(noon() - SignedDuration::from_hours(24), 3);
    database.facts.save(&[CrashFact::of(&with_fact)]).await.unwrap();
    let letter = DeadLetter {
        crash_id: dead.crash_id,
        died_at: noon(),
        stage: "fetch".to_owned(),
        reason: "not_stored".to_owned(),
        attempts: 1,
        detail: None,
    };
    database.facts.record_dead_letter(&letter).await.unwrap();

    let asked = [first, with_fact, second, dead].map(|crash| crash.crash_id);
    let found: Vec<CrashId> = database.facts.unaccounted(&asked).await.unwrap();
    assert_eq!(found, [asked[0], asked[2]]);
    assert_eq!(database.facts.unaccounted(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn there_is_one_leader_and_the_next_one_when_it_is_gone() {
    let database = migrated("one_leader").await;
    let leader = database.facts.lead().await.unwrap().unwrap();
    assert!(leader.holds().await.unwrap());
    assert!(database.facts.lead().await.unwrap().is_none());

    drop(leader);
    let next = testing::eventually(SOON, async || database.facts.lead().await.unwrap()).await;
    assert!(next.holds().await.unwrap());
}

#[tokio::test]
async fn a_leader_whose_session_was_ended_hears_of_it() {
    let database = migrated("leader_cut").await;
    let leader = database.facts.lead().await.unwrap().unwrap();
    // Of this database alone: the locks of all databases are listed together.
    database.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database \
         WHERE locktype = 'advisory' AND datname = current_database()",
    );
    testing::eventually(SOON, async || leader.holds().await.err()).await;
}
