//! The schema: how it comes about, who may use it, and that it is documented.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod common;

use std::thread;

use common::{crash, crash_at, migrated, migrated_with};
use facts::{Config, CrashFact, Error, Facts, PartitionStep, SCHEMA, Tls, migrate, schema_state};
use testing::Database;

fn config(database: &Database) -> Config {
    Config { url: database.url().parse().unwrap(), ..Config::default() }
}

#[test]
fn a_second_migration_finds_nothing_to_do() {
    let database = Database::create("migrated_twice");
    let config = config(&database);
    assert_eq!(schema_state(&config).unwrap().version, 0);
    let pending = schema_state(&config).unwrap().pending;
    assert_eq!(
        pending.last().map(|name| name.starts_with(&format!("V{SCHEMA}__"))),
        Some(true),
        "{pending:?}"
    );

    let first = migrate(&config).unwrap();
    let second = migrate(&config).unwrap();

    assert_eq!((first.from, first.to, first.applied), (0, SCHEMA, pending));
    assert!(first.partitions > 0);
    assert_eq!((second.from, second.to, second.applied.len(), second.partitions), (SCHEMA, SCHEMA, 0, 0));
    let state = schema_state(&config).unwrap();
    assert!(state.pending.is_empty() && state.check().is_ok());
}

#[test]
fn of_migrations_at_once_one_does_the_work() {
    let database = Database::create("migrations_at_once");
    let config = config(&database);

    let migrations: Vec<_> = (0..4)
        .map(|_| {
            let config = config.clone();
            thread::spawn(move || migrate(&config).unwrap())
        })
        .collect();
    let done: Vec<_> = migrations.into_iter().map(|migration| migration.join().unwrap()).collect();

    assert_eq!(done.iter().filter(|migrated| migrated.from == 0).count(), 1);
    assert!(done.iter().all(|migrated| migrated.to == SCHEMA));
}

#[tokio::test]
async fn a_database_that_was_never_migrated_is_refused_with_what_to_do() {
    let database = Database::create("never_migrated");

    let refused = Facts::connect(&config(&database)).await.err().expect("there is no schema");

    assert!(matches!(refused, Error::SchemaTooOld { found: 0, .. }));
    assert!(refused.to_string().contains("run `crashmill migrate`"), "{refused}");
    assert!(refused.is_unavailable());
}

