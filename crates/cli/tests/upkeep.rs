//! What an operator does to keep an installation in order: expire, erase, check and rebuild.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says why"
)]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;
use support::{
    RunToEnd, command, dump_in, folder, printed, processes,
    standalone::{Standalone, setting, settings},
    stderr, stdout,
};
use testing::{Database, amqp_url, eventually_blocking, namespace};

const SOON: Duration = Duration::from_secs(60);

struct Installation {
    standalone: Standalone,
    database: Database,
    settings: Vec<(String, String)>,
    dir: tempfile::TempDir,
}

impl Installation {
    fn start(name: &str) -> Self {
        let (dir, database) = (folder(), Database::create(name));
        let mut settings = settings(&database, &amqp_url(), &namespace(name));
        // What is dropped here, the test drops.
        for kept in ["RAW", "PRIVATE", "PROCESSED", "FACTS"] {
            settings.push(setting(&format!("CRASHMILL__RETENTION__{kept}"), "forever"));
        }
        let standalone = Standalone::start(dir.path(), &settings);
        Self { standalone, database, settings, dir }
    }

    fn submit(&self, annotations: &[&str]) -> String {
        self.standalone.submit(&dump_in(self.dir.path()), annotations)
    }

    /// A command of an operator, with further settings.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        command.args(args).arg("--data").arg(self.dir.path()).envs(self.settings.iter().cloned());
        command
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.command(args).run_to_end();
        serde_json::from_str(&printed(&output)).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    }

    fn state(&self, id: &str) -> String {
        self.standalone.whereabouts(id)["state"].as_str().unwrap().to_owned()
    }

    /// The rows of the facts, as one number.
    fn facts(&self) -> i64 {
        let all = |table: &str, order: &str| {
            format!("(SELECT string_agg(t::text, ',' ORDER BY {order}) FROM {table} t)")
        };
        let (crashes, dumps) = (all("fact_crash", "crash_id"), all("fact_dump", "crash_id, position"));
        self.database
            .number(&format!("SELECT ('x' || left(md5(concat({crashes}, {dumps})), 15))::bit(60)::bigint"))
    }

    /// How many messages wait in all queues, also the dead ones.
    fn waiting(&self) -> u64 {
        self.standalone.status()["queues"]
            .as_array()
            .unwrap()
            .iter()
            .map(|queue| queue["ready"].as_u64().unwrap())
            .sum()
    }
}

fn living_frames(installation: &Installation, id: &str) -> usize {
    let known = installation.standalone.whereabouts(id);
    known["store"].as_array().unwrap().iter().filter(|frame| frame["erased"] == false).count()
}

/// A segment of a day long gone.
fn plant(dir: &Path, area: &str) -> std::path::PathBuf {
    let folder = dir.join("store").join(area).join("20200101/0000");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(if area == "raw" { "old.tar.zst" } else { "old.json.zst" });
    fs::write(&file, vec![7; 100_000]).unwrap();
    file
}

#[test]
fn expire_shows_what_goes_and_drops_whole_days_of_the_areas_that_were_named() {
    let installation = Installation::start("expire_command");
    let id = installation.submit(&["ProductName=Game", "Email=a@b.example"]);
    installation.standalone.until_processed(&id);
    let [private, raw] = ["private", "raw"].map(|area| plant(installation.dir.path(), area));
    let defaults = [("PRIVATE", "28d"), ("RAW", "182d"), ("PROCESSED", "182d"), ("FACTS", "728d")];
    let expire = |args: &[&str]| {
        let mut command = installation.command(&[&["expire"][..], args].concat());
        command.envs(defaults.map(|(kept, keep)| setting(&format!("CRASHMILL__RETENTION__{kept}"), keep)));
        stdout(&command.run_to_end())
    };

    let forecast: Value = serde_json::from_str(&expire(&["--dry-run", "--json"])).unwrap();
    let areas = forecast["areas"].as_array().unwrap();
    for (area, due) in [("private", 1), ("raw", 1), ("processed", 0), ("facts", 0)] {
        let seen = areas.iter().find(|seen| seen["area"] == area).unwrap();
        assert_eq!(seen["due"]["parts"], due, "{seen}");
        assert!(seen["bytes"].as_u64() > Some(0) && seen["bytes_a_day"].as_u64() > Some(0), "{seen}");
    }
    assert!(forecast["disk"]["free"].as_u64() > Some(0), "{forecast}");
    let people = expire(&["--dry-run"]);
    assert!(people.contains("private") && people.contains("disk"), "{people}");
    assert!(private.exists() && raw.exists(), "nothing was dropped");

    let dropped: Value = serde_json::from_str(&expire(&["--area", "private", "--json"])).unwrap();
    assert_eq!(
        (&dropped["dropped"][0]["area"], &dropped["dropped"][0]["day"]),
        (&"private".into(), &"2020-01-01".into())
    );
    assert!(dropped["bytes"].as_u64() >= Some(100_000), "{dropped}");
    assert!(!private.exists() && raw.exists());
    assert!(expire(&[]).contains("2020-01-01"));
    assert!(!raw.exists());
    assert_eq!(expire(&[]), "nothing is past its retention\n");
    assert_eq!(installation.state(&id), "processed");
    assert!(installation.standalone.stop().success());
}

