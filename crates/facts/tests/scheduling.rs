//! What the scheduler asks of the facts: which crashes have no result, and who leads.

mod common;

use std::time::Duration;

use common::{crash, crash_at, migrated, noon};
use crash::{CrashId, Minute, SymbolStatus};
use facts::{
    CrashFact, DeadLetter, ErasureRequest, Lacks, NodeReport, Part, QueueReport, SweepAhead, SweepBacklog,
    SweepMark, Which,
};
use jiff::{SignedDuration, Timestamp};

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

#[tokio::test]
async fn a_dead_letter_that_was_retried_counts_as_no_result_until_it_dies_again_or_is_processed() {
    let database = migrated("retried_letters").await;
    let crash = crash(7);
    let letter = DeadLetter {
        crash_id: crash.crash_id,
        died_at: noon(),
        stage: "store".to_owned(),
        reason: "damaged".to_owned(),
        attempts: 5,
        detail: Some("a checksum".to_owned()),
    };
    database.facts.record_dead_letter(&letter).await.unwrap();
    let unaccounted = async || database.facts.unaccounted(&[crash.crash_id]).await.unwrap().len();
    assert_eq!(unaccounted().await, 0);

    assert!(database.facts.mark_retried(&letter, noon(), "operator").await.unwrap());
    let known = database.facts.letter(crash.crash_id).await.unwrap().unwrap();
    assert_eq!((known.letter.reason.as_str(), known.retried.unwrap().by.as_str()), ("damaged", "operator"));
    assert_eq!(unaccounted().await, 1, "should the message be lost, the sweep finds the crash");
    // In a minute that it has long left behind.
    let soon = noon() + SignedDuration::from_mins(10);
    assert_eq!(database.facts.due_minutes(soon, false, 10).await.unwrap(), [crash.crash_id.minute()]);

    let again = DeadLetter { died_at: noon() + SignedDuration::from_secs(60), ..letter.clone() };
    database.facts.record_dead_letter(&again).await.unwrap();
    assert_eq!(unaccounted().await, 0);
    assert!(database.facts.mark_retried(&again, noon(), "operator").await.unwrap());
    assert!(!database.facts.mark_retried(&letter, noon(), "operator").await.unwrap(), "that letter is gone");

    assert!(database.facts.drop_letter(crash.crash_id, noon(), "operator", Some("hopeless")).await.unwrap());
    assert!(!database.facts.drop_letter(crash.crash_id, noon(), "operator", None).await.unwrap());
    assert!(!database.facts.mark_retried(&again, noon(), "operator").await.unwrap(), "it was dropped");
    let dropped = database.facts.letter(crash.crash_id).await.unwrap().unwrap().dropped.unwrap();
    assert_eq!(dropped.why.as_deref(), Some("hopeless"));
    assert_eq!(unaccounted().await, 0, "it was retried before, and is given up all the same");

    database.facts.save(&[CrashFact::of(&crash)]).await.unwrap();
    assert_eq!(database.facts.letter(crash.crash_id).await.unwrap(), None);
}

#[tokio::test]
async fn letters_are_grouped_by_stage_and_reason_and_listed_page_by_page() {
    let database = migrated("letter_groups").await;
    for number in 0..7 {
        let letter = DeadLetter {
            crash_id: crash(number).crash_id,
            died_at: noon() + SignedDuration::from_secs(number.into()),
            stage: "store".to_owned(),
            reason: if number < 5 { "damaged" } else { "not_in_store" }.to_owned(),
            attempts: 1,
            detail: None,
        };
        database.facts.record_dead_letter(&letter).await.unwrap();
    }
    let groups = database.facts.letter_groups(&Which::default()).await.unwrap();
    let told: Vec<_> = groups.iter().map(|group| (group.reason.as_str(), group.count)).collect();
    assert_eq!(told, [("damaged", 5), ("not_in_store", 2)]);
    assert_eq!(groups[0].examples, [4, 3, 2].map(|number| crash(number).crash_id));
    assert_eq!(groups[0].newest, noon() + SignedDuration::from_secs(4));

    let which = Which { reason: Some("damaged".to_owned()), ..Which::default() };
    let first = database.facts.letters(&which, None, 3).await.unwrap();
    let rest =
        database.facts.letters(&which, first.last().map(|letter| letter.letter.crash_id), 3).await.unwrap();
    assert_eq!((first.len(), rest.len()), (3, 2));
    let other_day = Which { day: Some("2026-11-22".parse().unwrap()), ..Which::default() };
    assert_eq!(database.facts.letter_groups(&other_day).await.unwrap(), []);
    let asked: Vec<CrashId> = (5..9).map(|number| crash(number).crash_id).collect();
    let mut with_letter = database.facts.with_letter(&asked).await.unwrap();
    with_letter.sort();
    assert_eq!(with_letter, asked[..2]);
}