#[tokio::test]
async fn a_schema_that_has_left_this_release_behind_is_refused_and_left_alone() {
    let db = migrated("left_behind").await;
    // A later release that keeps this one working.
    db.ask(&format!(
        "INSERT INTO schema_compatibility (version, oldest_release) VALUES ({}, {SCHEMA})",
        SCHEMA + 1
    ));
    assert!(Facts::connect(&db.config).await.is_ok());
    let migrated = migrate(&db.config).unwrap();
    assert_eq!((migrated.to, migrated.applied.len()), (SCHEMA + 1, 0));

    // And one that does not.
    db.ask(&format!(
        "INSERT INTO schema_compatibility (version, oldest_release) VALUES ({0}, {0})",
        SCHEMA + 2
    ));
    for refused in [Facts::connect(&db.config).await.err(), migrate(&db.config).err()] {
        let refused = refused.expect("the schema is too new");
        assert!(matches!(refused, Error::SchemaLeftBehind { .. }), "{refused}");
        assert!(refused.to_string().contains("upgrade this program"), "{refused}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_password() {
    let config = Config {
        url: "postgresql://crashmill:hunter2@127.0.0.1:1/crashmill".parse().unwrap(),
        ..Config::default()
    };
    let (connected, migrating) = (config.clone(), config);
    let refused = [Facts::connect(&connected).await.err(), migrate(&migrating).err()];
    for refused in refused {
        let refused = refused.expect("nothing listens on port 1");
        let text = refused.to_string();
        assert!(
            text.contains("127.0.0.1:1") && text.contains("refused") && !text.contains("hunter2"),
            "{text}"
        );
        assert!(refused.is_unavailable() && refused.is_transient());
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let database = Database::create("tls_required");
    let config = Config { tls: Tls::Require, ..config(&database) };
    let refused = Facts::connect(&config).await.err().expect("the test server has no TLS");
    assert!(refused.to_string().contains("TLS"), "{refused}");
}

#[tokio::test]
async fn every_table_and_column_says_what_it_is() {
    let db = migrated("comments").await;
    // Number 0 is the table itself.
    let silent = db.ask(
        "SELECT c.oid::regclass || ' ' || a.attname
         FROM pg_class c
         CROSS JOIN LATERAL (
             SELECT 0 AS attnum, '' AS attname
             UNION ALL SELECT attnum, attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
         ) a
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
             AND c.relname <> 'refinery_schema_history' AND col_description(c.oid, a.attnum) IS NULL",
    );
    assert_eq!(silent, [""; 0]);
}

#[tokio::test]
async fn every_dimension_has_its_unknown_row() {
    let db = migrated("unknown_rows").await;
    for (table, key) in [
        ("dim_product", "product_id"),
        ("dim_channel", "channel_id"),
        ("dim_product_version", "product_version_id"),
        ("dim_build", "build_key"),
        ("dim_signature", "signature_id"),
        ("dim_os", "os_id"),
        ("dim_cpu", "cpu_id"),
        ("dim_reason", "reason_id"),
        ("dim_kind", "kind_id"),
        ("dim_device", "device_id"),
        ("dim_gpu", "gpu_id"),
        ("ruleset", "ruleset_version"),
    ] {
        assert_eq!(db.ask(&format!("SELECT count(*) FROM {table} WHERE {key} = 0")), ["1"], "{table}");
    }
    // A crash of which nothing is known has these rows and adds none.
    let nothing = crash::ProcessedCrash {
        product: String::new(),
        version: String::new(),
        channel: String::new(),
        build: String::new(),
        process_type: String::new(),
        signature: String::new(),
        ruleset: String::new(),
        os: crash::Os::default(),
        cpu: crash::Cpu::default(),
        reason: None,
        dumps: vec![],
        ..crash(1)
    };
    db.facts.save(&[CrashFact::of(&nothing)]).await.unwrap();
    let ids = "product_version_id, build_key, signature_id, kind_id, os_id, cpu_id, reason_id, device_id, gpu_id, ruleset_version";
    assert_eq!(db.ask(&format!("SELECT ROW({ids})::text FROM fact_crash")), ["(0,0,0,0,0,0,0,0,0,0)"]);
}

#[tokio::test]
async fn partitions_of_another_step_fill_the_gaps_between_those_that_are_there() {
    let weekly = migrated("partition_steps").await;
    let daily = Config { partitions: PartitionStep::Daily, ..weekly.config.clone() };
    let daily = Facts::connect(&daily).await.unwrap();
    let day = |day: &str| day.parse().unwrap();

    weekly.facts.make_partitions(day("2030-01-08"), day("2030-01-08")).await.unwrap();
    daily.make_partitions(day("2030-01-05"), day("2030-01-15")).await.unwrap();
    weekly.facts.make_partitions(day("2030-01-03"), day("2030-01-16")).await.unwrap();

    assert_eq!(
        weekly.ask(
            "SELECT concat(first_day, ' ', end_day) FROM partition_range('fact_crash') WHERE first_day > '2029-01-01' ORDER BY 1"
        ),
        [
            "2029-12-31 2030-01-05",
            "2030-01-05 2030-01-06",
            "2030-01-06 2030-01-07",
            "2030-01-07 2030-01-14",
            "2030-01-14 2030-01-15",
            "2030-01-15 2030-01-16",
            "2030-01-16 2030-01-21"
        ]
    );
    assert_eq!(weekly.facts.make_partitions(day("2030-01-03"), day("2030-01-16")).await.unwrap(), 0);
}

#[tokio::test]
async fn migrations_make_the_partitions_of_the_coming_days() {
    let db = migrated_with("days_ahead", Config { partition_days_ahead: 40, ..Config::default() }).await;
    let covered = "SELECT count(*) FROM pg_partitioned_table p WHERE NOT EXISTS (
                       SELECT FROM partition_range(p.partrelid::regclass) WHERE current_date + 40 >= first_day AND current_date + 40 < end_day)";
    assert_eq!(db.ask(covered), ["0"]);
}

#[tokio::test]
async fn numbers_of_one_database_are_not_used_in_the_next() {
    let db = migrated("another_database").await;
    db.facts.save(&[CrashFact::of(&crash(1))]).await.unwrap();

    // The same address, and behind it a database in which the same names have other numbers.
    let name = db.ask("SELECT current_database()").remove(0);
    let other = migrated("another_database_behind_it").await;
    for number in 0..5 {
        let filler =
            crash::ProcessedCrash { signature: format!("filler {number}"), ..crash_at(common::noon(), 99) };
        other.facts.save(&[CrashFact::of(&filler)]).await.unwrap();
    }
    let other_name = other.ask("SELECT current_database()").remove(0);
    swap(db.database.url(), &name, &other_name);

    // Its connections went with the old database.
    let crash = crash(2);
    db.facts.save(&[CrashFact::of(&crash)]).await.unwrap();
    assert_eq!(db.facts.fact(crash.crash_id).await.unwrap().unwrap().signature, crash.signature);
    assert_eq!(db.ask("SELECT count(*) FROM fact_crash"), ["2"]);
    swap(db.database.url(), &name, &other_name);
}

/// Lets two databases change names.
fn swap(url: &str, one: &str, two: &str) {
    let mut server: postgres::Config = url.parse().unwrap();
    server.dbname("postgres");
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('{one}', '{two}');
         ALTER DATABASE \"{one}\" RENAME TO swapped; ALTER DATABASE \"{two}\" RENAME TO \"{one}\";
         ALTER DATABASE swapped RENAME TO \"{two}\";"
    );
    thread::spawn(move || {
        let mut client = server.connect(postgres::NoTls).unwrap();
        for statement in sql.split_inclusive(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            testing::eventually_blocking(std::time::Duration::from_secs(10), || {
                client.batch_execute(statement).ok()
            });
        }
    })
    .join()
    .unwrap();
}