#[test]
fn erase_takes_a_crash_or_an_installations_crashes_away_for_good_and_says_who_asked() {
    let installation = Installation::start("erase_command");
    let client = "TelemetryClientId=c0ffee00-0000-4000-8000-000000000000";
    let [one, mine, also_mine, other] = [
        &["ProductName=Game", "Email=a@b.example"][..],
        &["ProductName=Game", client],
        &["ProductName=Game", client],
        &["ProductName=Game", "TelemetryClientId=decaf000-0000-4000-8000-000000000000"],
    ]
    .map(|annotations| installation.submit(annotations));
    for id in [&one, &mine, &also_mine, &other] {
        installation.standalone.until_processed(id);
    }

    let seen = installation.json(&["erase", &one, "--dry-run", "--json"]);
    assert_eq!((&seen["erasure"], &seen["crashes"][0]["frames"]), (&Value::Null, &3.into()), "{seen}");
    let rows = seen["crashes"][0]["rows"].as_u64().unwrap();
    let unsure = installation.command(&["erase", &one]).run_to_end();
    assert_eq!(unsure.status.code(), Some(1));
    assert!(stderr(&unsure).contains("--yes"), "{}", stderr(&unsure));
    assert_eq!(installation.state(&one), "processed");

    let done = installation.json(&["erase", &one, "--yes", "--reason", "ticket 4711", "--json"]);
    assert_eq!(
        (&done["crashes"][0]["frames"], &done["crashes"][0]["rows"]),
        (&3.into(), &rows.into()),
        "{done}"
    );
    assert_eq!(installation.state(&one), "erased");
    assert_eq!(
        installation
            .database
            .number("SELECT count(*) FROM erasure WHERE reason = 'ticket 4711' AND requested_by <> ''"),
        1
    );
    // By the short id too, and as often as one likes.
    let short = installation.standalone.whereabouts(&one)["short_id"].as_str().unwrap().to_owned();
    assert_eq!(installation.json(&["erase", &short, "--yes", "--json"])["crashes"][0]["rows"], 0);

    let nobody = installation.command(&["erase", "--installation", "nobody", "--yes"]).run_to_end();
    assert_eq!(nobody.status.code(), Some(1));
    let named = client.split_once('=').unwrap().1;
    let early = installation
        .command(&["erase", "--installation", named, "--until", "2020-01-01", "--yes"])
        .run_to_end();
    assert!(stderr(&early).contains("nothing is erased"), "{}", stderr(&early));
    let done = installation.json(&["erase", "--installation", named, "--yes", "--json"]);
    assert_eq!(done["crashes"].as_array().unwrap().len(), 2, "{done}");
    for (id, state) in [(&mine, "erased"), (&also_mine, "erased"), (&other, "processed")] {
        assert_eq!(installation.state(id), state, "{id}");
    }
    assert_eq!(installation.database.number("SELECT count(*) FROM fact_crash"), 1);
    assert_eq!(stdout(&installation.command(&["store", "check"]).run_to_end()), "every frame is whole\n");
    assert!(installation.standalone.stop().success());
}