#[tokio::test]
async fn what_a_crash_lacks_is_marked_with_its_fact_until_it_lacks_nothing() {
    let database = migrated("degraded").await;
    let crash = crash(1);
    let lacks = |part, next_try| Lacks { part, detail: "a server was down".to_owned(), next_try };
    let mut fact = CrashFact::of(&crash);
    fact.lacks = vec![lacks(Part::Symbols, Some(noon())), lacks(Part::Stacks, None)];
    database.facts.save(&[fact.clone()]).await.unwrap();

    let before = noon() - SignedDuration::from_secs(1);
    assert_eq!(database.facts.degraded_due(before, 10).await.unwrap(), []);
    let due = database.facts.degraded_due(noon(), 10).await.unwrap();
    assert_eq!((due.len(), due[0].part, due[0].tries), (1, Part::Symbols, 0));
    let later = Some(noon() + SignedDuration::from_hours(1));
    assert!(database.facts.degraded_tried(&due[0], later, true).await.unwrap());
    assert!(!database.facts.degraded_tried(&due[0], later, true).await.unwrap(), "somebody was quicker");

    // Processed again, with its stacks: how often it was tried for its symbols stays.
    fact.completed_at += SignedDuration::from_secs(60);
    fact.lacks.truncate(1);
    database.facts.save(&[fact.clone()]).await.unwrap();
    let marks = database.facts.degraded(crash.crash_id).await.unwrap();
    assert_eq!((marks.len(), marks[0].part, marks[0].tries, marks[0].next_try), (1, Part::Symbols, 1, later));

    fact.completed_at += SignedDuration::from_secs(60);
    fact.lacks.clear();
    database.facts.save(&[fact]).await.unwrap();
    assert_eq!(database.facts.degraded(crash.crash_id).await.unwrap(), []);
}

#[tokio::test]
async fn a_fact_that_is_rebuilt_from_its_processed_crash_keeps_when_its_symbols_are_tried_next() {
    let database = migrated("degraded_rebuilt").await;
    let mut crash = crash(1);
    let walk = &mut crash.dumps[0].stackwalk;
    walk.modules[0].symbols = SymbolStatus::Unavailable;
    let mut fact = CrashFact::of(&crash);
    fact.lacks[0].next_try = Some(noon());
    database.facts.save(&[fact]).await.unwrap();
    let marked = database.facts.degraded(crash.crash_id).await.unwrap();

    let saved = database.facts.save(&[CrashFact::of(&crash)]).await.unwrap();
    assert_eq!(saved.updated, 1, "a crash that is not written keeps its marks anyway");
    assert_eq!(database.facts.degraded(crash.crash_id).await.unwrap(), marked);
    assert_eq!((marked.len(), marked[0].part, marked[0].next_try), (1, Part::Symbols, Some(noon())));
}

#[tokio::test]
async fn a_process_is_known_by_its_last_word_until_it_leaves_or_falls_silent() {
    let database = migrated("reports").await;
    // Its clock is wrong by years, and it has run for an hour.
    let report = |instance: &str| NodeReport {
        role: "processor".to_owned(),
        node: "node-1".to_owned(),
        instance: instance.to_owned(),
        pid: 4711,
        started_at: Timestamp::UNIX_EPOCH,
        at: Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1),
        version: "0.1.0".to_owned(),
        workers: 2,
        state: "working".to_owned(),
        window_s: 60,
        queues: [("standard".to_owned(), QueueReport { done: 9, recent: 3, ..QueueReport::default() })]
            .into(),
    };
    let silent = |instance: &str, minutes: u32| {
        database.ask(&format!(
            "UPDATE node_report SET at = at - interval '{minutes} min' WHERE instance = '{instance}'"
        ));
    };
    let second = NodeReport { workers: 4, ..report("a") };
    for report in [report("c"), report("b"), report("a"), second.clone()] {
        database.facts.report(&report).await.unwrap();
    }
    silent("b", 2);
    silent("c", 60);
    let known = database.facts.reports().await.unwrap();
    assert_eq!((known.len(), known[0].workers, &known[0].queues), (1, 4, &second.queues));
    let run_for = known[0].at.duration_since(known[0].started_at);
    assert!(run_for >= SignedDuration::from_hours(1), "{run_for} since the same start");
    assert!(run_for < SignedDuration::from_mins(61), "{run_for}");

    database.facts.report(&second).await.unwrap();
    database.facts.leave("processor", "node-1", "a").await.unwrap();
    assert_eq!(database.facts.reports().await.unwrap(), []);
    assert_eq!(
        database.ask("SELECT instance FROM node_report"),
        ["b"],
        "who was silent for minutes is forgotten"
    );
}

