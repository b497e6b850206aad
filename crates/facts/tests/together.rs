//! Many savers at once, and a database that goes away under them.

mod common;

use std::time::Duration;

use common::{again, crash, migrated, migrated_with, module_named};
use facts::{Config, CrashFact};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn savers_that_meet_on_the_same_names_and_crashes_never_deadlock() {
    const SAVERS: u32 = 8;
    const BATCHES: u32 = 10;
    let config = Config { pool_size: 8, ..Config::default() };
    let db = migrated_with("eight_savers", config).await;

    let savers: Vec<_> = (0..SAVERS)
        .map(|saver| {
            let facts = db.facts.clone();
            tokio::spawn(async move {
                for batch in 0..BATCHES {
                    // All savers have the same crashes, each in another order and with names that are new in each batch.
                    let mut crashes: Vec<_> = (0..40)
                        .map(|number| {
                            let number = number * (saver * 2 + 1) % 40;
                            let mut crash = again(
                                &crash(number),
                                i64::from(batch),
                                &format!("signature {}", number + batch),
                            );
                            crash.version = format!("{}.{batch}", number % 5);
                            crash.dumps[0].stackwalk.modules.push(module_named(&format!("{number} {batch}")));
                            CrashFact::of(&crash)
                        })
                        .collect();
                    if saver % 2 == 1 {
                        crashes.reverse();
                    }
                    facts.save(&crashes).await.unwrap();
                }
            })
        })
        .collect();
    for saver in savers {
        tokio::time::timeout(Duration::from_secs(120), saver).await.expect("nobody waits for ever").unwrap();
    }

    assert_eq!(db.ask("SELECT count(*) FROM fact_crash"), ["40"]);
    // The latest result won, whoever saved it.
    assert_eq!(
        db.ask("SELECT count(*) FROM fact_crash JOIN dim_product_version USING (product_version_id) WHERE version LIKE '%.9'"),
        ["40"]
    );
    assert_eq!(db.ask("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"), ["0"]);
}

#[tokio::test]
async fn after_the_server_has_ended_our_connections_the_next_save_works() {
    let db = migrated("connections_ended").await;
    for number in 0..5 {
        db.facts.save(&[CrashFact::of(&crash(number))]).await.unwrap();
        db.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name = 'crashmill'",
        );
        db.facts.ping().await.unwrap();
    }
    assert_eq!(db.ask("SELECT count(*) FROM fact_crash"), ["5"]);
}

#[tokio::test]
async fn a_saver_that_waits_for_a_lock_gives_up_and_may_try_again() {
    let config = Config { lock_timeout: settings::Duration::from_millis(200), ..Config::default() };
    let db = migrated_with("lock_not_free", config).await;
    let url = db.database.url().to_owned();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let holder = std::thread::spawn(move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut transaction = client.transaction().unwrap();
        transaction.batch_execute("LOCK TABLE fact_crash").unwrap();
        locked.send(()).unwrap();
        released.recv().unwrap();
    });
    is_locked.await.unwrap();

    let failed = db.facts.save(&[CrashFact::of(&crash(1))]).await.unwrap_err();

    assert!(failed.is_transient() && !failed.is_unavailable(), "{failed}");
    release.send(()).unwrap();
    holder.join().unwrap();
    assert_eq!(db.facts.save(&[CrashFact::of(&crash(1))]).await.unwrap().inserted, 1);
}

#[tokio::test]
async fn one_connection_is_enough_for_everything() {
    let config = Config { pool_size: 1, ..Config::default() };
    let db = migrated_with("one_connection", config).await;
    let old = common::crash_at("2001-01-01T00:00:00Z".parse().unwrap(), 1);
    assert_eq!(db.facts.save(&[CrashFact::of(&old)]).await.unwrap().inserted, 1);
    assert!(db.facts.fact(old.crash_id).await.unwrap().is_some());
}