#[test]
fn a_crash_that_is_erased_while_it_waits_or_is_processed_does_not_come_back() {
    let installation = Installation::start("erase_race");
    let first = installation.submit(&["ProductName=Warm"]);
    installation.standalone.until_processed(&first);

    // It waits in the queue, and nobody takes it.
    let processor = installation.standalone.role("processor");
    processes::signal(processor.pid, Signal::STOP);
    let waiting = installation.submit(&["ProductName=Game"]);
    stdout(&installation.command(&["erase", &waiting, "--yes"]).run_to_end());
    processes::signal(processor.pid, Signal::CONT);
    eventually_blocking(SOON, || (installation.waiting() == 0).then_some(()));

    // It is in a processor's hand: its result is in the store, and its fact waits for a product that is locked.
    let mut holder = installation
        .command(&["sql"])
        .args(["--", "-c", "BEGIN; LOCK TABLE dim_product; SELECT pg_sleep(300)"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let held =
        "FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' AND relation = 'dim_product'::regclass";
    eventually_blocking(SOON, || {
        (installation.database.number(&format!("SELECT count(*) {held}")) == 1).then_some(())
    });
    let in_hand = installation.submit(&["ProductName=Unheard of"]);
    eventually_blocking(SOON, || {
        let listed = stdout(&installation.command(&["store", "list", "--area", "processed"]).run_to_end());
        listed.contains(&in_hand).then_some(())
    });
    stdout(&installation.command(&["erase", &in_hand, "--yes"]).run_to_end());
    installation.database.number(&format!("SELECT count(pg_terminate_backend(pid)) {held}"));
    holder.wait().unwrap();

    // The processor is done with both when the next one is done.
    let last = installation.submit(&["ProductName=Warm"]);
    installation.standalone.until_processed(&last);
    eventually_blocking(SOON, || (installation.waiting() == 0).then_some(()));
    for id in [&waiting, &in_hand] {
        eventually_blocking(SOON, || (living_frames(&installation, id) == 0).then_some(()));
        assert_eq!(installation.state(id), "erased");
    }
    assert_eq!(installation.database.number("SELECT count(*) FROM fact_crash"), 2);
    assert_eq!(installation.database.number("SELECT count(*) FROM dead_letter"), 0);
    let log = installation.standalone.log("processor");
    assert!(log.contains("nothing of it was saved"), "{log}");
    assert!(installation.standalone.stop().success());
}

#[test]
fn facts_that_are_lost_are_built_anew_from_the_store_and_crashes_without_result_are_published() {
    let installation = Installation::start("rebuild");
    let ids =
        ["One", "Two", "Three"].map(|product| installation.submit(&[&format!("ProductName={product}")]));
    for id in &ids {
        installation.standalone.until_processed(id);
    }
    let check = |args: &[&str]| {
        let output = installation.command(&[&["store", "check", "--json"][..], args].concat()).run_to_end();
        let report: Value = serde_json::from_str(&printed(&output))
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (output.status.code(), report)
    };
    let (code, report) = check(&["--facts"]);
    assert_eq!((code, &report["facts"]["without_fact"]["count"]), (Some(0), &0.into()), "{report}");

    let before = installation.facts();
    for table in ["fact_crash", "fact_dump"] {
        let delete = format!("WITH gone AS (DELETE FROM {table} RETURNING 1) SELECT count(*) FROM gone");
        assert_eq!(installation.database.number(&delete), 3);
    }
    // The sweep must not be quicker: what it publishes would be processed anew.
    assert_ne!(installation.facts(), before);
    let (code, report) = check(&["--facts", "--limit", "1"]);
    assert_eq!((code, &report["facts"]["without_fact"]["count"]), (Some(1), &3.into()), "{report}");
    assert_eq!(report["facts"]["without_fact"]["first"].as_array().unwrap().len(), 1);
    let (code, report) = check(&["--rebuild-facts", "--from", "21000101/0000"]);
    assert_eq!((code, &report["facts"]["rebuilt"]), (Some(0), &0.into()), "{report}");

    let (code, report) = check(&["--rebuild-facts"]);
    assert_eq!((code, &report["facts"]["rebuilt"]), (Some(0), &3.into()), "{report}");
    assert_eq!(installation.facts(), before, "every column is what it was");
    let (code, report) = check(&["--rebuild-facts"]);
    assert_eq!((code, &report["facts"]["rebuilt"]), (Some(0), &0.into()), "{report}");
    assert_eq!(installation.facts(), before);

    // Of a crash that nobody has processed there is nothing to build from.
    let processor = installation.standalone.role("processor");
    processes::signal(processor.pid, Signal::STOP);
    let waiting = installation.submit(&["ProductName=Four"]);
    let (code, report) = check(&["--facts"]);
    assert_eq!(
        (code, &report["facts"]["without_result"]["first"]),
        (Some(1), &vec![waiting.clone()].into()),
        "{report}"
    );
    let (code, report) = check(&["--publish"]);
    assert_eq!((code, &report["facts"]["published"]), (Some(0), &1.into()), "{report}");
    processes::signal(processor.pid, Signal::CONT);
    installation.standalone.until_processed(&waiting);

    // A raw crash that is lost is missed.
    let minute = installation.standalone.whereabouts(&waiting)["received_at"]
        .as_str()
        .unwrap()
        .replace(['-', ':'], "");
    fs::remove_dir_all(installation.dir.path().join("store/raw").join(&minute[..8])).unwrap();
    let (code, report) = check(&["--facts"]);
    assert_eq!((code, &report["facts"]["without_raw"]["count"]), (Some(1), &4.into()), "{report}");
    assert!(installation.standalone.stop().success());
}