#[tokio::test]
async fn a_crash_is_found_by_its_short_id_whether_it_has_a_fact_or_a_dead_letter_or_is_erased() {
    let database = migrated("short_ids").await;
    let [with_fact, dead, other, erased] = [1, 2, 3, 5].map(crash);
    let request = ErasureRequest {
        requested_at: noon(),
        requested_by: "operator".to_owned(),
        node: "node-1".to_owned(),
        reason: String::new(),
        installation: None,
    };
    database.facts.begin_erasure(&request, &[erased.crash_id]).await.unwrap();
    for crash in [&with_fact, &other] {
        database.facts.save(&[CrashFact::of(crash)]).await.unwrap();
    }
    let letter = DeadLetter {
        crash_id: dead.crash_id,
        died_at: noon(),
        stage: "store".to_owned(),
        reason: "damaged".to_owned(),
        attempts: 1,
        detail: None,
    };
    database.facts.record_dead_letter(&letter).await.unwrap();
    for crash in [with_fact, dead, erased] {
        assert_eq!(database.facts.find_short(crash.crash_id.short()).await.unwrap(), [crash.crash_id]);
    }
    assert_eq!(database.facts.find_short(crash(4).crash_id.short()).await.unwrap(), []);
}

#[tokio::test]
async fn the_sweep_goes_on_where_it_was_and_a_listed_minute_has_its_time() {
    let database = migrated("sweep_mark").await;
    let facts = &database.facts;
    assert_eq!(facts.sweep_mark().await.unwrap(), None);
    assert_eq!(facts.sweep_ahead(Minute::of(noon())).await.unwrap(), SweepAhead::Next);
    for hours in [0, 1] {
        let late_until = noon() + SignedDuration::from_hours(hours);
        let mark = SweepMark { swept_until: Minute::of(late_until), late_until };
        facts.set_sweep_mark(&mark).await.unwrap();
        assert_eq!(facts.sweep_mark().await.unwrap(), Some(mark));
    }

    let minute = |number| Minute::of(noon() + SignedDuration::from_mins(number));
    let [early, late, put_off] = [0, 1, 2].map(minute);
    let soon = noon() + SignedDuration::from_mins(30);
    facts.list_minutes(&[late, early], soon, false).await.unwrap();
    facts.list_minutes(&[put_off], soon + SignedDuration::from_hours(1), true).await.unwrap();
    assert_eq!(facts.due_minutes(noon(), false, 10).await.unwrap(), []);
    assert_eq!(facts.due_minutes(noon(), true, 10).await.unwrap(), [put_off]);
    assert_eq!(facts.due_minutes(soon, false, 10).await.unwrap(), [early, late]);
    assert_eq!(facts.due_minutes(soon, true, 1).await.unwrap(), [early]);
    assert_eq!(facts.listed_minutes(late).await.unwrap(), [late, put_off]);

    // Where a crash of each minute can expect the sweep: the mark is an hour ahead of all of them.
    assert_eq!(facts.sweep_ahead(early).await.unwrap(), SweepAhead::Listed(soon));
    let put_off_until = facts.sweep_ahead(put_off).await.unwrap();
    assert!(matches!(put_off_until, SweepAhead::Listed(at) if at <= facts.clock().await.unwrap()));
    assert_eq!(facts.sweep_ahead(minute(59)).await.unwrap(), SweepAhead::Behind);
    assert_eq!(facts.sweep_ahead(minute(60)).await.unwrap(), SweepAhead::Next);

    facts.list_minutes(&[early], soon + SignedDuration::from_mins(1), true).await.unwrap();
    assert_eq!(facts.due_minutes(soon, false, 10).await.unwrap(), [late]);
    for minute in [early, late, late] {
        facts.unlist_minute(minute).await.unwrap();
    }
    assert_eq!(facts.sweep_backlog().await.unwrap(), SweepBacklog { minutes: 1, oldest: Some(put_off) });
}
